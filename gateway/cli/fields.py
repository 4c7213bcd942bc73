"""``gateway field``: look up the ISCED-F field of a national code."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli.tables import AsJson, Mappings, parse_day, print_json, print_lines

if TYPE_CHECKING:
    from gateway.harmonise.tables.compiled_tables import FieldMatch, NoField

_REASONS = {
    "table_unknown": "the tables of the country have no such classification",
    "code_unknown": "no row states a field for this code",
    "ambiguous": "the publisher states several fields, so the gateway publishes none",
    "not_in_force": "no edition held on this day",
}


def field(
    country: Annotated[str, typer.Argument(help="Country, such as FR.")],
    classification: Annotated[
        str, typer.Argument(help="Key of the classification in the country's file, such as nsf.")
    ],
    code: Annotated[str, typer.Argument(help="Code exactly as the registry writes it.")],
    on: Annotated[
        str | None,
        typer.Option("--on", help="Day whose edition counts.  [default: the edition in force]"),
    ] = None,
    mappings: Mappings = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Show the ISCED-F field of a code of a national classification.

    The answer names its source, or the reason why there is no field.
    """
    from gateway.cli.country_argument import read_country
    from gateway.harmonise.tables.compiled_tables import NoField, Tables
    from gateway.settings import Settings

    tables, day = Tables.load(mappings or Settings().mappings), parse_day(on)
    country = read_country(country, tables)
    found = tables.field(country, classification, code, day)
    known = tables.crosswalk_names(country)
    asked = " ".join(filter(None, (country, classification, code, f"on {day}" if day else "")))
    if as_json:
        print_json(_facts(found, country, classification, code, tables.digest))
        return
    if isinstance(found, NoField):
        has_classifications = found.reason == "table_unknown" and known
        lines = {
            "why": f"{found.reason} ({_REASONS[found.reason]})",
            "fields": ", ".join(found.candidates),
            "known": ", ".join(known) if has_classifications else "",
            "version": found.version,
            "source": found.source,
        }
        print_lines(f"{asked}: no ISCED-F field", {**lines, "tables": tables.digest})
        return
    print_lines(
        f"{asked}: ISCED-F {found.isced_f}",
        {
            "row": f"{found.table}, {found.row}",
            "version": found.version,
            "source": found.source,
            "tables": tables.digest,
        },
    )


def _facts(
    found: FieldMatch | NoField, country: str, classification: str, code: str, digest: str
) -> dict[str, Any]:
    import msgspec

    return {
        "country": country,
        "classification": classification,
        "code": code,
        "isced_f": None,
        **msgspec.to_builtins(found),
        "tables_digest": digest,
    }


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command()(field)
