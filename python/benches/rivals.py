"""Compares what subscriptions cost over WebSockets and in process: this package, others, and a bare loop.

    python rivals.py                      a table
    python rivals.py --json FILE          also the figures as JSON; `-` is standard output
    python rivals.py --clients 100 1000   how many clients each server has, one measurement for each

All systems have the same schema, the same events and the same clients, which are in a process of their own,
and every answer is checked. `bare` sends ready text to every socket with the same server. Figures are of this
machine and this run: compare the ratios.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import report
from rivals_clients import Clients
from rivals_systems import SYSTEMS

DELIVERIES = 30_000
"""Of one measurement over sockets."""
EVENTS = 2_000
"""Of one measurement in process."""
PROGRAM = Path(__file__).with_name("rivals_systems.py")

Figures = dict[str, float]


@contextlib.contextmanager
def served(system: str) -> Iterator[subprocess.Popen[str]]:
    """Run a server in a process of its own."""
    command = [sys.executable, str(PROGRAM), system]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        try:
            yield child
        finally:
            child.kill()


def asked(child: subprocess.Popen[str], command: str = "") -> int:
    """Read a number that a server prints, by itself or because it was asked to."""
    assert child.stdin is not None and child.stdout is not None
    if command:
        child.stdin.write(f"{command}\n")
        child.stdin.flush()
    return int(child.stdout.readline())


def over_sockets(system: str, count: int, in_flight: int) -> Figures:
    """Publish to so many clients of one server."""
    events = max(DELIVERIES // count, in_flight)
    with served(system) as child:
        assert child.stdin is not None
        clients = Clients(asked(child), count)
        clients.run(child.stdin, max(events // 10, 1), in_flight)  # warm
        cpu, start = asked(child, "cpu"), time.perf_counter()
        clients.run(child.stdin, events, in_flight)
        took, cpu = time.perf_counter() - start, asked(child, "cpu") - cpu
        assert len(clients.times) == events * count
        return {
            "deliveries_per_second": events * count / took,
            "cpu_us_per_delivery": cpu / (events * count) / 1e3,
            **quantiles(clients.times),
        }


def in_process(system: str) -> Figures:
    """Publish to a consumer in the same process, one by one."""
    command = [sys.executable, str(PROGRAM), system, str(EVENTS)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return quantiles(json.loads(done.stdout))


def quantiles(nanoseconds: list[int]) -> Figures:
    """Answer the middle and the tail, in microseconds."""
    times = sorted(nanoseconds)
    return {"us_p50": times[len(times) // 2] / 1e3, "us_p99": times[len(times) * 99 // 100] / 1e3}


def show(title: str, figures: dict[str, Figures], ratio_of: str) -> None:
    """Print one measurement of all systems, and how many times the figure is that of `coulis`."""
    print(f"\n{title}", file=sys.stderr)
    names = list(figures["coulis"])
    heads = [name.replace("_per_", "/").replace("_", " ") for name in names]
    print(f"  {'':<18}" + "".join(f"{head:>22}" for head in heads) + f"{'by coulis':>10}", file=sys.stderr)
    for system, found in figures.items():
        ratio = found[ratio_of] / figures["coulis"][ratio_of]
        columns = "".join(f"{found[name]:>22,.1f}" for name in names)
        print(f"  {system:<18}{columns}{ratio:>10.2f}", file=sys.stderr)


def main() -> None:
    """Measure, print, and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    report.add_option(parser)
    parser.add_argument("--clients", type=int, nargs="+", default=[100, 1_000], metavar="N")
    arguments = parser.parse_args()
    # A socket for each client, and some.
    wanted = max(arguments.clients) + 256
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    head = report.begin()
    figures: dict[str, Any] = {}
    for count in arguments.clients:
        for in_flight in (1, 8):
            title = f"{count} WebSocket clients, {in_flight} in flight"
            figures[title] = {system: over_sockets(system, count, in_flight) for system in SYSTEMS}
            show(title, figures[title], "cpu_us_per_delivery")
    title = "publish → consumer in process"
    figures[title] = {system: in_process(system) for system in SYSTEMS}
    show(title, figures[title], "us_p50")
    report.write(arguments.json, head, figures)


if __name__ == "__main__":
    main()
