"""Events as the type that a resolver's hint names."""

import dataclasses
import datetime
import decimal
import enum
import functools
import json
import typing
import uuid

import coulis
import msgspec
import pydantic
import pytest
import typing_extensions
from coulis.convert import converter

QUERY = "subscription { user { id name } }"


@dataclasses.dataclass
class Address:
    city: str
    zip: int | None = None


class Kind(enum.Enum):
    GOOD = "good"
    BAD = "bad"


@dataclasses.dataclass
class User:
    id: int
    name: str = "nobody"
    addresses: list[Address] = dataclasses.field(default_factory=list)
    by_name: dict[str, Address] = dataclasses.field(default_factory=dict)
    since: datetime.datetime | None = None
    key: uuid.UUID | None = None
    price: decimal.Decimal = decimal.Decimal(0)
    kind: Kind = Kind.GOOD
    size: float = 0.0
    parent: typing.Optional["User"] = None


class UserDict(typing.TypedDict):
    id: int
    name: str


class Wrapped(typing_extensions.TypedDict):
    kind: typing_extensions.NotRequired[Kind]


class UserModel(pydantic.BaseModel):
    id: int
    name: str = "nobody"


class UserStruct(msgspec.Struct):
    id: int
    name: str = "nobody"


def dataclass_resolver(event: User, variables):
    return {"user": {"id": event.id, "name": f"{type(event).__name__} {event.name}"}}


def string_resolver(event: "User", variables, info):
    return {"user": {"id": event.id, "name": f"{type(event).__name__} {event.name}"}}


def dict_resolver(event: UserDict, variables):
    return {"user": {"id": event["id"], "name": f"{type(event).__name__} {event['name']}"}}


async def model_resolver(event: UserModel, variables):
    return {"user": {"id": event.id, "name": f"{type(event).__name__} {event.name}"}}


def struct_resolver(event: UserStruct, variables):
    return {"user": {"id": event.id, "name": f"{type(event).__name__} {event.name}"}}


class Resolving:
    def resolve(self, event: User, variables):
        return dataclass_resolver(event, variables)

    def __call__(self, event: User, variables):
        return dataclass_resolver(event, variables)


@pytest.mark.parametrize(
    ("resolver", "kind"),
    [
        (dataclass_resolver, "User"),
        (string_resolver, "User"),
        (dict_resolver, "dict"),
        (model_resolver, "UserModel"),
        (struct_resolver, "UserStruct"),
        (Resolving().resolve, "User"),
        (Resolving(), "User"),
        (functools.partial(dataclass_resolver), "User"),
    ],
)
async def test_an_event_is_converted_by_the_hint_and_a_misfit_fails_alone(resolver, kind, caplog):
    registry = coulis.Registry()
    registry.subscription("user")(resolver)
    async with coulis.SubscriptionManager(registry=registry) as manager:
        await manager.create_subscription("s", "c", QUERY)
        for data in ({"id": 1, "name": "a"}, {"id": "secret", "name": 5}, {"id": 2, "name": "b"}):
            assert await manager.publish_event("t", "user", data) == 1
        heard = [json.loads(message)["payload"] for message in manager.executor.next_events("s")]
    assert [payload["data"] for payload in heard] == [
        {"user": {"id": 1, "name": f"{kind} a"}},
        None,
        {"user": {"id": 2, "name": f"{kind} b"}},
    ]
    assert heard[1]["errors"][0]["message"] == "internal error"
    assert "`event" in caplog.text  # the log names the place


def test_everything_inside_is_converted_too():
    made = converter(User)(
        {
            "id": 1,
            "name": "a",
            "unknown": "left out",
            "addresses": [{"city": "x"}, {"city": "y", "zip": 7}],
            "by_name": {"home": {"city": "z"}},
            "since": "2026-01-02T03:04:05Z",
            "key": "12345678-1234-5678-1234-567812345678",
            "price": "1.20",
            "kind": "bad",
            "size": 3,
            "parent": {"id": 2},
        }
    )
    assert made == User(
        1,
        "a",
        [Address("x"), Address("y", 7)],
        {"home": Address("z")},
        datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.timezone.utc),
        uuid.UUID("12345678-1234-5678-1234-567812345678"),
        decimal.Decimal("1.20"),
        Kind.BAD,
        3.0,
        User(2),
    )
    assert isinstance(made.size, float)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([], "`event` is a `list`, and `User` is asked for"),
        ({}, "`event` has no `id`, which `User` asks for"),
        ({"id": True}, "`event.id` is a `bool`, and `int` is asked for"),
        ({"id": 1, "addresses": [{"city": "x"}, {"city": 5}]}, "`event.addresses[1].city` is a `int`"),
        ({"id": 1, "by_name": {"home": []}}, "`event.by_name.home` is a `list`"),
        ({"id": 1, "since": "yesterday"}, "`event.since` is no `datetime`"),
        ({"id": 1, "price": "much"}, "`event.price` is no `Decimal`"),
        ({"id": 1, "kind": "ugly"}, "`event.kind` is no `Kind`"),
        ({"id": 1, "parent": {"id": "x"}}, "`event.parent.id` is a `str`"),
    ],
)
def test_what_does_not_fit_is_refused_with_its_place(data, message):
    with pytest.raises(coulis.ConversionError) as refused:
        converter(User)(data)
    assert message in str(refused.value)


def test_a_tuple_is_converted_by_place():
    assert converter(tuple[int, Kind])([1, "bad"]) == (1, Kind.BAD)
    assert converter(tuple[Kind, ...])(["bad", "good", "bad"]) == (Kind.BAD, Kind.GOOD, Kind.BAD)
    assert converter(tuple)([1, "a"]) == (1, "a")
    for hint, data, message in [
        (tuple[int, str], [1, 2], r"`event\[1\]` is a `int`, and `str` is asked for"),
        (tuple[int, str], [1], "`event` has 1 items, and 2 are asked for"),
        (tuple[int], [1, 2], "`event` has 2 items, and 1 are asked for"),
        (tuple[int, str], {}, "`event` is a `dict`, and `list` is asked for"),
    ]:
        with pytest.raises(coulis.ConversionError, match=message):
            converter(hint)(data)


def test_a_wrapped_hint_is_what_it_wraps():
    assert converter(typing.Annotated[User, "of ours"])({"id": 1}) == User(1)
    assert converter(Wrapped)({"kind": "bad"}) == {"kind": Kind.BAD}
    assert converter(Wrapped)({}) == {}


@pytest.mark.parametrize(
    "hint", [typing.Any, dict, dict[str, typing.Any], object, list, typing.Mapping[str, int], dict | None]
)
def test_a_hint_that_asks_for_nothing_converts_nothing(hint):
    assert converter(hint) is None


def unresolved(event: "Missing", variables):  # noqa: F821
    return event


def test_a_hint_that_cannot_be_held_is_refused_when_the_resolver_is_declared():
    class Unknown:
        pass

    def odd(event: Unknown, variables):
        return event

    with pytest.raises(TypeError, match="the hint `Missing` of `event` cannot be resolved"):
        coulis.Registry().subscription()(unresolved)
    with pytest.raises(TypeError, match=r"cannot be converted to `.*Unknown`"):
        coulis.Registry().subscription()(odd)
