"""Permissions: asked once, when somebody subscribes, and not for each event; policies are for those.

The shape is Strawberry's: a class with `has_permission(source, info, **kwargs)`, sync or async, and a
`message`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from coulis._coulis import AuthorizationFailed, SecurityContext
from coulis.deadlines import within

__all__ = ["BasePermission", "Permission", "SubscriptionInfo", "check_permissions", "permissions"]


class Permission(Protocol):
    """Says whether somebody may subscribe."""

    def has_permission(self, source: Any, info: Any, **kwargs: Any) -> Any:
        """Answer whether it is allowed; `source` is `None`, `kwargs` are the root field's arguments."""


class BasePermission:
    """What permissions may derive from; those of Strawberry work as well."""

    message: str = "not allowed"
    """What the client reads if it is refused."""
    code: str = "FORBIDDEN"
    """The same as a word for programs, in `extensions.code`."""

    def has_permission(self, source: Any, info: SubscriptionInfo, **kwargs: Any) -> Any:
        """Answer whether `info.security` may subscribe; a bool, or an awaitable of one."""
        raise NotImplementedError


@dataclass(frozen=True)
class SubscriptionInfo:
    """What permissions and generators know of a subscription."""

    field_name: str
    """The root field."""
    subscription_id: str
    """The id that the client chose."""
    variables: dict[str, Any]
    security: SecurityContext
    """Who subscribes."""
    context: Any = None
    """What `context=` of the application made for the connection."""


def permissions(given: Iterable[Any]) -> tuple[Permission, ...]:
    """Read `permission_classes`: classes, or objects of them."""
    if isinstance(given, type) or not isinstance(given, Iterable):
        raise TypeError(f"`permission_classes` is `{given!r}`: pass a list of classes")
    found = []
    for one in given:
        made = one() if isinstance(one, type) else one
        if not callable(getattr(made, "has_permission", None)):
            raise TypeError(f"`permission_classes` holds `{one!r}`, which has no `has_permission`")
        found.append(made)
    return tuple(found)


async def check_permissions(
    asked: Iterable[Permission],
    info: SubscriptionInfo,
    arguments: dict[str, Any],
    timeout: float | None = None,
) -> None:
    """Ask one permission after the other, each for so many seconds.

    Raises `AuthorizationFailed` for the first that says no, and `TimedOut`.
    """
    for permission in asked:
        found = permission.has_permission(None, info, **arguments)
        allowed = await within(timeout, found, f"the permission `{type(permission).__name__}`")
        if allowed is not True:
            raise _refusal(permission)


def _refusal(permission: Permission) -> AuthorizationFailed:
    message = getattr(permission, "message", None) or BasePermission.message
    refusal = AuthorizationFailed(str(message))
    refusal.code = str(getattr(permission, "code", None) or BasePermission.code)
    return refusal
