"""Measure each part of the way of one record, for three kinds of record.

Each part runs together with all parts before it, on fresh copies of the same records. Its cost is
the difference, so the parts add up to the total. A part also pays for the caches that earlier parts
have filled.

Indented parts run alone on the result of the part before them. They show the possible gain inside a
part and do not add up. All figures are CPU microseconds a record, the tenth percentile of many
rounds.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import msgspec
from pydantic import SecretStr

from bench.harmonise import KEY, Fetched, gather
from bench.peers.ours import JOB
from bench.peers.records import bodies
from gateway.harmonise import record_rules
from gateway.harmonise.harmoniser import Harmoniser
from gateway.messages.cloudevents import (
    content_id,
    decode_raw,
    encode_document_headers,
    encode_raw_headers,
)
from gateway.messages.event_ids import EventIds
from gateway.pipeline.garbage_collector import tune_garbage_collector
from gateway.pipeline.loaded_config import load_config
from gateway.pipeline.record_processor import RecordProcessor
from gateway.records import Accepted, RawRecord
from gateway.render import render
from gateway.render.render import Rendered
from gateway.settings import Settings

RECORDS = 500
ROUNDS = 15
AT = datetime(2026, 1, 1, tzinfo=UTC)
Parts = dict[str, float]


def cost(work: Callable[[Any], object], records: Sequence[Any]) -> float:
    """Return the CPU microseconds a record of ``work``: the tenth percentile of the rounds.

    The garbage collector is tuned as in the stage.
    """
    tune_garbage_collector()
    found = []
    for _ in range(ROUNDS):
        started = time.process_time()
        for record in records:
            work(record)
        found.append((time.process_time() - started) / len(records) * 1e6)
    return statistics.quantiles(found, n=10)[0]


def parts(deliver: RecordProcessor, harmoniser: Harmoniser, raws: Sequence[RawRecord]) -> Parts:
    """Return the cost of each part, for the accepted records of ``raws``."""
    accepted = [(raw, outcome) for raw in raws if isinstance(outcome := harmoniser(raw), Accepted)]
    fetched = [
        Fetched(raw.key.encode(), raw.body, tuple(encode_raw_headers(raw))) for raw, _ in accepted
    ]
    event_ids = EventIds(KEY.encode())
    streams, country = harmoniser.connector.streams, harmoniser.connector.country

    def read(one: Fetched) -> RawRecord:
        return decode_raw(one.key, one.value, one.headers)

    def harmonised(one: Fetched) -> tuple[RawRecord, Any]:
        raw = read(one)
        return raw, harmoniser(raw)

    def rendered(one: tuple[RawRecord, Any]) -> tuple[RawRecord, Any]:
        raw, outcome = one
        return raw, render.render(
            outcome,
            render.TopicKeys(raw, streams[raw.stream].iri, KEY.encode()),
            country=country,
            at=AT,
        )

    def headed(one: tuple[RawRecord, Any]) -> object:
        raw, found = one
        return [
            encode_document_headers(document, raw, found.provenance, event_ids)
            for document in found.documents
        ]

    way: dict[str, Callable[[Any], object]] = {
        "raw record from its headers": read,
        "harmonise": harmonised,
        "render": lambda one: rendered(harmonised(one)),
        "headers": lambda one: headed(rendered(harmonised(one))),
        "everything else": deliver,
    }
    reached = [cost(work, fetched) for work in way.values()]
    added = dict(
        zip(way, (after - before for before, after in pairwise([0.0, *reached])), strict=True)
    )
    documents = [
        (document, raw, found.provenance)
        for raw, found in map(rendered, accepted)
        if isinstance(found, Rendered)
        for document in found.documents
    ]
    each = len(documents) / len(accepted)
    alone = {
        "harmonise": _inside(
            harmoniser,
            [(raw, outcome) for raw, outcome in accepted if raw.stream == accepted[0][0].stream],
        ),
        "render": {"  alone": cost(rendered, accepted)},
        "headers": {
            "  alone ": each
            * cost(lambda one: encode_document_headers(*one, event_ids), documents),
            "  provenance encoded": each
            * cost(msgspec.json.Encoder().encode, [one[2] for one in documents]),
            "  content id": each
            * cost(lambda one: content_id(one[0].topic, one[0].key, one[0].value), documents),
        },
    }
    found: Parts = {}
    for name, value in added.items():
        found |= {name: value, **alone.get(name, {})}
    size = sum(len(document.value or b"") for document, _, _ in documents) / len(accepted)
    return {**found, "all of it": reached[-1], "documents": each, "bytes": size}


def _inside(harmoniser: Harmoniser, accepted: Sequence[tuple[RawRecord, Accepted]]) -> Parts:
    """Return the parts of harmonising records of one stream.

    The parts are reading and mapping, the rules, the typed record and the providers.
    """
    programs = harmoniser._streams[accepted[0][0].stream]  # noqa: SLF001 - measured from inside
    enrich: Any = record_rules.apply_record_rules
    tables: Any = harmoniser.tables
    country = harmoniser.connector.country

    def mapped(raw: RawRecord) -> Any:
        program: Any = programs.for_kind(raw.kind)
        values = program.run(
            programs.parse_payload(raw),
            programs.context(raw),
            [],
            [],
            programs.may_hold_invisible_text(raw),
        )
        values.setdefault("id", raw.native_id)
        return values

    raws = [raw for raw, _ in accepted]
    program: Any = programs.for_kind(raws[0].kind)
    values = [mapped(raw) for raw in raws]
    whole = [enrich(one, country=country, emits=program.emits, tables=tables)[0] for one in values]
    found: Parts = {
        "  read and map": cost(mapped, raws),
        "  rules and tables": cost(
            lambda one: enrich(one, country=country, emits=program.emits, tables=tables), values
        ),
        "  typed record": cost(lambda one: msgspec.convert(one, type=program.record), whole),
    }
    if harmoniser.providers is not None:
        found["  providers"] = cost(
            lambda one: harmoniser.providers.assess_record(one[1].record), accepted
        )  # type: ignore[union-attr]
    return found


def figures() -> dict[str, Parts]:
    """Measure every kind of record."""
    deliver, raws = asyncio.run(gather(2 * RECORDS))
    found = {}
    for name in ("demo-rest", "demo-soap"):
        harmoniser = deliver._harmoniser(name)  # noqa: SLF001
        if harmoniser is None:
            raise SystemExit(f"{name} should be among the connectors")
        found[name] = parts(deliver, harmoniser, [raw for raw in raws if raw.connector == name])
    settings = Settings().model_copy(update={"connectors": JOB, "pseudonym_key": SecretStr(KEY)})
    fleet = load_config(settings)
    own = [
        RawRecord(connector="bench-peers", stream="programmes", native_id=name, body=body)
        for name, body in bodies(RECORDS)
    ]
    found["bench-peers"] = parts(
        RecordProcessor(fleet.harmonisers.get, KEY.encode()), fleet.harmonisers["bench-peers"], own
    )
    return found


def main() -> dict[str, Parts]:
    """Print the table with a column for each kind of record."""
    found = figures()
    print(f"{'CPU µs/record':30}" + "".join(f"{name:>14}" for name in found))
    for part in dict.fromkeys(part for column in found.values() for part in column):
        print(
            f"{part:30}"
            + "".join(f"{column.get(part, float('nan')):14.1f}" for column in found.values())
        )
    return found


if __name__ == "__main__":
    main()
