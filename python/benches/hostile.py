"""What does a hostile client cost its neighbours, and is it refused as it is documented?

    python hostile.py                  a table of all attacks
    python hostile.py --only NAME …    of those whose names begin so
    python hostile.py --json FILE      also the figures as JSON; `-` is standard output
    python hostile.py --plain          under uvicorn as it comes, and not as the page on security has it
    python hostile.py --receive-buffer 16384   with so many bytes that wait to be read of a connection

For each attack a fresh server, in a process on core 0. This process is a client that behaves: it asks for an
event every few milliseconds, by a pipe, and stamps it; the time until its frame is here is what is measured,
with what the event waits for a loop that is busy. The attacker is a third process, which does one attack as
fast as it can. Slices with and without it take turns. Where there are two cores the client and the attacker
share core 1, the attacker with `nice` 19. That of the first row says nothing: its ratio is the machine's.

An attack fails the run if its answer is not the documented one, if another one comes, or if the client loses
an event. Times, ratios and memory are for the reader: on a machine with other work they mean nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import select
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import report
from hostile_attacks import ATTACKS, Attack
from hostile_ways import acknowledged, subscribe
from hostile_wire import Target, WebSocket

HERE = Path(__file__).parent
SERVER_CORE, CLIENT_CORE = 0, 1
SLICE_SECONDS = 2.5
WARM_SECONDS = 1.0
RATE = 400
"""Events a second."""
LAST_SECONDS = 60.0
"""How long the last events of a slice may take before the measurement fails."""
TICK = os.sysconf("SC_CLK_TCK")
RATIO_MAX, GROWTH_MAX = 2.0, 64 << 20
"""Aims: what is beyond is marked in the table."""

Figures = dict[str, Any]


@contextlib.contextmanager
def process(program: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """Run another of these programs."""
    command = [sys.executable, str(HERE / program), *map(str, arguments)]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    # Of each client that it sends away a server writes a line.
    errors = subprocess.DEVNULL if program == "hostile_server.py" else None
    with subprocess.Popen(command, **pipes, stderr=errors) as child:
        try:
            yield child
        finally:
            child.kill()


class Client:
    """The client that behaves, and has its events published."""

    def __init__(self, port: int, commands: IO[str]) -> None:
        self._socket: WebSocket = acknowledged(Target(port))
        self._socket.send(subscribe(1, "subscription { tick { number at } }"))
        self._socket.send(b"\x89\x80\0\0\0\0")
        assert list(self._socket.outcomes(1)) == ["pong frame"]
        self._commands = commands
        self._asked = self._seen = 0

    def run(self, seconds: float) -> list[int]:
        """Ask for events and read them; answer the nanoseconds of each."""
        took: list[int] = []
        start, first = time.monotonic(), self._asked
        while (now := time.monotonic()) < start + seconds:
            due = start + (self._asked - first) / RATE
            if now < due:
                self._read(took, due - now)
                continue
            self._commands.write(json.dumps({"number": self._asked, "at": time.monotonic_ns()}) + "\n")
            self._commands.flush()
            self._asked += 1
        deadline = time.monotonic() + LAST_SECONDS
        while self._seen < self._asked:
            assert time.monotonic() < deadline, "events do not come"
            self._read(took, 1.0)
        return took

    def _read(self, took: list[int], seconds: float) -> None:
        ready, _, _ = select.select([self._socket.socket], [], [], seconds)
        if not ready:
            return
        data = self._socket.socket.recv(262_144)
        now = time.monotonic_ns()
        assert data, "the server has closed the connection of the client"
        for _, payload in self._socket.fed(data):
            event = json.loads(payload)["payload"]["data"]["tick"]
            assert event["number"] == self._seen, (event, self._seen)
            took.append(now - event["at"])
            self._seen += 1


class Watched:
    """What a process uses."""

    def __init__(self, pid: int) -> None:
        self._proc = Path(f"/proc/{pid}")

    def cpu(self) -> float:
        """Read the processor time in seconds."""
        fields = (self._proc / "stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICK

    def memory(self, name: str) -> int:
        """Read a size in bytes: `VmRSS` of now, `VmHWM` for the most since `forget`."""
        lines = (self._proc / "status").read_text().splitlines()
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith(name))

    def forget(self) -> None:
        """Begin to look for the most memory anew."""
        (self._proc / "clear_refs").write_text("5")


def measured(name: str, attack: Attack, seconds: float, how: list[str]) -> Figures:
    """Measure one attack against a fresh server."""
    with process("hostile_server.py", SERVER_CORE, *how) as child:
        assert child.stdin is not None and child.stdout is not None
        port = int(child.stdout.readline())
        client, server = Client(port, child.stdin), Watched(child.pid)
        with process("hostile_attacks.py", name, port, CLIENT_CORE) as attacker:
            assert attacker.stdin is not None and attacker.stdout is not None
            attacker.stdout.readline()
            client.run(WARM_SECONDS)
            server.forget()
            before, counts = server.memory("VmRSS"), Counter[str]()
            took: tuple[list[int], list[int]] = [], []
            used = [0.0, 0.0]
            slices = max(round(seconds / SLICE_SECONDS), 1)
            for _ in range(slices):
                for attacked in (0, 1):
                    if attacked:
                        attacker.stdin.write(f"{seconds / slices}\n")
                        attacker.stdin.flush()
                    cpu = server.cpu()
                    took[attacked].extend(client.run(seconds / slices))
                    if attacked:
                        counts.update(json.loads(attacker.stdout.readline()))
                    used[attacked] += server.cpu() - cpu
            peak = server.memory("VmHWM")
    messages = counts.pop("messages", 0)
    check(name, attack, counts)
    without, under = map(quantiles, took)
    return {
        "outcomes": dict(counts.most_common()),
        "messages": messages,
        "messages_per_second": messages / seconds,
        "server_us_per_message": (used[1] - used[0]) / max(messages, 1) * 1e6,
        "server_busy": used[1] / seconds,
        "without": without,
        "under": under,
        "ratio_p99": under["ms_p99"] / without["ms_p99"],
        "rss_before": before,
        "rss_peak": peak,
    }


def check(name: str, attack: Attack, counts: Counter[str]) -> None:
    """Hold the answers against what is documented."""
    assert any(counts[told] for told in attack.told), f"{name}: {attack.told} not in {counts}"
    strange = set(counts) - {*attack.told, *attack.also}
    assert not strange, f"{name}: {counts}"


def quantiles(nanoseconds: list[int]) -> dict[str, float]:
    """Answer the middle, the tail and the worst, in milliseconds."""
    times = sorted(nanoseconds)
    places = {"p50": len(times) // 2, "p99": len(times) * 99 // 100, "max": -1}
    return {f"ms_{name}": times[place] / 1e6 for name, place in places.items()}


HEAD = (
    f"{'attack':<26}{'answer':<30}{'count':>9}{'µs each':>9}"
    f"{'p50':>7}{'p99':>7}{'p50 u.':>8}{'p99 u.':>8}{'ratio':>7}{'RSS MB':>13}"
)
"""Milliseconds without the attacker, and under it; the server's processor time for each hostile message."""


def line(name: str, found: Figures) -> str:
    """Make a line of the table."""
    answer, number = next(
        (each for each in found["outcomes"].items() if each[0] != "sent"), ("sent", found["messages"])
    )
    quiet, under = found["without"], found["under"]
    before, peak = found["rss_before"], found["rss_peak"]
    ratio, growth = found["ratio_p99"], peak - before
    marks = "!" * (ratio > RATIO_MAX) + "M" * (growth > GROWTH_MAX)
    return (
        f"{name:<26}{answer:<30}{number:>9,}{found['server_us_per_message']:>9,.1f}"
        f"{quiet['ms_p50']:>7.2f}{quiet['ms_p99']:>7.2f}{under['ms_p50']:>8.2f}{under['ms_p99']:>8.2f}"
        f"{ratio:>7.1f}{before / 1e6:>7.0f} +{growth / 1e6:<4.0f} {marks}"
    )


def main() -> None:
    """Measure, print, and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each attack, and as much without it")
    parser.add_argument("--only", nargs="+", default=[""], metavar="NAME", help="attacks that begin so")
    report.add_option(parser)
    parser.add_argument("--plain", action="store_true", help="uvicorn with its own defaults")
    parser.add_argument(
        "--receive-buffer", type=int, default=0, metavar="BYTES", help="default: the kernel's"
    )
    arguments = parser.parse_args()
    how = [str(arguments.receive_buffer), *["--plain"] * arguments.plain]
    names = [name for name in ATTACKS if name.startswith(tuple(arguments.only))]
    if not names:
        parser.error(f"no attack begins with {arguments.only}: there are {', '.join(ATTACKS)}")
    os.sched_setaffinity(0, {CLIENT_CORE})
    head = report.begin()
    print(HEAD, file=sys.stderr)
    figures, failed = {}, []
    for name in names:
        try:
            figures[name] = measured(name, ATTACKS[name], arguments.seconds, how)
        except (AssertionError, OSError, ValueError) as error:
            failed.append(name)
            print(f"{name:<26}FAILED: {error}", file=sys.stderr)
        else:
            print(line(name, figures[name]), file=sys.stderr)
    report.write(arguments.json, head, figures)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
