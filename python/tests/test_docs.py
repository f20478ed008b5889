"""The pages of the documentation hold: whatever is printed there is run, or read by whom it is for.

A page's blocks are taken in order. Python runs in one module for each page, where `await` may stand anywhere;
`<!-- python … -->` is code of the same module that nobody reads. SQL runs on a database that has the bus's
schema, and the addresses that pages print are those of servers of ours.
"""

import ast
import asyncio
import configparser
import contextlib
import importlib
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

import coulis
import psycopg
import pytest
import servers
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
    """Make a module for a page, where nothing is declared yet, and take away what its code leaves."""
    declared = dict(default_registry.fields)
    default_registry.fields.clear()
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


def with_some(language):
    """Answer the pages that have blocks in a language."""
    return [page for page in PAGES if any(block[0] == language for block in blocks(page))]


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


NODE = shutil.which("node")


# As with the tests of JavaScript clients: Node may be missing, and not where `CI=true`.
@pytest.mark.parametrize("text", texts("js") if NODE or os.environ.get("CI") == "true" else [])
def test_javascript_is_read(text, tmp_path):
    script = tmp_path / "page.mjs"
    script.write_text(text, "utf-8")
    subprocess.run([NODE, "--check", script], check=True)


@pytest.mark.parametrize("page", with_some("sql"))
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


@pytest.mark.parametrize("page", with_some("console"))
def test_commands_are_as_printed(page, tmp_path, monkeypatch):
    """Run the commands that need no server, beside the files that the page shows by their titles."""
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
    if words[1] in READ_FOREVER or "--bus" in words:
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


PUBLIC = ["asgi", "ariadne", "draining", "fastapi", "graphql", "operations", "policy", "pytest_plugin"]
PUBLIC += ["sources", "starlette", "strawberry", "testing"]


def test_everything_public_has_a_docstring():
    modules = [coulis, *(importlib.import_module(f"coulis.{name}") for name in PUBLIC)]
    found = [(module.__name__, name, getattr(module, name)) for module in modules for name in module.__all__]
    for module, name, value in list(found):
        if inspect.isclass(value):
            members = ((member, getattr(value, member)) for member in vars(value) if member[0] != "_")
            found += [(f"{module}.{name}", *member) for member in members]
    silent = [row[:2] for row in found if callable(row[2]) and not inspect.getdoc(row[2])]
    assert silent == []


def test_every_name_of_the_package_is_in_the_reference():
    pages = "".join(path.read_text("utf-8") for path in (DOCS / "reference").glob("*.md"))
    named = {name.rpartition(".")[2] for name in re.findall(r"^::: ([\w.]+)", pages, re.MULTILINE)}
    aliases = {"PyEventBusConfig", "PySubscriptionExecutor", "__version__", "policy", "subscription"}
    assert set(coulis.__all__) - named == aliases


SOURCES = ["engine/src", "python/src", "python/coulis"]
NOT_TOLD = re.compile(
    r"COULIS_|CARGO_|_(MAX|PATH|SIZE|SECONDS|SUBPROTOCOL)$|^(BAD_DOCUMENT|INTERNAL_ERROR|RSA1_5|CODE|SC_CLK_TCK)$"
)
"""Words in capitals that no client is told."""


def told(pattern):
    """Answer what the sources have of a pattern, without those of tests."""
    found = set()
    for folder in SOURCES:
        for path in (ROOT / folder).rglob("*.*"):
            if path.suffix in (".rs", ".py") and "tests" not in path.as_posix():
                text = path.read_text("utf-8").partition("\n#[cfg(test)]\nmod tests {")[0]
                found.update(re.findall(pattern, text))
    return found


def test_every_code_that_clients_are_told_is_explained():
    page = (DOCS / "troubleshooting.md").read_text("utf-8")
    codes = {code for code in told(r'"([A-Z]+(?:_[A-Z]+)+)"') if not NOT_TOLD.search(code)}
    codes |= {"FORBIDDEN", "REVOKED", "TIMEOUT", "UNAUTHENTICATED"}
    assert len(codes) > 30
    assert codes == set(re.findall(r"^\| `([A-Z_]+)` \|", page, re.MULTILINE))


def test_every_close_code_is_explained():
    page = (DOCS / "troubleshooting.md").read_text("utf-8")
    explained = set(re.findall(r"^\| (\d{4}) \|", page, re.MULTILINE))
    source = (ROOT / "engine/src/protocol/close.rs").read_text("utf-8")
    of_the_engine = re.findall(r"^    \w+ = (\d{4}),", source, re.MULTILINE)
    assert len(of_the_engine) > 10
    assert explained == {*of_the_engine, "1006", "1012", "4504"}


def test_every_reason_to_refuse_a_token_is_explained():
    page = (DOCS / "troubleshooting.md").read_text("utf-8")
    text = (ROOT / "engine/src/security/token/error.rs").read_text("utf-8")
    reasons = re.findall(r'=> "(\w+)"', text.partition("pub fn code")[2].partition("\n    }")[0])
    assert len(reasons) > 10
    assert [reason for reason in reasons if f"`{reason}`" not in page] == []


COMMANDS = [command.callback.__name__ for command in command_line.registered_commands]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_on_its_page(command):
    assert f"\n## {command}\n" in (DOCS / "cli.md").read_text("utf-8")
