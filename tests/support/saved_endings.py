"""How the records of the saved replies end: published on which topics, or not, and why."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from gateway.errors import StreamError
from gateway.harmonise.harmoniser import Harmoniser
from gateway.harmonise.providers import Providers
from gateway.harmonise.quality_assurance import UNKNOWN_PROVIDER
from gateway.harmonise.tables.compiled_tables import Tables
from gateway.records import Accepted, Credential, Organisation, Rejected, Withheld
from gateway.render.publication import Publication, publication
from tests.support.saved_replies import Case, connector_for, read

ENDING_NAMES = {"StreamHalted": "Halt"}
"""Names of errors in the golden file, where they differ from their class."""
_NUMBER_FOR_NAME = re.compile(r"\d{4,}")

TABLE_TITLE = """# What is published of the saved replies

`GOLDEN=update pytest tests/registries/test_saved.py` writes this page. Do not edit it by hand.

The gateway reads each saved reply, harmonises its records and renders them, as a run does. A line
names a topic, or the reason why records are on no topic. One record can be on two topics.

| connector | published on, or why not | records |
|---|---|---|
"""


def ending(case: Case, tables: Tables, providers: Providers) -> dict[str, Any]:
    """Return how the records of one saved reply end.

    Each record is in exactly one of ``accepted``, ``removed``, ``rejected``, ``withheld`` and
    ``deleted``.
    """
    connector = connector_for(case)
    try:
        raws = asyncio.run(read(case))
    except StreamError as error:
        name = ENDING_NAMES.get(type(error).__name__, type(error).__name__)
        return {"stream": f"{name} {error.reason}"}
    harmoniser = Harmoniser(connector, tables, providers=providers, pseudonym_key=b"k" * 32)
    ends: Counter[str] = Counter()
    groups = {
        group: Counter[str]()
        for group in ("published", "rejected", "withheld", "issues", "quality", "facts")
    }
    for raw in raws:
        outcome = None if raw.body is None else harmoniser(raw)
        if outcome is None:
            ends["deleted"] += 1
            continue
        made = publication(outcome, raw, connector)
        if isinstance(made.outcome, Accepted):
            ends["accepted" if made.topics else "removed"] += 1
            _count_published(made, made.outcome, groups)
        elif isinstance(made.outcome, Rejected):
            groups["rejected"][f"{made.outcome.field}: {made.outcome.reason}"] += 1
        elif isinstance(made.outcome, Withheld):
            groups["withheld"][made.outcome.reason] += 1
    counted = ends.total() + groups["rejected"].total() + groups["withheld"].total()
    assert counted == len(raws)
    ids = len({raw.native_id for raw in raws})
    return {
        "records": len(raws),
        **({"ids": ids} if ids < len(raws) else {}),
        **dict(sorted(ends.items())),
        **{group: dict(sorted(counts.items())) for group, counts in groups.items() if counts},
    }


def _count_published(
    made: Publication, accepted: Accepted, groups: Mapping[str, Counter[str]]
) -> None:
    record, provenance = accepted.record, accepted.provenance
    groups["published"].update(made.topics)
    groups["issues"].update(issue.code for issue in provenance.issues)
    groups["facts"].update(f"without `{field}`" for field in made.missing)
    documents = b"".join(document.value or b"" for document in made.documents)
    if getattr(record, "credit_amount", None) is not None and b'"point":' not in documents:
        groups["facts"]["credits not published"] += 1
    if getattr(record, "eqf_level", None) is not None:
        groups["facts"]["EQF level"] += 1
    if not isinstance(record, Credential):
        return
    outcome = provenance.quality_assurance.get("outcome", UNKNOWN_PROVIDER)
    groups["quality"][outcome] += 1
    if outcome != UNKNOWN_PROVIDER:
        groups["facts"]["institution found"] += 1
    if _is_named_by_number(record.awarding_body):
        groups["facts"]["institution named by its number"] += 1


def _is_named_by_number(body: Organisation | None) -> bool:
    """Return whether a name of a body is only a word with its number, such as "School 10076"."""
    numbers = set(body.identifiers.values()) if body else set()
    return body is not None and any(
        not numbers.isdisjoint(_NUMBER_FOR_NAME.findall(text)) for text in body.name.values()
    )


def totals(endings: Iterable[Mapping[str, Any]]) -> dict[str, Counter[str]]:
    """Return the sums of all endings: ``published``, ``rejected``, ``quality`` and the like."""
    sums: dict[str, Counter[str]] = {}
    for found in endings:
        for group, counts in found.items():
            if isinstance(counts, dict):
                sums.setdefault(group, Counter()).update(counts)
            elif isinstance(counts, int):
                sums.setdefault("records", Counter())[group] += counts
    return sums


def table(golden: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the endings as a page: connector, topic or reason, and the number of records."""
    by_connector: dict[str, list[Mapping[str, Any]]] = {}
    for name, found in golden.items():
        by_connector.setdefault(name.partition(" ")[0], []).append(found)
    lines = [
        f"| {connector} | {what} | {count:,} |"
        for connector, endings in sorted(by_connector.items())
        for what, count in _lines(totals(endings))
    ]
    lines += [
        f"| **all** | {what} | {count:,} |" for what, count in _lines(totals(golden.values()))
    ]
    return TABLE_TITLE + "\n".join(lines) + "\n"


def _lines(sums: Mapping[str, Counter[str]]) -> Iterable[tuple[str, int]]:
    """Yield the topics first, and then the reasons why records are on no topic."""
    yield from sorted((f"`{topic}`", count) for topic, count in sums.get("published", {}).items())
    for group in ("rejected", "withheld"):
        for reason, count in sorted(sums.get(group, {}).items()):
            field, _, code = reason.rpartition(": ")
            yield f"{group}: `{code}`" + (f" at `{field}`" if field else ""), count
    for group in ("removed", "deleted"):
        if count := sums.get("records", Counter())[group]:
            yield group, count
    for fact, count in sorted(sums.get("facts", {}).items()):
        yield f"of the published: {fact}", count
    for outcome, count in sorted(sums.get("quality", {}).items()):
        yield f"of the published: quality assurance `{outcome}`", count
