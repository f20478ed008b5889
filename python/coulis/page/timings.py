"""How long publishing takes, as a histogram."""

from __future__ import annotations

from bisect import bisect_left

__all__ = ["BOUNDS", "Timings"]

BOUNDS: tuple[float, ...] = tuple(1e-6 * 2 ** (step / 2) for step in range(48))
"""Upper bounds of the buckets in seconds, from a microsecond to twelve seconds; one bucket is above them."""


class Timings:
    """Counts durations by their size. Any thread may read it; one loop writes."""

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS) + 1)

    def add(self, seconds: float) -> None:
        """Count one."""
        self.counts[bisect_left(BOUNDS, seconds)] += 1
