"""However and whenever a program ends: no hang, no crash, no word on standard error.

COULIS_ENDINGS=1000 pytest python/tests/test_endings.py -s    the long way; `-s` shows how long the ends took
"""

import asyncio
import itertools
import os
import signal
import sys
import time
from pathlib import Path

from conftest import soon
from life import PURPOSE

HERE = Path(__file__).parent
ENDINGS = int(os.environ.get("COULIS_ENDINGS", 40))
AT_ONCE = 4
PATIENCE = 60
"""Seconds after which a program hangs."""
KINDS = list(itertools.product(("main", "thread"), ("exit", "end", "raise", "signal", "fork")))
CODES = {"raise": [1], "signal": [-15]}


async def end(seed, place, deed):
    """Run a life; answer what was wrong with its end, and how long that took."""
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "life.py", str(seed), place, deed]
    pipes = {"stdout": asyncio.subprocess.PIPE, "stderr": asyncio.subprocess.PIPE}
    child = await asyncio.create_subprocess_exec(*command, cwd=HERE, **pipes)
    ending = asyncio.create_task(child.communicate())
    if not (await asyncio.wait([ending], timeout=PATIENCE))[0]:
        child.send_signal(signal.SIGUSR1)  # it says where
        await asyncio.wait([ending], timeout=1)
        child.kill()
        return [f"{command} hangs: {(await ending)[1].decode()}"], 0.0
    out, err = await ending
    took = time.time() - float(out.split()[0] if out else "nan")
    wrong = []
    if child.returncode not in CODES.get(deed, [0]):
        wrong.append(f"{command} ended with {child.returncode}")
    said = err.decode()
    if deed == "raise" and said.endswith(f"RuntimeError: {PURPOSE}\n") and said.count("Traceback") == 1:
        said = ""
    if said:
        wrong.append(f"{command} wrote {said}")
    return wrong, took


async def test_it_ends_as_it_was_told():
    wrong, times = [], {deed: [] for _, deed in KINDS}
    kinds = enumerate(itertools.islice(itertools.cycle(KINDS), ENDINGS))

    async def worker():
        for seed, (place, deed) in kinds:
            found, took = await end(seed, place, deed)
            wrong.extend(found)
            times[deed].append(took)

    await asyncio.gather(*(worker() for _ in range(AT_ONCE)))
    print({deed: f"{max(taken):.2f} s at most" for deed, taken in times.items() if taken})
    assert not wrong, "\n".join(wrong)


async def test_it_waits_for_python_code_that_the_package_called():
    """Of a daemon thread; before Python 3.14 that would end the process as a crash does."""
    pipes = {"stdout": asyncio.subprocess.PIPE, "stderr": asyncio.subprocess.PIPE}
    child = await asyncio.create_subprocess_exec(sys.executable, "inside.py", cwd=HERE, **pipes)
    said = await soon(child.communicate(), "the end of the program")
    assert (child.returncode, *said) == (0, b"", b"")
