"""Change a registry's format so that every new record is rejected.

The stream stops before the page, also after restarts. It resumes when the connector is fixed or an
operator allows the rejections.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from aiohttp import web

from gateway.config.loading import load_connector
from gateway.errors import StreamHalted
from gateway.fetch.registry_client import RegistryClient
from gateway.harmonise.harmoniser import Harmoniser
from gateway.harmonise.tables.compiled_tables import Tables
from gateway.kafka import topic_admin
from gateway.messages import commands
from gateway.messages.topics import RAW
from gateway.observability import metrics
from gateway.operations.stream_requests import StreamRequests
from gateway.pipeline.page_writer import PollResult
from gateway.pipeline.poll import PollContext, poll_once
from gateway.pipeline.raw_entry import RawEntry
from gateway.pipeline.record_processor import RecordProcessor
from gateway.pipeline.rejection_guard import (
    REASON,
    RejectionGuard,
    RejectionStreak,
    preview_page,
    read_streak,
)
from gateway.pipeline.stream_state import StreamState
from gateway.records import RawRecord, Rejected, Withheld
from gateway.settings import Settings
from tests.support.topic_records import read_all

ROOT = Path(__file__).parents[2]
KEY = b"0123456789abcdef0123456789abcdef"
CONNECTOR = """language: 1
connector: {name}
country: FR
title: A register that is rewritten overnight
owner: {{name: Tests, contact: tests@example.org}}
rest:
  url: {{production: "{url}"}}
streams:
  awards:
    emits: credential
    request: {{get: /awards}}
    records: items
    id: id
    cursor: {{scan: true}}
    map:
      kind: {{const: diploma}}
      title.en: title
      awarded_on: {{const: 2024-06-01}}
      awarding_body.name.en: {{const: A school}}
      awarding_body.country: {{const: FR}}
      holder.pseudonym: {{from: id, pseudonym: national-id}}
    tests: [{{name: shape, given: {{id: "1"}}, expect_some: {{}}}}]
"""
BAD = Rejected(stage="map", field="title", reason="missing")


def judge(raw: RawRecord) -> object:
    return (
        BAD
        if b"naam" in (raw.body or b"")
        else Withheld(reason="no_consent")
        if b"no consent" in (raw.body or b"")
        else object()
    )


def entries(*bodies: str | None) -> list[RawEntry]:
    return [
        RawEntry(
            RawRecord(
                connector="c",
                stream="s",
                native_id=str(n),
                body=None if body is None else body.encode(),
            ),
            b"d" * 16,
            None,
        )
        for n, body in enumerate(bodies)
    ]


@pytest.mark.parametrize(
    ("bodies", "accepted", "rejected"),
    [
        (["naam"] * 300 + ["title"] * 100, True, 300),
        (["naam"] * 99 + ["title"], False, 99),
        (["naam", "title"], True, 1),
        (["naam", "no consent", None], False, 1),
        ([None] * 5, False, 0),
    ],
)
def test_page_is_accepted_above_five_percent(
    bodies: list[str | None], accepted: bool, rejected: int
):
    verdict = asyncio.run(preview_page(entries(*bodies), judge))
    assert (verdict.accepted, verdict.rejected) == (accepted, rejected)


def test_rejection_guard_previews_few_records_of_a_good_page():
    asked: list[RawRecord] = []
    asyncio.run(preview_page(entries(*["title"] * 1_000), asked.append))
    assert len(asked) == 51


@asynccontextmanager
async def registry(answer: Callable[[], list[dict[str, str]]]):
    async def awards(_: web.Request) -> web.Response:
        return web.json_response({"items": answer()})

    app = web.Application()
    app.router.add_get("/awards", awards)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@pytest.mark.kafka
@pytest.mark.timeout(240)
def test_stream_halts_when_all_records_are_rejected(settings: Settings, name: str, tmp_path):
    held: list[dict[str, str]] = []

    def say(key: str, numbers: range, word: str) -> None:
        held[:] = [{"id": f"{number}", key: f"{word} {number}"} for number in numbers]

    async def scenario() -> None:
        await topic_admin.create_missing(settings)
        async with registry(lambda: held) as url:
            (tmp_path / f"{name}.yaml").write_text(CONNECTOR.format(name=name, url=url))
            connector = load_connector(tmp_path / f"{name}.yaml")
            harmoniser = Harmoniser(connector, Tables.load(ROOT / "mappings"), pseudonym_key=KEY)
            watch = RejectionGuard(RecordProcessor({name: harmoniser}.get, KEY).preview, 10)

            async def with_a_worker(
                work: Callable[[Callable[[], Awaitable[PollResult]], StreamState], Awaitable[None]],
            ) -> None:
                ledger = StreamState(settings, name, "awards")

                async def poll() -> PollResult:
                    return await poll_once(
                        PollContext(connector, "awards", client, ledger),
                        datetime.now(UTC),
                        rejection_guard=watch,
                    )

                try:
                    async with RegistryClient(connector, lambda _: "", "production") as client:
                        await work(poll, ledger)
                finally:
                    await ledger.close()

            def stopped() -> float | None:
                return metrics.REGISTRY.get_sample_value(
                    "gateway_all_rejected_state", {"connector": name, "stream": "awards"}
                )

            async def first(poll: Callable[[], Awaitable[PollResult]], ledger: StreamState) -> None:
                say("title", range(30), "first")
                assert (await poll()).written == 30
                cursor = await ledger.open()
                say("naam", range(30), "second")  # the format changes: nothing of it is written
                for _ in range(2):
                    with pytest.raises(
                        StreamHalted, match=f"missing in title.*gateway resume {name} awards"
                    ) as halted:
                        await poll()
                assert halted.value.reason == REASON
                assert await ledger.open() == cursor
                assert stopped() == 1

            async def after_a_restart(
                poll: Callable[[], Awaitable[PollResult]], ledger: StreamState
            ) -> None:
                with pytest.raises(StreamHalted):
                    await poll()
                assert read_streak(ledger) == RejectionStreak(stopped=True)
                say("title", range(30), "third")  # mended: it goes on by itself
                assert (await poll()).written == 30
                assert read_streak(ledger) == RejectionStreak()
                assert stopped() == 0
                say(
                    "naam", range(9), "fourth"
                )  # fewer than the limit are rejected, and counted over pages
                held.extend(
                    {"id": f"{number}", "title": f"third {number}"} for number in range(9, 30)
                )
                assert (await poll()).written == 9

            async def after_another(
                poll: Callable[[], Awaitable[PollResult]], ledger: StreamState
            ) -> None:
                held[9] = {"id": "9", "naam": "fifth"}
                with pytest.raises(StreamHalted):
                    await poll()
                assert read_streak(ledger) == RejectionStreak(count=9, stopped=True)
                await StreamRequests(settings, connector, ledger).store(
                    commands.Resume(connector=name)
                )
                assert stopped() == 0

            async def told_to_go_on(
                poll: Callable[[], Awaitable[PollResult]], ledger: StreamState
            ) -> None:
                assert (await poll()).written == 1
                say("naam", range(30), "sixth")
                assert (await poll()).written == 30
                say("title", range(30), "seventh")
                await poll()
                assert read_streak(ledger) == RejectionStreak()  # watched again
                say("naam", range(30), "eighth")
                with pytest.raises(StreamHalted):
                    await poll()

            for worker in (first, after_a_restart, after_another, told_to_go_on):
                await with_a_worker(worker)
        written = [
            one
            for one in await read_all(settings.kafka_bootstrap, RAW.name)
            if one.key.startswith(f"{name}|".encode())
        ]
        assert len(written) == 30 + 30 + 9 + 1 + 30 + 30
        assert not any(
            word in (one.value or b"") for one in written for word in (b"second", b"eighth")
        )

    asyncio.run(scenario())
