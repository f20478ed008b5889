"""`python -m dashboard` in the folder above: the dashboard, with a database that goes with it."""

from __future__ import annotations

import sys
from pathlib import Path

import uvicorn

from dashboard.app import create

sys.path.insert(0, str(Path(__file__).parents[1] / "earthquakes"))

if __name__ == "__main__":
    import servers

    with servers.running("postgres") as server:
        uvicorn.run(create(server.address), ws="websockets-sansio")
