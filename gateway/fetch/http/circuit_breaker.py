"""Stop sending requests to a registry that keeps failing."""

from __future__ import annotations

from gateway.errors import RetryLater
from gateway.observability import metrics


class CircuitBreaker:
    """Stops calling a registry that keeps failing, and lets one probe through after a pause that doubles.

    Metric ``gateway_breaker_state``: 0 closed, 1 half-open, 2 open.
    """

    def __init__(
        self, connector: str, *, threshold: int = 8, pause: float = 30.0, max_pause: float = 600.0
    ) -> None:
        self._connector = connector
        self._threshold = threshold
        self._first_pause = self._pause = pause
        self._longest = max_pause
        self._failures = 0
        self._open_until: float | None = None
        self._probing = False
        self._why = ""
        self._set_state_metric(0)

    def check(self, now: float) -> None:
        """Return when a request may go out; raise :class:`~gateway.errors.RetryLater` (``BREAKER_OPEN``) when not."""
        if self._open_until is None:
            return
        if now < self._open_until or self._probing:
            after = max(1.0, self._open_until - now)
            told = f"{self._connector}: not called for {after:.0f} s after repeated failures; the last was {self._why}"
            raise RetryLater("BREAKER_OPEN", told, after=after)
        self._probing = True
        self._set_state_metric(1)

    def record_success(self) -> None:
        """Close: the registry answers."""
        self._failures, self._open_until, self._probing, self._pause = (
            0,
            None,
            False,
            self._first_pause,
        )
        self._set_state_metric(0)

    def record_failure(self, now: float, why: str) -> None:
        """Count a failure of the registry (never one of ours) and keep its reason; open after enough of them in a row."""
        self._failures += 1
        self._why = why
        if self._probing:
            self._pause = min(self._pause * 2, self._longest)
        if self._probing or self._failures >= self._threshold:
            self._open_until, self._probing = now + self._pause, False
            self._set_state_metric(2)

    def cancel_probe(self) -> None:
        """Forget a probe that was cancelled before it could answer."""
        self._probing = False

    def _set_state_metric(self, state: int) -> None:
        metrics.BREAKER_STATE.labels(self._connector).set(state)
