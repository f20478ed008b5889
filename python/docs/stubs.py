"""The native classes' constructors, which stubs declare as `__new__`, where the site shows signatures."""

from __future__ import annotations

from typing import Any

import griffe


class Constructors(griffe.Extension):
    """Reads `__new__` of a class without `__init__` as its `__init__`."""

    def on_class_members(self, *, cls: griffe.Class, **_: Any) -> None:
        """Take a class that was read."""
        made = cls.members.get("__new__")
        if isinstance(made, griffe.Function) and "__init__" not in cls.members:
            made.name = "__init__"
            cls.set_member("__init__", made)
            del cls.members["__new__"]
