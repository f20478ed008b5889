"""Expressions of policies: the Common Expression Language (CEL).

They can be tried here, with any bindings, as the engine evaluates them:

>>> from coulis import policy
>>> policy.evaluate("event.amount > limit && 'clerk' in roles", {
...     "event": {"amount": 250}, "limit": 100, "roles": ["clerk"],
... })
True
>>> policy.evaluate("[1, 2, 3].map(n, n * factor)", {"factor": 2})
[2, 4, 6]

Times are `datetime` with a time zone, spans of time `timedelta`:

>>> from datetime import datetime, timedelta, timezone
>>> start = datetime(2026, 1, 31, 23, 30, tzinfo=timezone.utc)
>>> policy.evaluate("start + duration('1h')", {"start": start})
datetime.datetime(2026, 2, 1, 0, 30, tzinfo=datetime.timezone.utc)
>>> policy.evaluate("wait < duration('90s')", {"wait": timedelta(minutes=1)})
True

A `SecurityContext` is what policies see of it as `ctx`; users and tenants equal the text and the number:

>>> from coulis import SecurityContext
>>> policy.evaluate("ctx.user_id == 7 && ctx.user_id == '7'", {"ctx": SecurityContext(7)})
True

Whatever has no value is a `PolicyError`. A text that cannot be read has a place, counted from 1:

>>> policy.evaluate("1 / 0", {})
Traceback (most recent call last):
coulis.PolicyError: division by zero
>>> from coulis import PolicyError
>>> try:
...     policy.evaluate("event.amount >", {"event": {}})
... except PolicyError as error:
...     print(error.line, error.column)
1 15

`evaluate_tagged` keeps the types apart that Python does not know, in JSON:

>>> policy.evaluate_tagged("x + 2u", '{"x": {"uint": "1"}}')
'{"uint":"3"}'
"""

from coulis._coulis import evaluate, evaluate_tagged

__all__ = ["evaluate", "evaluate_tagged"]
