"""Poll the demo registries twice, and let them misbehave in the second poll.

The second poll deletes no record that the registry still has. It either halts with a reason, or it
says what it could not read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from gateway.config.connector import Connector
from gateway.config.loading import load_connector
from gateway.config.paging import PageNumber, Paging
from gateway.config.requests import Cursor, Request
from gateway.config.second_lists import LoopConfig, LoopSource
from gateway.errors import StreamError
from gateway.fetch.registry_client import RegistryClient
from gateway.local.registries import rest_catalogue, soap_credits
from gateway.pipeline.page_writer import PollResult
from gateway.pipeline.poll import PollContext, poll_once
from tests.support.memory_stream import MemoryStreamState
from tests.support.saved_replies import ROOT, here

SERVICES = {
    "rest": (rest_catalogue, "programmes", b"demo-token"),
    "soap": (soap_credits, "degrees", b"demo-key"),
}
RECORDS = {"rest": 600, "soap": 750}
HELD = 300
START = datetime(2024, 9, 1, tzinfo=UTC)
SCAN = Cursor(scan=True, start=START)
FIELD = Cursor(field="changed_at", start=START)
UNREADABLE = ("renamed_list", "null_list", "other_version", "unknown_error", "processing")
LISTS = ("programmes", "courses")
COUNTED = Paging(page_number=PageNumber(start=1, size=100))
"""Paging by number, in which only the pages themselves show the end."""


class Registry:
    """A demo registry and the stream that reads it, polled once for each call of :meth:`poll`."""

    def __init__(self, which: str, cursor: Cursor, paging: Paging | None = None) -> None:
        self.which, self.cursor, self.paging = which, cursor, paging
        self.service, self.stream, self.key = SERVICES[which]
        self.state = MemoryStreamState()
        self.running: Any = None

    def connector(self) -> Connector:
        url = self.running.url + self.service.PATH
        connector = here(load_connector(ROOT / f"connectors/demo-{self.which}.yaml"), url)
        stream = connector.streams[self.stream]
        update: dict[str, Any] = {"cursor": self.cursor}
        if self.paging:
            update["paging"] = self.paging
        return connector.with_streams({self.stream: stream.model_copy(update=update)})

    async def poll(self) -> PollResult | StreamError:
        connector = self.connector()
        self.state.connector, self.state.stream = connector.connector, self.stream
        now = datetime.now(UTC) + timedelta(seconds=1)
        async with RegistryClient(connector, lambda _: self.key, "production") as client:
            try:
                return await poll_once(PollContext(connector, self.stream, client, self.state), now)
            except StreamError as error:
                return error


def polls(
    registry: Registry, misbehave: Callable[[Any], None]
) -> tuple[PollResult | StreamError, PollResult | StreamError]:
    """Return the results of two polls with ``misbehave``, and of one poll after it has ended."""

    async def scenario() -> tuple[PollResult | StreamError, PollResult | StreamError]:
        started = await registry.service.start(records=RECORDS[registry.which])
        async with started as registry.running:
            first = await registry.poll()
            assert isinstance(first, PollResult), first
            assert len(registry.state.published) == HELD
            misbehave(registry.running)
            second = await registry.poll()
            third = await registry.poll()
            if not isinstance(third, PollResult) or isinstance(second, PollResult):
                second = third
            registry.running.stop_misbehaving()
            return second, await registry.poll()

    return asyncio.run(scenario())


@pytest.mark.parametrize("which", SERVICES)
@pytest.mark.parametrize("kind", UNREADABLE)
def test_reply_without_its_list_deletes_nothing(which: str, kind: str) -> None:
    registry = Registry(which, SCAN)
    result, after = polls(registry, lambda running: running.misbehave(kind, times=None))
    assert isinstance(result, StreamError)
    assert result.reason in {"LIST_MISSING", "COUNT_MISSING"}
    assert len(registry.state.published) == HELD
    assert isinstance(after, PollResult), "the stream recovers by itself"


@pytest.mark.parametrize("which", SERVICES)
def test_address_that_is_not_found_deletes_nothing(which: str) -> None:
    registry = Registry(which, SCAN)
    result, after = polls(registry, lambda running: running.misbehave("not_found", times=None))
    assert isinstance(result, StreamError)
    assert len(registry.state.published) == HELD
    assert isinstance(after, PollResult)


@pytest.mark.parametrize(
    ("which", "reason", "text"),
    [("rest", "DELETIONS_WITHHELD", "200 of 300"), ("soap", "COUNT_MISMATCH", "300 records")],
)
def test_list_that_shrinks_is_not_deleted_without_a_person(
    which: str, reason: str, text: str
) -> None:
    """The SOAP registry states a total, so the gateway notices at once."""
    registry = Registry(which, SCAN)
    result, after = polls(registry, lambda running: running.misbehave("shrunk_list", times=None))
    assert isinstance(result, StreamError)
    assert result.reason == reason
    assert text in str(result)
    assert len(registry.state.published) == HELD
    assert isinstance(after, PollResult)


@pytest.mark.parametrize("which", SERVICES)
def test_record_without_id_is_not_a_missing_record(which: str) -> None:
    registry = Registry(which, SCAN)
    result, _ = polls(registry, lambda running: running.misbehave("record_without_id", times=None))
    assert isinstance(result, PollResult)
    assert result.unreadable_ids
    assert {name for name in registry.state.published if not name.startswith("?")} >= set()
    assert len([name for name in registry.state.published if not name.startswith("?")]) == HELD


@pytest.mark.parametrize("kind", ["capped_page", "last_page_again"])
def test_pages_that_are_not_as_asked_lose_nothing(kind: str) -> None:
    registry = Registry("rest", SCAN, COUNTED)
    result, _ = polls(registry, lambda running: running.misbehave(kind, times=None))
    assert len(registry.state.published) == HELD
    assert isinstance(result, PollResult) == (kind == "capped_page")
    if isinstance(result, StreamError):
        assert result.reason == "PAGE_REPEATED"


def test_change_in_the_future_does_not_stop_the_stream() -> None:
    registry = Registry("soap", FIELD)

    def misbehave(running: Any) -> None:
        running.misbehave("future_change", times=None)
        running.change("degrees", count=5)

    result, _ = polls(registry, misbehave)
    assert isinstance(result, PollResult)

    async def later() -> set[str]:
        async with await registry.service.start(records=RECORDS["soap"]) as registry.running:
            added = registry.running.add("degrees", 3)
            await registry.poll()
            return set(added)

    assert asyncio.run(later()) <= registry.state.published


def test_change_times_that_cannot_be_read_halt_the_stream() -> None:
    registry = Registry("soap", FIELD)

    def misbehave(running: Any) -> None:
        running.misbehave("unreadable_change", times=None)
        running.change("degrees", count=5)

    result, after = polls(registry, misbehave)
    assert isinstance(result, StreamError)
    assert result.reason == "CHANGED_AT_UNREADABLE"
    assert isinstance(after, PollResult)


def test_collection_that_is_refused_affects_no_other() -> None:
    """One loop reads both collections of the registry, and the registry refuses one of them."""

    async def scenario() -> tuple[set[str], set[str], dict[str, int]]:
        state = MemoryStreamState()
        async with await rest_catalogue.start(records=40) as running:

            async def poll() -> PollResult | StreamError:
                url = running.url + rest_catalogue.PATH
                connector = here(load_connector(ROOT / "connectors/demo-rest.yaml"), url)
                stream = connector.streams["programmes"]
                both = stream.model_copy(
                    update={
                        "for_each": {"list": LoopConfig(in_=LoopSource(values=LISTS))},
                        "request": Request(get="/{list}", query={"pageNumber": "{page}"}),
                        "id": ("programmeId || courseId",),
                    }
                )
                connector = connector.with_streams({"programmes": both})
                async with RegistryClient(
                    connector, lambda _: b"demo-token", "production"
                ) as client:
                    context = PollContext(connector, "programmes", client, state)  # type: ignore[arg-type]
                    try:
                        return await poll_once(context, datetime.now(UTC))
                    except StreamError as error:
                        return error

            await poll()
            before = state.published
            running.misbehave("refused", stream="courses", times=None)
            gone, new = running.delete("programmes")[0], running.add("programmes")[0]
            result = await poll()
            assert isinstance(result, PollResult), result
            assert (before - state.published, state.published - before) == ({gone}, {new})
            return before, state.published, result.skipped

    before, _after, skipped = asyncio.run(scenario())
    assert len(before) == 40
    assert skipped == {"DENIED": 1}
