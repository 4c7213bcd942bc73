"""Stop sending requests to a registry that keeps failing."""

from __future__ import annotations

from gateway.errors import RetryLater
from gateway.observability import metrics


class CircuitBreaker:
    """A circuit breaker for one registry.

    It opens after ``threshold`` failures in a row and blocks all requests for ``pause`` seconds.
    Then it allows one probe. Each failed probe doubles the pause, up to ``max_pause`` seconds.
    The metric ``gateway_breaker_state`` is 0 for closed, 1 for half-open and 2 for open.
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
        """Return if a request may be sent.

        Otherwise raise :class:`~gateway.errors.RetryLater` (``BREAKER_OPEN``) with the remaining
        pause. ``now`` is the time of the event loop in seconds.
        """
        if self._open_until is None:
            return
        if now < self._open_until or self._probing:
            after = max(1.0, self._open_until - now)
            raise RetryLater(
                "BREAKER_OPEN",
                f"{self._connector}: the registry is not called for {after:.0f} s after repeated "
                f"failures; the last was {self._why}",
                after=after,
            )
        self._probing = True
        self._set_state_metric(1)

    def record_success(self) -> None:
        """Close the breaker, because the registry answered."""
        self._failures, self._open_until, self._probing, self._pause = (
            0,
            None,
            False,
            self._first_pause,
        )
        self._set_state_metric(0)

    def record_failure(self, now: float, why: str) -> None:
        """Count a failure of the registry, and open the breaker when the threshold is reached.

        Failures of the gateway itself do not count. ``why`` is the reason code of the failure.
        """
        self._failures += 1
        self._why = why
        if self._probing:
            self._pause = min(self._pause * 2, self._longest)
        if self._probing or self._failures >= self._threshold:
            self._open_until, self._probing = now + self._pause, False
            self._set_state_metric(2)

    def cancel_probe(self) -> None:
        """Allow another probe, because the last one was cancelled before its reply."""
        self._probing = False

    def _set_state_metric(self, state: int) -> None:
        metrics.BREAKER_STATE.labels(self._connector).set(state)
