"""Python values to JSON and back: exact, or refused with the place named."""

import dataclasses
import datetime
import decimal
import enum
import json
import math
import uuid

import pytest
from coulis._coulis import LimitExceeded, from_json, to_json


class Colour(enum.Enum):
    RED = "red"
    PAIR = (1, 2)


class Level(enum.IntEnum):
    LOW = 1


class Word(str, enum.Enum):
    A = "a"


class Text(str):
    __slots__ = ()


class Whole(int):
    def __str__(self):
        return "not a number"


@dataclasses.dataclass
class Point:
    x: int
    label: str | None = None


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        (True, "true"),
        (False, "false"),
        (1, "1"),
        (-(2**63), "-9223372036854775808"),
        (2**63, "9223372036854775808"),
        (-(10**30), "-1000000000000000000000000000000"),
        (0.1, "0.1"),
        (-0.0, "-0.0"),
        (1e300, "1e300"),
        (5e-324, "5e-324"),
        ("", '""'),
        ('a"\\\n\x01é🦀', '"a\\"\\\\\\n\\u0001é🦀"'),
        ([], "[]"),
        ((1, [2.5, "x"]), '[1,[2.5,"x"]]'),
        ({}, "{}"),
        ({"a": {"b": None}, "": 1}, '{"a":{"b":null},"":1}'),
        (Colour.RED, '"red"'),
        (Colour.PAIR, "[1,2]"),
        (Level.LOW, "1"),
        (Word.A, '"a"'),
        (Text("t"), '"t"'),
        (Whole(7), "7"),
        (Point(1), '{"x":1,"label":null}'),
        (datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.timezone.utc), '"2026-01-02T03:04:05+00:00"'),
        (datetime.date(2026, 1, 2), '"2026-01-02"'),
        (datetime.time(3, 4), '"03:04:00"'),
        (uuid.UUID(int=7), '"00000000-0000-0000-0000-000000000007"'),
        (decimal.Decimal("1.10"), '"1.10"'),
    ],
)
def test_each_kind_of_value_has_its_text(value, text):
    assert to_json(value) == text.encode()


def test_integers_of_any_size_stay_exact_both_ways():
    for number in (10**5000 + 7, -(10**5000) - 7, 2**64, -(2**64)):
        text = to_json([number])
        assert from_json(text) == [number]


def test_what_is_written_is_what_json_reads():
    value = {"a": [1, 2.5, True, None, "x\u2028"], "b": {"c": -1}}
    assert json.loads(to_json(value)) == value
    assert from_json(json.dumps(value)) == value
    assert from_json('{"a": 1e3, "b": "\\u00e9"}') == {"a": 1000.0, "b": "é"}


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        ({"items": [0, 1, 2, {"price": math.nan}]}, ValueError, "`value.items[3].price` is `NaN`"),
        ([math.inf], ValueError, r"`value\[0\]` is `inf`"),
        (decimal.Decimal("NaN"), ValueError, "`value` is `NaN`"),
        ({"a b": -math.inf}, ValueError, r'`value\["a b"\]` is `-inf`'),
        ({"a": "\ud800"}, ValueError, "`value.a` holds a lone surrogate"),
        ({"\udfff": 1}, ValueError, "holds a lone surrogate"),
        ({"a": {1: 2}}, TypeError, "`value.a` has a key that is a `int`"),
        ({"a": [{1, 2}]}, TypeError, r"`value.a\[0\]` is a `set`"),
        ({"a": b"x"}, TypeError, "`value.a` is a `bytes`"),
        ({"a": object()}, TypeError, "`value.a` is a `object`"),
        ({"a": Point}, TypeError, "`value.a` is a `type`"),
        ({"a": datetime.timedelta(1)}, TypeError, "`value.a` is a `timedelta`"),
        ({"a": 1j}, TypeError, "`value.a` is a `complex`"),
    ],
)
def test_what_has_no_json_form_is_refused_with_its_place(value, error, message):
    with pytest.raises(error, match=message.replace("[3]", r"\[3\]")):
        to_json(value)


def test_cycles_and_deep_nesting_are_refused():
    cycle = {"a": []}
    cycle["a"].append(cycle)
    with pytest.raises(ValueError, match=r"`value.a\[0\]` contains itself"):
        to_json(cycle)
    deep = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(ValueError, match="nested deeper than 128 levels"):
        to_json(deep)
    with pytest.raises(ValueError, match="nested deeper than 128 levels"):
        from_json("[" * 100_000)


def test_a_shared_value_is_no_cycle():
    shared = [1]
    assert to_json([shared, shared]) == b"[[1],[1]]"


def test_shared_values_that_unfold_without_end_are_stopped():
    value = ["x"]
    for _ in range(100):
        value = [value, value]
    with pytest.raises(LimitExceeded) as refused:
        to_json(value)
    assert (refused.value.limit, refused.value.max) == ("event_bytes_max", 1 << 20)


def test_a_dict_that_changes_while_it_is_read_raises_and_does_not_crash():
    target = {"a": 1}

    class Sneaky(decimal.Decimal):
        def __str__(self):
            target["more"] = 1
            return "1"

    target["b"] = Sneaky(1)
    target["c"] = 2
    with pytest.raises(RuntimeError, match="changed size"):
        to_json(target)


def test_an_error_raised_by_the_value_itself_comes_through():
    class Broken(datetime.date):
        def isoformat(self):
            raise ZeroDivisionError("broken")

    with pytest.raises(ZeroDivisionError, match="broken"):
        to_json([Broken(2026, 1, 1)])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a":1,"a":2}', "duplicate key `a`"),
        ('{"a":1,"\\u0061":2}', "duplicate key `a`"),
        ("{", "ends inside a value"),
        ("NaN", "a value expected"),
        ("[1,]", "a value expected"),
        ('"\\ud800"', "lone surrogate"),
        (b"\xff", "not UTF-8"),
        ("", "ends inside a value"),
        ("1 2", "more text"),
    ],
)
def test_bad_json_is_refused(text, message):
    with pytest.raises(ValueError, match=message):
        from_json(text)
