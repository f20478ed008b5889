"""Measures what a delivery costs from Python: natively, with a resolver, and when nothing happens.

    python fanout.py                a table
    python fanout.py --json FILE    also the figures as JSON; `-` is standard output

Each measurement checks its answers; figures are of this machine and this run.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import report
from coulis import SubscriptionExecutor

if TYPE_CHECKING:
    from collections.abc import Callable

SUBSCRIPTIONS = 100
BATCH = 100
IDLE = 10_000
QUERY = "subscription { orders { id status } }"

Figures = dict[str, float]


def order(number: int) -> dict[str, Any]:
    """Make the event with this number."""
    return {"id": number, "status": "paid", "card": "4111", "total": {"amount": 12.5, "currency": "EUR"}}


def delivered(number: int, *, status: str = "paid") -> dict[str, Any]:
    """Say what must be delivered of it."""
    return {"data": {"orders": {"id": number, "status": status}}}


def registered(executor: SubscriptionExecutor, count: int, **options: Any) -> list[str]:
    """Register `count` subscriptions of one client each, which get the same results."""
    ids = [f"s{number}" for number in range(count)]
    for name in ids:
        executor.register_subscription(f"connection of {name}", name, QUERY, channel="orders", **options)
    return ids


def check(messages: list[bytes], name: str, expected: list[dict[str, Any]]) -> None:
    """Compare the messages of one subscription with what they must be."""
    read = [json.loads(message) for message in messages]
    assert all(message["type"] == "next" and message["id"] == name for message in read), read[:1]
    payloads = [
        {key: message["payload"][key] for key in message["payload"] if key != "extensions"}
        for message in read
    ]
    assert payloads == expected, (payloads[:1], expected[:1])


def fan_out(events: int, status: str, **options: Any) -> Figures:
    """Publish to `SUBSCRIPTIONS` readers: batches for throughput, then one by one."""
    with SubscriptionExecutor() as executor:
        ids = registered(executor, SUBSCRIPTIONS, **options)
        took = 0.0
        for first in range(0, events, BATCH):
            batch = [("changed", "orders", order(number)) for number in range(first, first + BATCH)]
            start = time.perf_counter()
            counts = executor.publish_many(batch)
            messages = [executor.next_events(name, BATCH) for name in ids]
            took += time.perf_counter() - start
            assert counts == [SUBSCRIPTIONS] * BATCH, counts[:3]
            assert all(len(found) == BATCH for found in messages)
            check(messages[-1], ids[-1], [delivered(event["id"], status=status) for _, _, event in batch])

        dispatch_us = []
        for number in range(events // 10):
            event = order(number)
            start = time.perf_counter()
            count = executor.publish_event("changed", "orders", event)
            dispatch_us.append((time.perf_counter() - start) * 1e6)
            assert count == SUBSCRIPTIONS
            for name in ids:
                found = executor.next_events(name)
                assert len(found) == 1
            check(found, ids[-1], [delivered(number, status=status)])
    dispatch_us.sort()
    return {
        "events_per_second": events / took,
        "ns_per_delivery": took / (events * SUBSCRIPTIONS) * 1e9,
        "dispatch_us_p50": dispatch_us[len(dispatch_us) // 2],
        "dispatch_us_p99": dispatch_us[len(dispatch_us) * 99 // 100],
    }


def native() -> Figures:
    """Shape events by the selection set alone."""
    return fan_out(20_000, "paid")


def with_resolver() -> Figures:
    """Let a Python function make the result, once for each event."""

    def resolver(event: dict[str, Any], variables: dict[str, Any]) -> dict[str, Any]:
        return {"orders": {"id": event["id"], "status": event["status"].upper()}}

    return fan_out(20_000, "PAID", resolver=resolver)


def idle() -> Figures:
    """Register many subscriptions, and look at memory and processor time while nothing happens."""
    with SubscriptionExecutor() as executor:
        registered(executor, 10)
        before = rss_bytes()
        start = time.perf_counter()
        for number in range(IDLE):
            executor.register_subscription("idle", f"i{number}", QUERY)
        registering = time.perf_counter() - start
        each = (rss_bytes() - before) / IDLE
        cpu, start = cpu_seconds(), time.perf_counter()
        time.sleep(3)
        busy = (cpu_seconds() - cpu) / (time.perf_counter() - start)
        assert executor.publish_event("changed", "orders", order(7)) == IDLE + 10
        check(executor.next_events("i7"), "i7", [delivered(7)])
    return {
        "cpu_percent": busy * 100,
        "rss_bytes_per_subscription": each,
        "register_us": registering / IDLE * 1e6,
    }


def rss_bytes() -> int:
    """Read how much memory this process holds."""
    statm = Path("/proc/self/statm")
    if not statm.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def cpu_seconds() -> float:
    """Read the processor time of all threads."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


MEASUREMENTS: dict[str, Callable[[], Figures]] = {
    f"{SUBSCRIPTIONS} subscriptions, native": native,
    f"{SUBSCRIPTIONS} subscriptions, one resolver": with_resolver,
    f"{IDLE:,} idle subscriptions": idle,
}


def main() -> None:
    """Measure, print, and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    report.add_option(parser)
    arguments = parser.parse_args()
    head = report.begin()
    figures = {}
    for name, measure in MEASUREMENTS.items():
        figures[name] = measure()
        print(f"\n{name}", file=sys.stderr)
        for figure, value in figures[name].items():
            print(f"  {figure.replace('_', ' '):<28} {value:>12,.1f}", file=sys.stderr)
    report.write(arguments.json, head, figures)


if __name__ == "__main__":
    main()
