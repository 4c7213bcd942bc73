"""Check the crosswalks of a mapping file: national classifications of fields and ISCED-F."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date

from gateway.config.code_lists import ISCED_F
from gateway.config.mapping_tables import Crosswalk, CrosswalkVersion, Mapping
from gateway.config.yaml.document import DocumentPath, YamlDocument
from gateway.errors import Finding


def check_crosswalks(mapping: Mapping, document: YamlDocument) -> Iterator[Finding]:
    """Yield a finding for each row that the gateway would not use as its author means it."""
    for name, crosswalk in mapping.fields.items():
        place = ("fields", name)
        if name in mapping.codes:
            yield document.make_finding(
                "name-twice", place, f"the table {name} under codes has this name; rename one"
            )
        yield from _editions(crosswalk, document, place)
        for index, edition in enumerate(crosswalk.versions):
            yield from _rows(edition, document, (*place, "versions", index))


def _editions(
    crosswalk: Crosswalk, document: YamlDocument, place: DocumentPath
) -> Iterator[Finding]:
    if all(edition.until for edition in crosswalk.versions):
        yield document.make_finding(
            "not-in-force",
            (*place, "versions"),
            "no edition is in force, so no code gives a field; add one without until",
            severity="warning",
        )
    for index, edition in enumerate(crosswalk.versions):
        here = (*place, "versions", index)
        if edition.from_ is None:
            yield document.make_finding(
                "no-first-day", here, "has no first day; add from: with the first day it holds"
            )
        for number, other in enumerate(crosswalk.versions[:index]):
            if _overlap(edition, other):
                line = document.position_of((*place, "versions", number))[0]
                yield document.make_finding(
                    "overlap",
                    here,
                    f"the edition of line {line} holds on the same days; make the periods disjoint",
                )


def _overlap(one: CrosswalkVersion, other: CrosswalkVersion) -> bool:
    return (one.from_ or date.min) <= (other.until or date.max) and (other.from_ or date.min) <= (
        one.until or date.max
    )


def _rows(
    edition: CrosswalkVersion, document: YamlDocument, place: DocumentPath
) -> Iterator[Finding]:
    for code, fields in edition.rows.items():
        here = (*place, "rows", code)
        if code != code.strip():
            yield document.make_finding(
                "code-blank", here, f"the code '{code}' begins or ends with a blank; remove it"
            )
        if len(set(fields)) != len(fields):
            yield document.make_finding(
                "field-twice", here, f"the code {code} states a field twice; keep one"
            )
        for field in fields:
            if field not in ISCED_F:
                yield document.make_finding(
                    "isced-unknown",
                    here,
                    f"{field} is no field of ISCED-F 2013; write a code of 2, 3 or 4 digits "
                    "from its list",
                )
