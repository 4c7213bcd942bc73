"""Remember since when each stream of this worker does not run, also across restarts."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, field

from gateway.errors import GatewayError
from gateway.kafka.connection import KafkaError
from gateway.messages.status import StreamStateName, StreamStatus
from gateway.observability.metric_readings import Stream

RUNNING = frozenset({"running", "receiving", "backfilling"})
ReadStatuses = Callable[[], Awaitable[tuple[Sequence[StreamStatus], object]]]


@dataclass(slots=True)
class StateTimes:
    """The time of the first failure of each stream that fails.

    A stream that this worker acquires continues the time that its earlier owner reported.
    """

    read: ReadStatuses | None = None
    _since: dict[Stream, float] = field(default_factory=dict)
    _seen: set[Stream] = field(default_factory=set)

    async def load_earlier(self, names: Collection[Stream]) -> None:
        """Read once what earlier owners reported about streams that are new here."""
        unseen = set(names) - self._seen
        self._seen = set(names)
        if not unseen or self.read is None:
            return
        try:
            statuses, _ = await self.read()
        except (GatewayError, KafkaError, OSError):
            return  # The time begins now. The report itself must go on.
        for status in statuses:
            name = (status.connector, status.stream)
            if name in unseen and status.state not in RUNNING and status.since is not None:
                self._since[name] = min(status.since, self._since.get(name, status.since))

    def since(
        self, name: Stream, state: StreamStateName, now: float, last_success: float | None = None
    ) -> float | None:
        """Return since when a stream does not run; ``None`` if it runs.

        A restart does not end the time. The first poll after it tells whether the stream runs.
        """
        if state in RUNNING or (last_success or 0.0) > self._since.get(name, now):
            self._since.pop(name, None)
        if state in RUNNING:
            return None
        if state == "starting":
            return self._since.get(name)
        return self._since.setdefault(name, now)
