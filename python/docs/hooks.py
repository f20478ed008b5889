"""What the site's pages have beyond their text, such as tables of options; and not what is for tests only."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError

ROOT = Path(__file__).parents[2]

# `<!-- python … -->` is code that the tests run and nobody reads.
_HIDDEN = re.compile(r"<!-- python\n.*?-->\n*", re.DOTALL)
_OPTIONS = re.compile(r"<!-- options of (\w+) -->")
_BOUND = re.compile(r"((?: +/// .*\n)+) +pub (\w+): (?:usize|Duration),")
_SETTABLE = re.compile(r"\$limits\.(\w+)|named_limits!\(limits, name, value:(.*?)\);", re.DOTALL)
_UNBOUNDED = "usize::MAX"
_FETCHED = re.compile(
    r"""<(?:script|img|iframe)[^>]* src=["']?https?:[^>]*>|<link[^>]* href=["']?https?:[^>]*>"""
)


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Write a page as it is read."""
    page = _OPTIONS.sub(lambda found: options(found[1]), _HIDDEN.sub("", markdown))
    return page.replace("<!-- limits -->", limits()) if "<!-- limits -->" in page else page


def on_post_page(output: str, **_: Any) -> str:
    """Refuse a page that fetches something from elsewhere: the site works offline."""
    if (fetched := _FETCHED.search(output)) and 'rel="canonical"' not in fetched[0]:
        raise PluginError(f"a page fetches from elsewhere: {fetched[0]}")
    return output


def table(head: list[str], rows: list[list[str]]) -> str:
    """Answer a table in Markdown."""
    lines = [head, ["---"] * len(head), *([cell.replace("|", r"\|") for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def options(name: str) -> str:
    """Answer a table of the options of a command, as the command knows them."""
    import typer
    from coulis.cli.commands import app

    command = typer.main.get_command(app).commands[name]  # type: ignore[attr-defined]
    rows = []
    for option in command.params:
        words = (*option.opts, *option.secondary_opts)
        if option.param_type_name == "argument":
            words = (option.name.upper(),)
        default = f"`{option.default}`" if isinstance(option.default, (str, int, float)) else ""
        default = "" if option.default is False else default
        variable = f"`{option.envvar}`" if option.envvar else ""
        rows.append([", ".join(f"`{word}`" for word in words), default, variable, option.help or ""])
    return table(["option", "default", "variable", ""], rows)


def limits() -> str:
    """Answer a table of the bounds that programs may set, as the engine's source has them."""
    engine = (ROOT / "engine/src/limits.rs").read_text("utf-8")
    settings = (ROOT / "python/src/settings.rs").read_text("utf-8")
    settable = set(" ".join("".join(found) + " " for found in _SETTABLE.findall(settings)).split())
    defaults = dict(re.findall(r"^ +(\w+): (.*),$", engine.partition("fn default()")[2], re.MULTILINE))
    rows = []
    for comment, name in _BOUND.findall(engine):
        if name in settable:
            text = " ".join(line.strip().removeprefix("///").strip() for line in comment.splitlines())
            text = text.replace("Overflow::LatestPerKey", "latest_per_key").rstrip(".")
            rows.append([f"`{name}`", _default(defaults[name]), text])
    return table(["bound", "default", ""], rows)


def _default(text: str) -> str:
    """Answer a default of the source as people read it."""
    if text == _UNBOUNDED:
        return "none"
    if (seconds := re.fullmatch(r"Duration::from_secs\((\d+)\)", text)) is not None:
        return f"{seconds[1]} s"
    base, _, shift = text.partition(" << ")
    return f"{int(base.replace('_', '')) << int(shift or 0):,}"
