"""Wait until the harmonise stage has processed what was written."""

from __future__ import annotations

import asyncio
import contextlib
import time

from gateway.errors import RetryLater
from gateway.kafka.connection import NO_COORDINATOR, REFUSALS, admin, denied
from gateway.kafka.topic_reader import holds_records_between, written
from gateway.messages.topics import RAW
from gateway.pipeline.harmonise_stage import GROUP
from gateway.settings import Settings

PATIENCE_SECONDS = 120.0


async def wait_for_stage(settings: Settings, seconds: float = PATIENCE_SECONDS) -> None:
    """Return once everything that is on the raw topic now has been harmonised, whatever comes after it: something always does.

    Raises ``RetryLater`` when that does not happen in time.
    """
    ends = await written(settings, RAW.name)
    client = await admin(settings)
    deadline = time.monotonic() + seconds
    try:
        while time.monotonic() < deadline:
            with contextlib.suppress(*NO_COORDINATOR):
                done = {place: found.offset for place, found in (await client.list_consumer_group_offsets(GROUP)).items()}
                if not await holds_records_between(settings, RAW.name, done, ends):
                    return
            await asyncio.sleep(0.2)
    except REFUSALS as error:
        raise denied(settings, f"the offsets of group {GROUP}", error) from None
    finally:
        await client.close()
    raise RetryLater(
        "stage_behind", f"the stage has not harmonised everything within {seconds:.0f} s; is a worker with the role harmonise running?"
    )
