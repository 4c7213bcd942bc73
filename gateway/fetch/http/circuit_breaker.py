"""Stop sending requests to a registry that keeps failing.

The institutions of a registry fail independently, and so do the values of a loop. One of them that
fails must not stop the others, so each has a circuit breaker of its own.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass, field

from gateway.errors import RetryLater
from gateway.observability import metrics

BREAKER_CLOSED, BREAKER_HALF_OPEN, BREAKER_OPEN = range(3)
"""The values of the metric ``gateway_breaker_state``."""
PROBE_CHECK_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class BreakerScope:
    """The side of a registry that one request concerns.

    ``institution`` is the name of a party in the connector file. ``value`` identifies the values of
    the other loops. Both are blank for a request that concerns the registry as a whole.
    """

    institution: str = ""
    value: str = ""


WHOLE_REGISTRY = BreakerScope()


class CircuitBreaker:
    """A circuit breaker for one ``subject``, for example a registry.

    It opens after ``threshold`` failures in a row and blocks all requests for ``pause`` seconds.
    Then it allows one probe. Each failed probe doubles the pause, up to ``max_pause`` seconds.
    """

    def __init__(
        self,
        subject: str,
        *,
        threshold: int = 8,
        pause: float = 30.0,
        max_pause: float = 600.0,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        self._subject = subject
        self._threshold = threshold
        self._first_pause = self._pause = pause
        self._longest = max_pause
        self._failures = 0
        self._open_until: float | None = None
        self._probing = False
        self._why = ""
        self._on_change = on_change

    @property
    def state(self) -> int:
        """The state as a value of the metric ``gateway_breaker_state``."""
        if self._open_until is None:
            return BREAKER_CLOSED
        return BREAKER_HALF_OPEN if self._probing else BREAKER_OPEN

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
                f"{self._subject} is not called for {after:.0f} s after repeated failures; "
                f"the last was {self._why}",
                after=after,
                cause=self._why,
            )
        self._probing = True
        self._on_change()

    def record_success(self) -> None:
        """Close the breaker, because the registry answered."""
        was_closed = self._open_until is None
        self._failures, self._open_until, self._probing, self._pause = (
            0,
            None,
            False,
            self._first_pause,
        )
        if not was_closed:
            self._on_change()

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
            self._on_change()

    def cancel_probe(self) -> None:
        """Allow another probe, because the last one was cancelled before its reply."""
        self._probing = False

    def allow_probe(self) -> None:
        """Allow a probe at once, because a person asks for it. A closed breaker stays closed.

        If the probe fails, the pauses begin short again.
        """
        if self._open_until is not None:
            self._open_until, self._pause = -math.inf, self._first_pause


@dataclass(slots=True)
class CircuitBreakers:
    """The circuit breakers of one connector.

    Each origin of each institution has one. A loop value has one of its own while it fails, and
    only its first failure counts for its institution. So a few broken values stop no others, and
    an outage still opens the breaker of the institution.
    The metric ``gateway_breaker_state`` shows the worst state of each institution.
    """

    connector: str
    _shared: dict[tuple[str, str], CircuitBreaker] = field(default_factory=dict)
    """By institution and origin."""
    _values: dict[tuple[str, str, str], CircuitBreaker] = field(default_factory=dict)
    """By institution, origin and loop value. A value that answers has no entry."""

    def __post_init__(self) -> None:
        self._update_metric("")

    def guard(self, scope: BreakerScope, origin: str) -> BreakerGuard:
        """Return the guard of one request to ``origin``."""
        key = (scope.institution, origin)
        if key not in self._shared:
            called = f"{self.connector}: " + (scope.institution or "the registry")
            self._shared[key] = CircuitBreaker(
                called, on_change=lambda: self._update_metric(scope.institution)
            )
            self._update_metric(scope.institution)
        return BreakerGuard(self, self._shared[key], (*key, scope.value) if scope.value else None)

    def allow_probes(self) -> None:
        """Allow each breaker that is open to probe at once."""
        for breaker in (*self._shared.values(), *self._values.values()):
            breaker.allow_probe()

    async def wait_for_probes(self) -> None:
        """Wait until each probe has its reply or has failed."""
        while self._is_probing():  # noqa: ASYNC110 - one event for many breakers would cost more
            await asyncio.sleep(PROBE_CHECK_SECONDS)

    def _is_probing(self) -> bool:
        breakers = (*self._shared.values(), *self._values.values())
        return any(breaker.state == BREAKER_HALF_OPEN for breaker in breakers)

    def of_value(self, key: tuple[str, str, str]) -> CircuitBreaker | None:
        """Return the breaker of a loop value that has failed, or ``None``."""
        return self._values.get(key)

    def add_value(self, key: tuple[str, str, str]) -> CircuitBreaker:
        """Return a new breaker of a loop value that fails. Its text does not name the value."""
        subject = f"{self.connector}: one value of the loop"
        return self._values.setdefault(key, CircuitBreaker(subject))

    def forget_value(self, key: tuple[str, str, str]) -> None:
        """Forget the failures of a loop value, because it answered."""
        self._values.pop(key, None)

    def _update_metric(self, institution: str) -> None:
        states = (
            breaker.state for (name, _), breaker in self._shared.items() if name == institution
        )
        metrics.BREAKER_STATE.labels(self.connector, institution).set(
            max(states, default=BREAKER_CLOSED)
        )


@dataclass(slots=True)
class BreakerGuard:
    """The circuit breakers that one request has to pass, and that learn its result."""

    breakers: CircuitBreakers
    shared: CircuitBreaker
    value_key: tuple[str, str, str] | None = None

    def check(self, now: float) -> None:
        """Return if the request may be sent; otherwise raise ``BREAKER_OPEN``."""
        own = self._own()
        if own is not None:
            own.check(now)
        try:
            self.shared.check(now)
        except RetryLater:
            if own is not None:
                own.cancel_probe()
            raise

    def record_success(self) -> None:
        """Close the breakers, because the registry answered."""
        if self.value_key is not None:
            self.breakers.forget_value(self.value_key)
        self.shared.record_success()

    def record_failure(self, now: float, why: str) -> None:
        """Count a failure with the reason code ``why``."""
        own = self._own()
        if own is None or self.shared.state == BREAKER_HALF_OPEN:
            self.shared.record_failure(now, why)
        if self.value_key is not None:
            self.breakers.add_value(self.value_key).record_failure(now, why)

    def cancel_probe(self) -> None:
        """Allow another probe, because the request was cancelled before its reply."""
        own = self._own()
        if own is not None:
            own.cancel_probe()
        self.shared.cancel_probe()

    def _own(self) -> CircuitBreaker | None:
        return None if self.value_key is None else self.breakers.of_value(self.value_key)
