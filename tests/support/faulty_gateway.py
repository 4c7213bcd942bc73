"""Run the gateway's command line with a fault at a point of its Kafka protocol, or with a defect.

``GATEWAY_TEST_FAILPOINT=role:point:nth:action`` strikes once. It strikes when a producer of
``role`` (``poll``, ``harmonise`` or ``any``) passes ``point`` for the ``nth`` time. A flush that
moves only a cursor does not count. ``action`` is ``kill``, ``stop``, ``raise`` or ``cancel``.

``GATEWAY_TEST_DEFECT=name`` plants one of ``planted_defects.DEFECTS``. The gateway contains no code
for either, because this module wraps it from outside.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.errors import RequestTimedOutError

from gateway.kafka.cluster_check import TRANSACTIONAL_ID
from gateway.kafka.transactions import Batches, TransactionalProducer
from gateway.messages.topics import CURSORS, DIGESTS
from gateway.pipeline import stream_state

POINTS = (
    "before-begin",
    "after-begin",
    "after-send",
    "after-flush",
    "before-commit",
    "after-commit",
    "before-cursor",
)
POSITIONS = (CURSORS.name, DIGESTS.name)
ACTIONS = ("kill", "stop", "raise", "cancel")


class Failpoint:
    """One fault that strikes at a point of the protocol."""

    def __init__(self, text: str) -> None:
        self.role, self.point, nth, self.action = text.split(":")
        assert self.point in POINTS, self.point
        assert self.action in ACTIONS, self.action
        self.nth = int(nth)
        self.passed: Counter[str] = Counter()

    def reach(self, point: str, role: str) -> None:
        """Strike when the point, the role and the count match."""
        if point != self.point or self.role not in {role, "any"}:
            return
        self.passed[point] += 1
        if self.passed[point] != self.nth:
            return
        print(f"failpoint {self.role}:{point}:{self.nth}:{self.action}", flush=True)
        match self.action:
            case "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            case "stop":
                os.kill(os.getpid(), signal.SIGSTOP)
            case "raise":
                raise RequestTimedOutError
            case "cancel":
                raise asyncio.CancelledError  # as aiokafka does to a task that waits for a lost connection


def role_of(producer: AIOKafkaProducer) -> str:
    name = str(producer._txn_manager.transactional_id)
    return (
        "cluster"
        if name == TRANSACTIONAL_ID
        else "poll"
        if name.startswith("poll-")
        else "harmonise"
    )


def arm(failpoint: Failpoint) -> None:
    """Wrap the points of the protocol."""

    def around(
        owner: Any,
        name: str,
        before: str = "",
        after: str = "",
        role: Callable[[Any], str] = role_of,
    ) -> None:
        inner: Callable[..., Awaitable[Any]] = getattr(owner, name)

        async def wrapped(self: Any, *arguments: Any, **words: Any) -> Any:
            if before:
                failpoint.reach(before, role(self))
            result = await inner(self, *arguments, **words)
            if after:
                failpoint.reach(after, role(self))
            return result

        setattr(owner, name, wrapped)

    around(AIOKafkaProducer, "begin_transaction", after="after-begin")
    around(AIOKafkaProducer, "send_batch", after="after-send")
    send, commit = TransactionalProducer._send, AIOKafkaProducer.commit_transaction
    full: set[AIOKafkaProducer] = (
        set()
    )  # producers whose transaction holds records; a cursor alone does not count

    async def sending(
        self: TransactionalProducer, producer: AIOKafkaProducer, sent: Sequence[Any]
    ) -> None:
        await send(self, producer, sent)
        if any(one.topic not in POSITIONS for one in sent):
            full.add(producer)
            failpoint.reach("after-flush", role_of(producer))

    async def committing(self: AIOKafkaProducer) -> None:
        if self not in full:
            await commit(self)
            return
        full.discard(self)
        failpoint.reach("before-commit", role_of(self))
        await commit(self)
        failpoint.reach("after-commit", role_of(self))

    TransactionalProducer._send = sending  # type: ignore[method-assign]
    AIOKafkaProducer.commit_transaction = committing  # type: ignore[method-assign]
    write = TransactionalProducer.commit

    async def writing(self: TransactionalProducer, records: Any, *more: Any, **words: Any) -> None:
        sent = records.batches() if isinstance(records, Batches) else records
        if self.transactional_id.startswith("poll-") and any(
            one.topic not in POSITIONS for one in sent
        ):
            failpoint.reach("before-begin", "poll")
        await write(self, records, *more, **words)

    TransactionalProducer.commit = writing  # type: ignore[method-assign]
    around(AIOKafkaConsumer, "committed", before="before-cursor", role=lambda _: "harmonise")
    read = stream_state.read_partition

    async def reading(*arguments: Any, **words: Any) -> Any:
        failpoint.reach("before-cursor", "poll")
        return await read(*arguments, **words)

    stream_state.read_partition = reading


def tell() -> None:
    """Print each acquired transactional id and each move of an offset to standard output."""
    fence, read, move = (
        TransactionalProducer.fence,
        AIOKafkaConsumer.committed,
        AIOKafkaProducer.send_offsets_to_transaction,
    )

    async def telling(self: TransactionalProducer) -> None:
        await fence(self)
        ours[:] = [asyncio.get_running_loop()]
        say(f"fenced {self.transactional_id}")

    async def reading(self: AIOKafkaConsumer, place: Any) -> Any:
        found = await read(self, place)
        say(f"position of {place.topic}-{place.partition} is {found}")
        return found

    async def moving(self: AIOKafkaProducer, offsets: Any, group: str) -> None:
        one = self._txn_manager
        to = ", ".join(
            f"{place.topic}-{place.partition} to {offset}" for place, offset in offsets.items()
        )
        say(f"moves {to} as producer {one.producer_id}, epoch {one.producer_epoch}")
        await move(self, offsets, group)

    TransactionalProducer.fence = telling  # type: ignore[method-assign]
    AIOKafkaConsumer.committed = reading
    AIOKafkaProducer.send_offsets_to_transaction = moving


def say(text: str) -> None:
    with contextlib.suppress(OSError):  # a full disk may be the tested fault
        print(f"{datetime.now(UTC):%H:%M:%S.%f} {text}", flush=True)


def stacks(*_: object) -> None:
    """Print where every task waits."""
    for task in asyncio.all_tasks(ours[0]) if ours else ():
        awaited: Any = task.get_coro()
        places = []
        while awaited is not None and len(places) < 30:
            frame = getattr(awaited, "cr_frame", None) or getattr(awaited, "ag_frame", None)
            if frame is not None:
                places.append(
                    f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno} {frame.f_code.co_name}"
                )
            awaited = getattr(awaited, "cr_await", None) or getattr(awaited, "ag_await", None)
        print(f"task {task.get_name()}: {' > '.join(places)}", flush=True)


ours: list[asyncio.AbstractEventLoop] = []


def main() -> None:
    signal.signal(signal.SIGUSR2, stacks)
    tell()
    if text := os.environ.get("GATEWAY_TEST_FAILPOINT"):
        arm(Failpoint(text))
    if name := os.environ.get("GATEWAY_TEST_DEFECT"):
        from tests.support.planted_defects import DEFECTS

        DEFECTS[name].plant()
    if hours := os.environ.get("GATEWAY_TEST_CLOCK"):
        import time_machine

        wrong = datetime.now(UTC) + timedelta(hours=float(hours))
        time_machine.travel(
            wrong, tick=True
        ).start()  # moves the wall clock only; the monotonic clock stays correct
    from gateway.__main__ import main as gateway

    gateway()


if __name__ == "__main__":
    main()
