"""Two streams of a connector that read one id: the second cannot replace or delete the first."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.check import check
from gateway.errors import Fenced, RetryLater
from gateway.kafka import topic_admin
from gateway.messages.cloudevents import DELETED_DIGEST, content_digest
from gateway.messages.topics import RAW, REJECTIONS
from gateway.pipeline.deletion_guard import is_live
from gateway.pipeline.id_claims import AGAIN_DIGEST, REASON, ConnectorIds, is_of_another_stream
from gateway.pipeline.page_writer import select_changes
from gateway.pipeline.raw_entry import RawEntry, erasure_entry
from gateway.pipeline.stream_state import StreamState
from gateway.records import RawRecord
from gateway.settings import Settings
from tests.support.topic_records import read_all

HEAD = """language: 1
connector: hostile
country: FR
title: A hostile registry
owner: {name: Tests, contact: tests@example.org}
rest:
  url: {production: "http://127.0.0.1:1"}
  errors: by_status
streams:
"""


class Streams:
    """The streams of one worker."""

    def __init__(self, settings: Settings, name: str, *names: str) -> None:
        self._settings, self._name = settings, name
        self._ids = ConnectorIds()
        for stream in names or ("a", "b"):
            setattr(self, stream, StreamState(settings, name, stream, ids=self._ids))

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(name)

    async def open(self) -> Streams:
        for value in vars(self).values():
            if isinstance(value, StreamState):
                await value.open()
        return self

    async def close(self) -> None:
        for value in vars(self).values():
            if isinstance(value, StreamState):
                await value.close()


def raw(state: StreamState, native_id: str, title: str | None) -> RawRecord:
    body = None if title is None else msgspec.json.encode({"t": title})
    return RawRecord(connector=state.connector, stream=state.stream, native_id=native_id, body=body)


async def polled(state: StreamState, **records: str | None) -> int:
    """Write what a poll of a stream shows, and return the number of unchanged records."""
    raws = [raw(state, name[1:], title) for name, title in records.items()]
    entries, unchanged = select_changes(raws, state.digests)
    return unchanged + await state.write(entries, None)


async def latest(settings: Settings, topic: str, prefix: str) -> dict[str, bytes | None]:
    return {
        record.key.decode(): record.value
        for record in await read_all(settings.kafka_bootstrap, topic)
        if record.key.decode().startswith(prefix)
    }


async def raws_of(settings: Settings, name: str) -> dict[str, str | None]:
    found = await latest(settings, RAW.name, f"{name}|")
    return {
        key.partition("|")[2]: None if value is None else msgspec.json.decode(value)["t"]
        for key, value in found.items()
    }


async def rejections_of(settings: Settings, name: str) -> dict[str, str]:
    found = await latest(settings, REJECTIONS.name, name)
    return {
        key.removeprefix(name): msgspec.json.decode(value)["reason"]
        for key, value in found.items()
        if value is not None
    }


@pytest.mark.kafka
@pytest.mark.timeout(240)
def test_the_first_stream_holds_an_id_until_it_loses_it(settings: Settings, name: str) -> None:
    async def scenario() -> None:
        await topic_admin.create_missing(settings)
        one = await Streams(settings, name).open()
        await polled(one.a, _1="of a", _2="two")
        await polled(one.b, _1="of b", _3="three")
        assert await raws_of(settings, name) == {"1": "of a", "2": "two", "3": "three"}
        assert await rejections_of(settings, name) == {"/b|1": REASON}

        assert await polled(one.b, _1="of b") == 1, "it is rejected once"
        await polled(one.b, _1=None)
        assert (await raws_of(settings, name))["1"] == "of a"
        assert await rejections_of(settings, name) == {}

        await polled(one.b, _1="of b", _4=None)
        await one.close()
        two = await Streams(settings, name).open()
        assert await polled(two.b, _1="of b") == 1, "another worker knows it"
        await polled(two.b, _1="of b, changed")
        await polled(two.a, _1="of a, changed")
        assert (await raws_of(settings, name))["1"] == "of a, changed"

        await polled(two.a, _1=None)
        assert (await raws_of(settings, name))["1"] is None
        await polled(two.b, _1="of b, changed")
        assert (await raws_of(settings, name))["1"] == "of b, changed"
        assert await rejections_of(settings, name) == {}
        await polled(two.a, _1="of a, too late")
        assert (await raws_of(settings, name))["1"] == "of b, changed"
        assert await rejections_of(settings, name) == {"/a|1": REASON}
        await two.close()

    asyncio.run(scenario())


@pytest.mark.kafka
@pytest.mark.timeout(240)
@pytest.mark.parametrize("shadow", ["a", "b"])
def test_a_shadow_stream_takes_no_id_from_a_live_one(
    settings: Settings, name: str, shadow: str
) -> None:
    async def scenario() -> None:
        await topic_admin.create_missing(settings)
        one = await Streams(settings, name).open()
        quiet, live = (one.a, one.b) if shadow == "a" else (one.b, one.a)
        quiet.is_shadow = True
        await polled(quiet, _1="shadow", _2="shadow")
        await polled(live, _1="live", _3="live")
        await polled(quiet, _1="shadow, changed", _3="shadow")
        await polled(live, _1="live")
        assert await raws_of(settings, name) == {"1": "live", "2": "shadow", "3": "live"}
        assert set(await rejections_of(settings, name)) == {f"/{shadow}|1", f"/{shadow}|3"}
        await polled(quiet, _1=None)
        await polled(live, _1="live, changed")
        assert (await raws_of(settings, name))["1"] == "live, changed"
        await one.close()

    asyncio.run(scenario())


@pytest.mark.kafka
@pytest.mark.timeout(240)
def test_two_streams_at_one_moment_write_an_id_once(settings: Settings, name: str) -> None:
    async def scenario() -> None:
        await topic_admin.create_missing(settings)
        one = await Streams(settings, name).open()
        names = {f"_{number}": "x" for number in range(40)}
        await asyncio.gather(polled(one.a, **names), polled(one.b, **names))
        records = await read_all(settings.kafka_bootstrap, RAW.name)
        keys = [record.key for record in records if record.key.startswith(f"{name}|".encode())]
        assert len(keys) == len(set(keys)) == 40
        assert len(await rejections_of(settings, name)) == 40
        await one.close()

    asyncio.run(scenario())


@pytest.mark.kafka
@pytest.mark.timeout(240)
def test_a_worker_that_lost_one_stream_takes_no_id(settings: Settings, name: str) -> None:
    async def scenario() -> None:
        await topic_admin.create_missing(settings)
        old = await Streams(settings, name).open()
        new = Streams(settings, name)
        await new.a.open()
        await polled(new.a, _1="of the new worker")
        with pytest.raises((Fenced, RetryLater)):
            await polled(old.b, _1="of the old worker")
        assert await raws_of(settings, name) == {"1": "of the new worker"}
        await new.close()
        await old.close()

    asyncio.run(scenario())


@pytest.mark.kafka
@pytest.mark.timeout(240)
def test_an_id_of_both_streams_stays_with_the_first_of_the_file(
    settings: Settings, name: str
) -> None:
    async def scenario() -> None:
        await topic_admin.create_missing(settings)
        for stream, title in (("a", "of a"), ("b", "of b")):
            earlier = StreamState(settings, name, stream)
            await earlier.open()
            await polled(earlier, _1=title, _2=title)
            await earlier.close()
        one = await Streams(settings, name).open()
        await polled(one.b, _1="of b, changed", _2=None)
        assert await raws_of(settings, name) == {"1": "of b", "2": "of b"}
        await polled(one.a, _1="of a", _2="of a")
        assert await raws_of(settings, name) == {"1": "of a", "2": "of a"}
        assert await rejections_of(settings, name) == {"/b|1": REASON}
        await one.close()

    asyncio.run(scenario())


@pytest.mark.kafka
@pytest.mark.timeout(240)
def test_erasing_the_second_persons_record_leaves_the_first(settings: Settings, name: str) -> None:
    async def scenario() -> None:
        await topic_admin.create_missing(settings)
        one = await Streams(settings, name).open()
        await polled(one.a, _1="person A")
        await polled(one.b, _1="person B")
        await one.b.write([erasure_entry(raw(one.b, "1", None), "met")], None)
        assert await raws_of(settings, name) == {"1": "person A"}
        assert await rejections_of(settings, name) == {}
        await one.close()

    asyncio.run(scenario())


def test_an_erasure_of_a_rejected_id_writes_no_raw_record() -> None:
    both = offline()
    written(both, both.a, entry(both.a, "1", "A"))
    written(both, both.b, entry(both.b, "1", "B"))
    alone = StreamState(Settings(kafka_bootstrap="127.0.0.1:1"), "xx-registry", "b")
    alone.digests["1"] = both.b.digests["1"]
    claimed = alone._ids.resolve(alone, [erasure_entry(raw(alone, "1", None), "asked")])
    assert not claimed.entries
    assert {message.key for message in claimed.extra} == {b"xx-registry|b|1", b"xx-registry/b|1"}
    assert all(message.value is None for message in claimed.extra)


def entry(state: StreamState, native_id: str, title: str | None) -> RawEntry:
    record = raw(state, native_id, title)
    return RawEntry(record, content_digest(record), None)


def offline(*names: str) -> Streams:
    return Streams(Settings(kafka_bootstrap="127.0.0.1:1"), "xx-registry", *names)


def written(streams: Any, state: StreamState, *entries: RawEntry) -> list[str]:
    """Return the ids of the raw records that a stream may write, and store them as written."""
    claimed = streams._ids.resolve(state, list(entries))
    for one in claimed.entries:
        state.digests[one.raw.native_id] = one.value
    claimed.store_digests()
    state.claimed_ids.clear()
    return [one.raw.native_id for one in claimed.entries if not is_of_another_stream(one.digest)]


@pytest.mark.parametrize("native_id", ["1", "a/b", "a|b", "ä", "x" * 255, "\U0001f393"])
def test_an_id_has_one_stream(native_id: str) -> None:
    both = offline()
    assert written(both, both.a, entry(both.a, native_id, "A")) == [native_id]
    assert written(both, both.b, entry(both.b, native_id, "B")) == []
    assert written(both, both.b, entry(both.b, native_id, None)) == []
    assert native_id not in both.b.digests
    assert written(both, both.a, entry(both.a, native_id, "A2")) == [native_id]


def test_a_claimed_id_is_not_free_before_the_commit() -> None:
    both = offline()
    both._ids.resolve(both.a, [entry(both.a, "1", "A")])
    assert written(both, both.b, entry(both.b, "1", "B")) == []
    both.a.claimed_ids.clear()  # nothing was written
    assert written(both, both.b, entry(both.b, "1", "B")) == ["1"]


def test_a_rejected_id_is_not_a_record_of_the_stream() -> None:
    both = offline()
    written(both, both.a, entry(both.a, "1", "A"))
    written(both, both.b, entry(both.b, "1", "B"))
    assert not is_live("1", both.b.digests["1"])
    assert is_live("1", both.a.digests["1"])
    assert is_live("1", AGAIN_DIGEST + bytes(12))
    assert not is_live("1", DELETED_DIGEST + bytes(12))


def test_a_third_stream_takes_no_id_either() -> None:
    three = offline("a", "b", "c")
    written(three, three.b, entry(three.b, "1", "B"))
    assert written(three, three.c, entry(three.c, "1", "C")) == []
    assert written(three, three.a, entry(three.a, "1", "A")) == []
    assert written(three, three.b, entry(three.b, "1", None)) == ["1"]
    assert written(three, three.c, entry(three.c, "1", "C")) == ["1"]
    assert written(three, three.a, entry(three.a, "1", "A")) == []


def test_many_streams_keep_their_ids_apart() -> None:
    names = [f"s@party-{number}" for number in range(20)]
    many = offline(*names)
    states = [getattr(many, name) for name in names]
    for number, state in enumerate(states):
        assert written(many, state, entry(state, f"own-{number}", "x")) == [f"own-{number}"]
    for state in states[1:]:
        assert written(many, state, entry(state, "own-0", "y")) == []
    assert written(many, states[0], entry(states[0], "own-0", None)) == ["own-0"]
    assert written(many, states[7], entry(states[7], "own-0", "y")) == ["own-0"]


def test_records_without_an_id_are_rejected_in_both_streams() -> None:
    both = offline()
    written(both, both.a, entry(both.a, "?abc", "A"))
    assert written(both, both.b, entry(both.b, "?abc", "A")) == ["?abc"]


@pytest.mark.parametrize(
    ("native_ids", "first", "second", "is_warned"),
    [
        (("id", "id"), "1", "2", True),
        (("id", "id"), "a-test", "b-test", True),
        (("id", "id"), "D-1", "D-2", True),
        (("id", "id"), "D-1", "C-1", False),
        (("id", "id"), "deg1", "crd1", False),
        (("id", "code"), "1", "2", False),
        (("id", "[\"'b'\", id]"), "1", "2", False),
    ],
)
def test_the_check_warns_of_streams_that_may_number_alike(
    native_ids: tuple[str, str], first: str, second: str, is_warned: bool, tmp_path: Path
) -> None:
    text = HEAD
    for name, native_id, example in zip("ab", native_ids, (first, second), strict=True):
        field = "code" if native_id == "code" else "id"
        text += (
            f"  {name}:\n    emits: qualification\n    every: 1h\n    request: {{get: /{name}}}\n"
            f"    records: items\n    id: {native_id}\n    map: {{title.en: t}}\n"
            f'    tests: [{{name: t, given: {{{field}: "{example}", t: T}}, expect_some: {{}}}}]\n'
        )
    file = tmp_path / "hostile.yaml"
    file.write_text(text)
    codes = [finding.code for finding in check(file, None)]
    assert ("shared-numbering" in codes) is is_warned
