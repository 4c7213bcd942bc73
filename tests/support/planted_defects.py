"""Deliberate defects that other products have shipped. The verifier must find each of them.

``plant`` changes this process. It runs in ``faulty_gateway.py`` before the command line starts.
"""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiokafka.errors import TopicAuthorizationFailedError

from gateway.errors import Denied, Fenced, RetryLater
from gateway.kafka import cluster_check, topic_admin, transactions
from gateway.kafka.batches import Batches
from gateway.kafka.transactions import TransactionalProducer
from gateway.messages.topics import CURSORS, DIGESTS
from gateway.pipeline.stream_state import StreamState

GO_ON = "go-on"
"""A file in the working directory. ``cursor-before-fence`` waits for it before it fences."""


@dataclass(frozen=True)
class Defect:
    """A defect: its description and the function that plants it."""

    says: str
    plant: Callable[[], None]


def _rewrite(change: Callable[..., Any]) -> None:
    """Replace ``TransactionalProducer.commit`` with ``change``.

    ``change`` receives the original function, the producer, the records, the offsets and the group.
    It receives records instead of batches.
    """
    write, fill = TransactionalProducer.commit, TransactionalProducer.add_records
    given: dict[TransactionalProducer, list[Any]] = {}

    async def filled(self: TransactionalProducer, records: Any, batches: Any = None) -> Any:
        records = list(records)
        given[self] = [*(given[self] if batches is not None else []), *records]
        return await fill(self, records, batches)

    async def changed(
        self: TransactionalProducer, records: Any, offsets: Any = None, group: str = ""
    ) -> None:
        async def inner(records: Any, offsets: Any = None, group: str = "") -> None:
            await write(self, records, offsets, group)

        await change(
            inner,
            self,
            given[self] if isinstance(records, Batches) else list(records),
            offsets,
            group,
        )

    TransactionalProducer.add_records = filled  # type: ignore[method-assign]
    TransactionalProducer.commit = changed  # type: ignore[method-assign]


def cursor_apart() -> None:
    async def write(
        inner: Any, one: TransactionalProducer, records: Any, offsets: Any, group: str
    ) -> None:
        ahead = [record for record in records if record.topic == CURSORS.name]
        if ahead and len(ahead) < len(records):
            await inner(ahead)
            records = [record for record in records if record.topic != CURSORS.name]
        await inner(records, offsets, group)

    _rewrite(write)


def offsets_apart() -> None:
    async def write(
        inner: Any, one: TransactionalProducer, records: Any, offsets: Any, group: str
    ) -> None:
        await inner(records)
        if offsets:
            await inner([], offsets, group)

    _rewrite(write)


def assume_aborted() -> None:
    async def write(
        inner: Any, one: TransactionalProducer, records: Any, offsets: Any, group: str
    ) -> None:
        try:
            await inner(records, offsets, group)
        except RetryLater:
            await one.fence()
            await inner(records, offsets, group)

    _rewrite(write)


def drop_batch() -> None:
    async def write(
        inner: Any, one: TransactionalProducer, records: Any, offsets: Any, group: str
    ) -> None:
        try:
            await inner(records, offsets, group)
        except RetryLater:
            await one.fence()

    _rewrite(write)


def memory_dedupe() -> None:
    async def write(
        inner: Any, one: TransactionalProducer, records: Any, offsets: Any, group: str
    ) -> None:
        await inner([record for record in records if record.topic != DIGESTS.name], offsets, group)

    _rewrite(write)


def commit_others() -> None:
    async def write(
        inner: Any, one: TransactionalProducer, records: Any, offsets: Any, group: str
    ) -> None:
        try:
            await inner(records, offsets, group)
        except Denied as error:
            refused = error.__cause__
            if not isinstance(refused, TopicAuthorizationFailedError):
                raise
            await one.fence()
            await inner(
                [record for record in records if record.topic not in str(refused)], offsets, group
            )

    _rewrite(write)


def cursor_before_fence() -> None:
    take = StreamState._acquire

    async def early(self: StreamState) -> Any:
        fence = self._transactional.fence

        async def nothing() -> None:
            return

        self._transactional.fence = nothing  # type: ignore[method-assign]
        try:
            found = await take(self)
        finally:
            self._transactional.fence = fence  # type: ignore[method-assign]
        print("defect: cursor read before the fence", flush=True)
        while not Path(GO_ON).exists():
            await asyncio.sleep(0.1)
        await fence()
        return found

    StreamState._acquire = early  # type: ignore[method-assign]


def random_id() -> None:
    fence = TransactionalProducer.fence

    async def fence_nobody(self: TransactionalProducer) -> None:
        self.transactional_id = f"{self.transactional_id[:8]}{uuid.uuid4().hex}"
        await fence(self)

    TransactionalProducer.fence = fence_nobody  # type: ignore[method-assign]
    transactions.COMMIT_SECONDS = 90.0
    transactions.TRANSACTION_TIMEOUT_MS = 90_000


def no_reseek() -> None:
    from gateway.pipeline.harmonise_stage import HarmoniseStage

    take = HarmoniseStage._acquire_partition

    async def lazily(self: Any, consumer: Any, place: Any, lane: Any) -> None:
        if lane.failures:
            await lane.transactional.fence()
            lane.ready = True
        else:
            await take(self, consumer, place, lane)

    HarmoniseStage._acquire_partition = lazily  # type: ignore[method-assign]


def unawaited_sends() -> None:
    TransactionalProducer._check_results = lambda *_: None  # type: ignore[method-assign]


def read_uncommitted() -> None:
    consumer = transactions.AIOKafkaConsumer

    def careless(*arguments: Any, **words: Any) -> Any:
        return consumer(*arguments, **words | {"isolation_level": "read_uncommitted"})

    transactions.AIOKafkaConsumer = careless


def fence_is_fatal() -> None:
    write = TransactionalProducer.commit

    async def once(self: TransactionalProducer, *arguments: Any, **words: Any) -> None:
        try:
            await write(self, *arguments, **words)
        except Fenced:
            await asyncio.Event().wait()

    TransactionalProducer.commit = once  # type: ignore[method-assign]


def crash_on_poison() -> None:
    from gateway.pipeline.record_processor import RecordProcessor

    def crash(*_: Any) -> None:
        os._exit(1)

    RecordProcessor._reject = crash  # type: ignore[assignment, method-assign]


def no_handler() -> None:
    import uvloop

    from gateway.worker.worker import Worker

    del uvloop
    Worker.stop = lambda *_: None  # type: ignore[method-assign]


def topics_unchecked() -> None:
    async def fine(_: Any) -> None:
        return

    topic_admin.verify_topics = fine  # type: ignore[assignment]


def denied_again() -> None:
    from gateway.worker.worker import Worker

    run = Worker.run

    async def for_ever(self: Any) -> None:
        while True:
            try:
                return await run(self)
            except Denied:
                await asyncio.sleep(1)

    Worker.run = for_ever  # type: ignore[method-assign]


def any_cluster() -> None:
    async def fine(_: Any) -> None:
        return

    cluster_check.verify_cluster = fine  # type: ignore[assignment]


def replay_at_once() -> None:
    from gateway.operations import replay

    async def nobody(*_: Any) -> None:
        return

    replay.wait_until_harmonised = nobody  # type: ignore[assignment]


def long_timeout() -> None:
    transactions.TRANSACTION_TIMEOUT_MS = 900_000


DEFECTS = {
    "cursor-apart": Defect(
        "the cursor is committed in a transaction of its own, before its records", cursor_apart
    ),
    "offsets-apart": Defect(
        "the consumed offset is committed in a second transaction", offsets_apart
    ),
    "assume-aborted": Defect(
        "a failed commit is taken for an abort, and the same batch is written again", assume_aborted
    ),
    "drop-batch": Defect("a batch whose commit failed is dropped", drop_batch),
    "memory-dedupe": Defect("what is known of each record is kept in memory only", memory_dedupe),
    "commit-others": Defect(
        "when one topic is refused, the rest of the transaction is committed without it",
        commit_others,
    ),
    "cursor-before-fence": Defect(
        "the cursor is read before the previous owner is fenced", cursor_before_fence
    ),
    "random-id": Defect("each instance has a transactional id of its own", random_id),
    "no-reseek": Defect(
        "after a failure the partition is fenced but not read again from its committed offset",
        no_reseek,
    ),
    "unawaited-sends": Defect("nobody looks at what became of each send", unawaited_sends),
    "read-uncommitted": Defect(
        "the ledger is read with records of aborted transactions", read_uncommitted
    ),
    "fence-is-fatal": Defect("a stream that was fenced once never works again", fence_is_fatal),
    "crash-on-poison": Defect("a record that cannot be mapped ends the process", crash_on_poison),
    "no-handler": Defect("SIGTERM does not drain", no_handler),
    "topics-unchecked": Defect(
        "topics and their clean-up policy are not checked at the start", topics_unchecked
    ),
    "denied-again": Defect(
        "a principal without rights is tried for ever, and nobody is told", denied_again
    ),
    "any-cluster": Defect("cursors of another cluster are taken for this one's", any_cluster),
    "replay-at-once": Defect(
        "rejections are replayed while the stage is still behind with those replayed before",
        replay_at_once,
    ),
    "long-timeout": Defect(
        "a dead worker's transaction stays open for fifteen minutes", long_timeout
    ),
}
