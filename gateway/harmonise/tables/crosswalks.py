"""Find the ISCED-F field of a code of a national classification, in the mapping files."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date

from msgspec import Struct

from gateway.config.mapping_tables import Crosswalk, CrosswalkVersion, Mapping
from gateway.config.table_sources import short_source


class FieldMatch(Struct, frozen=True, kw_only=True):
    """The ISCED-F field of a national code, with the row that states it."""

    isced_f: str
    table: str
    version: str
    row: str
    source: str


class NoField(Struct, frozen=True, kw_only=True):
    """The reason why a national code gives no field.

    ``reason`` is table_unknown, code_unknown, ambiguous or not_in_force.
    """

    reason: str
    table: str = ""
    candidates: tuple[str, ...] = ()
    """The fields that the publisher states for an ambiguous code. None of them is published."""
    version: str = ""
    source: str = ""


class Crosswalks:
    """An immutable view of the crosswalks of all mapping files."""

    __slots__ = ("_crosswalks", "_mappings")

    def __init__(self, mappings: Iterable[Mapping]) -> None:
        self._mappings = {mapping.country: mapping for mapping in mappings}
        self._crosswalks = {
            (mapping.country, name): crosswalk
            for mapping in self._mappings.values()
            for name, crosswalk in mapping.fields.items()
        }

    def get(self, system: str, classification: str) -> Crosswalk | None:
        """Return the crosswalk of a country's classification, or ``None``."""
        return self._crosswalks.get((system, classification))

    def names(self, system: str) -> tuple[str, ...]:
        """Return the classifications of a country."""
        return tuple(name for country, name in self._crosswalks if country == system)

    def find(
        self, system: str, classification: str, code: str, on: date | None
    ) -> FieldMatch | NoField:
        """Return the only field that the edition of a day states for a code.

        Without a day, the edition in force counts. A code with several fields has none.
        """
        crosswalk = self.get(system, classification)
        if crosswalk is None:
            return NoField(reason="table_unknown")
        table = f"{system}:fields:{classification}"
        edition = _edition(crosswalk.versions, on)
        if edition is None:
            return NoField(reason="not_in_force", table=table)
        sources = self._mappings[system].sources_of(edition)
        version, source = edition.version, short_source(sources, "fields")
        found = edition.rows.get(code, ())
        if len(found) != 1:
            return NoField(
                reason="ambiguous" if found else "code_unknown",
                table=table,
                candidates=found,
                version=version,
                source=source,
            )
        return FieldMatch(isced_f=found[0], table=table, version=version, row=code, source=source)


def _edition(editions: Sequence[CrosswalkVersion], on: date | None) -> CrosswalkVersion | None:
    if on is None:
        return next((edition for edition in editions if edition.until is None), None)
    return next(
        (
            edition
            for edition in editions
            if (edition.from_ or date.min) <= on <= (edition.until or date.max)
        ),
        None,
    )
