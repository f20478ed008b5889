"""Documents held against graphql-core: the table of the engine's own tests, and random ones."""

import pathlib
import random

import coulis.graphql
import graphql
import pytest

TABLE = pathlib.Path(__file__).parents[2] / "engine/src/plan/tests"
SDL = (TABLE / "validity.graphql").read_text()


def rows():
    """The documents of the table on which graphql-core and the specification agree."""
    for line in (TABLE / "validity.txt").read_text().splitlines():
        if line.startswith(("yes", "no")):
            text = line[8:]
            if not text.startswith("! "):
                yield text


def is_valid(schema, text):
    """What graphql-core says."""
    try:
        return not graphql.validate(schema, graphql.parse(text))
    except graphql.GraphQLSyntaxError:
        return False


# The fields of each type, and the types of those that have some of their own.
FIELDS = {
    "Subscription": {
        "dog": "Dog",
        "pet": "Pet",
        "human(id: 1)": "Human",
        "n": None,
        "field(x: $i)": None,
    },
    "Dog": {
        "name": None,
        "nickname": None,
        "barkVolume": None,
        "owner": "Human",
        "mother": "Dog",
    },
    "Cat": {"name": None, "nickname": None, "meowVolume": None, "owner": "Human"},
    "Human": {
        "id": None,
        "name(surname: $b)": None,
        "pets": "Pet",
        "relatives": "Human",
        "iq": None,
    },
    "Pet": {"name": None, "name(surname: true)": None, "__typename": None},
}
# The type conditions to try on each type; not all can hold.
CONDITIONS = {
    "Subscription": ["Subscription"],
    "Dog": ["Dog", "Pet", "Cat", "CatOrDog"],
    "Cat": ["Cat", "Being"],
    "Human": ["Human", "Being", "Node", "Pet"],
    "Pet": ["Dog", "Cat", "Pet", "Being", "Human"],
}


class Writer:
    """Writes documents that are nearly valid, most of the time."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.fragments = {}

    def maybe(self, chance, text):
        return text if self.random.random() < chance else ""

    def directive(self, depth):
        return self.maybe(
            0.15 if depth else 0.02,
            self.random.choice([" @skip(if: $b)", " @include(if: true)"]),
        )

    def selections(self, of, depth):
        count = self.random.choice([1, 2, 3] if depth else [1, 1, 1, 2])
        return "{ " + " ".join(self.selection(of, depth) for _ in range(count)) + " }"

    def selection(self, of, depth):
        kind = self.random.random()
        if kind < 0.1:
            condition = self.random.choice(CONDITIONS[of])
            inner = condition if condition in FIELDS else of
            return f"... on {condition}{self.directive(depth)} {self.selections(inner, depth)}"
        if kind < 0.25:
            return f"...{self.fragment(of, depth)}{self.directive(depth)}"
        field, inner = self.random.choice(list(FIELDS[of].items()))
        alias = self.maybe(0.25, self.random.choice(["k: ", "l: ", "name: "]))
        deeper = inner if depth < 3 else None
        inside = " " + self.selections(deeper, depth + 1) if deeper else ""
        return f"{alias}{field}{self.directive(depth)}{inside}"

    def fragment(self, of, depth):
        name = f"{of}{self.random.randrange(3)}"
        if name not in self.fragments:
            self.fragments[name] = ""
            self.fragments[name] = f" fragment {name} on {of} {self.selections(of, depth + 1)}"
        return name

    def document(self):
        body = self.selections("Subscription", 0)
        text = body + "".join(self.fragments.values())
        used = [name for name in ("b", "i") if f"${name}" in text or self.random.random() < 0.02]
        types = {
            "b": ["Boolean!"] * 6 + ["Boolean", "Boolean = true", "Int!"],
            "i": ["Int"] * 6 + ["String"],
        }
        variables = ", ".join(f"${name}: {self.random.choice(types[name])}" for name in used)
        return f"subscription {f'({variables}) ' if variables else ''}{text}"


@pytest.mark.parametrize("text", list(rows()))
def test_the_table_is_judged_as_graphql_core_does(text):
    expected = is_valid(graphql.build_schema(SDL), text)
    assert (coulis.graphql.validate(text, schema=SDL) == []) is expected


def test_random_documents_are_judged_as_graphql_core_does():
    schema = graphql.build_schema(SDL)
    valid = 0
    for seed in range(500):
        text = Writer(seed).document()
        expected = is_valid(schema, text)
        errors = coulis.graphql.validate(text, schema=SDL)
        if any(error["extensions"]["code"] == "LIMIT_EXCEEDED" for error in errors):
            continue
        assert (errors == []) is expected, text
        valid += expected
        if expected:
            assert coulis.graphql.validate(text) == [], f"without a schema: {text}"
    assert valid > 50
