"""For how long a role has wanted to commit and could not: ``gateway_publish_blocked_seconds``, ``/readyz`` and the page read it here."""

from __future__ import annotations

import time
from functools import partial
from operator import itemgetter

from gateway.observability import metrics

GRACE_SECONDS = 2.0
"""A commit that takes no longer is not waiting."""

_BLOCKED_SINCE: dict[str, dict[str, float]] = {}
"""By role and by who waits: since when."""


def register_role(role: str) -> None:
    """Show a role from now on, 0 while nobody waits."""
    if role not in _BLOCKED_SINCE:
        _BLOCKED_SINCE[role] = {}
        metrics.PUBLISH_BLOCKED.labels(role).set_function(partial(blocked_seconds, role))


def mark_blocked(role: str, waiting_client: str) -> None:
    """Note that ``who`` waits, from now on unless it does already."""
    register_role(role)
    _BLOCKED_SINCE[role].setdefault(waiting_client, time.monotonic())


def mark_unblocked(role: str, waiting_client: str) -> None:
    """Note that ``who`` waits no longer."""
    _BLOCKED_SINCE.get(role, {}).pop(waiting_client, None)


def blocked_seconds(role: str) -> float:
    """Return for how long the longest waiting one of a role has waited."""
    now = time.monotonic()
    blocked = now - min(_BLOCKED_SINCE.get(role, {}).values(), default=now)
    return blocked if blocked > GRACE_SECONDS else 0.0


def blocked_reason(role: str) -> str:
    """Return for how long a role has waited and who waits longest, in one line; empty while nobody waits longer than usual."""
    waiting_client = min(
        _BLOCKED_SINCE.get(role, {}).items(), key=itemgetter(1), default=("", 0.0)
    )[0]
    return f"for {waited:.0f} s: {waiting_client}" if (waited := blocked_seconds(role)) else ""
