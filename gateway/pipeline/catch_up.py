"""Wait until the harmonise stage has processed what was written."""

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
    """Return once everything that is on the raw topic now has been harmonised, whatever comes after it: something always does.

    Raises ``RetryLater`` when that does not happen in time.
    """
    ends = await log_end_offsets(settings, RAW.name)
    client = await admin_client(settings)
    deadline = time.monotonic() + seconds
    try:
        while time.monotonic() < deadline:
            with contextlib.suppress(*COORDINATOR_ERRORS):
                done = {
                    place: found.offset
                    for place, found in (
                        await client.list_consumer_group_offsets(CONSUMER_GROUP)
                    ).items()
                }
                if not await has_committed_records(settings, RAW.name, done, ends):
                    return
            await asyncio.sleep(0.2)
    except AUTHORIZATION_ERRORS as error:
        raise access_denied(settings, f"the offsets of group {CONSUMER_GROUP}", error) from None
    finally:
        await client.close()
    raise RetryLater(
        "stage_behind",
        f"the stage has not harmonised everything within {seconds:.0f} s; is a worker with the role harmonise running?",
    )
