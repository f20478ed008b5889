"""Events as the type that a resolver's hint names: dataclass, `TypedDict`, pydantic model, msgspec `Struct`.

A converter is made once, when the resolver is declared; what it cannot make is refused there.
"""

from __future__ import annotations

import dataclasses
import enum
import inspect
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any, Union, cast, get_args, get_origin
from uuid import UUID

from coulis.errors import ConversionError

__all__ = ["converter", "event_hint"]

Convert = Callable[[Any, str], Any]
"""Converts a value, which messages call by the given place."""

# By name: Python 3.10 has most of them in `typing_extensions` only.
_WRAPPERS = ("Annotated", "Required", "NotRequired", "ReadOnly")
_PLAIN = (str, bool, type(None))


def _time(text: str) -> datetime:
    # Python 3.10 does not know the `Z` that JavaScript writes.
    return datetime.fromisoformat(f"{text[:-1]}+00:00" if text.endswith("Z") else text)


_TEXTS: dict[type, Callable[[str], Any]] = {
    datetime: _time,
    date: date.fromisoformat,
    time: time.fromisoformat,
    UUID: UUID,
    Decimal: Decimal,
}


def event_hint(resolver: Callable[..., Any]) -> Any:
    """Answer the type hint of a resolver's event; `Any` without one. `TypeError` if it cannot be read."""
    target: Any = resolver
    if not inspect.isroutine(resolver):
        target = getattr(type(resolver), "__call__", resolver)  # noqa: B004
    try:
        first = next(iter(inspect.signature(resolver).parameters.values()), None)
    except (TypeError, ValueError):  # builtins without a signature
        return Any
    hint = Any if first is None or first.annotation is first.empty else first.annotation
    if first is None or first.kind is first.VAR_POSITIONAL:
        return Any
    return _resolved(hint, inspect.unwrap(target), first.name) if isinstance(hint, str) else hint


def _resolved(hint: str, function: Any, name: str) -> Any:
    function = getattr(function, "__func__", function)
    names = dict(getattr(function, "__globals__", {}))
    cells = getattr(function, "__closure__", None) or ()
    for free, cell in zip(
        getattr(getattr(function, "__code__", None), "co_freevars", ()), cells, strict=False
    ):
        names[free] = cell.cell_contents
    try:
        return eval(hint, names)
    except Exception as error:
        raise TypeError(
            f"the hint `{hint}` of `{name}` cannot be resolved ({error}): import it at the module's level, "
            "or leave the hint out to get the event as a dict"
        ) from None


def converter(hint: Any) -> Callable[[Any], Any] | None:
    """Answer what converts an event to `hint`, or `None` where the event is what it asks for already.

    Raises `TypeError` for a hint that no event can be converted to.
    """
    if not _asks_for_more(hint):
        return None
    convert = _converter(hint)
    return lambda event: convert(event, "event")


def _asks_for_more(hint: Any) -> bool:
    origin = get_origin(hint) or hint
    if origin in (Any, object, dict, list, Mapping, typing.MutableMapping, Sequence, type(None)):
        return False
    # Text names and aliases of JSON types are no wish to have anything converted.
    return not (isinstance(hint, typing.TypeVar) or _is_union_of_plain(hint))


def _is_union_of_plain(hint: Any) -> bool:
    return _is_union(hint) and not any(map(_asks_for_more, get_args(hint)))


def _is_union(hint: Any) -> bool:
    return get_origin(hint) is Union or isinstance(hint, types.UnionType)


def _name(origin: Any) -> str | None:
    return getattr(origin, "_name", None) or getattr(origin, "__name__", None)


def _converter(hint: Any) -> Convert:
    origin = get_origin(hint)
    if _name(origin) in _WRAPPERS:
        return _converter(get_args(hint)[0])
    if hint in (Any, object) or isinstance(hint, typing.TypeVar):
        return lambda value, place: value
    if _is_union(hint):
        return _any_of(hint)
    if origin is typing.Literal:
        return _literal(get_args(hint))
    if origin in (list, Sequence, tuple, dict, Mapping) or hint in (list, dict, tuple):
        return _container(origin or hint, get_args(hint))
    if isinstance(hint, type):
        return _of_class(hint)
    raise TypeError(f"an event cannot be converted to `{hint}`: use a dataclass, a TypedDict or a model")


def _of_class(hint: type) -> Convert:
    if callable(validate := getattr(hint, "model_validate", None)):
        return _foreign(validate)
    if hasattr(hint, "__struct_fields__"):
        import msgspec

        return _foreign(lambda value: msgspec.convert(value, hint))
    if typing.is_typeddict(hint) or (hasattr(hint, "__required_keys__") and issubclass(hint, dict)):
        return _typed_dict(hint)
    if dataclasses.is_dataclass(hint):
        return _dataclass(hint)
    if issubclass(hint, enum.Enum):
        return _parsed(hint, hint, (str, int, float))
    if hint in _TEXTS:
        return _parsed(hint, _TEXTS[hint], (str,) if hint is not Decimal else (str, int))
    if hint is float:
        return _checked(float, (int, float))
    if hint is int or hint in _PLAIN:
        return _checked(hint, (hint,))
    raise TypeError(
        f"an event cannot be converted to `{hint.__qualname__}`: use a dataclass, a TypedDict or a model"
    )


def _fail(place: str, expected: str, value: Any) -> ConversionError:
    return ConversionError(f"`{place}` is a `{type(value).__name__}`, and `{expected}` is asked for")


def _checked(kind: type, accepted: tuple[type, ...]) -> Convert:
    def convert(value: Any, place: str) -> Any:
        if not isinstance(value, accepted) or (isinstance(value, bool) and kind is not bool):
            raise _fail(place, kind.__name__, value)
        return float(cast("int", value)) if kind is float else value

    return convert


def _parsed(kind: type, parse: Callable[[Any], Any], accepted: tuple[type, ...]) -> Convert:
    def convert(value: Any, place: str) -> Any:
        if not isinstance(value, accepted):
            raise _fail(place, kind.__name__, value)
        try:
            return parse(value)
        except (ValueError, ArithmeticError):
            raise ConversionError(f"`{place}` is no `{kind.__name__}`") from None

    return convert


def _foreign(validate: Callable[[Any], Any]) -> Convert:
    def convert(value: Any, place: str) -> Any:
        try:
            return validate(value)
        except ValueError as error:  # pydantic's and msgspec's are
            raise ConversionError(f"`{place}`: {error}") from error

    return convert


def _any_of(hint: Any) -> Convert:
    members = [_converter(member) for member in get_args(hint)]

    def convert(value: Any, place: str) -> Any:
        failures = []
        for member in members:
            try:
                return member(value, place)
            except ConversionError as failure:
                failures.append(str(failure))
        raise ConversionError("; ".join(dict.fromkeys(failures)))

    return convert


def _literal(allowed: tuple[Any, ...]) -> Convert:
    def convert(value: Any, place: str) -> Any:
        if not any(type(value) is type(one) and value == one for one in allowed):
            raise ConversionError(f"`{place}` is none of {', '.join(map(repr, allowed))}")
        return value

    return convert


def _container(kind: Any, arguments: tuple[Any, ...]) -> Convert:
    if kind in (dict, Mapping):
        inner = _converter(arguments[1]) if arguments else None
        return _entries(inner)
    if kind is tuple and arguments and arguments[-1] is not ...:
        return _places([_converter(argument) for argument in arguments])
    member = _converter(arguments[0]) if arguments else None
    make = tuple if kind is tuple else list

    def convert(value: Any, place: str) -> Any:
        if not isinstance(value, list):
            raise _fail(place, "list", value)
        if member is None:
            return make(value)
        return make(member(item, f"{place}[{number}]") for number, item in enumerate(value))

    return convert


def _places(members: list[Convert]) -> Convert:
    """Convert a list to a tuple in which each place has a type of its own."""

    def convert(value: Any, place: str) -> Any:
        if not isinstance(value, list):
            raise _fail(place, "list", value)
        if len(value) != len(members):
            raise ConversionError(f"`{place}` has {len(value)} items, and {len(members)} are asked for")
        pairs = zip(members, value, strict=True)
        return tuple(member(item, f"{place}[{number}]") for number, (member, item) in enumerate(pairs))

    return convert


def _entries(inner: Convert | None) -> Convert:
    def convert(value: Any, place: str) -> Any:
        if not isinstance(value, dict):
            raise _fail(place, "dict", value)
        return value if inner is None else {key: inner(item, f"{place}.{key}") for key, item in value.items()}

    return convert


def _hints(owner: type) -> dict[str, Any]:
    try:
        return typing.get_type_hints(owner)
    except NameError as error:
        raise TypeError(f"a hint of `{owner.__qualname__}` cannot be resolved: {error}") from None


def _dataclass(owner: type) -> Convert:
    hints = _hints(owner)
    fields = [field for field in dataclasses.fields(owner) if field.init]
    rows: list[tuple[str, Convert]] = []  # filled below: a class may hold itself
    required = {
        field.name
        for field in fields
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    }
    return _record(
        owner, rows, required, fields_of=[(field.name, hints[field.name]) for field in fields], make=owner
    )


def _typed_dict(owner: type) -> Convert:
    required = set(getattr(owner, "__required_keys__", ()))
    return _record(owner, [], required, fields_of=list(_hints(owner).items()), make=dict)


def _record(
    owner: type,
    rows: list[tuple[str, Convert]],
    required: set[str],
    *,
    fields_of: list[tuple[str, Any]],
    make: Callable[..., Any],
) -> Convert:
    def convert(value: Any, place: str) -> Any:
        if not isinstance(value, dict):
            raise _fail(place, owner.__name__, value)
        for name in required - value.keys():
            raise ConversionError(f"`{place}` has no `{name}`, which `{owner.__name__}` asks for")
        return make(**{name: inner(value[name], f"{place}.{name}") for name, inner in rows if name in value})

    known = _open.get(owner)
    if known is not None:  # a class that holds itself
        return lambda value, place: known[0](value, place)
    _open[owner] = [convert]
    try:
        rows.extend((name, _converter(hint)) for name, hint in fields_of)
    finally:
        del _open[owner]
    return convert


_open: dict[type, list[Convert]] = {}
"""The classes whose converters are being made."""
