"""A Redis server for one test: `pytest_plugins = ["redis_server"]` brings the fixture `redis`."""

import shutil
import socket
import subprocess

import pytest


@pytest.fixture
def redis(tmp_path):
    """Start a server on a free port; answers its URL."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = shutil.which("redis-server")
    assert program, "run scripts/servers: the tests need redis-server"
    command = [program, "--port", str(port), "--save", "", "--dir", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert any("Ready to accept" in line for line in server.stdout)
        yield f"redis://127.0.0.1:{port}"
        server.terminate()
