"""Check at every start that the cursors belong to the connected cluster.

The gateway stores the id of the cluster next to the cursors. Two mistakes make the ids
differ: the cursors were copied to another cluster, or the bootstrap address is wrong. Records
before the cursors may then be missing. A cluster without a stored id is new, so the gateway
stores its id. See docs/decisions/0023.
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
"""Key of the cluster id. No cursor has it, because no connector has an empty name."""
TRANSACTIONAL_ID = "poll-cluster"
ATTEMPTS = 8
QUICK_READ_SECONDS = 10.0


async def verify_cluster(settings: Settings) -> None:
    """Compare the stored cluster id with the connected cluster.

    Raises :class:`~gateway.errors.IntegrityStop` if they differ. Raises
    :class:`~gateway.errors.Unavailable` if the id can be neither read nor stored.
    """
    cluster_id = await read_cluster_id(settings)
    if await read_recorded_id_quickly(settings) == cluster_id:
        return
    try:
        known = await record_cluster_id(settings, cluster_id)
    except RetryLater as error:
        raise Unavailable(str(error)) from error
    if known != cluster_id:
        raise IntegrityStop(
            f"{CURSORS.name}: its cursors belong to the cluster {known}, "
            f"and {settings.kafka_bootstrap} is the cluster {cluster_id}; "
            "correct GATEWAY_KAFKA_BOOTSTRAP, or, if you moved all topics to this cluster, "
            "run once with --accept-new-cluster"
        )


async def accept_cluster(settings: Settings) -> None:
    """Store the id of the connected cluster in place of the previous id."""
    await record_cluster_id(settings, await read_cluster_id(settings), overwrite=True)


async def read_cluster_id(settings: Settings) -> str:
    """Return the id of the connected cluster."""
    client = await admin_client(settings)
    try:
        return str((await client.describe_cluster())["cluster_id"])
    finally:
        await client.close()


async def read_recorded_id_quickly(settings: Settings) -> str:
    """Return the stored id if it is readable without waiting, else an empty text.

    The open transaction of a dead worker hides later records until it times out. The
    starting worker itself ends that transaction, so it must not wait for it here. The id is
    nearly always visible, because it was stored long before.
    """
    cluster_id = b""
    with contextlib.suppress(TimeoutError, KafkaError, OSError):
        async with asyncio.timeout(QUICK_READ_SECONDS):
            async for record in read_topic(settings, CURSORS.name):
                cluster_id = record.value or b"" if record.key == KEY else cluster_id
    return cluster_id.decode(errors="replace")


async def record_cluster_id(settings: Settings, cluster_id: str, *, overwrite: bool = False) -> str:
    """Store the id unless one is stored already, and return the stored id."""
    value = await store_next_to_cursors(settings, KEY, cluster_id.encode(), overwrite=overwrite)
    return value.decode()


async def store_next_to_cursors(
    settings: Settings, key: bytes, value: bytes, *, overwrite: bool = False
) -> bytes:
    """Store a value of the deployment unless one is stored already, and return the stored one.

    Workers that start at the same time fence each other. One of them stores the value, and the
    others read it. Raises :class:`~gateway.errors.RetryLater` after :data:`ATTEMPTS` attempts.
    """
    partition = partition_for(key, CURSORS.partitions)
    for _ in range(ATTEMPTS):
        known = await read_partition(settings, CURSORS.name, partition, [key])
        if known.get(key) and not overwrite:
            return known[key]
        writer = TransactionalProducer(settings, TRANSACTIONAL_ID, "poll")
        try:
            await writer.fence()
            await writer.commit([OutgoingRecord(CURSORS.name, key, value, [], partition)])
        except Fenced:
            await asyncio.sleep(random.uniform(0.1, 1.0))  # noqa: S311 - a delay, not a secret
        else:
            return value
        finally:
            await writer.close()
    raise RetryLater(
        "kafka",
        f"{CURSORS.name}: other workers store what belongs to the deployment at the same time; "
        "start again",
    )
