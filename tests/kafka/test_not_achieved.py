"""A result that a registry corrects to failed leaves the topics, and is no rejection."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import UTC, datetime
from pathlib import Path

import pytest
from aiokafka import ConsumerRecord

from gateway.config.loading import load_connector
from gateway.fetch.registry_client import RegistryClient
from gateway.harmonise.harmoniser import Harmoniser
from gateway.harmonise.tables.compiled_tables import Tables
from gateway.kafka import topic_admin
from gateway.messages.topics import REJECTIONS
from gateway.observability import metrics
from gateway.pipeline.harmonise_stage import HarmoniseStage
from gateway.pipeline.poll import PollContext, poll_once
from gateway.pipeline.record_processor import RecordProcessor
from gateway.pipeline.rejection_guard import RejectionGuard
from gateway.pipeline.stream_state import StreamState
from gateway.settings import Settings
from tests.kafka.test_rejecting import CONNECTOR, KEY, registry
from tests.support.topic_records import read_all

ROOT = Path(__file__).parents[2]
CREDENTIALS = "europass.credentials.v1"
ACHIEVED = "    achieved: {path: state, is: passed, not: failed}\n    map:\n"


def counted(connector: str, outcome: str) -> float:
    labels = {"connector": connector, "stream": "awards", "outcome": outcome}
    return metrics.REGISTRY.get_sample_value("gateway_records_total", labels) or 0


@pytest.mark.kafka
@pytest.mark.timeout(240)
def test_result_that_becomes_failed_is_removed(settings: Settings, name: str, tmp_path: Path):
    held: list[dict[str, str]] = []

    def serve(**states: str) -> None:
        held[:] = [
            {"id": f"{name}-{number}", "title": f"Course {number}", "state": state}
            for number, state in states.items()
        ]

    async def documents() -> dict[bytes, ConsumerRecord]:
        found = await read_all(settings.kafka_bootstrap, CREDENTIALS)
        source = f"/connectors/{name}/".encode()
        return {one.key: one for one in found if dict(one.headers)["ce_source"].startswith(source)}

    async def scenario() -> None:
        await topic_admin.create_missing(settings)
        async with registry(lambda: held) as url:
            text = CONNECTOR.format(name=name, url=url).replace("    map:\n", ACHIEVED)
            (tmp_path / f"{name}.yaml").write_text(text)
            connector = load_connector(tmp_path / f"{name}.yaml")
            harmoniser = Harmoniser(connector, Tables.load(ROOT / "mappings"), pseudonym_key=KEY)
            process = RecordProcessor({name: harmoniser}.get, KEY)
            state = StreamState(settings, name, "awards")
            stage = asyncio.create_task(
                HarmoniseStage(settings, process, process.reject_as_too_large).run()
            )
            try:
                async with RegistryClient(connector, lambda _: "", "production") as client:

                    async def poll(**outcomes: int) -> None:
                        context = PollContext(connector, "awards", client, state)
                        guard = RejectionGuard(process.preview, 1)
                        await poll_once(context, datetime.now(UTC), rejection_guard=guard)
                        async with asyncio.timeout(60):
                            while {key: counted(name, key) for key in outcomes} != outcomes:
                                await asyncio.sleep(0.1)

                    serve(one="passed", two="passed", three="failed", four="failed")
                    await poll(accepted=2, deleted=2)
                    first = {key for key, one in (await documents()).items() if one.value}
                    assert len(first) == 2
                    serve(one="passed", two="failed", three="passed", four="failed")
                    await poll(accepted=3, deleted=3)
                    second = await documents()
            finally:
                stage.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await stage
                await state.close()
        published = b"".join(one.value for one in second.values() if one.value)
        numbers = ("one", "two", "three", "four")
        assert [number for number in numbers if f"Course {number}".encode() in published] == [
            "one",
            "three",
        ]
        (removed,) = first - {key for key, one in second.items() if one.value}
        assert second[removed].value is None
        rejections = await read_all(settings.kafka_bootstrap, REJECTIONS.name)
        assert not any(one.value for one in rejections if one.key.startswith(name.encode()))

    asyncio.run(scenario())
    labels = {"connector": name, "stream": "awards", "reason": "not_achieved"}
    assert metrics.REGISTRY.get_sample_value("gateway_records_withheld_total", labels) == 3
    assert counted(name, "rejected") == 0
