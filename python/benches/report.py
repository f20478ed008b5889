"""What benchmarks tell beside their tables: of which machine the figures are, and the figures as JSON."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from pathlib import Path
from typing import Any

import coulis


def add_option(parser: argparse.ArgumentParser) -> None:
    """Give a command line `--json`."""
    parser.add_argument("--json", metavar="FILE", help="where to write the figures as JSON")


def begin() -> dict[str, Any]:
    """Print what is measured, and answer it as the head of the JSON."""
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    load = os.getloadavg()[0]
    print(f"coulis {coulis.__version__} on {machine}, load average {load:.1f}", file=sys.stderr)
    return {"machine": machine, "load": load, "version": coulis.__version__}


def write(file: str | None, head: dict[str, Any], figures: object) -> None:
    """Write the JSON, if it is asked for."""
    if file is None:
        return
    text = json.dumps({**head, "figures": figures}, indent=2)
    if file == "-":
        print(text)
    else:
        Path(file).write_text(text + "\n", "utf-8")
