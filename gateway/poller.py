"""Keep one connector's streams polled: at their interval, on command, and again after a failure."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import structlog

from gateway.errors import Denied, Fenced, Halt, IntegrityStop, RetryLater
from gateway.harmonise.subjects import Subjects
from gateway.keys import SUPPRESSION, keys_of
from gateway.poll import poll_once
from gateway.publish.ledger import Ledger
from gateway.renormalise import renormalise
from gateway.watch import metrics

if TYPE_CHECKING:
    from gateway.deliver import Deliver
    from gateway.fetch.client import Client
    from gateway.language.connector import Connector
    from gateway.settings import Settings

log = structlog.get_logger()

FIRST_RETRY_SECONDS = 1.0
LONGEST_RETRY_SECONDS = 300.0
HALTED_RETRY_SECONDS = 60.0
"""A stream that needs a person is still tried, slowly: the registry may have been mended meanwhile."""


class StreamPoller:
    """One stream of one connector. :meth:`run` returns only when cancelled."""

    def __init__(self, settings: Settings, connector: Connector, stream: str, client: Client, deliver: Deliver) -> None:
        self.connector = connector
        self.stream = stream
        self.paused = False
        self.problem = ""
        """Why the last poll failed, in one line; empty when it ended well."""
        self.renormalise_next = False
        self._settings = settings
        self._client = client
        self._deliver = deliver
        self._ledger = Ledger(settings, connector.connector, stream, Subjects(connector, keys_of(settings).of(SUPPRESSION)))
        self._wake = asyncio.Event()
        self._failures = 0

    def wake(self) -> None:
        """Poll now."""
        self._wake.set()

    async def run(self) -> None:
        """Poll for ever; close the producer on the way out."""
        every = self.connector.streams[self.stream].every.total_seconds()
        metrics.POLL_INTERVAL.labels(self.connector.connector, self.stream).set(every)
        try:
            while True:
                self._wake.clear()  # before the poll: a command that arrives during it is acted on right after it
                delay = every if self.paused and not self.renormalise_next else await self.poll(every)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), delay)
        finally:
            await self._ledger.close()

    async def poll(self, every: float) -> float:
        """Poll once and return the seconds to wait before the next time."""
        name = self.connector.connector
        started = time.monotonic()
        with structlog.contextvars.bound_contextvars(connector=name, stream=self.stream):
            try:
                if self.renormalise_next:
                    changed = await renormalise(self._settings, self._deliver, self._ledger)
                    self.renormalise_next = False
                    log.info("renormalised", changed=changed)
                    if self.paused:
                        return every
                tally = await poll_once(self.connector, self.stream, self._client, self._ledger, datetime.now(UTC))
            except RetryLater as error:
                return self._failed("retry", error.reason, str(error), self._backoff(error.after))
            except Halt as error:
                return self._failed("halt", error.reason, str(error), max(every, HALTED_RETRY_SECONDS))
            except Fenced as error:
                return self._failed("fenced", "fenced", str(error), self._backoff(None))
            except Denied as error:
                return self._failed("halt", "denied", str(error), max(every, HALTED_RETRY_SECONDS))
            except IntegrityStop as error:
                return self._failed("halt", "integrity", str(error), max(every, HALTED_RETRY_SECONDS))
            except Exception as error:  # noqa: BLE001 - one stream's defect must not end the others; the type says where to look
                return self._failed("halt", "unexpected", type(error).__name__, max(every, HALTED_RETRY_SECONDS))
            finally:
                metrics.POLL_DURATION.labels(name, self.stream).observe(time.monotonic() - started)
            self._failures = 0
            self.problem = ""
            metrics.POLLS.labels(name, self.stream, "ok").inc()
            if tally.received:
                log.info("polled", received=tally.received, written=tally.written, unchanged=tally.unchanged, pages=tally.pages)
            return every

    def _failed(self, outcome: str, reason: str, text: str, delay: float) -> float:
        self.problem = text
        metrics.POLLS.labels(self.connector.connector, self.stream, outcome).inc()
        log.warning("poll failed", outcome=outcome, reason=reason, error=text, next_try_seconds=round(delay, 1))
        return delay

    def _backoff(self, after: float | None) -> float:
        self._failures += 1
        delay: float = min(LONGEST_RETRY_SECONDS, FIRST_RETRY_SECONDS * 2 ** min(self._failures - 1, 10))
        return max(delay * random.uniform(0.5, 1.0), after or 0.0)  # noqa: S311 - jitter, not a secret
