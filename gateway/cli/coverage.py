"""``gateway coverage``: what the mapping tables issue, on which sources, and for whom to sign."""

from __future__ import annotations

import sys
from datetime import UTC, date, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli.tables import AsJson, Mappings, print_json
from gateway.settings import Settings

if TYPE_CHECKING:
    from gateway.check.table_coverage import RowCoverage
    from gateway.config.mapping_tables import Mapping
    from gateway.harmonise.tables.compiled_tables import Tables

app = typer.Typer(help="Show and review the mapping tables.", no_args_is_help=True)

_MAX_NAMES = 12
"""Most rows that one line of text names."""


class ReviewFormat(StrEnum):
    """The forms in which a person can review the table of a country."""

    HTML = "html"
    CSV = "csv"
    MARKDOWN = "markdown"


@app.command()
def coverage(
    country: Annotated[
        str | None,
        typer.Option("--country", help="Country or part of a country, such as FI or BE-FL."),
    ] = None,
    format_: Annotated[
        ReviewFormat | None,
        typer.Option(
            "--format",
            help="With --country: print its whole table with sources, to be reviewed and signed.",
        ),
    ] = None,
    mappings: Mappings = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Show for each country how many levels and units are issued, and on which sources.

    Below the table are the rows that issue nothing, with the reason.
    """
    from gateway.check.table_coverage import reviewable
    from gateway.cli.country_argument import parts_of, read_country
    from gateway.errors import UsageError
    from gateway.harmonise.tables.compiled_tables import Tables

    if format_ and not country:
        raise UsageError(f"--format {format_} prints one country; add --country, such as FI")
    if format_ and as_json:
        raise UsageError("give --format or --json, not both")
    folder = mappings or Settings().mappings
    tables, today = Tables.load(folder), datetime.now(UTC).date()
    found = list(reviewable(tables.mappings))
    if country:
        code = read_country(country, tables)
        found = [one for one in found if code in (one.country, *one.also)]
        if not found:
            parts = ", ".join(parts_of(code, tables))
            hint = f"; name one of its parts: {parts}" if parts else ""
            raise UsageError(f"{code} has no levels and no units of credit in the tables{hint}")
    if format_:
        print(_review(found[0], folder, tables, today, format_), end="")
        return
    rows = [_coverage_row(mapping, tables, today) for mapping in found]
    if as_json:
        print_json({"tables_digest": tables.digest, "systems": rows})
    else:
        _print_table(rows, tables)


def _review(
    mapping: Mapping, folder: Path, tables: Tables, today: date, format_: ReviewFormat
) -> str:
    from gateway.check.table_review import build_review
    from gateway.check.table_review_formats import format_csv, format_markdown
    from gateway.check.table_review_page import format_html

    review = build_review(mapping, folder, tables, today)
    formats = {
        ReviewFormat.HTML: format_html,
        ReviewFormat.CSV: format_csv,
        ReviewFormat.MARKDOWN: format_markdown,
    }
    return formats[format_](review)


def _coverage_row(mapping: Mapping, tables: Tables, today: date) -> dict[str, Any]:
    from gateway.check.table_coverage import count_kinds, cover_credits, cover_levels

    levels, units = cover_levels(mapping, tables, today), cover_credits(mapping)
    started = [
        version.from_
        for framework in mapping.frameworks.values()
        for version in framework.versions
        if version.from_ and not version.until
    ]
    return {
        "country": mapping.country,
        "frameworks": list(mapping.frameworks),
        "levels": len(levels),
        "levels_with_eqf": sum(1 for row in levels if row.value is not None),
        "levels_issued": sum(1 for row in levels if row.issues),
        "levels_issued_by_source": count_kinds(levels),
        "levels_issued_without_first_day": _without_first_day(levels),
        "units": len(units),
        "units_with_ects": sum(1 for row in units if row.value is not None),
        "units_issued": sum(1 for row in units if row.issues),
        "units_issued_by_source": count_kinds(units),
        "units_issued_without_first_day": _without_first_day(units),
        "oldest_in_force": min(started).isoformat() if started else None,
        "level_rows": [_row_facts(row) for row in levels],
        "unit_rows": [_row_facts(row) for row in units],
    }


def _without_first_day(rows: list[RowCoverage]) -> int:
    return sum(1 for row in rows if row.issues and not row.has_first_day)


def _row_facts(row: RowCoverage) -> dict[str, Any]:
    return {
        "row": row.row,
        "version": row.version,
        "states": row.value,
        "issues": row.issues,
        "reason": row.reason,
        "source_kind": row.kind,
        "first_day": row.first_day,
        "last_day": row.last_day,
        "undated": row.undated,
        "safe_from": row.safe_from,
        "sources": [source.citation for source in row.sources],
    }


def _print_table(rows: list[dict[str, Any]], tables: Tables) -> None:
    from rich.table import Table

    from gateway.cli.safe_console import SafeConsole

    console = SafeConsole(width=None if sys.stdout.isatty() else 140)
    table = Table(
        "System",
        "Frameworks",
        "Levels",
        "issued",
        "by source",
        "Units",
        "issued",
        "by source",
        "Oldest in force",
        title=f"Mapping tables {tables.digest}",
    )
    for row in rows:
        table.add_row(
            row["country"],
            " ".join(row["frameworks"]),
            str(row["levels"]),
            str(row["levels_issued"]),
            _shares(row["levels_issued_by_source"]),
            str(row["units"]),
            str(row["units_issued"]),
            _shares(row["units_issued_by_source"]),
            row["oldest_in_force"] or "",
        )
    console.print(table)
    print("by source: on an act / an authority / the EU / no official source")
    for what in ("level", "unit"):
        _print_totals(rows, what)
    for row in rows:
        _print_refusals(row)


def _shares(counts: dict[str, int]) -> str:
    """Return the counts by kind of source, or nothing if no row issues anything."""
    return " / ".join(str(count) for count in counts.values()) if any(counts.values()) else ""


def _print_totals(rows: list[dict[str, Any]], what: str) -> None:
    issued = sum(row[f"{what}s_issued"] for row in rows)
    by_kind: dict[str, int] = {}
    for row in rows:
        for kind, count in row[f"{what}s_issued_by_source"].items():
            by_kind[kind] = by_kind.get(kind, 0) + count
    without = sum(row[f"{what}s_issued_without_first_day"] for row in rows)
    shares = ", ".join(
        f"{kind} {count} ({count / issued:.0%})" for kind, count in by_kind.items() if issued
    )
    print(f"{issued} {what} rows issue a value: {shares}; {without} have no first day")


def _print_refusals(row: dict[str, Any]) -> None:
    for what, name in (("level_rows", "level"), ("unit_rows", "unit")):
        groups: dict[str, list[str]] = {}
        for one in row[what]:
            if not one["issues"]:
                groups.setdefault(one["reason"], []).append(one["row"].partition("/")[2])
        for reason, names in groups.items():
            more = f" and {len(names) - _MAX_NAMES} more" if len(names) > _MAX_NAMES else ""
            print(f"{row['country']} {name} {reason}: {', '.join(names[:_MAX_NAMES])}{more}")


def register(parent: typer.Typer) -> None:
    """Add this module's commands to the command line."""
    parent.registered_commands.extend(app.registered_commands)
