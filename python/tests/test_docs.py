"""The pages of the documentation hold: whatever is printed there is run, or read by whom it is for.

A page's blocks are taken in order. Python runs in one module for each page, where `await` may stand anywhere;
`<!-- python … -->` is code of the same module that nobody reads. SQL runs on a database that has the bus's
schema, and the addresses that pages print are those of servers of ours.
"""

import ast
import asyncio
import configparser
import contextlib
import inspect
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import types
from pathlib import Path

import click
import coulis
import psycopg
import pytest
import servers
import strawberry
import typer
import yaml
from coulis import _coulis
from coulis.cli.commands import app as command_line
from coulis.graphql import validate
from coulis.registry import default_registry
from typer.testing import CliRunner

DOCS = Path(__file__).parents[1] / "docs"
ROOT = DOCS.parents[1]
PAGES = sorted(path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md"))
BLOCK = re.compile(r"^(?:```|<!-- )(\w+)[^\n]*\n(.*?)^(?:```|-->)", re.DOTALL | re.MULTILINE)
READ_FOREVER = {"dev", "stats", "tail", "publish"}
"""Commands that need a server: their arguments are read, and that is all."""


def blocks(page):
    """Iterate over the language, the text and the line of each block of a page."""
    text = (DOCS / page).read_text("utf-8")
    for found in BLOCK.finditer(text):
        yield found[1], found[2], text.count("\n", 0, found.start(2))


@pytest.fixture(scope="module")
def postgres():
    with servers.running("postgres") as server:
        with psycopg.connect(server.address, autocommit=True) as database:
            database.execute(_coulis.postgres_migrations())
        yield server.address


@pytest.fixture(scope="module")
def redis():
    with servers.running("redis") as server:
        yield server.address


@pytest.fixture
def addresses(request):
    """Answer what a page's text becomes where our servers stand for those that it names."""

    def replace(text):
        for printed, fixture in (("postgresql://localhost/shop", "postgres"), ("redis://localhost", "redis")):
            if printed in text:
                text = text.replace(printed, request.getfixturevalue(fixture))
        return text

    return replace


@contextlib.contextmanager
def module(name):
    """Make a module for a page, and take away what its code leaves."""
    declared = dict(default_registry.fields)
    made = sys.modules[name] = types.ModuleType(name)
    executors = []
    try:
        yield made
    finally:
        del sys.modules[name]
        default_registry.fields.clear()
        default_registry.fields.update(declared)
        for value in vars(made).values():
            found = getattr(value, "executor", value)
            if isinstance(found, coulis.SubscriptionExecutor):
                executors.append(found)
        for executor in executors:
            executor.close()


@pytest.mark.parametrize("page", PAGES)
async def test_what_a_page_prints_in_python_runs(page, addresses, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with module(f"page_{re.sub(r'[^a-z]', '_', page)}") as made:
        for language, text, line in blocks(page):
            if language == "python":
                await run(made, page, addresses(text), line)


async def run(made, page, text, line):
    """Run one block, with the lines of its page in tracebacks."""
    where = str(DOCS / page)
    code = compile("\n" * line + text, where, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    found = eval(code, vars(made))
    if inspect.iscoroutine(found):
        await asyncio.wait_for(found, 60)


def texts(*languages):
    """Answer all blocks in some languages, for a parametrised test."""
    return [
        pytest.param(text, id=f"{page}:{line}")
        for page in PAGES
        for language, text, line in blocks(page)
        if language in languages
    ]


@pytest.mark.parametrize("text", texts("cel"))
def test_policies_compile(text):
    for expression in re.split(r"\n\s*\n|//[^\n]*\n", text):
        if expression.strip():
            _coulis.check_policy("policy", expression.strip())


@pytest.mark.parametrize("text", texts("graphql"))
def test_graphql_is_valid(text):
    if re.search(r"^type ", text, re.MULTILINE):
        validate("subscription { __typename }", schema=text)  # raises for what is no schema
    else:
        assert validate(text) == []


@pytest.mark.parametrize("text", texts("json"))
def test_json_is_json(text):
    json.loads(text)


@pytest.mark.parametrize("text", texts("yaml"))
def test_yaml_is_yaml(text):
    assert list(yaml.safe_load_all(text))


@pytest.mark.parametrize("text", texts("ini"))
def test_units_are_read(text):
    read = configparser.ConfigParser(strict=False, interpolation=None)
    read.read_string(text)
    assert read.sections()


@pytest.mark.parametrize("text", texts("js"))
def test_javascript_is_read(text, tmp_path):
    node = shutil.which("node")
    assert node, "Node is needed for these tests"
    script = tmp_path / "page.mjs"
    script.write_text(text, "utf-8")
    subprocess.run([node, "--check", script], check=True)


@pytest.mark.parametrize("page", [page for page in PAGES if any(block[0] == "sql" for block in blocks(page))])
def test_sql_runs(page, postgres):
    """Run a page's SQL in a database of its own, where roles and tables are its own too."""
    name = "page_" + re.sub(r"[^a-z]", "_", page)
    with psycopg.connect(postgres, autocommit=True) as database:
        database.execute(f"create database {name}")
    with psycopg.connect(postgres.replace("/postgres", f"/{name}"), autocommit=True) as database:
        database.execute(_coulis.postgres_migrations())
        for language, text, _ in blocks(page):
            if language == "sql":
                database.execute(text)


@pytest.mark.parametrize("page", [page for page in PAGES if any(block[0] == "console" for block in blocks(page))])
def test_commands_are_as_printed(page, tmp_path, monkeypatch):
    """Run the commands that need no server, in a folder with the files that the page shows by their titles."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    text = (DOCS / page).read_text("utf-8")
    for title, content in re.findall(r'^```\w+ title="([^"]+)"\n(.*?)^```', text, re.DOTALL | re.MULTILINE):
        (tmp_path / title).write_text(content, "utf-8")
    for language, block, _ in blocks(page):
        if language == "console":
            for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
                command, _, printed = part.replace("\\\n", " ").partition("\n")
                run_command(command, printed)


def run_command(command, printed):
    words = shlex.split(command, comments=True)
    if words[0] != "coulis":
        return
    if words[1] in READ_FOREVER:
        root = typer.main.get_command(command_line)
        root.commands[words[1]].make_context(words[1], words[2:], resilient_parsing=False)
        return
    words = words[1 : words.index(">")] if ">" in words else words[1:]
    found = CliRunner().invoke(command_line, words)
    assert found.exception is None or isinstance(found.exception, SystemExit), found.output
    if printed.strip():
        assert found.output.strip() == printed.strip()
    else:
        assert found.exit_code == 0, found.output
