"""Look up codes in a table of the connector file or in a dated mapping table."""

from __future__ import annotations

from datetime import date
from typing import Any

from gateway.config.rules import LocalTable
from gateway.harmonise.mapping.rule_functions import FieldRejected, MappingState, StatefulConvert
from gateway.harmonise.tables.compiled_tables import NoCodeMatch, NoField, Tables
from gateway.records import Issue, Lookup

ISCED_AMBIGUOUS, ISCED_NOT_STATED = "isced_ambiguous", "isced_not_stated"
"""The codes of the issues of a national code for which its publisher states several fields or none.

The registry sent a code that it uses correctly. So the entry is incomplete, not wrong.
"""


class ConnectorTableLookup:
    """A lookup in a table under ``tables:`` of the connector file."""

    def __init__(
        self, table: LocalTable, name: str, field: str, connector: str, digest: str
    ) -> None:
        self._map = table.map
        self._unmapped = table.unmapped
        self._name, self._field, self._source, self._digest = name, field, connector, digest
        self.converted_codes: dict[str, tuple[Any, Lookup]] = {}
        """A cache of converted codes, each with its value and its table row."""

    def cached(self, convert: StatefulConvert) -> StatefulConvert:
        """Return the conversion. It then stores each code of the table in ``converted_codes``."""
        converted_codes = self.converted_codes

        def converted(code: Any, state: MappingState) -> Any:
            value = convert(code, state)
            if type(code) is str and code in self._map and value is not None:
                converted_codes[code] = (value, state.lookups[-1])
            return value

        return converted

    def __call__(self, code: str, state: MappingState) -> Any:
        """Return the value of a code and add the table row to the lookups of the state."""
        if code in self._map:
            state.lookups.append(
                Lookup(
                    field=self._field,
                    table=self._name,
                    version=self._digest,
                    row=code,
                    source=f"connector {self._source}",
                )
            )
            return self._map[code]
        return handle_unmapped(self._unmapped, self._name, self._field, state)


class MappingTableLookup:
    """A lookup in a code table of the country or of the EU, at the date of the record.

    ``country`` is that of the connector, or empty if each record has its own.
    """

    def __init__(
        self,
        tables: Tables | None,
        country: str,
        name: str,
        field: str,
        dates: tuple[tuple[str, ...], ...],
    ) -> None:
        self._tables, self._country, self._name, self._field, self._dates = (
            tables,
            country,
            name,
            field,
            dates,
        )

    @property
    def exists(self) -> bool:
        """Whether the table exists, in some country at least. True if no tables are loaded."""
        if self._tables is None:
            return True
        if not self._country:
            return self._tables.has_code_table(self._name)
        answer = self._tables.code(self._country, self._name, "", None)
        return not (isinstance(answer, NoCodeMatch) and answer.reason == "table_unknown")

    def __call__(self, code: str, state: MappingState) -> Any:
        """Return the value of a code at the date of the record.

        The table row is added to the lookups of the state.
        """
        if self._tables is None:
            return handle_unmapped("reject", self._name, self._field, state, "no_tables")
        answer = self._tables.code(
            self._country or state.country,
            self._name,
            code,
            self._reference_date(state.values),
        )
        if isinstance(answer, NoCodeMatch):
            return handle_unmapped(
                "reject",
                self._name,
                self._field,
                state,
                "unmapped" if answer.reason == "code_unknown" else answer.reason,
            )
        state.lookups.append(
            Lookup(
                field=self._field,
                table=self._name,
                version=answer.version,
                row=answer.row,
                source=answer.source,
            )
        )
        return answer.value

    def _reference_date(self, values: dict[str, Any]) -> date | None:
        return _first_day(self._dates, values)


class CrosswalkLookup:
    """A lookup of the ISCED-F field of a code, in a crosswalk of the record's country.

    The edition in force counts, unless the rule names a target with another day. A code without
    one single field gives no value and an issue. It never rejects the record.
    """

    def __init__(self, tables: Tables, country: str, name: str, field: str, at: str | None) -> None:
        self._tables, self._country, self._name, self._field = tables, country, name, field
        self._dates = reference_date_paths(at) if at else ()
        crosswalk = tables.crosswalk(country, name)
        self._unmapped = crosswalk.unmapped if crosswalk else "flag"

    def __call__(self, code: str, state: MappingState) -> str | None:
        """Return the field of a code and add the row to the lookups of the state."""
        day = _first_day(self._dates, state.values)
        found = self._tables.field(state.country or self._country, self._name, code, day)
        if not isinstance(found, NoField):
            state.lookups.append(
                Lookup(
                    field=self._field,
                    table=found.table,
                    version=found.version,
                    row=found.row,
                    source=found.source,
                )
            )
            return found.isced_f
        if found.reason == "ambiguous":
            message = f"{self._name} states several fields: {', '.join(found.candidates)}"
            state.issues.append(Issue(code=ISCED_AMBIGUOUS, field=self._field, message=message))
        elif self._unmapped == "flag":
            message = f"no row of {self._name} states a field for this code"
            state.issues.append(Issue(code=ISCED_NOT_STATED, field=self._field, message=message))
        return None


def _first_day(paths: tuple[tuple[str, ...], ...], values: dict[str, Any]) -> date | None:
    for path in paths:
        here: Any = values
        for part in path:
            here = here.get(part) if isinstance(here, dict) else None
        if here is not None:
            return here.date() if hasattr(here, "date") else here  # type: ignore[no-any-return]
    return None


def reference_date_paths(at: str | None) -> tuple[tuple[str, ...], ...]:
    """Return the paths of the fields that may hold the date at which a table is read.

    The path of the rule comes alone. Without it, the first usual date field with a value counts.
    """
    return (
        (tuple(at.split(".")),)
        if at
        else (("awarded_on",), ("valid_from",), ("starts_on",), ("issued_on",))
    )


def handle_unmapped(
    policy: str, table: str, field: str, state: MappingState, reason: str = "unmapped"
) -> None:
    """Apply the policy of a table to a code that is not in the table.

    ``null`` does nothing, and ``flag`` notes an issue. Any other policy raises
    :class:`~gateway.harmonise.mapping.rule_functions.FieldRejected`.
    """
    if policy == "null":
        return
    if policy == "flag":
        state.issues.append(Issue(code="unmapped", field=field, message=f"not in table {table}"))
        return
    raise FieldRejected("table", field, reason, f"expected a code of table {table}")
