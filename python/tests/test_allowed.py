"""Which documents an executor lets in: introspection, and the list of allowed operations."""

import hashlib

import coulis
import pytest

QUERY = "subscription { a { b } }"
DIGEST = hashlib.sha256(QUERY.encode()).hexdigest()


def code(executor, query):
    """The code of the refusal, or `None`."""
    try:
        executor.register_subscription("c", "s", query)
    except coulis.InvalidQuery as refused:
        return refused.errors[0]["extensions"]["code"]
    executor.complete_subscription("s")
    return None


@pytest.mark.parametrize(
    "allowed", [[QUERY], [DIGEST], [DIGEST.upper()], (QUERY, DIGEST), iter([QUERY]), QUERY]
)
def test_only_allowed_operations_are_let_in(allowed):
    with coulis.SubscriptionExecutor(allowed_operations=allowed) as executor:
        assert code(executor, QUERY) is None
        for other in ["subscription { a { c } }", QUERY + " ", DIGEST, ""]:
            assert code(executor, other) == "OPERATION_NOT_ALLOWED", other
        with pytest.raises(coulis.InvalidQuery, match="not one of the allowed operations"):
            executor.root_field("subscription { x }")
        assert executor.root_field(QUERY) == "a"


def test_an_empty_list_allows_nothing():
    with coulis.SubscriptionExecutor(allowed_operations=[]) as executor:
        assert code(executor, QUERY) == "OPERATION_NOT_ALLOWED"


@pytest.mark.parametrize("allowed", [[DIGEST[1:]], [DIGEST + "0"], ["x"], [""], ["\ud800{"]])
def test_what_is_neither_a_document_nor_a_digest_is_refused(allowed):
    with pytest.raises(ValueError, match="allowed_operations"):
        coulis.SubscriptionExecutor(allowed_operations=allowed)


@pytest.mark.parametrize("allowed", [[1], 7, [b"{a}"]])
def test_what_is_no_text_is_refused(allowed):
    with pytest.raises(TypeError, match="allowed_operations"):
        coulis.SubscriptionExecutor(allowed_operations=allowed)


def test_introspection_may_be_switched_off():
    document = "subscription { a { __schema { types { name } } } }"
    with coulis.SubscriptionExecutor() as executor:
        assert code(executor, document) is None
    with coulis.SubscriptionExecutor(introspection=False) as executor:
        assert code(executor, document) == "INTROSPECTION_DISABLED"
        assert code(executor, "subscription { a { __typename } }") is None
