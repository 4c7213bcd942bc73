"""A holder who never agreed appears nowhere: no document, no pointer and no tombstone.

A tombstone on a topic about persons tells that a person exists, although its key is a pseudonym.
After a withdrawal exactly the tombstones are written that delete a document.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import pytest
from aiokafka import AIOKafkaProducer
from msgspec.structs import replace

from gateway.kafka import topic_admin
from gateway.kafka.topic_reader import read_topic
from gateway.messages.cloudevents import encode_raw_headers
from gateway.messages.topics import PERSONAL_DOCUMENT_TOPICS
from gateway.pipeline.harmonise_stage import HarmoniseStage
from gateway.pipeline.loaded_config import load_config
from gateway.pipeline.raw_entry import erasure_entry
from gateway.pipeline.record_processor import build_record_processor
from gateway.records import RawRecord
from gateway.settings import Settings
from tests.end_to_end.test_audiences import OLD, PERSONS, raws
from tests.end_to_end.test_audiences import settings as keys

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]
CREDENTIALS, POINTERS, STUDENTS = (
    "europass.credentials.v1",
    "esc.credential-pointers.v1",
    "esc.student-status.v1",
)
NUMBER = next(iter(PERSONS))
DOCUMENT, TOMBSTONE = True, False
RESTART = "restart"
CASES = {
    # What the registry does to a record, and what a reader of each topic then finds of it.
    "award without consent": ("award no", {CREDENTIALS: [DOCUMENT]}),
    "award without consent that changes": (
        "award no, award no, award no",
        {CREDENTIALS: [DOCUMENT] * 3},
    ),
    "award without consent that is deleted": (
        "award no, award gone",
        {CREDENTIALS: [DOCUMENT, TOMBSTONE]},
    ),
    "award without consent that is erased": (
        "award no, award erased, award erased",
        {CREDENTIALS: [DOCUMENT, TOMBSTONE, TOMBSTONE]},
    ),
    "award without consent that becomes unreadable": (
        "award no, award bad, award bad",
        {CREDENTIALS: [DOCUMENT, TOMBSTONE, TOMBSTONE]},
    ),
    "consent that is withdrawn": (
        "award yes, award no, award no",
        {CREDENTIALS: [DOCUMENT] * 3, POINTERS: [DOCUMENT, TOMBSTONE]},
    ),
    "consent that is given, withdrawn and given": (
        "award no, award yes, award no, award yes",
        {CREDENTIALS: [DOCUMENT] * 4, POINTERS: [DOCUMENT, TOMBSTONE, DOCUMENT]},
    ),
    "consent that is withdrawn after a restart": (
        f"award yes, {RESTART}, award no, {RESTART}, award no",
        {CREDENTIALS: [DOCUMENT] * 3, POINTERS: [DOCUMENT, TOMBSTONE]},
    ),
    "award with consent that becomes unreadable and is deleted": (
        "award yes, award bad, award gone",
        {
            CREDENTIALS: [DOCUMENT, TOMBSTONE, TOMBSTONE],
            POINTERS: [DOCUMENT, TOMBSTONE],
        },
    ),
    "award with consent that is erased": (
        f"award yes, {RESTART}, award erased",
        {CREDENTIALS: [DOCUMENT, TOMBSTONE], POINTERS: [DOCUMENT, TOMBSTONE]},
    ),
    "award that was never received": ("award gone", {}),
    "award that is unreadable and replayed": ("award bad", {}),
    "enrolment without agreement": ("enrolment no, enrolment no, enrolment gone", {}),
    "enrolment without agreement that is erased": ("enrolment no, enrolment erased", {}),
    "enrolment that is unreadable and replayed": ("enrolment bad, enrolment bad", {}),
    "agreement that is withdrawn": (
        f"enrolment yes, enrolment no, {RESTART}, enrolment no, enrolment gone",
        {STUDENTS: [DOCUMENT, TOMBSTONE]},
    ),
    "enrolment that is deleted twice": (
        "enrolment yes, enrolment gone, enrolment gone",
        {STUDENTS: [DOCUMENT, TOMBSTONE]},
    ),
}


def raw_record(word: str, native_id: str, *, first: bool) -> RawRecord:
    kind, state = word.split()
    number = {"award": 0, "enrolment": 1}[kind]
    raw = raws(NUMBER, "true" if state == "yes" else "false")[number]
    body = (raw.body or b"").replace(b"<t:consent>true", b"<t:consent>false")
    if state == "yes":
        body = raw.body
    if state == "bad":
        body = body.replace(b"</t:student>", b"")
    raw = replace(raw, native_id=native_id, body=body, written_before=not first)
    if state == "erased":
        return erasure_entry(raw, "asked").raw
    return replace(raw, body=None) if state == "gone" else raw


class Stage:
    """A real stage with a raw topic of its own."""

    def __init__(self, settings: Settings, raw_topic: str, process) -> None:
        self._settings, self._topic, self._process = settings, raw_topic, process
        self._written = 0
        self._start()

    def _start(self) -> None:
        self.stage = HarmoniseStage(
            self._settings,
            self._process,
            self._process.reject_as_too_large,
            topic=self._topic,
            group=self._topic,
        )
        self._task = asyncio.create_task(self.stage.run())

    async def stop(self) -> None:
        self.stage.stop()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait_for(self._task, 30)

    async def restart(self) -> None:
        await self.stop()
        self._start()

    async def process(self, raws_: list[RawRecord], producer: AIOKafkaProducer) -> None:
        before = self.stage.committed
        for raw in raws_:
            await producer.send_and_wait(
                self._topic, raw.body, key=raw.key.encode(), headers=encode_raw_headers(raw)
            )
        async with asyncio.timeout(60):
            while self.stage.committed < before + len(raws_):
                assert not self._task.done(), self._task.result()
                await asyncio.sleep(0.05)


@pytest.mark.parametrize("one_batch", [False, True], ids=["one by one", "in one batch"])
def test_tombstones_are_written_only_where_a_document_stood(
    settings: Settings,
    name: str,
    create_topic: Callable[..., Awaitable[str]],
    one_batch: bool,
):
    ids = {case: f"{name}-{number}" for number, case in enumerate(CASES)}
    config = load_config(keys(), ["demo-soap"])
    process = build_record_processor(keys(), config.harmonisers.get)

    async def scenario() -> dict[tuple[str, bytes], list[bool]]:
        await topic_admin.create_missing(settings)
        await create_topic(name, 2)
        stage = Stage(settings, name, process)
        producer = AIOKafkaProducer(bootstrap_servers=settings.kafka_bootstrap)
        await producer.start()
        steps = {case: words.split(", ") for case, (words, _) in CASES.items()}
        if one_batch:
            steps = {case: [w for w in words if w != RESTART] for case, words in steps.items()}
        try:
            for number in range(max(map(len, steps.values()))):
                records = [
                    raw_record(words[number], ids[case], first=number == 0)
                    for case, words in steps.items()
                    if number < len(words) and words[number] != RESTART
                ]
                if any(words[number : number + 1] == [RESTART] for words in steps.values()):
                    await stage.restart()
                if not one_batch:
                    await stage.process(records, producer)
            if one_batch:
                await stage.stop()
                every = [
                    raw_record(word, ids[case], first=number == 0)
                    for case, words in steps.items()
                    for number, word in enumerate(words)
                ]
                for raw in every:
                    await producer.send_and_wait(
                        name, raw.body, key=raw.key.encode(), headers=encode_raw_headers(raw)
                    )
                await stage.restart()
                async with asyncio.timeout(60):
                    while stage.stage.committed < len(every):
                        await asyncio.sleep(0.05)
        finally:
            await stage.stop()
            await producer.stop()
        found: dict[tuple[str, bytes], list[bool]] = {}
        for topic in sorted(PERSONAL_DOCUMENT_TOPICS):
            async for record in read_topic(settings, topic):
                found.setdefault((topic, record.key), []).append(record.value is not None)
        return found

    found = asyncio.run(scenario())
    for case, (words, expected) in CASES.items():
        stream = {"award": "degrees", "enrolment": "enrolments"}[words.split()[0]]
        gone = RawRecord(connector="demo-soap", stream=stream, native_id=ids[case], body=None)
        events = {
            out.topic: found[out.topic, out.key]
            for out in process.tombstones_for(gone)
            if (out.topic, out.key) in found
        }
        assert events == expected, case


def test_replaced_key_deletes_each_document_once(
    settings: Settings, name: str, create_topic: Callable[..., Awaitable[str]]
):
    """While a key is replaced, a record that changes again writes no further tombstone."""
    config = load_config(keys(), ["demo-soap"])
    old = build_record_processor(keys(pseudonym_key=OLD), config.harmonisers.get)
    window = build_record_processor(
        keys(pseudonym_key_previous=OLD, permanent_key=OLD), config.harmonisers.get
    )

    async def scenario() -> list[tuple[bytes, bool]]:
        await topic_admin.create_missing(settings)
        await create_topic(name, 1)
        producer = AIOKafkaProducer(bootstrap_servers=settings.kafka_bootstrap)
        await producer.start()
        try:
            agreed = raw_record("enrolment yes", f"{name}-a", first=True)
            refused = raw_record("enrolment no", f"{name}-b", first=True)
            for process in (old, window):
                stage = Stage(settings, name, process)
                for _ in range(2):
                    await stage.process([agreed, refused], producer)
                await stage.stop()
        finally:
            await producer.stop()
        wanted = {
            out.key
            for native_id in (f"{name}-a", f"{name}-b")
            for out in window.tombstones_for(
                RawRecord(
                    connector="demo-soap", stream="enrolments", native_id=native_id, body=None
                )
            )
        }
        return [
            (record.key, record.value is not None)
            async for record in read_topic(settings, STUDENTS)
            if record.key in wanted
        ]

    events = asyncio.run(scenario())
    by_key: dict[bytes, list[bool]] = {}
    for key, has_value in events:
        by_key.setdefault(key, []).append(has_value)
    assert sorted(by_key.values()) == sorted(
        [[DOCUMENT, DOCUMENT, TOMBSTONE], [DOCUMENT, DOCUMENT]]
    )
