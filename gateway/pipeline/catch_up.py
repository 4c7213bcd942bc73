"""Wait until the harmonise stage has processed the present raw records."""

from __future__ import annotations

import asyncio
import contextlib
import time

from gateway.errors import RetryLater
from gateway.kafka.connection import (
    AUTHORIZATION_ERRORS,
    COORDINATOR_ERRORS,
    access_denied,
    admin_client,
)
from gateway.kafka.topic_reader import has_committed_records, log_end_offsets
from gateway.messages.topics import RAW
from gateway.pipeline.harmonise_stage import CONSUMER_GROUP
from gateway.settings import Settings

STAGE_TIMEOUT_SECONDS = 120.0


async def wait_until_harmonised(settings: Settings, seconds: float = STAGE_TIMEOUT_SECONDS) -> None:
    """Return once every present record of the raw topic has been harmonised.

    Records that arrive later are not awaited. Raises :class:`~gateway.errors.RetryLater`
    after ``seconds``. Raises :class:`~gateway.errors.Denied` if the principal may not read
    the offsets of the consumer group.
    """
    ends = await log_end_offsets(settings, RAW.name)
    client = await admin_client(settings)
    deadline = time.monotonic() + seconds
    try:
        while time.monotonic() < deadline:
            with contextlib.suppress(*COORDINATOR_ERRORS):
                committed = {
                    topic_partition: position.offset
                    for topic_partition, position in (
                        await client.list_consumer_group_offsets(CONSUMER_GROUP)
                    ).items()
                }
                if not await has_committed_records(settings, RAW.name, committed, ends):
                    return
            await asyncio.sleep(0.2)
    except AUTHORIZATION_ERRORS as error:
        raise access_denied(settings, f"the offsets of group {CONSUMER_GROUP}", error) from None
    finally:
        await client.close()
    raise RetryLater(
        "stage_behind",
        f"the stage has not harmonised every raw record within {seconds:.0f} s; "
        "is a worker with the role harmonise running?",
    )
