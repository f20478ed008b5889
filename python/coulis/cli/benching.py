"""`coulis bench`: what distribution costs on this machine. All counts are checked."""

from __future__ import annotations

import itertools
import os
import platform
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from coulis._coulis import SubscriptionExecutor, __version__, from_json
from coulis.cli.terms import JsonFile, fail, screen, write_json

__all__ = ["Figures", "bench", "measure"]

QUERY = "subscription { orders { id status } }"
BATCH_EVENTS = 50
LATENCY_EVENTS_SHARE = 10
"""One event in so many is published alone, for the latency."""

Figures = dict[str, Any]

Subscriptions = Annotated[
    list[int] | None,
    typer.Option("--subscriptions", envvar="COULIS_SUBSCRIPTIONS", help="How many; several times: each."),
]
Events = Annotated[int, typer.Option(envvar="COULIS_EVENTS", min=1, help="Events in each measurement.")]
Resolver = Annotated[bool, typer.Option(envvar="COULIS_RESOLVER", help="With a resolver in Python.")]
Plot = Annotated[
    Path | None, typer.Option(envvar="COULIS_PLOT", help="A picture: .png, .svg or .pdf; needs matplotlib.")
]


def bench(
    subscriptions: Subscriptions = None,
    events: Events = 1000,
    resolver: Resolver = False,
    json_file: JsonFile = None,
    plot: Plot = None,
) -> None:
    """Measure publish → readable in this process, for some numbers of subscriptions; counts are checked."""
    counts = subscriptions or [1, 10, 100, 1000]
    if min(counts) < 1:
        fail(f"`--subscriptions` is `{min(counts)}`: pass numbers above 0", 2)
    draw = _drawer(plot) if plot is not None else None
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=screen(stderr=True), transient=True) as progress:
        results = [_measured(progress, count, events, resolver) for count in counts]
    report = {"machine": machine(), "events": events, "resolver": resolver, "results": results}
    write_json(json_file, report)
    if str(json_file) != "-":
        screen().print(_table(results))
    if draw is not None:
        draw(results)


def _measured(progress: Progress, count: int, events: int, resolver: bool) -> Figures:
    task = progress.add_task(f"{count} subscriptions", total=events)
    return measure(count, events, resolver=resolver, step=lambda done: progress.advance(task, done))


def machine() -> Figures:
    """Answer what the figures are of."""
    return {
        "coulis": __version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
    }


def measure(
    count: int, events: int, *, resolver: bool = False, step: Callable[[int], object] = lambda events: None
) -> Figures:
    """Publish `events` to `count` subscriptions, in batches for throughput and alone for latency."""
    resolve = (lambda event, variables: {"orders": event}) if resolver else None
    limits = {"ring_frames_max": max(BATCH_EVENTS * 2, 64)}
    with SubscriptionExecutor(limits=limits) as executor:
        names = [f"s{number}" for number in range(count)]
        for name in names:
            executor.register_subscription(f"of {name}", name, QUERY, channel="orders", resolver=resolve)
        cpu, wall, delivered = time.process_time(), 0.0, 0
        for batch in _batches(events):
            wall += _publish(executor, names, batch)
            delivered += len(batch) * count
            step(len(batch))
        cpu = time.process_time() - cpu
        latencies = sorted(_latencies(executor, names, max(1, events // LATENCY_EVENTS_SHARE)))
    return {
        "subscriptions": count,
        "deliveries": delivered,
        "deliveries_per_second": delivered / wall,
        "cpu_us_per_delivery": cpu / delivered * 1e6,
        "latency_us_p50": _quantile(latencies, 0.5),
        "latency_us_p99": _quantile(latencies, 0.99),
    }


def _batches(events: int) -> Iterator[list[int]]:
    numbers = iter(range(events))
    while batch := list(itertools.islice(numbers, BATCH_EVENTS)):
        yield batch


def _order(number: int) -> dict[str, Any]:
    return {"id": number, "status": "paid", "card": "4111", "total": {"amount": 12.5, "currency": "EUR"}}


def _publish(executor: SubscriptionExecutor, names: list[str], batch: list[int]) -> float:
    """Publish and read all; answer the seconds of it, without those of the check."""
    events = [("changed", "orders", _order(number)) for number in batch]
    start = time.perf_counter()
    counts = executor.publish_many(events)
    messages = [executor.next_events(name, BATCH_EVENTS) for name in names]
    took = time.perf_counter() - start
    if counts != [len(names)] * len(batch) or any(len(found) != len(batch) for found in messages):
        raise RuntimeError(f"{len(batch)} events should reach {len(names)} subscriptions: {counts}")
    for message, number in zip(messages[-1], batch, strict=True):
        _check(message, names[-1], number)
    return took


def _check(message: bytes, name: str, number: int) -> None:
    read = from_json(message)
    if read["id"] != name or read["payload"]["data"] != {"orders": {"id": number, "status": "paid"}}:
        raise RuntimeError(f"event {number} came as {read}")


def _latencies(executor: SubscriptionExecutor, names: list[str], events: int) -> Iterator[float]:
    for number in range(events):
        start = time.perf_counter()
        executor.publish_event("changed", "orders", _order(number))
        yield (time.perf_counter() - start) * 1e6
        for name in names:
            (message,) = executor.next_events(name)
        _check(message, names[-1], number)


def _quantile(sorted_values: list[float], share: float) -> float:
    return sorted_values[min(int(len(sorted_values) * share), len(sorted_values) - 1)]


def _table(results: list[Figures]) -> Table:
    table = Table("subscriptions", box=None, padding=(0, 2), title="publish → readable", title_justify="left")
    for name in ("deliveries/s", "CPU a delivery", "an event to all, p50", "p99"):
        table.add_column(name, justify="right")
    for row in results:
        table.add_row(
            f"{row['subscriptions']:,}",
            f"{row['deliveries_per_second']:,.0f}",
            f"{row['cpu_us_per_delivery']:.2f} µs",
            f"{row['latency_us_p50']:,.0f} µs",
            f"{row['latency_us_p99']:,.0f} µs",
        )
    return table


def _drawer(path: Path) -> Callable[[list[Figures]], None]:
    """Answer what draws the picture; asked first, so that nothing is measured in vain."""
    if path.suffix not in (".png", ".svg", ".pdf"):
        fail(f"`--plot` is `{path}`: pass a name that ends in .png, .svg or .pdf", 2)
    try:
        import matplotlib
    except ModuleNotFoundError:
        fail("`--plot` needs matplotlib: pip install 'coulis[plot]'")
    matplotlib.use("agg")
    from matplotlib import pyplot

    def draw(results: list[Figures]) -> None:
        counts = [row["subscriptions"] for row in results]
        figure, (rate, latency) = pyplot.subplots(1, 2, figsize=(11, 4), layout="constrained")
        rate.plot(counts, [row["deliveries_per_second"] for row in results], marker="o")
        rate.set(
            title="Throughput", xlabel="subscriptions", ylabel="deliveries a second", xscale="log", ylim=0
        )
        for name in ("p50", "p99"):
            latency.plot(counts, [row[f"latency_us_{name}"] for row in results], marker="o", label=name)
        latency.set(title="One event to all", xlabel="subscriptions", ylabel="µs", xscale="log", yscale="log")
        latency.legend()
        figure.savefig(path)
        pyplot.close(figure)

    return draw
