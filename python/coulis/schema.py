"""Schemas as their users have them: text, a graphql-core `GraphQLSchema`, or a `strawberry.Schema`.

The engine reads the schema definition language; the object, where there is one, answers queries and
mutations.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

__all__ = ["SchemaSource", "execute_of", "to_sdl"]

SchemaSource: TypeAlias = Any
"""A `str` in the schema definition language, a `graphql.GraphQLSchema` or a `strawberry.Schema`."""

Execute = Callable[..., Any]
"""`execute(query, variables, operation_name, context)`, sync or async; answers an execution result."""


def to_sdl(schema: SchemaSource | None) -> str | None:
    """Answer a schema in the schema definition language. `TypeError` for what is none."""
    if schema is None or isinstance(schema, str):
        return schema
    if _is_graphql_core(schema):
        from graphql import print_schema

        return print_schema(schema)
    if callable(as_str := getattr(schema, "as_str", None)) and (text := as_str()) and isinstance(text, str):
        return text
    raise TypeError(
        f"`schema` is a `{type(schema).__name__}`: pass a str in the schema definition language, a "
        "graphql-core GraphQLSchema or a strawberry.Schema"
    )


def execute_of(schema: SchemaSource | None) -> Execute | None:
    """Answer what runs queries and mutations on a schema object, or `None` where it is a text only."""
    if schema is None or isinstance(schema, str):
        return None
    if _is_graphql_core(schema):
        return _graphql_core(schema)
    return _strawberry(schema) if callable(getattr(schema, "execute", None)) else None


def _is_graphql_core(schema: object) -> bool:
    # By name, so that nothing is imported for those who do not use it.
    kinds = [(kind.__module__.partition(".")[0], kind.__name__) for kind in type(schema).__mro__]
    return ("graphql", "GraphQLSchema") in kinds


def _graphql_core(schema: Any) -> Execute:
    from graphql import graphql

    async def execute(query: str, variables: dict[str, Any], operation_name: str | None, context: Any) -> Any:
        return await graphql(
            schema, query, context_value=context, variable_values=variables, operation_name=operation_name
        )

    return execute


def _strawberry(schema: Any) -> Execute:
    async def execute(query: str, variables: dict[str, Any], operation_name: str | None, context: Any) -> Any:
        return await schema.execute(
            query, variable_values=variables, context_value=context, operation_name=operation_name
        )

    return execute
