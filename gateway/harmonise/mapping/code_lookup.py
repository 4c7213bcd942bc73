"""Look up codes in a table of the connector file or in a dated mapping table."""

from __future__ import annotations

from datetime import date
from typing import Any

from gateway.config.rules import LocalTable
from gateway.harmonise.mapping.rule_functions import FieldRejected, MappingState, StatefulConvert
from gateway.harmonise.tables.compiled_tables import NoCodeMatch, Tables
from gateway.records import Issue, Lookup


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
    """A lookup in a code table of the country or of the EU, at the date of the record."""

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
        """Whether the table exists. True if no tables are loaded."""
        if self._tables is None:
            return True
        answer = self._tables.code(self._country, self._name, "", None)
        return not (isinstance(answer, NoCodeMatch) and answer.reason == "table_unknown")

    def __call__(self, code: str, state: MappingState) -> Any:
        """Return the value of a code at the date of the record.

        The table row is added to the lookups of the state.
        """
        if self._tables is None:
            return handle_unmapped("reject", self._name, self._field, state, "no_tables")
        answer = self._tables.code(
            self._country, self._name, code, self._reference_date(state.values)
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
        for path in self._dates:
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
