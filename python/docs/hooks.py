"""What the site's pages have beyond their text: tables of options; and not what is there for the tests only."""

from __future__ import annotations

import re
from typing import Any

# `<!-- python … -->` is code that the tests run and nobody reads.
_HIDDEN = re.compile(r"<!-- python\n.*?-->\n*", re.DOTALL)
_OPTIONS = re.compile(r"<!-- options of (\w+) -->")


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Write a page as it is read."""
    return _OPTIONS.sub(lambda found: options(found[1]), _HIDDEN.sub("", markdown))


def options(name: str) -> str:
    """Answer a table of the options of a command, as the command knows them."""
    import typer
    from coulis.cli.commands import app

    command = typer.main.get_command(app).commands[name]  # type: ignore[attr-defined]
    rows = ["| option | variable | default | |", "|---|---|---|---|"]
    for option in command.params:
        names = ", ".join(f"`{text}`" for text in (*option.opts, *option.secondary_opts))
        if option.param_type_name == "argument":
            names = f"`{option.name.upper()}`"
        default = "" if option.default in (None, False) or callable(option.default) else f"`{option.default}`"
        default = "" if "Sentinel" in default else default
        cells = (names, f"`{option.envvar}`" if option.envvar else "", default, option.help or "")
        rows.append("| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |")
    return "\n".join(rows)
