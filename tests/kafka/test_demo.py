"""``gateway demo`` fills every topic that platforms read, and shows how many documents each has."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.config.loading import load_connector
from gateway.local import broker as kafka
from gateway.messages.topics import (
    CARDS_TOPIC,
    PLATFORMS,
    PROVIDERS_TOPIC,
    REJECTIONS,
    STUDENT_STATUS_TOPIC,
    TOPICS,
)
from tests.support.topic_records import read_all

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(400)]
ROOT = Path(__file__).parents[2]
READ_BY_PLATFORMS = [topic.name for topic in TOPICS if set(topic.readers) & set(PLATFORMS)]


def test_demo_fills_every_topic(tmp_path: Path) -> None:
    with kafka.running(tmp_path / "kafka") as broker:
        done = subprocess.run(
            [sys.executable, "-m", "gateway", "demo", "--records", "400", "--data", str(tmp_path)],
            capture_output=True,
            text=True,
            timeout=300,
            cwd=ROOT,
            env={
                **os.environ,
                "PYTHONPATH": str(ROOT),
                "GATEWAY_KAFKA_BOOTSTRAP": broker.bootstrap,
                "COLUMNS": "200",
            },
            check=False,
        )
        assert done.returncode == 0, done.stderr[-2000:]
        found = {name: asyncio.run(standing(broker.bootstrap, name)) for name in READ_BY_PLATFORMS}
        rejections = asyncio.run(standing(broker.bootstrap, REJECTIONS.name))
    assert {CARDS_TOPIC, PROVIDERS_TOPIC, STUDENT_STATUS_TOPIC} <= found.keys()
    assert [name for name, documents in found.items() if not documents] == []
    shown = dict(re.findall(r"^(\S+\.v1) +([\d,]+)$", done.stdout, re.MULTILINE))
    assert shown == {name: f"{len(documents):,}" for name, documents in found.items()}
    assert re.search(r"^400 received = .*: true$", done.stdout, re.MULTILINE)
    assert all(document["escAgreement"] for document in found[STUDENT_STATUS_TOPIC])
    rows = [one["detail"] for one in rejections if one["connector"] == "demo-file"]
    assert all(re.match(r"row \d+, column \w+: ", detail) for detail in rows), rows


async def standing(bootstrap: str, topic: str) -> list[dict[str, object]]:
    """Return the documents that stand on a topic, without those that were deleted."""
    latest = {record.key: record.value for record in await read_all(bootstrap, topic)}
    return [json.loads(value) for value in latest.values() if value is not None]


def test_the_agreements_of_the_demo_have_names() -> None:
    for connector, stream in (("demo-file", "cards"), ("demo-soap", "enrolments")):
        rules = load_connector(ROOT / f"connectors/{connector}.yaml").streams[stream].map
        assert "demonstration" in (rules["esc_agreement"].basis or "")
