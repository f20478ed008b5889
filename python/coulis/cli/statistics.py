"""`coulis stats` and `coulis dashboard`: what a service counts, live, and the dashboard for Grafana."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from typing import Annotated

import typer
from rich.console import Console
from rich.live import Live
from rich.table import Table

from coulis.cli.terms import fail, screen
from coulis.operations import grafana_dashboard

__all__ = ["Sample", "dashboard", "rows", "stats"]

ANSWER_SECONDS_MAX = 10.0
ANSWER_BYTES_MAX = 16 * 1024 * 1024

Sample = dict[str, float]
"""Values by name and labels."""

Url = Annotated[str, typer.Option(envvar="COULIS_METRICS", help="Where the metrics are.")]
Interval = Annotated[
    float, typer.Option(envvar="COULIS_INTERVAL", min=0.1, help="Seconds between two looks.")
]
Count = Annotated[int | None, typer.Option(envvar="COULIS_COUNT", min=1, help="End after so many looks.")]
All = Annotated[bool, typer.Option("--all", envvar="COULIS_ALL", help="Also what is 0.")]


def stats(
    url: Url = "http://127.0.0.1:8000/metrics",
    interval: Interval = 1.0,
    count: Count = None,
    all: All = False,
) -> None:
    """Show what a service counts, with rates; ends with Ctrl-C or after `--count` looks."""
    before, since = _ask(url), time.monotonic()
    out = screen()
    if count == 1 or not out.is_terminal:
        _print_each(out, url, interval, count or 1, all, before)
        return
    with Live(_table(rows(before, None, 0, all)), console=out, auto_refresh=False) as live:
        looks = 1
        try:
            while count is None or looks < count:
                time.sleep(interval)
                now, at = _ask(url), time.monotonic()
                live.update(_table(rows(now, before, at - since, all)), refresh=True)
                before, since, looks = now, at, looks + 1
        except KeyboardInterrupt:
            pass


def _print_each(out: Console, url: str, interval: float, count: int, all: bool, first: Sample) -> None:
    out.print(_table(rows(first, None, 0, all)))
    for _ in range(count - 1):
        start = time.monotonic()
        time.sleep(interval)
        now = _ask(url)
        out.print(_table(rows(now, first, time.monotonic() - start, all)))
        first = now


def dashboard() -> None:
    """Print the dashboard for Grafana: import it there, and choose your Prometheus."""
    typer.echo(json.dumps(grafana_dashboard(), indent=2))


def _ask(url: str) -> Sample:
    if not url.startswith(("http://", "https://")):
        fail(f"`--url` is `{url}`: pass such as http://127.0.0.1:8000/metrics", 2)
    try:
        with urllib.request.urlopen(url, timeout=ANSWER_SECONDS_MAX) as answer:
            text = answer.read(ANSWER_BYTES_MAX).decode()
    except urllib.error.HTTPError as error:
        fail(f"`{url}` answers {error.code}: serve a MetricsApp there")
    except (OSError, ValueError) as error:
        fail(f"`{url}` cannot be reached: {error}")
    return read(text)


def read(text: str) -> Sample:
    """Read the text format of Prometheus; lines that are none of it are left out."""
    found = {}
    for line in text.splitlines():
        name, _, value = line.rpartition(" ")
        if name and not line.startswith("#"):
            try:
                found[name] = float(value)
            except ValueError:
                continue
    return found


def rows(now: Sample, before: Sample | None, seconds: float, all: bool) -> list[tuple[str, str, str]]:
    """Answer a name, a value and a rate for each of the package's own metrics."""
    found = []
    for name, value in now.items():
        if not name.startswith("coulis_") or not (value or all):
            continue
        counter = name.partition("{")[0].endswith("_total")
        rate = ""
        if counter and before is not None and seconds > 0:
            # A service that was started anew counts from 0.
            rate = f"{max(0.0, value - before.get(name, 0.0)) / seconds:,.1f}/s"
        found.append((name.removeprefix("coulis_").replace("_total", "", 1), f"{value:,.10g}", rate))
    return found


def _table(found: list[tuple[str, str, str]]) -> Table:
    table = Table("metric", box=None, padding=(0, 2))
    table.add_column("value", justify="right")
    table.add_column("rate", justify="right")
    for row in found:
        table.add_row(*row)
    return table
