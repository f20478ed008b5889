"""Expressions of policies: values there and back, places of errors, and input that nobody means well."""

import datetime
import doctest
import json
import math
import sys
import threading
import uuid
from datetime import timedelta, timezone

import coulis
import coulis.policy
import pytest
from coulis.policy import evaluate, evaluate_tagged

UTC = timezone.utc
DEPTH_MAX = 128


def moment(*parts, zone=UTC):
    return datetime.datetime(*parts, tzinfo=zone)


def nested(depth):
    value = 1
    for _ in range(depth):
        value = [value]
    return value


def test_the_examples_in_the_documentation_hold():
    result = doctest.testmod(coulis.policy)
    assert (result.failed, result.attempted > 10) == (0, True)


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        False,
        0,
        -(2**63),
        2**63 - 1,
        2**63,
        2**64 - 1,
        0.5,
        -0.0,
        math.inf,
        "",
        "é🦀\x00",
        b"",
        b"\x00\xff",
        [],
        [1, [2.5, [None]]],
        {},
        {"a": {1: "x", False: [b"y"]}, "": 2**63},
        moment(1970, 1, 1),
        moment(1, 1, 1),
        moment(9999, 12, 31, 23, 59, 59, 999_999),
        moment(1969, 12, 31, 23, 59, 59, 1),
        timedelta(0),
        timedelta(days=-1, microseconds=1),
        timedelta(days=106_751),
    ],
    ids=repr,
)
def test_values_come_back_as_they_were(value):
    back = evaluate("x", {"x": value})
    assert back == value
    assert type(back) is type(value)
    assert repr(back) == repr(value)


@pytest.mark.parametrize(
    ("value", "back", "kind"),
    [
        (True, True, "bool"),
        (1, 1, "int"),
        (2**63, 2**63, "uint"),
        (1.0, 1.0, "double"),
        ("x", "x", "string"),
        (b"x", b"x", "bytes"),
        (None, None, "null_type"),
        ((1, 2), [1, 2], "list"),
        ({}, {}, "map"),
        (moment(2026, 1, 1, 1, zone=timezone(timedelta(hours=1))), moment(2026, 1, 1), None),
        (timedelta(1), timedelta(1), "google.protobuf.Duration"),
        (uuid.UUID(int=7), "00000000-0000-0000-0000-000000000007", "string"),
    ],
)
def test_each_type_has_its_type(value, back, kind):
    assert evaluate("x", {"x": value}) == back
    assert evaluate("type(x)", {"x": value}) == (kind or "google.protobuf.Timestamp")


def test_what_is_finer_than_microseconds_is_cut_off():
    assert evaluate("timestamp('1969-12-31T23:59:59.9999999Z')", {}) == moment(
        1969, 12, 31, 23, 59, 59, 999_999
    )
    assert evaluate("duration('-1999ns')", {}) == timedelta(microseconds=-1)
    assert evaluate("duration('1999ns')", {}) == timedelta(microseconds=1)
    assert math.isnan(evaluate("x", {"x": math.nan}))


def test_a_context_is_what_policies_see():
    context = coulis.SecurityContext(
        7,
        "t",
        roles=["clerk"],
        scopes=("read", "write"),
        federation=("orders", 9),
        claims={"level": 3, "deep": {"x": [1.5, None]}},
    )
    for expression in [
        "ctx.user_id == 7 && ctx.user_id == '7' && ctx.tenant_id == 't'",
        "'clerk' in ctx.roles && ctx.scopes == ['read', 'write']",
        "ctx.federation.service == 'orders' && ctx.federation.id == 9",
        "ctx.claims.level == 3 && ctx.claims.deep.x == [1.5, null]",
    ]:
        assert evaluate(expression, {"ctx": context}) is True
    assert evaluate("ctx", {"ctx": coulis.SecurityContext()}) == {
        "user_id": None,
        "tenant_id": None,
        "roles": [],
        "scopes": [],
        "claims": None,
        "federation": {"service": None, "id": None},
    }


@pytest.mark.parametrize(
    ("expression", "line", "column"),
    [
        ("1 +", 1, 4),
        ("true &&\n  !", 2, 4),
        ("1 / 0", None, None),
        ("unknown", None, None),
        ("{}.a", None, None),
    ],
)
def test_a_refusal_says_where(expression, line, column):
    with pytest.raises(coulis.PolicyError) as raised:
        evaluate(expression, {})
    assert (raised.value.line, raised.value.column) == (line, column)
    assert str(raised.value)


def test_every_policy_error_has_a_place():
    assert (coulis.PolicyError("x").line, coulis.PolicyError("x").column) == (None, None)
    with coulis.SubscriptionExecutor() as executor, pytest.raises(coulis.PolicyError) as raised:
        executor.register_subscription("c", "s", "subscription { a }", filter="true &&\n truth")
    assert (raised.value.line, raised.value.column) == (2, 2)
    assert str(raised.value) == "filter: 2:2: undeclared reference to `truth`"


@pytest.mark.parametrize(
    ("bindings", "error", "message"),
    [
        ({"x": 2**64}, ValueError, "`bindings.x` is an int beyond 64 bits"),
        ({"x": [0, {"y": -(2**63) - 1}]}, ValueError, r"`bindings.x\[1\].y` is an int beyond 64 bits"),
        ({"x": 10**10_000}, ValueError, "`bindings.x` is an int beyond 64 bits"),
        ({"x": {2**64: 1}}, ValueError, "`bindings.x.key` is an int beyond 64 bits"),
        ({"x": {1.0: 1}}, TypeError, "`bindings.x` has a key that is a `float`"),
        ({"x": {None: 1}}, TypeError, "`bindings.x` has a key that is a `NoneType`"),
        ({"x": {7: object()}}, TypeError, r"`bindings.x.7` is a `object`"),
        ({"x": "\ud800"}, ValueError, "`bindings.x` holds a lone surrogate"),
        ({"x": {"\udfff": 1}}, ValueError, "`bindings.x` holds a lone surrogate"),
        ({"\ud800": 1}, ValueError, "`bindings` holds a lone surrogate"),
        ({1: 1}, TypeError, "`bindings` has a name that is a `int`"),
        ([("x", 1)], TypeError, "`bindings` is a `list`: pass a dict"),
        (None, TypeError, "`bindings` is a `NoneType`: pass a dict"),
        ({"x": datetime.datetime(2026, 1, 1)}, ValueError, "`bindings.x` has no time zone"),
        ({"x": datetime.date(2026, 1, 1)}, TypeError, "`bindings.x` is a `date`"),
        (
            {"x": moment(1, 1, 1, zone=timezone(timedelta(hours=14)))},
            ValueError,
            "`bindings.x` is out of range: the years",
        ),
        ({"x": timedelta(days=106_752)}, ValueError, "`bindings.x` is out of range: a duration"),
        ({"x": timedelta.max}, ValueError, "`bindings.x` is out of range: a duration"),
        ({"x": {1, 2}}, TypeError, "`bindings.x` is a `set`"),
        ({"x": bytearray(b"y")}, TypeError, "`bindings.x` is a `bytearray`"),
        ({"x": int}, TypeError, "`bindings.x` is a `type`"),
        ({"x": nested(DEPTH_MAX + 1)}, ValueError, r"`bindings.x(\[0\])+` is nested deeper than 128"),
        ({"x": nested(100_000)}, ValueError, r"is nested deeper than 128"),
    ],
    ids=lambda given: given if isinstance(given, str) else "",
)
def test_bindings_without_a_form_are_refused_with_their_place(bindings, error, message):
    with pytest.raises(error, match=message):
        evaluate("true", bindings)


def test_values_may_be_nested_up_to_the_bound():
    value = nested(DEPTH_MAX)
    assert evaluate("x", {"x": value}) == value
    deep = "[" * 60 + "x" + "]" * 60
    assert evaluate(deep, {"x": value}) == nested(DEPTH_MAX + 60)
    assert evaluate("x == y", {"x": value, "y": nested(DEPTH_MAX)}) is True


def test_cycles_are_refused():
    items, table = [], {}
    items.append([items])
    table["self"] = {"again": table}
    for value in (items, table):
        with pytest.raises(ValueError, match=r"`bindings\.x.*` contains itself"):
            evaluate("true", {"x": value})
    bindings = {}
    bindings["x"] = bindings
    with pytest.raises(ValueError, match=r"`bindings\.x` contains itself"):
        evaluate("true", bindings)
    shared = [1]
    assert evaluate("x", {"x": [shared, shared]}) == [[1], [1]]


def test_shared_references_do_not_unfold_without_a_bound():
    value = ["x"]
    for _ in range(64):
        value = [value, value]
    for given in (value, "x" * (1 << 21), b"x" * (1 << 21), {"x" * (1 << 21): 1}):
        with pytest.raises(coulis.LimitExceeded) as raised:
            evaluate("true", {"x": given})
        assert raised.value.limit == "event_bytes_max"


def test_a_result_does_not_unfold_without_a_bound():
    text, items = "x" * 500_000, list(range(1_000))
    for expression in ["i.map(_, t)", "i.map(a, i.map(b, i))", "[i, i, i].map(a, [a].map(b, i.map(c, i)))"]:
        with pytest.raises(coulis.PolicyError):
            evaluate(expression, {"t": text, "i": items})


class Changing(datetime.tzinfo):
    """A time zone that changes the dict or list it is in while that is read."""

    def __init__(self, change):
        self.change = change

    def utcoffset(self, _):
        self.change()
        return timedelta(0)


def test_values_that_change_while_they_are_read_are_refused_or_read():
    table = {}
    table["x"] = moment(2026, 1, 1, zone=Changing(lambda: table.update({len(table): 1})))
    with pytest.raises(RuntimeError, match="changed size"):
        evaluate("true", {"t": table})
    items = []
    items.append(moment(2026, 1, 1, zone=Changing(items.clear)))
    items.extend(range(3))
    assert evaluate("true", {"t": items}) is True

    def fail():
        raise KeyError("on purpose")

    with pytest.raises(KeyError, match="on purpose"):
        evaluate("true", {"t": moment(2026, 1, 1, zone=Changing(fail))})


@pytest.mark.parametrize(
    "expression",
    [
        "(" * 100_000,
        "(" * 5_000 + "1" + ")" * 5_000,
        "[" * 5_000 + "]" * 5_000,
        "!" * 20_000 + "true",
        "-" * 20_000 + "1",
        "{1:" * 5_000 + "1" + "}" * 5_000,
        "x" + ".a" * 20_000,
        "x" + "[0]" * 20_000,
        "1" + " + 1" * 20_000,
        "true" + " && true" * 20_000,
        "true ? " * 5_000 + "1" + " : 2" * 5_000,
        "[1].map(a, " * 500 + "1" + ")" * 500,
        "size(" * 5_000 + "''" + ")" * 5_000,
        "x" + ".size()" * 5_000,
        "",
        "\x00",
        "'",
        '"""',
        "🦀" * 1_000,
        "9" * 100_000,
        "1 +",
    ],
    ids=lambda text: text[:12],
)
def test_a_hostile_expression_has_a_value_or_is_refused(expression):
    try:
        evaluate(expression, {"x": {}})
    except coulis.PolicyError as error:
        assert len(str(error)) < 10_000


def test_an_expression_runs_in_a_thread_with_a_small_stack():
    before = threading.stack_size(256 << 10)
    failed = []

    def run():
        for expression in ["(" * 5_000, "[" * 95 + "]" * 95, "x" + ".a" * 20_000, "1" + " + 1" * 20_000]:
            try:
                evaluate(expression, {"x": {}})
            except coulis.PolicyError:
                pass
            except BaseException as error:
                failed.append(error)
        evaluate("x", {"x": nested(DEPTH_MAX)})

    try:
        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
    finally:
        threading.stack_size(before)
    assert failed == []


@pytest.mark.parametrize("expression", [None, b"true", 1, "\ud800"])
def test_an_expression_is_a_text(expression):
    with pytest.raises((TypeError, ValueError), match=r"`expression` (is a|holds a lone surrogate)"):
        evaluate(expression, {})
    with pytest.raises((TypeError, ValueError), match=r"`expression` (is a|holds a lone surrogate)"):
        evaluate_tagged(expression, "{}")


def test_bindings_may_be_many_but_not_beyond_their_numbers():
    names = {f"n{number}": number for number in range(65_535)}
    assert evaluate("n65534 + n0", names) == 65_534
    names.update({"more": 1, "again": 2})
    with pytest.raises(coulis.PolicyError, match="65535"):
        evaluate("n0", names)
    tagged = json.dumps({name: {"int": "1"} for name in names})
    assert "65535" in json.loads(evaluate_tagged("n0", tagged))["error"]


def test_the_interpreter_is_free_while_an_expression_runs():
    items = list(range(80))
    expression = "i.all(a, i.all(b, a + b >= 0))"
    running, done = threading.Event(), threading.Event()

    def run():
        running.set()
        while not done.is_set():
            assert evaluate(expression, {"i": items}) is True

    # With the interpreter held this thread would wait for its turn until the other one gives it up by itself.
    interval = sys.getswitchinterval()
    sys.setswitchinterval(3600)
    thread = threading.Thread(target=run)
    try:
        thread.start()
        running.wait()
        assert evaluate("1 + 1", {}) == 2
        done.set()
        thread.join()
    finally:
        done.set()
        sys.setswitchinterval(interval)


@pytest.mark.parametrize("known", [[], ["x"], ["x", "y"], ["other"]])
@pytest.mark.parametrize(
    ("expression", "bindings", "result"),
    [
        ("x + 2u", {"x": {"uint": "1"}}, {"uint": "3"}),
        ("x + y", {"x": {"int": "1"}, "y": {"int": "2"}}, {"int": "3"}),
        ("x", {"x": {"bytes": "AP8="}}, {"bytes": "AP8="}),
        ("x", {"x": {"map": {"a": {"null": None}}}}, {"map": [[{"string": "a"}, {"null": None}]]}),
        ("type(x)", {"x": {"timestamp": "2026-01-01T00:00:00Z"}}, {"type": "google.protobuf.Timestamp"}),
        ("x / 0", {"x": {"int": "1"}}, {"error": "division by zero"}),
    ],
)
def test_tagged_values_keep_their_types(expression, bindings, result, known):
    assert json.loads(evaluate_tagged(expression, json.dumps(bindings), known)) == result


def test_a_text_that_cannot_be_read_is_a_tagged_error():
    assert "error" in json.loads(evaluate_tagged("1 +", "{}"))
    assert json.loads(evaluate_tagged("1", "{}", known=[])) == {"int": "1"}


@pytest.mark.parametrize(
    "bindings",
    [
        "",
        "[]",
        "{",
        '{"x": 1}',
        '{"x": {}}',
        '{"x": {"int": "1", "uint": "1"}}',
        '{"x": {"int": "9223372036854775808"}}',
        '{"x": {"int": "one"}}',
        '{"x": {"bytes": "?"}}',
        '{"x": {"map": [[{"int": "1"}]]}}',
        '{"x": {"unknown": "1"}}',
        '{"x": {"int": "1"}, "x": {"int": "2"}}',
        '{"x":' + '{"list": [' * 100_000,
        '{"x":' + '{"list": [' * 200 + "]}" * 200 + "}",
        "\ud800",
    ],
    ids=lambda text: ascii(text[:40]),
)
def test_bindings_that_are_not_tagged_are_refused_by_name(bindings):
    with pytest.raises(ValueError, match=r"`bindings_json` (is refused|holds)"):
        evaluate_tagged("true", bindings)
