"""A real process that runs the stage with a simple real function, so that tests can kill, freeze and stop it.

Input: key ``k<number>``, value ``<key>:<sequence>``; a sequence that ends in 7 is rejected, an empty value is a deletion.
"""

from __future__ import annotations

import asyncio
import signal
import sys

from aiokafka import ConsumerRecord

from gateway.publish.transactions import Outgoing
from gateway.settings import Settings
from gateway.stage import Result, Stage


class Doubling:
    """Two documents for each accepted record, one rejection for each other."""

    def __init__(self, out: str, rejects: str) -> None:
        self.out = out
        self.rejects = rejects

    def __call__(self, record: ConsumerRecord) -> Result:
        if record.value is None:
            return Result([Outgoing(self.out, record.key, None, [])], "c", "s", "deleted")
        if record.value.endswith(b"7"):
            return self.shrink(record)
        headers = [("ce_id", record.value)]
        documents = [
            Outgoing(self.out, record.key, record.value, headers),
            Outgoing(self.out, b"copy-" + record.key, record.value, headers),
        ]
        return Result(documents, "c", "s", "accepted")

    def shrink(self, record: ConsumerRecord) -> Result:
        return Result([Outgoing(self.rejects, record.key, record.value[:40], [])], "c", "s", "rejected", reason="test")


async def main(bootstrap: str, topic: str, out: str, rejects: str, group: str, instance: str) -> None:  # noqa: PLR0917
    process = Doubling(out, rejects)
    stage = Stage(
        Settings(kafka_bootstrap=bootstrap, instance=instance, stage="acceptance"),
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
