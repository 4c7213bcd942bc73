"""Where the time of one record goes: the way from the raw topic to what is written, part by part, for three kinds of record.

A part is run alone, on what the part before it made of the same records; what parts cost together is the last line but one, measured, not
added up. Figures are CPU microseconds a record: the median of several rounds.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
from pydantic import SecretStr

from bench.harmonise import KEY, Fetched, gather
from bench.peers.ours import JOB
from bench.peers.records import bodies
from gateway import render
from gateway.deliver import Deliver
from gateway.fleet import load_fleet
from gateway.harmonise import Harmoniser
from gateway.publish.events import document_headers, event_id, raw_from, raw_headers
from gateway.records import Accepted, Raw
from gateway.render import Rendered
from gateway.settings import Settings
from gateway.stage import settle

RECORDS = 1_000
ROUNDS = 7
AT = datetime(2026, 1, 1, tzinfo=UTC)
Parts = dict[str, float]


def cost(work: Callable[[Any], object], records: Sequence[Any]) -> float:
    """Return the median CPU time of ``work`` in microseconds a record, with the collector as the stage has it."""
    settle()
    found = []
    for _ in range(ROUNDS):
        started = time.process_time()
        for record in records:
            work(record)
        found.append((time.process_time() - started) / len(records) * 1e6)
    return statistics.median(found)


def parts(deliver: Deliver, harmoniser: Harmoniser, raws: Sequence[Raw]) -> Parts:
    """Return what each part costs, for the records of ``raws`` that are accepted."""
    accepted = [(raw, outcome) for raw in raws if isinstance(outcome := harmoniser(raw), Accepted)]
    fetched = [Fetched(raw.key.encode(), raw.body, tuple(raw_headers(raw))) for raw, _ in accepted]
    stream = harmoniser.connector.streams[accepted[0][0].stream]
    country = harmoniser.connector.country

    def rendered(one: tuple[Raw, Accepted]) -> Any:
        raw, outcome = one
        return render.render(outcome, raw, template=stream.iri, country=country, at=AT, audience_key=KEY.encode())

    made = [(raw, found) for raw, outcome in accepted if isinstance(found := rendered((raw, outcome)), Rendered)]
    documents = [(document, raw, found.provenance) for raw, found in made for document in found.documents]
    each = len(documents) / len(accepted)
    return {
        "raw record from its headers": cost(lambda one: raw_from(one.key, one.value, one.headers), fetched),
        "harmonise": cost(harmoniser, [raw for raw, _ in accepted]),
        **_inside(harmoniser, accepted),
        "render": cost(rendered, accepted),
        "headers": each * cost(lambda one: document_headers(*one), documents),
        "  provenance encoded": each * cost(msgspec.json.Encoder().encode, [one[2] for one in documents]),
        "  event id": each * cost(lambda one: event_id(one[0].topic, one[0].key, one[0].value), documents),
        "all of it": cost(deliver, fetched),
        "documents": each,
    }


def _inside(harmoniser: Harmoniser, accepted: Sequence[tuple[Raw, Accepted]]) -> Parts:
    """Return the parts of harmonising: reading and mapping, the rules, the record's structure, the providers."""
    programs = harmoniser._streams[accepted[0][0].stream]  # noqa: SLF001 - measured from inside
    enrich: Any = harmoniser._enrich  # noqa: SLF001
    tables: Any = harmoniser._tables  # noqa: SLF001
    country = harmoniser.connector.country

    def mapped(raw: Raw) -> Any:
        program: Any = programs.of(raw.kind)
        values = program.run(programs.read(raw), programs.context(raw), [], [])
        values.setdefault("id", raw.native_id)
        return values

    raws = [raw for raw, _ in accepted]
    program: Any = programs.of(raws[0].kind)
    values = [mapped(raw) for raw in raws]
    whole = [enrich(one, country=country, emits=program.emits, tables=tables)[0] for one in values]
    found: Parts = {
        "  read and map": cost(mapped, raws),
        "  rules and tables": cost(lambda one: enrich(one, country=country, emits=program.emits, tables=tables), values),
        "  typed record": cost(lambda one: msgspec.convert(one, type=program.record), whole),
    }
    if harmoniser.providers is not None:
        found["  providers"] = cost(lambda one: harmoniser.providers.assess(one[1].record), accepted)  # type: ignore[union-attr]
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
    fleet = load_fleet(settings)
    own = [Raw(connector="bench-peers", stream="programmes", native_id=name, body=body) for name, body in bodies(RECORDS)]
    found["bench-peers"] = parts(Deliver(fleet.harmonisers.get, KEY.encode()), fleet.harmonisers["bench-peers"], own)
    return found


def main() -> dict[str, Parts]:
    """Print the table, a column for each kind of record."""
    found = figures()
    print(f"{'CPU µs/record':30}" + "".join(f"{name:>14}" for name in found))
    for part in dict.fromkeys(part for column in found.values() for part in column):
        print(f"{part:30}" + "".join(f"{column.get(part, float('nan')):14.1f}" for column in found.values()))
    return found


if __name__ == "__main__":
    main()
