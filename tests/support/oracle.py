"""Compute what a ``read_committed`` subscriber must see from the records that the registry served.

The module never compares with a snapshot. It makes two independent computations. The first compares
the ids and versions in the registry's ledger with the raw topic and with the outcome of each
record. The second sends every raw record through the pure record processor and compares the result
with the output topics. It finds torn transactions, lost or duplicated documents, and a wrong order.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from gateway.messages.topics import CURSORS, DIGESTS, RAW, REJECTIONS, TOPICS
from gateway.pipeline.loaded_config import load_config
from gateway.pipeline.record_processor import RecordProcessor
from gateway.settings import Settings
from tests.support.fault_site import KEY, PAGE, PATIENCE, STREAMS, FaultSite

OUTPUTS = tuple(
    topic.name
    for topic in TOPICS
    if topic.name.startswith(("europass.", "esc.")) or topic.name == REJECTIONS.name
)
GROUP = "harmonise"


@dataclass
class View:
    """The records of one connector that one subscriber read."""

    raw: list[ConsumerRecord]
    outputs: list[ConsumerRecord]
    cursors: dict[str, dict]
    digests: list[ConsumerRecord]
    committed: dict[int, int]

    @property
    def waiting(self) -> int:
        """Return the number of raw records that the group has not committed.

        A difference of offsets would also count the markers of transactions.
        """
        return sum(record.offset >= self.committed[record.partition] for record in self.raw)


@dataclass
class Verdict:
    """The result of the checks. ``problems`` is empty when all invariants hold."""

    served: int
    published: int
    rejected: int
    problems: list[str] = field(default_factory=list)
    lost: int = 0
    doubled: int = 0

    def __str__(self) -> str:
        head = f"served {self.served}, published {self.published}, rejected {self.rejected}, lost {self.lost}, doubled {self.doubled}"
        return "\n".join([head, *self.problems[:20]])


async def look(fault_site: FaultSite, isolation: str = "read_committed") -> View:
    """Read all records of this site's connector. Retry while a broker is down."""
    deadline = time.monotonic() + 30 * PATIENCE
    while True:
        try:
            return await _look(fault_site, isolation)
        except (
            KafkaError,
            OSError,
            TimeoutError,
            AssertionError,
        ):  # aiokafka raises AssertionError while a broker starts
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.5)


async def _look(fault_site: FaultSite, isolation: str) -> View:
    consumer = AIOKafkaConsumer(
        bootstrap_servers=fault_site.bootstrap,
        isolation_level=isolation,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        group_id=GROUP,
        fetch_max_wait_ms=50,
    )
    await consumer.start()
    try:
        raw_places = [TopicPartition(RAW.name, number) for number in range(RAW.partitions)]
        committed = {
            place.partition: await consumer.committed(place) or 0 for place in raw_places
        }  # read first, because the topics may only be newer
        found = await _all(
            consumer,
            [
                topic
                for topic in TOPICS
                if topic.name in {RAW.name, CURSORS.name, DIGESTS.name, *OUTPUTS}
            ],
        )
    finally:
        await consumer.stop()
    prefix = f"{fault_site.name}|".encode()
    source = f"/connectors/{fault_site.name}/".encode()
    return View(
        raw=[one for one in found[RAW.name] if one.key.startswith(prefix)],
        outputs=[
            one
            for name in OUTPUTS
            for one in found[name]
            if dict(one.headers).get("ce_source", b"").startswith(source)
        ],
        cursors={
            one.key.decode().split("|")[1]: json.loads(one.value)
            for one in found[CURSORS.name]
            if one.key.startswith(prefix) and one.key.count(b"|") == 1
        },
        digests=[one for one in found[DIGESTS.name] if one.key.startswith(prefix)],
        committed=committed,
    )


async def _all(consumer: AIOKafkaConsumer, topics: Iterable) -> dict[str, list[ConsumerRecord]]:
    places = [
        TopicPartition(topic.name, number) for topic in topics for number in range(topic.partitions)
    ]
    consumer.assign(places)
    ends = await consumer.end_offsets(places)  # with read_committed: the last stable offset
    await consumer.seek_to_beginning(*places)
    found: dict[str, list[ConsumerRecord]] = defaultdict(list)
    async with asyncio.timeout(60):
        while any([await consumer.position(place) < end for place, end in ends.items()]):
            for records in (await consumer.getmany(timeout_ms=100, max_records=5000)).values():
                for record in records:
                    found[record.topic].append(record)
    return found


def version(record: ConsumerRecord) -> int:
    return int(dict(record.headers)["version"])


def identity(record: ConsumerRecord) -> tuple[str, str]:
    """Return the stream and the native id of a raw record."""
    return dict(record.headers)["ce_source"].decode().rpartition("/")[
        2
    ], record.key.decode().partition("|")[2]


def judge(fault_site: FaultSite, view: View) -> Verdict:
    """Compare a view with the registry's ledger."""
    served = {(one.stream, one.id, one.version) for one in list(fault_site.registry.ledger)}
    outcome = outcomes(fault_site, view)
    verdict = Verdict(
        served=len({one[:2] for one in served}),
        published=sum(1 for kinds in outcome.values() if kinds == {"published"}),
        rejected=sum(1 for kinds in outcome.values() if kinds == {"rejected"}),
    )
    check_raw(served, view, verdict)
    check_delivery(fault_site, view, verdict)
    check_rejections(view, verdict)
    check_digests(view, verdict)
    check_cursors(fault_site, view, verdict)
    both = [key for key, kinds in outcome.items() if len(kinds) > 1]
    if both:
        verdict.problems.append(
            f"I1: {len(both)} records are published and rejected at once, such as {both[0]}"
        )
    return verdict


def check_raw(served: set[tuple[str, str, int]], view: View, verdict: Verdict) -> None:
    """Check I1 to I3 at the raw topic.

    The newest served version of each record is there. No record is invented or duplicated, and
    versions ascend.
    """
    newest: dict[tuple[str, str], int] = {}
    for stream, native_id, number in served:
        newest[stream, native_id] = max(number, newest.get((stream, native_id), 0))
    written = [(*identity(record), version(record)) for record in view.raw]
    counts = Counter(written)
    lost = [key for key, number in newest.items() if (*key, number) not in counts]
    doubled = [key for key, count in counts.items() if count > 1]
    invented = [key for key in counts if key not in served]
    verdict.lost += len(lost)
    verdict.doubled += sum(counts[key] - 1 for key in doubled)
    if lost:
        verdict.problems.append(
            f"I1: {len(lost)} served records are not on {RAW.name}, such as {lost[0]}"
        )
    if doubled:
        verdict.problems.append(
            f"I2: {len(doubled)} records stand on {RAW.name} more than once, such as {doubled[0]}"
        )
    if invented:
        verdict.problems.append(
            f"I1: {len(invented)} records were never served, such as {invented[0]}"
        )
    by_key: dict[bytes, list[int]] = defaultdict(list)
    for record in sorted(view.raw, key=lambda one: (one.partition, one.offset)):
        by_key[record.key].append(version(record))
    if backwards := [key for key, numbers in by_key.items() if numbers != sorted(numbers)]:
        verdict.problems.append(
            f"I3: {len(backwards)} records go back in version, such as {backwards[0]!r}"
        )


def check_delivery(fault_site: FaultSite, view: View, verdict: Verdict) -> None:
    """Check I1, I2, I3 and I8 at the output topics.

    Each topic and key holds exactly the documents that its raw records produce, in the same order.
    """
    deliver = delivery(fault_site)
    expected: dict[tuple[str, bytes], list[str]] = defaultdict(list)
    for record in sorted(view.raw, key=lambda one: (one.partition, one.offset)):
        if record.offset < view.committed[record.partition]:
            for outgoing in deliver(record).outgoing:
                place = outgoing.topic, outgoing.key
                if outgoing.value is not None or deletes(record, outgoing.topic, expected[place]):
                    expected[place].append(mark(outgoing.value))
    actual: dict[tuple[str, bytes], list[str]] = defaultdict(list)
    for record in sorted(view.outputs, key=lambda one: (one.partition, one.offset)):
        actual[record.topic, record.key].append(mark(record.value))
    lost = doubled = disordered = 0
    extra: tuple[str, bytes] = ("", b"")
    for place in expected.keys() | actual.keys():
        wanted, found = Counter(expected[place]), Counter(actual[place])
        lost += sum((wanted - found).values())
        doubled += sum((found - wanted).values())
        if found - wanted:
            extra = place
        disordered += wanted == found and expected[place] != actual[place]
    verdict.lost += lost
    verdict.doubled += doubled
    if lost:
        verdict.problems.append(
            f"I1/I4: {lost} documents of {sum(map(len, expected.values()))} are missing below the committed offsets"
        )
    if doubled:
        stand = [
            f"{one.partition}@{one.offset} {mark(one.value)}"
            for one in view.outputs
            if (one.topic, one.key) == extra
        ]
        verdict.problems.append(
            f"I2/I8: {doubled} documents stand on the output topics that no committed input accounts for, such as {extra}: "
            f"{stand}, expected {expected[extra]}; committed {view.committed}"
        )
    if disordered:
        verdict.problems.append(
            f"I3: {disordered} keys have their documents in another order than their records"
        )


def deletes(record: ConsumerRecord, topic: str, before: list[str]) -> bool:
    """Return whether a tombstone may delete a document. Otherwise the stage does not write it."""
    if topic.startswith("esc."):
        return bool(before) and bool(before[-1])
    if topic == "europass.credentials.v1":
        return any(name in {"again", "erased"} for name, _ in record.headers)
    return True


def check_rejections(view: View, verdict: Verdict) -> None:
    """Check I6: each rejection has a reason and the position of its raw record."""
    places = {(record.partition, record.offset): record.key for record in view.raw}
    for record in view.outputs:
        if record.topic != REJECTIONS.name or record.value is None:
            continue
        said = json.loads(record.value)
        if (
            not said["reason"]
            or places.get((said["raw"]["partition"], said["raw"]["offset"])) != record.key
        ):
            verdict.problems.append(
                f"I6: the rejection of {record.key!r} does not lead to its raw record"
            )


def check_digests(view: View, verdict: Verdict) -> None:
    """Check I8 at the poller: every raw record has a digest, and every digest has a raw record."""
    raws = Counter(f"{stream}|{native_id}" for stream, native_id in map(identity, view.raw))
    digests = Counter(record.key.decode().partition("|")[2] for record in view.digests)
    if raws != digests:
        apart = (raws - digests) + (digests - raws)
        verdict.problems.append(
            f"I8: {sum(apart.values())} raw records and digests do not come in pairs, such as {next(iter(apart))}"
        )


def check_cursors(fault_site: FaultSite, view: View, verdict: Verdict) -> None:
    """Check I4: everything before a committed cursor is durable.

    The check uses the registry's own stock.
    """
    durable: dict[tuple[str, str], int] = defaultdict(int)
    for record in view.raw:
        durable[identity(record)] = max(durable[identity(record)], version(record))
    for stream in STREAMS:
        cursor = view.cursors.get(stream)
        if cursor is None:
            continue
        stock = fault_site.registry.stocks[stream]
        ahead = 0
        for entry in passed(stock, cursor):
            ahead += durable[stream, stock.name(entry.number)] < entry.version
        if ahead:
            verdict.problems.append(
                f"I4: the cursor of {stream} is ahead of {ahead} records that are not durable"
            )


def passed(stock, cursor: dict) -> list:
    """Return the entries of a stock that a cursor declares as durable."""
    found = []
    if since := cursor.get("since"):
        moment = datetime.fromisoformat(since)
        found += [entry for entry in stock if entry.changed_at < moment]
    if (position := cursor.get("position")) and cursor.get("until"):
        window = list(
            stock.changed_between(
                datetime.fromisoformat(cursor["start"]), datetime.fromisoformat(cursor["until"])
            )
        )
        state = json.loads(position)
        pager = state.get("pager") or {}
        if pager.get("total", len(window)) == len(
            window
        ):  # otherwise records left the window, and the poller reads it from its start
            found += window[: (int(pager.get("page", 1)) - 1) * PAGE]
    return found


def outcomes(fault_site: FaultSite, view: View) -> dict[bytes, set[str]]:
    """Return the outcome of each record by its raw key.

    The newest record at its rejection key and at the keys of its documents decides.
    """
    standing = {place for place, record in last(view).items() if record.value is not None}
    deliver = delivery(fault_site)
    found: dict[bytes, set[str]] = defaultdict(set)
    for record in view.raw:
        for outgoing in deliver(record).outgoing:
            if outgoing.topic != REJECTIONS.name and (outgoing.topic, outgoing.key) in standing:
                found[record.key].add("published")
        if (REJECTIONS.name, record.key) in standing:
            found[record.key].add("rejected")
    return found


def last(view: View) -> dict[tuple[str, bytes], ConsumerRecord]:
    """Return the newest record of each key on each output topic."""
    return {
        (one.topic, one.key): one
        for one in sorted(view.outputs, key=lambda one: (one.partition, one.offset))
    }


_DELIVERIES: dict[str, RecordProcessor] = {}


def delivery(fault_site: FaultSite) -> RecordProcessor:
    """Return the pure record processor, built from the files that the gateway runs with."""
    if fault_site.name not in _DELIVERIES:
        settings = Settings(
            connectors=fault_site.folder / "connectors",
            mappings=fault_site.environment["GATEWAY_MAPPINGS"],
            pseudonym_key=KEY,
            registry_environment="acceptance",
        )
        fleet = load_config(settings, [fault_site.name])
        _DELIVERIES[fault_site.name] = RecordProcessor(
            fleet.harmonisers.get, KEY.encode(), loq_version=settings.elm_catalogue_version
        )
    return _DELIVERIES[fault_site.name]


def mark(value: bytes | None) -> str:
    return "" if value is None else hashlib.sha256(value).hexdigest()[:16]


def settle(fault_site: FaultSite, seconds: float = 90) -> Verdict:
    """Wait until the gateway has delivered every record of the registry, and judge the result.

    After the time limit, the verdict contains that as a problem.
    """
    deadline = time.monotonic() + seconds * PATIENCE
    while True:
        view = asyncio.run(look(fault_site))
        if view.waiting == 0 and caught_up(fault_site, view):
            return judge(fault_site, asyncio.run(look(fault_site)))
        if time.monotonic() > deadline:
            verdict = judge(fault_site, view)
            verdict.problems.insert(
                0,
                f"did not settle within {seconds} s: {view.waiting} waiting, {len(view.raw)} raw records",
            )
            return verdict
        time.sleep(0.5)


def rest(fault_site: FaultSite, still: float = 5, seconds: float = 90) -> Verdict:
    """Wait until the topics have changed and are quiet again, and judge the result.

    Use this function for a gateway that may never catch up.
    """
    deadline, before, since = time.monotonic() + seconds * PATIENCE, None, time.monotonic()
    while time.monotonic() < deadline:
        view = asyncio.run(look(fault_site))
        now = len(view.raw), view.waiting, len(view.outputs), sorted(view.cursors)
        if now != before:
            before, since = now, time.monotonic()
        elif view.raw and time.monotonic() - since > still * PATIENCE:
            break
        time.sleep(0.5)
    verdict = judge(fault_site, view)
    if view.waiting or not caught_up(fault_site, view):
        verdict.problems.insert(
            0,
            f"did not settle: {view.waiting} of {len(view.raw)} raw records wait, nothing has moved for {still} s",
        )
    return verdict


def caught_up(fault_site: FaultSite, view: View) -> bool:
    """Return whether the newest version of each entry is on the raw topic."""
    newest: dict[tuple[str, str], int] = defaultdict(int)
    for record in view.raw:
        newest[identity(record)] = max(newest[identity(record)], version(record))
    return all(
        newest[stream, fault_site.registry.stocks[stream].name(entry.number)] >= entry.version
        for stream in STREAMS
        for entry in fault_site.registry.stocks[stream]
    )


def assert_sound(verdict: Verdict, at_least: int) -> None:
    """Check that the verdict has no problems and covers enough records."""
    print(verdict)
    assert not verdict.problems, str(verdict)
    assert verdict.served >= at_least, (
        f"only {verdict.served} records: too few for the test to mean anything"
    )
    assert verdict.published > 0, str(verdict)


def aborted(fault_site: FaultSite) -> int:
    """Return how many records of aborted transactions a ``read_uncommitted`` reader sees.

    The number shows how often a fault struck inside a transaction. It counts raw records and
    documents. A killed poller may have been about to move only a cursor, but a stage never.
    """
    uncommitted, committed = (
        asyncio.run(look(fault_site, "read_uncommitted")),
        asyncio.run(look(fault_site)),
    )
    return (
        len(uncommitted.raw)
        - len(committed.raw)
        + len(uncommitted.outputs)
        - len(committed.outputs)
    )


def hidden(fault_site: FaultSite) -> str:
    """Return the number of aborted records as a remark for the figures."""
    return f"{aborted(fault_site)} aborted records hidden"
