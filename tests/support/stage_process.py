"""Run the harmonise stage with a simple function, in a process that tests can kill or freeze.

The input has the key ``k<number>`` and the value ``<key>:<sequence>``. The function rejects a
sequence that ends in 7. An empty value is a deletion.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import uuid

from aiokafka import AIOKafkaProducer, ConsumerRecord

from gateway.kafka import transactions
from gateway.kafka.transactions import TransactionalProducer
from gateway.messages.outgoing import OutgoingRecord
from gateway.pipeline.harmonise_stage import HarmoniseStage
from gateway.pipeline.processed_record import ProcessedRecord
from gateway.settings import Settings


class Doubling:
    """A processor that returns two documents for an accepted record and one rejection otherwise."""

    def __init__(self, out: str, rejects: str) -> None:
        self.out = out
        self.rejects = rejects

    def __call__(self, record: ConsumerRecord) -> ProcessedRecord:
        if record.value is None:
            return ProcessedRecord(
                [OutgoingRecord(self.out, record.key, None, [])], "c", "s", "deleted"
            )
        if record.value.endswith(b"7"):
            return self.shrink(record)
        headers = [("ce_id", record.value)]
        documents = [
            OutgoingRecord(self.out, record.key, record.value, headers),
            OutgoingRecord(self.out, b"copy-" + record.key, record.value, headers),
        ]
        return ProcessedRecord(documents, "c", "s", "accepted")

    def shrink(self, record: ConsumerRecord) -> ProcessedRecord:
        return ProcessedRecord(
            [OutgoingRecord(self.rejects, record.key, record.value[:40], [])],
            "c",
            "s",
            "rejected",
            reason="test",
        )


def plant(defect: str) -> None:
    """Plant a defect that the tests must find, and freeze before the next commit on SIGUSR1."""
    stop_before_commit = False

    def on_signal(*_: object) -> None:
        nonlocal stop_before_commit
        stop_before_commit = True

    commit = AIOKafkaProducer.commit_transaction

    async def stopping(producer: AIOKafkaProducer) -> None:
        nonlocal stop_before_commit
        if stop_before_commit:
            stop_before_commit = False
            os.kill(os.getpid(), signal.SIGSTOP)
        await commit(producer)

    signal.signal(signal.SIGUSR1, on_signal)
    AIOKafkaProducer.commit_transaction = stopping
    if defect == "random-id":
        fence = TransactionalProducer.fence

        async def fence_nobody(transactional: TransactionalProducer) -> None:
            transactional.transactional_id = uuid.uuid4().hex
            await fence(transactional)

        TransactionalProducer.fence = fence_nobody  # type: ignore[method-assign]
        transactions.COMMIT_SECONDS = 90.0
        transactions.TRANSACTION_TIMEOUT_MS = 90_000


async def main(
    bootstrap: str, topic: str, out: str, rejects: str, group: str, instance: str, defect: str
) -> None:
    plant(defect)
    process = Doubling(out, rejects)
    stage = HarmoniseStage(
        Settings(kafka_bootstrap=bootstrap, instance=instance, registry_environment="acceptance"),
        process,
        process.shrink,
        topic=topic,
        group=group,
        batch=300,
    )
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stage.stop)
    running = asyncio.create_task(stage.run())
    said = -1
    while not running.done():
        if stage.committed != said:
            said = stage.committed
            print(said, flush=True)
        await asyncio.wait([running], timeout=0.02)
    await running


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
