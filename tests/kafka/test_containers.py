"""Check the same guarantees on a broker from a container image, where a Docker engine answers."""

from __future__ import annotations

import asyncio
import uuid

import pytest

from gateway.kafka import topic_admin
from gateway.messages.topics import RAW
from gateway.pipeline.stream_state import StreamState
from gateway.settings import Settings
from tests.support.topic_records import read_all


@pytest.mark.kafka
def test_page_is_written_and_read_back_on_a_container(container_bootstrap: str) -> None:
    from tests.support.poll_process import PAGE, page

    settings = Settings(kafka_bootstrap=container_bootstrap, registry_environment="acceptance")
    name = f"t{uuid.uuid4().hex[:10]}"

    async def scenario() -> None:
        await topic_admin.create_missing(settings)
        await topic_admin.verify_topics(settings)
        ledger = StreamState(settings, name, "s")
        await ledger.open()
        await ledger.write(page(name, 0), b"1")
        await ledger.close()
        again = StreamState(settings, name, "s")
        assert await again.open() == b"1"
        assert len(again.digests) == PAGE
        await again.close()
        assert (
            len(
                [
                    record
                    for record in await read_all(container_bootstrap, RAW.name)
                    if record.key.decode().startswith(name)
                ]
            )
            == PAGE
        )

    asyncio.run(scenario())
