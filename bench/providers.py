"""Measure what 10,000 providers add to the cost of a record.

The same records are harmonised with 10,000 providers and with none, alternately. The providers know
the institutions of all records, with reports, so that each award is assessed. The institutions are
the few of the demo, and then about a hundred. The first record of an institution costs more,
because the gateway looks for its providers once. This cost has a column of its own.

All figures are the tenth percentile of the rounds.
"""

from __future__ import annotations

import asyncio
import gc
import re
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import date
from typing import Any

from msgspec.structs import replace

from bench.harmonise import KEY, Fetched, gather
from gateway.harmonise.harmoniser import Harmoniser
from gateway.harmonise.providers import Providers
from gateway.harmonise.tables.institutions import BODY_FIELDS
from gateway.messages.cloudevents import encode_raw_headers
from gateway.pipeline.garbage_collector import tune_garbage_collector
from gateway.pipeline.record_processor import RecordProcessor
from gateway.records import Accepted, Organisation, Provider, QualityReport, RawRecord

RECORDS = 4_000
INSTITUTIONS = 33
"""The number of institutions for each name that the demo has."""
PROVIDERS = 10_000
ROUNDS = 25
REPORTS = tuple(
    QualityReport(
        id=f"{year}",
        kind="institutional",
        obligatory=True,
        valid_from=date(year, 9, 1),
        valid_until=date(year + 5, 8, 31),
    )
    for year in range(1999, 2029, 5)
)
_PIC = re.compile(rb"9999[89]000\d")
_DOMAIN = re.compile(
    rb"\b(?:polderdam|waterkant|nieuwedijk|pohjanranta|saaristo|jarvimaa)\.example"
)


def with_institutions(raws: Iterable[RawRecord], count: int) -> list[RawRecord]:
    """Return the records with more institutions: each name is that of ``count`` institutions."""
    found = []
    for position, raw in enumerate(raws):
        number = position % count + 1
        body = _PIC.sub(b"%09d" % number, raw.body or b"")
        found.append(replace(raw, body=_DOMAIN.sub(b"i%d.example" % number, body)))
    return found


def institutions(harmoniser: Harmoniser, raws: Iterable[RawRecord]) -> list[Organisation]:
    """Return each institution of the accepted records once."""
    found: dict[str, Organisation] = {}
    for raw in raws:
        outcome = harmoniser(raw)
        if isinstance(outcome, Accepted):
            field = BODY_FIELDS.get(type(outcome.record), "")
            body = getattr(outcome.record, field, None)
            if body is not None:
                found[repr(body)] = body
    return list(found.values())


def providers_with(known: Sequence[Organisation]) -> list[Provider]:
    """Return 10,000 providers with eight identifiers each. Among them are the given ones."""
    found = [
        Provider(
            id=f"known-{number}",
            organisation=replace(body, identifiers={**body.identifiers, **_others(number)}),
            reports=REPORTS,
        )
        for number, body in enumerate(known)
    ]
    for number in range(len(found), PROVIDERS):
        organisation = Organisation(
            name={"en": f"University {number}"},
            country="FI",
            identifiers={**_others(number), "pic": f"8{number:08d}", "schac": f"u{number}.example"},
        )
        found.append(Provider(id=f"{number}", organisation=organisation, reports=REPORTS))
    return found


def _others(number: int) -> dict[str, str]:
    schemes = ("erasmus", "oid", "eter", "deqar", "ror", "fi-national")
    return dict.fromkeys(schemes, f"X{number:07d}")


def alternate(
    harmonisers: tuple[Harmoniser, Harmoniser],
    ways: Sequence[Callable[[Any], object]],
    records: Sequence[Any],
    loaded: Sequence[Provider],
) -> list[tuple[float, float]]:
    """Return the CPU microseconds a record without providers and with them, for each round."""
    tune_garbage_collector()
    views = (Providers(), Providers(loaded))
    rounds = []
    for number in range(-1, ROUNDS):
        costs = [0.0, 0.0]
        for way in (0, 1) if number % 2 else (1, 0):
            harmonisers[way].providers = views[way]
            work = ways[way]
            gc.collect()
            started = time.process_time()
            for record in records:
                work(record)
            costs[way] = (time.process_time() - started) / len(records) * 1e6
        rounds.append((costs[0], costs[1]))
    return rounds[1:]  # In the first one, each institution is new.


def first_look(known: Sequence[Organisation], loaded: Sequence[Provider]) -> float:
    """Return the CPU microseconds of the first look at an institution: the lowest of ten rounds."""
    view = Providers(loaded)
    found = []
    for _ in range(10):
        view._cache.clear()  # noqa: SLF001 - so that each institution is new
        gc.collect()
        started = time.process_time()
        for body in known:
            view.with_known_identifiers(body)
        found.append((time.process_time() - started) / len(known) * 1e6)
    return min(found)


def measure(
    harmoniser: Harmoniser, raws: Sequence[RawRecord], title: str
) -> Iterable[dict[str, Any]]:
    """Yield the cost of harmonising, and of all that happens to a record."""
    connector, tables = harmoniser.connector, harmoniser.tables
    both = (
        Harmoniser(connector, tables, pseudonym_key=KEY.encode()),
        Harmoniser(connector, tables, pseudonym_key=KEY.encode()),
    )
    known = institutions(harmoniser, raws)
    loaded = providers_with(known)
    first = first_look(known, loaded)
    fetched = [Fetched(raw.key.encode(), raw.body, tuple(encode_raw_headers(raw))) for raw in raws]
    processors = [RecordProcessor({connector.connector: one}.get, KEY.encode()) for one in both]
    for part, ways, records in (("harmonise", both, raws), ("all", processors, fetched)):
        rounds = alternate(both, ways, records, loaded)  # type: ignore[arg-type]
        none, with_them = (
            statistics.quantiles(costs, n=10)[0] for costs in zip(*rounds, strict=True)
        )
        yield {
            "records": title,
            "part": part,
            "institutions": len(known),
            "none": none,
            "loaded": with_them,
            "first": first,
            "more": with_them / none - 1,
        }


def main() -> list[dict[str, Any]]:
    """Print and return the costs of each kind of record, without providers and with 10,000."""
    deliver, raws = asyncio.run(gather(RECORDS))
    rows = []
    for name in sorted({raw.connector for raw in raws}):
        own = [raw for raw in raws if raw.connector == name]
        harmoniser = deliver._harmoniser(name)  # noqa: SLF001 - measured from inside
        if harmoniser is None:
            raise SystemExit(f"{name} should be among the connectors")
        for chosen in (own, with_institutions(own, INSTITUTIONS)):
            for row in measure(harmoniser, chosen, name):
                rows.append(row)
                print(
                    f"{row['records']:<10} {row['part']:<10} {row['institutions']:>4} institutions "
                    f"{row['none']:>8.2f} {row['loaded']:>8.2f} CPU µs/record "
                    f"{row['more'] * 100:>+6.2f} %, {row['first']:>6.1f} µs for an institution",
                    flush=True,
                )
    return rows


if __name__ == "__main__":
    main()
