"""Private servers for a carrier of events: started on a free port in a temporary folder, ended with it."""

from __future__ import annotations

import contextlib
import glob
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

START_SECONDS_MAX = 30


class Server:
    """A server process of our own, which can be killed and started again with what it has stored."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self.process: subprocess.Popen[bytes] | None = None

    def command(self) -> list[str]:
        """Answer what starts the server."""
        raise NotImplementedError

    @property
    def address(self) -> str:
        """Where the bus finds it."""
        raise NotImplementedError

    def start(self) -> None:
        """Start it, and wait until it takes connections."""
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(self.command(), stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        deadline = time.monotonic() + START_SECONDS_MAX
        while not self.answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError((self.folder / "log").read_text(errors="replace"))

    def answers(self) -> bool:
        """Tell whether the port takes connections."""
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def kill(self) -> None:
        """End it as a crash does, with all its children."""
        if self.process is None:
            return
        # Children of PostgreSQL are no part of its process group, and outlive it for a moment.
        pid = self.process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split() if self.is_running() else []
        for victim in (pid, *map(int, children)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(victim, signal.SIGKILL)
        self.process.wait()

    def is_running(self) -> bool:
        """Tell whether the process is there."""
        return self.process is not None and self.process.poll() is None


class Redis(Server):
    """Redis that has written what it has answered."""

    def command(self) -> list[str]:
        """Answer what starts the server."""
        stored = ["--appendonly", "yes", "--appendfsync", "always", "--save", "", "--dir", str(self.folder)]
        return [find("redis-server"), "--port", str(self.port), "--bind", "127.0.0.1", *stored]

    @property
    def address(self) -> str:
        """Where the bus finds it."""
        return f"redis://127.0.0.1:{self.port}"


class Postgres(Server):
    """PostgreSQL, which does not run as root."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        if os.geteuid() == 0:
            shutil.chown(folder, "postgres")
        made = [*as_postgres(), find("initdb"), "-D", str(folder / "data"), "-A", "trust", "-U", "coulis"]
        subprocess.run([*made, "--no-sync"], check=True, stdout=subprocess.DEVNULL, cwd=folder)

    def command(self) -> list[str]:
        """Answer what starts the server."""
        where = ["-p", str(self.port), "-h", "127.0.0.1", "-k", str(self.folder)]
        return [*as_postgres(), find("postgres"), "-D", str(self.folder / "data"), *where]

    def answers(self) -> bool:
        """Tell whether it serves: its port takes connections earlier, and refuses them."""
        asked = [find("pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        return subprocess.run(asked, check=False).returncode == 0

    @property
    def address(self) -> str:
        """Where the bus finds it."""
        return f"postgresql://coulis@127.0.0.1:{self.port}/postgres"


def as_postgres() -> list[str]:
    """Answer what makes a command run as another user than root."""
    if os.geteuid() != 0:
        return []
    return ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups"]


def find(program: str) -> str:
    """Answer where a server's program is."""
    places = [os.environ.get("PATH", ""), *sorted(glob.glob("/usr/lib/postgresql/*/bin"), reverse=True)]
    found = shutil.which(program, path=os.pathsep.join(places))
    if found is None:
        raise RuntimeError(f"`{program}` is not there: run scripts/servers")
    return found


@contextlib.contextmanager
def running(kind: str) -> Iterator[Server]:
    """Run a server of a kind, `redis` or `postgres`, for as long as it is needed."""
    kinds: dict[str, type[Server]] = {"redis": Redis, "postgres": Postgres}
    if kind not in kinds:
        raise ValueError(f"`{kind}` is no kind of server: take {' or '.join(kinds)}")
    # Killing is a way of ending, here: the folder goes, too.
    with tempfile.TemporaryDirectory(prefix="coulis-", ignore_cleanup_errors=True) as folder:
        server = kinds[kind](Path(folder))
        try:
            server.start()
            yield server
        finally:
            server.kill()
