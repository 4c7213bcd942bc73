"""Check the lists of institutions of a mapping file."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from itertools import combinations

from gateway.config.mapping_tables import InstitutionList, InstitutionRow, Mapping
from gateway.config.yaml.document import DocumentPath, YamlDocument
from gateway.errors import Finding
from gateway.identifiers import is_well_formed, normalise_identifier


def check_institutions(mapping: Mapping, document: YamlDocument) -> Iterator[Finding]:
    """Yield a finding for each row that the gateway would not use as its author means it."""
    country = mapping.country.partition("-")[0].lower()
    for index, listed in enumerate(mapping.institutions):
        place = ("institutions", index)
        scheme_country, _, word = listed.scheme.partition("-")
        if scheme_country != country:
            yield document.make_finding(
                "wrong-country",
                (*place, "scheme"),
                f"the file of {mapping.country} numbers institutions of its own country; "
                f"write {country}-{word}",
            )
        yield from _rows(listed, document, place)


def _rows(
    listed: InstitutionList, document: YamlDocument, place: DocumentPath
) -> Iterator[Finding]:
    numbered: dict[str, list[tuple[int, InstitutionRow]]] = {}
    for index, row in enumerate(listed.rows):
        number = normalise_identifier(listed.scheme, row.number)
        numbered.setdefault(number, []).append((index, row))
        for scheme, value in row.identifiers.items():
            if not is_well_formed(scheme, normalise_identifier(scheme, value)):
                yield document.make_finding(
                    "bad-identifier",
                    (*place, "rows", index, "identifiers", scheme),
                    f"{value} has not the form of the scheme {scheme}; correct it",
                )
    for same in numbered.values():
        for (_, first), (index, second) in combinations(same, 2):
            if _overlap(first, second):
                yield document.make_finding(
                    "overlap",
                    (*place, "rows", index),
                    f"two rows name {second.number} on the same day; write from and until",
                )


def _overlap(one: InstitutionRow, other: InstitutionRow) -> bool:
    return (one.from_ or date.min) <= (other.until or date.max) and (other.from_ or date.min) <= (
        one.until or date.max
    )
