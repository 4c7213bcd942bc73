"""Which cluster the cursors belong to: written down beside them once, compared at every start.

Cursors that were copied to another cluster, or a bootstrap address that leads somewhere else, look right and are not: what they
say is durable may not be there. A cluster without any cursor is a new one, and is taken.
"""

from __future__ import annotations

import asyncio
import contextlib
import random

from aiokafka.errors import KafkaError

from gateway.errors import Fenced, IntegrityStop, RetryLater, Unavailable
from gateway.kafka.connection import admin_client
from gateway.kafka.topic_reader import read_topic
from gateway.kafka.transactions import TransactionalProducer, read_partition
from gateway.messages.outgoing import OutgoingRecord, partition_for
from gateway.messages.topics import CURSORS
from gateway.settings import Settings

KEY = b"|cluster"
"""No connector's name is empty, so no stream's cursor has this key."""
TRANSACTIONAL_ID = "poll-cluster"
ATTEMPTS = 8
QUICK_READ_SECONDS = 10.0


async def verify_cluster(settings: Settings) -> None:
    """Raise :class:`~gateway.errors.IntegrityStop` when the cursors were written on another cluster than the one that answers."""
    cluster_id = await read_cluster_id(settings)
    if await read_recorded_id_quickly(settings) == cluster_id:
        return
    try:
        known = await record_cluster_id(settings, cluster_id)
    except RetryLater as error:
        raise Unavailable(str(error)) from error
    if known != cluster_id:
        raise IntegrityStop(
            f"{CURSORS.name}: its cursors belong to the cluster {known}, and {settings.kafka_bootstrap} is the cluster {cluster_id}; set "
            "GATEWAY_KAFKA_BOOTSTRAP right, or, when all topics were moved here, run once with --accept-new-cluster"
        )


async def accept_cluster(settings: Settings) -> None:
    """Let the cursors belong to the cluster that answers now."""
    await record_cluster_id(settings, await read_cluster_id(settings), overwrite=True)


async def read_cluster_id(settings: Settings) -> str:
    """Return the id of the cluster that answers."""
    client = await admin_client(settings)
    try:
        return str((await client.describe_cluster())["cluster_id"])
    finally:
        await client.close()


async def read_recorded_id_quickly(settings: Settings) -> str:
    """Return the id as far as it can be read at once; empty when it cannot.

    A worker that died in mid-transaction hides what was committed after it began, for as long as a transaction may last. A start that
    waited for that would wait for exactly what it is there to end; the id was written long before, so it is nearly always seen.
    """
    found = b""
    with contextlib.suppress(TimeoutError, KafkaError, OSError):
        async with asyncio.timeout(QUICK_READ_SECONDS):
            async for one in read_topic(settings, CURSORS.name):
                found = one.value or b"" if one.key == KEY else found
    return found.decode()


async def read_recorded_id(settings: Settings) -> str:
    """Return the id that stands beside the cursors; empty when none does."""
    found = await read_partition(
        settings, CURSORS.name, partition_for(KEY, CURSORS.partitions), [KEY]
    )
    return found.get(KEY, b"").decode()


async def record_cluster_id(settings: Settings, cluster_id: str, *, overwrite: bool = False) -> str:
    """Write the id down unless one stands there; return what stands there now.

    Workers that start at the same moment on a new cluster fence each other: one of them writes, the others find it written.
    """
    for _ in range(ATTEMPTS):
        known = "" if overwrite else await read_recorded_id(settings)
        if known:
            return known
        writer = TransactionalProducer(settings, TRANSACTIONAL_ID, "poll")
        try:
            await writer.fence()
            await writer.commit(
                [
                    OutgoingRecord(
                        CURSORS.name,
                        KEY,
                        cluster_id.encode(),
                        [],
                        partition_for(KEY, CURSORS.partitions),
                    )
                ]
            )
        except Fenced:
            await asyncio.sleep(random.uniform(0.1, 1.0))  # noqa: S311 - to part two workers, not a secret
        else:
            return cluster_id
        finally:
            await writer.close()
    raise RetryLater("kafka", f"{CURSORS.name}: others write at the same time; start again")
