"""Read from a registry that serves ten gigabytes, or one byte at a time.

The poll ends with an outcome, a metric and a log line. Memory stays bounded and the cursor does not
move.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.fetch.registry_client import RegistryClient
from gateway.kafka import topic_admin
from gateway.observability import logs, metrics
from gateway.pipeline.poll import PollContext
from gateway.pipeline.record_processor import RecordProcessor
from gateway.pipeline.stream_state import StreamState
from gateway.settings import Settings
from gateway.worker.stream_poller import StreamPoller
from tests.support.forked_process import FinishedProcess, apart
from tests.support.hostile_registry import XML, connector_at

ENDS = {
    "chunked": "LIMIT_BYTES",
    "unframed": "LIMIT_BYTES",
    "packed": "LIMIT_DECODED",
    "loris": "TIMEOUT",
}
STOOD = b'{"since":"2026-01-01T00:00:00Z"}'


@pytest.fixture(scope="module")
def endless() -> Iterator[str]:
    process = subprocess.Popen(
        [sys.executable, str(Path(__file__).parents[1] / "support/endless_registry.py")],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    yield process.stdout.readline().strip()
    process.kill()
    process.wait()


def polled(settings: Settings, name: str, url: str) -> FinishedProcess:
    """Poll once in a process of its own, from a cursor that stands somewhere; answer with what the poller kept and counted."""

    async def poll() -> dict[str, object]:
        logs.configure(settings)
        await topic_admin.create_missing(settings)
        connector = connector_at(url, XML).model_copy(update={"connector": name})
        ledger = StreamState(settings, name, "awards")
        await ledger.open()
        await ledger.write([], STOOD)
        await ledger.close()
        async with RegistryClient(connector, lambda _: b"", "production") as client:
            poller = StreamPoller(
                settings,
                PollContext(
                    connector,
                    "awards",
                    client,
                    StreamState.of_connector(settings, connector, "awards"),
                ),
                RecordProcessor({}.get, b"x" * 32),
            )
            delay = await poller.poll(60)
        after = StreamState(settings, name, "awards")
        stands = await after.open()
        await after.close()
        counted = {
            outcome: metrics.POLLS.labels(name, "awards", outcome)._value.get()
            for outcome in ("ok", "retry", "halt")
        }
        return {
            "stands": (stands or b"").decode(),
            "counted": counted,
            "delay": delay,
            "received": len(after.digests),
        }

    return apart(lambda: asyncio.run(poll()), limit=100)


@pytest.mark.kafka
@pytest.mark.parametrize("how", ENDS)
def test_endless_reply_ends_as_specified(settings: Settings, name: str, endless: str, how: str):
    done = polled(settings.model_copy(update={"log_format": "json"}), name, f"{endless}/{how}")
    assert done.code == 0, done.err
    found = json.loads(done.out[done.out.rindex('{"stands"') :])
    lines = [
        json.loads(line)
        for line in (done.out.splitlines() + done.err.splitlines())
        if line.startswith("{") and '"poll failed"' in line
    ]
    assert [line["reason"] for line in lines] == [ENDS[how]]
    assert "<list>" not in done.err
    assert "    " not in done.err
    kind = "retry" if how == "loris" else "halt"
    assert found["counted"] == {"ok": 0, "retry": 0, "halt": 0, kind: 1}
    assert found["stands"] == STOOD.decode()
    assert found["received"] == 0
    assert done.grown < 64, f"{done.grown:.0f} MB"
    assert done.cpu < 20
