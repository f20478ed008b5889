"""Memory stays flat over very many subscriptions that come, hear an event and go.

COULIS_CYCLES=1000000 pytest python/tests/test_leaks_memory.py -s      the long way; `-s` shows the figures
"""

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
CYCLES = {"manager": 6_000, "websocket": 1_500, "events": 1_000}
"""A cycle over a socket takes several times as long."""
TRACED_BYTES_MAX = 32_768
RSS_BYTES_MAX = 4 << 20
"""By how much the second half of the points may lie above the first one: tables that grow once, and pages."""
HALF = 4


def cycles_of(kind):
    return int(os.environ.get("COULIS_CYCLES", CYCLES[kind]))


@pytest.mark.parametrize("kind", CYCLES)
def test_nothing_stays_behind(kind):
    command = [sys.executable, "-W", "error", "cycling.py", kind, str(cycles_of(kind))]
    done = subprocess.run(command, cwd=HERE, capture_output=True, text=True)
    assert done.returncode == 0, (done.stdout, done.stderr)
    # What the interpreter complains of at the end of things: coroutines never awaited and the like.
    assert done.stderr == ""
    told = json.loads(done.stdout)
    print(kind, told)
    assert told["complaints"] == []
    points = told["points"]
    # The engine's threads may hold on to the last one until they have something else to do.
    assert max(point["kept"] for point in points) <= 1, "contexts or resolvers stay alive"
    assert growth(points, "traced") < TRACED_BYTES_MAX, points
    assert growth(points, "rss") < RSS_BYTES_MAX, points


def growth(points, what):
    values = [point[what] for point in points]
    return statistics.median(values[HALF:]) - statistics.median(values[:HALF])
