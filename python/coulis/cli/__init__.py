"""The command `coulis`. Needs the extra `coulis[cli]`."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line of this process."""
    try:
        from coulis.cli.commands import app
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("typer", "rich", "uvicorn", "websockets"):
            raise
        sys.exit(f"error: `{error.name}` is not installed: pip install 'coulis[cli]'")
    app()
