"""For how long a role has wanted to commit and could not: ``gateway_publish_blocked_seconds``, ``/readyz`` and the page read it here."""

from __future__ import annotations

import time
from functools import partial
from operator import itemgetter

from gateway.observability import metrics

USUAL_SECONDS = 2.0
"""A commit that takes no longer is not waiting."""

_WAITING: dict[str, dict[str, float]] = {}
"""By role and by who waits: since when."""


def watch(role: str) -> None:
    """Show a role from now on, 0 while nobody waits."""
    if role not in _WAITING:
        _WAITING[role] = {}
        metrics.PUBLISH_BLOCKED.labels(role).set_function(partial(seconds, role))


def waits(role: str, who: str) -> None:
    """Note that ``who`` waits, from now on unless it does already."""
    watch(role)
    _WAITING[role].setdefault(who, time.monotonic())


def goes_on(role: str, who: str) -> None:
    """Note that ``who`` waits no longer."""
    _WAITING.get(role, {}).pop(who, None)


def seconds(role: str) -> float:
    """Return for how long the longest waiting one of a role has waited."""
    now = time.monotonic()
    blocked = now - min(_WAITING.get(role, {}).values(), default=now)
    return blocked if blocked > USUAL_SECONDS else 0.0


def why(role: str) -> str:
    """Return for how long a role has waited and who waits longest, in one line; empty while nobody waits longer than usual."""
    who = min(_WAITING.get(role, {}).items(), key=itemgetter(1), default=("", 0.0))[0]
    return f"for {waited:.0f} s: {who}" if (waited := seconds(role)) else ""
