"""Record how long a role has been waiting to commit.

The metric ``gateway_publish_blocked_seconds``, ``/readyz`` and the status page read these times.
"""

from __future__ import annotations

import time
from functools import partial
from operator import itemgetter

from gateway.observability import metrics

GRACE_SECONDS = 2.0
"""A shorter wait is an ordinary commit and not reported."""

_BLOCKED_SINCE: dict[str, dict[str, float]] = {}
"""The start of each wait, by role and by waiting client."""


def register_role(role: str) -> None:
    """Export the metric of a role from now on, with 0 while nothing waits."""
    if role not in _BLOCKED_SINCE:
        _BLOCKED_SINCE[role] = {}
        metrics.PUBLISH_BLOCKED.labels(role).set_function(partial(blocked_seconds, role))


def mark_blocked(role: str, waiting_client: str) -> None:
    """Record that ``waiting_client`` waits. The wait starts with the first call."""
    register_role(role)
    _BLOCKED_SINCE[role].setdefault(waiting_client, time.monotonic())


def mark_unblocked(role: str, waiting_client: str) -> None:
    """Record that ``waiting_client`` waits no longer."""
    _BLOCKED_SINCE.get(role, {}).pop(waiting_client, None)


def blocked_seconds(role: str) -> float:
    """Return the longest wait of a role in seconds; 0 below the grace period."""
    now = time.monotonic()
    blocked = now - min(_BLOCKED_SINCE.get(role, {}).values(), default=now)
    return blocked if blocked > GRACE_SECONDS else 0.0


def blocked_reason(role: str) -> str:
    """Return how long a role has waited and which client waits longest, in one line.

    The text is empty while no client waits longer than the grace period.
    """
    waiting_client = min(
        _BLOCKED_SINCE.get(role, {}).items(), key=itemgetter(1), default=("", 0.0)
    )[0]
    return f"for {waited:.0f} s: {waiting_client}" if (waited := blocked_seconds(role)) else ""
