"""A Redis server for one test: `pytest_plugins = ["redis_server"]` brings the fixture `redis`."""

import shutil
import subprocess
import tempfile

import pytest


@pytest.fixture
def redis():
    """Start a server on a socket of its own; answers its URL."""
    program = shutil.which("redis-server")
    assert program, "run scripts/servers: the tests need redis-server"
    # Not `tmp_path`: the path of a socket has 107 bytes at most.
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/redis"
        command = [program, "--port", "0", "--unixsocket", path, "--save", "", "--dir", folder]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
            assert any("ready to accept" in line.lower() for line in server.stdout)
            yield f"unix://{path}"
            server.terminate()
