"""`coulis check`: finds what is wrong with schemas, policies, operations and programs, and where."""

from __future__ import annotations

import json
import re
import traceback
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from coulis._coulis import CoulisError, InvalidQuery, PolicyError, SubscriptionExecutor, check_policy
from coulis.cli.loading import LoadError, manager_of
from coulis.cli.terms import AppOption, JsonFile, SchemaOption, fail, read_text, screen, write_json
from coulis.graphql import validate

__all__ = ["Problem", "check"]

Policies = Annotated[
    list[Path] | None,
    typer.Option(
        "--policies", envvar="COULIS_POLICIES", help="JSON with arguments of a manager, or one .cel."
    ),
]
Operations = Annotated[
    list[Path] | None,
    typer.Option("--operations", envvar="COULIS_OPERATIONS", help="A .graphql file, or a folder of them."),
]

ARGUMENTS = ("policies", "channels", "access", "tenancy", "owner")
_PLACE = re.compile(r" \(line (\d+), column (\d+)\)$")
_OPERATION = re.compile(r"(?:query|mutation|subscription)\s+([_A-Za-z]\w*)")
_HIDDEN = re.compile(r'"""(?:[^"\\]|\\.|"(?!""))*"""|"(?:[^"\\\n]|\\.)*"|#[^\n]*')


@dataclass(frozen=True)
class Problem:
    """What is wrong, and where; lines and columns count from 1."""

    file: str
    line: int | None
    column: int | None
    message: str

    def __str__(self) -> str:
        place = [self.file, *(str(at) for at in (self.line, self.column) if at is not None)]
        return f"{':'.join(place)}: {self.message}"


def check(
    schema: SchemaOption = None,
    policies: Policies = None,
    operations: Operations = None,
    app: AppOption = None,
    json_file: JsonFile = None,
) -> None:
    """Check files and programs without serving them; ends with 1 if something is wrong.

    Operations are held against the schema of `--schema` or of `--app`.
    """
    if not (schema or policies or operations or app):
        fail("there is nothing to check: pass --schema, --policies, --operations or --app", 2)
    if schema and app and operations:
        fail("operations are held against one schema: pass `--schema` or `--app`", 2)
    files = list(_files(operations or []))
    found = list(_problems(schema, policies or [], files, app))
    write_json(json_file, [asdict(problem) for problem in found])
    out = screen(stderr=str(json_file) == "-")
    for problem in found:
        out.print(str(problem), markup=False)
    count = len(files) + len(policies or []) + bool(schema) + bool(app)
    if found:
        out.print(f"{len(found)} {'problem' if len(found) == 1 else 'problems'}", style="red")
        raise typer.Exit(1)
    out.print(f"{count} checked, nothing is wrong", style="green")


def _files(paths: list[Path]) -> Iterator[Path]:
    for path in paths:
        found = sorted({*path.rglob("*.graphql"), *path.rglob("*.gql")}) if path.is_dir() else [path]
        if not found:
            fail(f"`{path}` has no file that ends in .graphql or .gql", 2)
        yield from found


def _problems(
    schema: Path | None, policies: list[Path], operations: list[Path], app: str | None
) -> Iterator[Problem]:
    sdl = read_text(schema) if schema is not None else None
    if schema is not None and (broken := _of_schema(schema, sdl)) is not None:
        yield broken
        sdl = None
    for path in policies:
        yield from _of_policies(path, sdl)
    if app is not None:
        yield from _of_app(app, operations)
    else:
        for path in operations:
            yield from _of_operations(path, sdl)


def _of_schema(path: Path, sdl: str | None) -> Problem | None:
    try:
        validate("subscription { __typename }", schema=sdl)
    except ValueError as error:
        return _placed(path, str(error))
    return None


def _placed(path: Path, message: str) -> Problem:
    found = _PLACE.search(message)
    if found is None:
        return Problem(str(path), None, None, message)
    return Problem(str(path), int(found[1]), int(found[2]), message[: found.start()])


def _of_operations(path: Path, sdl: str | None) -> Iterator[Problem]:
    text = read_text(path)
    errors = {}
    for name in _names(text):
        for error in validate(text, schema=sdl, operation_name=name):
            errors[json.dumps(error)] = error
    yield from (_of_error(path, error) for error in errors.values())


def _names(document: str) -> list[str | None]:
    """Answer the names of a document's operations; `None` for one without."""
    plain = _HIDDEN.sub("", document)
    top = re.sub(r"\{[^{}]*\}|\([^()]*\)", "", plain)
    while (cut := re.sub(r"\{[^{}]*\}|\([^()]*\)", "", top)) != top:
        top = cut
    return [*_OPERATION.findall(top)] or [None]


def _of_error(path: Path, error: dict[str, Any]) -> Problem:
    at = (error.get("locations") or [{}])[0]
    return Problem(str(path), at.get("line"), at.get("column"), error["message"])


def _of_policies(path: Path, sdl: str | None) -> Iterator[Problem]:
    text = read_text(path)
    if path.suffix == ".cel":
        yield from _of_expression(path, text, "policy", text.strip())
        return
    try:
        rules = json.loads(text)
    except json.JSONDecodeError as error:
        yield Problem(str(path), error.lineno, error.colno, f"no JSON: {error.msg}")
        return
    if not isinstance(rules, dict) or (unknown := set(rules) - set(ARGUMENTS)):
        told = f"`{', '.join(sorted(unknown))}` is unknown" if isinstance(rules, dict) else "no JSON object"
        yield Problem(str(path), None, None, f"{told}: pass {', '.join(ARGUMENTS)}")
        return
    found = [p for name, rule in _expressions(rules) for p in _of_expression(path, text, name, rule)]
    yield from found
    if not found:
        yield from _of_rules(path, sdl, rules)


def _expressions(rules: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for field, rule in (rules.get("policies") or {}).items():
        yield f"policy of field `{field}`", rule
    for channel, of_channel in (rules.get("channels") or {}).items():
        if isinstance(of_channel, dict) and "policy" in of_channel:
            yield f"policy of channel `{channel}`", of_channel["policy"]


def _of_expression(path: Path, text: str, name: str, rule: Any) -> Iterator[Problem]:
    try:
        check_policy("policy", rule)
    except PolicyError as error:
        message = re.sub(r"^policy: (\d+:\d+: )?", "", str(error))
        line, column = _in_file(text, rule, error.line, error.column)
        yield Problem(str(path), line, column, f"{name}: {message}")
    except (TypeError, ValueError) as error:
        yield Problem(str(path), None, None, f"{name}: {error}")


def _in_file(text: str, rule: Any, line: int | None, column: int | None) -> tuple[int | None, int | None]:
    """Answer where in a file a place in an expression is; the start of the expression where it is escaped."""
    if not isinstance(rule, str):
        return None, None
    quoted = next((json.dumps(rule, ensure_ascii=ascii) for ascii in (False, True)), rule)
    start = text.find(quoted)
    inside = start + 1 if start >= 0 else text.find(rule)
    if inside < 0:
        return None, None
    first, before = text.count("\n", 0, inside) + 1, inside - (text.rfind("\n", 0, inside) + 1)
    if line is None or column is None or (start >= 0 and "\\" in quoted):
        return first, before + 1
    return first + line - 1, column + (before if line == 1 else 0)


def _of_rules(path: Path, sdl: str | None, rules: dict[str, Any]) -> Iterator[Problem]:
    try:
        SubscriptionExecutor(schema=sdl, shards=1, **rules).close()
    except (CoulisError, ValueError, TypeError) as error:
        yield Problem(str(path), None, None, str(error))


def _of_app(app: str, operations: list[Path]) -> Iterator[Problem]:
    try:
        manager = manager_of(app)
    except LoadError as error:
        yield Problem(app, None, None, str(error))
        return
    except Exception as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        yield Problem(last.filename, last.lineno, None, f"{type(error).__name__}: {error}")
        return
    with manager.executor:
        for path in operations:
            text = read_text(path)
            for name in _names(text):
                try:
                    manager.executor.root_field(text, name)
                except InvalidQuery as invalid:
                    yield from (_of_error(path, error) for error in invalid.errors)
