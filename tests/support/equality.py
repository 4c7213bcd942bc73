"""Compare the fast path of the record processor with the ordinary way, byte by byte.

A :class:`World` holds connectors and settings. It makes processors that share no memory with each
other, so that a wrong entry in a memory of the fast path cannot reach the ordinary way.
"""

from __future__ import annotations

import inspect
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from bench.harmonise import Fetched
from gateway.config.connector import Connector
from gateway.harmonise.harmoniser import Harmoniser
from gateway.harmonise.providers import Providers
from gateway.harmonise.tables.compiled_tables import Tables
from gateway.messages.cloudevents import encode_raw_headers
from gateway.messages.header_block import HeaderBlock
from gateway.observability.unmapped_samples import SAMPLES
from gateway.pipeline.processed_record import ProcessedRecord
from gateway.pipeline.record_processor import RecordProcessor
from gateway.pseudonym_keys import PseudonymKeys
from gateway.records import Outcome, RawRecord

ROOT = Path(__file__).parents[2]
SECRET = b"a key of thirty-two bytes or more, for tests only"
PREVIOUS_SECRET = b"the key before it, of thirty-two bytes or more as well"
MARCH = 1_772_409_600_000 + 12_345_678
"""The time of most records, in milliseconds: a morning of March 2026."""
HAS_FAST_PATH = "fast_path" in inspect.signature(RecordProcessor.__init__).parameters

Process = Callable[[Fetched], ProcessedRecord]
Facts = dict[str, Any]
"""What is compared of a result, by name."""


@lru_cache(maxsize=1)
def mapping_tables() -> Tables:
    """Return the mapping tables of the repository, for questions that no processor asks."""
    return Tables.load(ROOT / "mappings")


class RuleByRule(Harmoniser):
    """A harmoniser that runs the rules one by one, without any generated code."""

    def __call__(self, raw: RawRecord) -> Outcome:
        """Return the outcome of a record."""
        return self.harmonise_with_rules(raw)


@dataclass(frozen=True)
class World:
    """Connectors with the settings of a worker."""

    connectors: Mapping[str, Connector]
    loq_version: str = "3.1"
    has_previous_key: bool = False
    providers: Providers | None = None

    def processor(
        self,
        *,
        fast: bool,
        harmoniser: type[Harmoniser] = Harmoniser,
        tables: Tables | None = None,
    ) -> Process:
        """Return a new processor with harmonisers of its own, and with its own or given tables."""
        tables = tables or Tables.load(ROOT / "mappings")
        harmonisers = {
            name: harmoniser(connector, tables, pseudonym_key=SECRET, providers=self.providers)
            for name, connector in self.connectors.items()
        }
        secrets = (SECRET, PREVIOUS_SECRET) if self.has_previous_key else (SECRET,)
        options: dict[str, Any] = {"fast_path": fast} if HAS_FAST_PATH else {}
        return RecordProcessor(
            harmonisers.get,
            SECRET,
            keys=PseudonymKeys(secrets, secrets),
            loq_version=self.loq_version,
            **options,
        )

    def with_streams(self, **changes: Any) -> World:
        """Return the world with these settings in all streams."""
        return replace(
            self,
            connectors={
                name: connector.with_streams(
                    {
                        key: stream.model_copy(update=changes)
                        for key, stream in connector.streams.items()
                    }
                )
                for name, connector in self.connectors.items()
            },
        )


def fetched(raw: RawRecord, *, timestamp: int = MARCH, offset: int = 7) -> Fetched:
    """Return a raw record as a consumer returns it."""
    if not raw.event_id:
        raw = _with_event_id(raw)
    return Fetched(
        raw.key.encode(),
        raw.body,
        tuple(encode_raw_headers(raw)),
        timestamp=timestamp,
        offset=offset,
    )


def _with_event_id(raw: RawRecord) -> RawRecord:
    from msgspec.structs import replace as with_changes

    return with_changes(raw, event_id="0123456789abcdef0123456789abcdef")


def facts(process: Process, record: Fetched) -> Facts:
    """Return everything that the stage uses of a result: documents, counts and notes.

    An exception is a result, too, because the stage then rejects the record.
    """
    SAMPLES.clear()
    try:
        result = process(record)
    except Exception as error:  # noqa: BLE001 - both ways have to raise the same
        return {"exception": type(error).__name__, "text": str(error)}
    notes = {
        place: sorted((sample.value, sample.is_about_person, sample.count) for sample in values)
        for place, values in (
            (place, list(values.values())) for place, values in SAMPLES._values.items()
        )
    }
    return {
        "connector": result.connector,
        "stream": result.stream,
        "outcome": result.outcome,
        "reason": result.reason,
        "field": result.field,
        "issues": result.issues,
        "table_versions": result.table_versions,
        "unmapped_values": result.unmapped_values,
        "missing_fields": result.missing_fields,
        "counts_as_received": result.counts_as_received,
        "notes": notes,
        "outgoing": [
            (
                outgoing.topic,
                outgoing.partition,
                outgoing.key,
                outgoing.value,
                _encoded(outgoing.headers),
                outgoing.timestamp,
            )
            for outgoing in result.outgoing
        ],
    }


def _encoded(headers: Any) -> bytes:
    block = headers if isinstance(headers, HeaderBlock) else HeaderBlock.of(headers)
    return block.encoded


def differences(process: Process) -> int:
    """Return how often the fast path itself has found another result than the ordinary way.

    It then stops, and the ordinary result counts. No comparison of results would show that.
    """
    return sum(path.differences for path in fast_paths(process))


def fast_paths(process: Process) -> list[Any]:
    """Return the fast paths that a processor has built, one for each kind of record."""
    found = getattr(process, "fast_paths", None)
    return [built.path for built in found._built.values() if built.path] if found else []


def fast_count(process: Process) -> int:
    """Return how many results were made on the fast path."""
    return sum(path._fast for path in fast_paths(process))


_FIELDS = ("topic", "partition", "key", "value", "headers", "timestamp")


def difference(expected: Facts, actual: Facts) -> str:
    """Return the first difference of two results as a text, or an empty text."""
    for name in (*expected, *(name for name in actual if name not in expected)):
        ordinary, fast = expected.get(name), actual.get(name)
        if ordinary == fast:
            continue
        if name == "outgoing" and ordinary is not None and fast is not None:
            return _difference_of_outgoing(ordinary, fast)
        return f"{name}: ordinary {ordinary!r}, fast {fast!r}"
    return ""


def _difference_of_outgoing(ordinary: list[Any], fast: list[Any]) -> str:
    if len(ordinary) != len(fast):
        return f"outgoing: {len(ordinary)} records the ordinary way, {len(fast)} the fast way"
    for index, pair in enumerate(zip(ordinary, fast, strict=True)):
        for name, one, other in zip(_FIELDS, *pair, strict=True):
            if one != other:
                where = f"outgoing[{index}].{name}"
                if isinstance(one, bytes) and isinstance(other, bytes):
                    place = _first_difference(one, other)
                    near = slice(max(0, place - 60), place + 60)
                    return f"{where} at byte {place}: {one[near]!r} and {other[near]!r}"
                return f"{where}: ordinary {one!r}, fast {other!r}"
    return ""


def _first_difference(one: bytes, other: bytes) -> int:
    for place, (left, right) in enumerate(zip(one, other, strict=False)):
        if left != right:
            return place
    return min(len(one), len(other))


@dataclass
class Comparison:
    """The results of the ordinary way for a world, and the differences of fast processors."""

    world: World
    ordinary: Process = field(init=False)
    fast_share: float = field(default=0.0, init=False)
    """The share of the results of the last comparison that were made on the fast path."""

    def __post_init__(self) -> None:
        self.ordinary = self.world.processor(fast=False)

    def expected(self, records: Sequence[Fetched]) -> list[Facts]:
        """Return the results of the ordinary way."""
        return [facts(self.ordinary, record) for record in records]

    def assert_equal(
        self, records: Sequence[Fetched], *, passes: int = 3, seed: int = 0
    ) -> list[Facts]:
        """Compare with one fast processor, first cold, then warm and in shuffled orders.

        Returns the results.
        """
        expected = self.expected(records)
        fast = self.world.processor(fast=True)
        order = list(range(len(records)))
        dice = random.Random(seed)
        for turn in range(passes):
            for index in order:
                assert_equal_way(fast, expected[index], records[index], turn)
            dice.shuffle(order)
        self.fast_share = fast_count(fast) / max(1, passes * len(records))
        return expected


def assert_equal_way(fast: Process, expected: Facts, record: Fetched, turn: int = 0) -> None:
    """Process a record the fast way, and fail if its result differs from the expected one."""
    assert_same(expected, facts(fast, record), record, turn)
    if differences(fast):
        assert_same({"differences": 0}, {"differences": differences(fast)}, record, turn)


def assert_same(expected: Facts, actual: Facts, record: Fetched, turn: int = 0) -> None:
    """Fail with the record and the first difference if two results differ."""
    if expected == actual:
        return
    headers = {name: value for name, value in record.headers if not name.startswith("ce_spec")}
    raise AssertionError(
        f"pass {turn + 1}: {difference(expected, actual)}\n"
        f"key {record.key!r}\nheaders {headers!r}\ntimestamp {record.timestamp}\n"
        f"body {(record.value or b'')[:3000]!r}"
    )


def outcomes(results: Iterable[Facts]) -> dict[str, int]:
    """Return how many results have each outcome, such as ``accepted``."""
    counts: dict[str, int] = {}
    for result in results:
        outcome = result.get("outcome", "exception")
        counts[outcome] = counts.get(outcome, 0) + 1
    return counts


def batches(records: Iterable[Fetched], size: int) -> Iterator[list[Fetched]]:
    """Yield the records in lists of ``size``."""
    batch: list[Fetched] = []
    for record in records:
        batch.append(record)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
