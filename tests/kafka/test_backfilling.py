"""Run a backfill against a real Kafka and a demo registry.

Another owner may resume the backfill at any point without writing a record twice.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gateway.config.loading import load_connector
from gateway.errors import UsageError
from gateway.fetch import RecordPage, TimeWindow
from gateway.fetch.registry_client import RegistryClient
from gateway.kafka import topic_admin
from gateway.local.registries import soap_credits
from gateway.messages.cloudevents import content_digest
from gateway.messages.topics import RAW
from gateway.operations.backfill import (
    NOTE_NAME,
    BackfillProgress,
    LivePollGate,
    advance_progress,
    cancel_backfill,
    current_progress,
    parse_date_or_datetime,
    remaining_windows,
    run_backfill,
    start_backfill,
    unsupported_reason,
)
from gateway.pipeline.poll import PollContext
from gateway.pipeline.raw_entry import RawEntry
from gateway.pipeline.stream_state import StreamState
from gateway.records import RawRecord
from tests.support.topic_records import read_all

ROOT = Path(__file__).parents[2]
START, END = datetime(2024, 9, 1, tzinfo=UTC), datetime(2025, 1, 1, tzinfo=UTC)


def connector(name: str, url: str, days: int = 180):
    loaded = load_connector(ROOT / "connectors" / "demo-soap.yaml")
    degrees = loaded.streams["degrees"]
    cursor = degrees.cursor.model_copy(update={"window": timedelta(days=days)})
    address = loaded.soap.url.model_copy(update={"acceptance": f"{url}{soap_credits.PATH}"})
    made = loaded.model_copy(
        update={
            "connector": name,
            "soap": loaded.soap.model_copy(update={"url": address}),
            "streams": {"degrees": degrees.model_copy(update={"cursor": cursor})},
        }
    )
    made._digest, made._folder = loaded.digest, loaded.folder
    return made


@pytest.mark.kafka
@pytest.mark.timeout(240)
def test_backfill_continued_by_another_owner_writes_nothing_twice(settings, name):
    async def run() -> None:
        await topic_admin.create_missing(settings)
        registry = await soap_credits.start(records=1500, page_size=100)  # 600 degrees, six pages
        try:
            rule = connector(name, registry.url)
            pages = 0

            def until_two() -> bool:
                nonlocal pages
                pages += 1
                return pages <= 2

            async with RegistryClient(
                rule, lambda _: soap_credits.KEY.encode(), "acceptance"
            ) as client:
                first = StreamState(settings, name, "degrees")
                assert await start_backfill(first, "one", START, END) == ""
                assert "cancel it first" in await start_backfill(first, "two", START, END)
                stopped = await run_backfill(
                    PollContext(rule, "degrees", client, first),
                    LivePollGate(),
                    asyncio.Lock(),
                    until_two,
                )
                assert (stopped.state, stopped.pages, stopped.received) == ("running", 2, 200)
                assert 0 < stopped.ratio < 1
                second = StreamState(
                    settings, name, "degrees"
                )  # another worker takes over; the first is fenced
                assert await second.open() is None, "the cursor of live polling has not moved"
                assert current_progress(second) == stopped
                assert (
                    await start_backfill(second, "one", START, END) == ""
                )  # the same command once more begins nothing
                done = await run_backfill(
                    PollContext(rule, "degrees", client, second),
                    LivePollGate(),
                    asyncio.Lock(),
                    lambda: True,
                )
                assert (done.state, done.received, done.written, done.ratio) == (
                    "done",
                    600,
                    600,
                    1.0,
                )
                assert await cancel_backfill(second) is None
                await start_backfill(second, "three", START, END)
                again = await run_backfill(
                    PollContext(rule, "degrees", client, second),
                    LivePollGate(),
                    asyncio.Lock(),
                    lambda: True,
                )
                assert (again.received, again.written) == (600, 0)
                await first.close()
                await second.close()
        finally:
            await registry.close()
        counted = Counter(
            record.key
            for record in await read_all(settings.kafka_bootstrap, RAW.name)
            if record.key.startswith(name.encode())
        )
        assert len(counted) == 600
        assert set(counted.values()) == {1}

    asyncio.run(run())


@pytest.mark.kafka
@pytest.mark.timeout(240)
def test_backfill_keeps_records_of_live_polling(settings, name):
    async def run() -> None:
        await topic_admin.create_missing(settings)
        registry = await soap_credits.start(records=100, page_size=100)
        newer = b"<newer/>"
        try:
            rule = connector(name, registry.url)
            async with RegistryClient(
                rule, lambda _: soap_credits.KEY.encode(), "acceptance"
            ) as client:
                ledger = StreamState(settings, name, "degrees")
                await start_backfill(ledger, "one", START, END)
                traffic, turn = LivePollGate(), asyncio.Lock()
                native_id = registry.stocks["degrees"].name(0)

                async def live() -> None:
                    async with turn:
                        while ledger.written_ids is None:  # the backfill asks now
                            await asyncio.sleep(0.001)
                        raw = RawRecord(
                            connector=name, stream="degrees", native_id=native_id, body=newer
                        )
                        await ledger.write([RawEntry(raw, content_digest(raw), None)], None)

                polling = asyncio.create_task(live())
                await asyncio.sleep(0)
                done = await run_backfill(
                    PollContext(rule, "degrees", client, ledger), traffic, turn, lambda: True
                )
                await polling
                assert (done.received, done.written) == (40, 39)
                await ledger.close()
        finally:
            await registry.close()
        bodies = [
            record.value
            for record in await read_all(settings.kafka_bootstrap, RAW.name)
            if record.key == f"{name}|{native_id}".encode()
        ]
        assert bodies == [newer]

    asyncio.run(run())


def test_live_polls_have_bounded_priority():
    async def run() -> None:
        traffic = LivePollGate()
        await asyncio.wait_for(traffic.wait_until_idle(), 30)
        with traffic.live_poll(), traffic.live_poll():
            waiting = asyncio.create_task(traffic.wait_until_idle(60))
            await asyncio.sleep(0.05)
            assert not waiting.done()
            await asyncio.wait_for(traffic.wait_until_idle(0.05), 30)
        await asyncio.wait_for(waiting, 30)

    asyncio.run(run())


class TestPure:
    progress = BackfillProgress(id="x", begin=START, end=END, done=START)

    def test_backfill_resumes_the_interrupted_window(self):
        rule = connector("c", "http://127.0.0.1:1", days=30)
        window = next(remaining_windows(rule, "degrees", self.progress))
        assert window == TimeWindow(since=START, until=START + timedelta(days=30))
        page = RecordPage(
            records=(),
            position="p",
            last=False,
            watermark=START + timedelta(days=15),
            complete=False,
        )
        inside = advance_progress(self.progress, window, page)
        assert inside.ratio == pytest.approx(15 / 122, abs=0.01)
        left = list(remaining_windows(rule, "degrees", inside))
        assert left[0] == window
        assert left[1].since == window.until
        assert left[-1].until == END
        after = advance_progress(
            inside,
            window,
            RecordPage(records=(), position="", last=True, watermark=None, complete=False),
        )
        assert (after.done, after.position, after.until) == (window.until, "", None)

    @pytest.mark.parametrize(
        ("text", "zone", "end", "expected"),
        [
            ("2024-01-31", "UTC", False, datetime(2024, 1, 31, tzinfo=UTC)),
            ("2024-01-31", "UTC", True, datetime(2024, 2, 1, tzinfo=UTC)),
            ("2024-07-01", "Europe/Brussels", False, datetime(2024, 6, 30, 22, tzinfo=UTC)),
            ("2024-01-31T12:00:00+01:00", "UTC", True, datetime(2024, 1, 31, 11, tzinfo=UTC)),
        ],
    )
    def test_backfill_dates_are_inclusive_and_times_exact(self, text, zone, end, expected):
        assert parse_date_or_datetime(text, zone, end=end) == expected

    @pytest.mark.parametrize("text", ["2024-02-30", "31/01/2024", "yesterday", ""])
    def test_invalid_backfill_date_shows_the_format(self, text):
        with pytest.raises(UsageError, match="2024-01-31"):
            parse_date_or_datetime(text, "UTC")

    def test_backfill_of_an_unsupported_stream_is_refused(self):
        rest = load_connector(ROOT / "connectors" / "demo-rest.yaml")
        assert "every poll reads everything" in unsupported_reason(rest, "courses")
        assert unsupported_reason(connector("c", "http://127.0.0.1:1"), "degrees") == ""
        assert NOTE_NAME == "backfill"
