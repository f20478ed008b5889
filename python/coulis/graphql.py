"""What is wrong with a GraphQL document, before anybody runs it."""

from coulis._coulis import validate

__all__ = ["validate"]
