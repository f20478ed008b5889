"""What is wrong with a GraphQL document, before anybody runs it."""

from __future__ import annotations

from typing import Any

from coulis import _coulis
from coulis.schema import SchemaSource, to_sdl

__all__ = ["validate"]


def validate(
    document: str,
    *,
    schema: SchemaSource | None = None,
    operation_name: str | None = None,
    variables: dict[str, Any] | None = None,
) -> list[dict[str, Any]]:
    """Answer what is wrong with a GraphQL document: `[]`, or errors as GraphQL shapes them.

    Without `schema` the rules that need no types are checked; it is a text in the schema definition language,
    a graphql-core `GraphQLSchema` or a `strawberry.Schema`. Raises `ValueError` for one that is not valid.
    """
    return _coulis.validate(
        document, schema=to_sdl(schema), operation_name=operation_name, variables=variables
    )
