"""``gateway level`` and ``gateway credits``: query the mapping tables."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Iterator
from datetime import date
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.settings import Settings

if TYPE_CHECKING:
    from gateway.harmonise.tables.compiled_tables import (
        CreditMatch,
        LevelMatch,
        NoCredits,
        NoLevel,
        Tables,
    )

app = typer.Typer(help="Query the mapping tables.", no_args_is_help=True)

Mappings = Annotated[
    Path | None,
    typer.Option("--mappings", help="Folder of the mapping tables.  [default: GATEWAY_MAPPINGS]"),
]
On = Annotated[str | None, typer.Option("--on", help="Day of the award, such as 2020-06-30.")]
WithSources = Annotated[
    bool, typer.Option("--sources", help="Show each source in full, with its address.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_LEAST_AMOUNT = Decimal("0.01")
QUESTION_COLUMNS = ("country", "framework", "level", "date")
ANSWER_COLUMNS = ("eqf_level", "reason", "table_version", "source", "remark")


@app.command()
def level(
    country: Annotated[
        str | None, typer.Argument(help="Country or part of a country, such as IE, BE-FL, UK-SCT.")
    ] = None,
    framework: Annotated[
        str | None, typer.Argument(help='Framework key, or "" if the document does not state it.')
    ] = None,
    nqf_level: Annotated[
        str | None,
        typer.Argument(metavar="LEVEL", help="National level exactly as in the document."),
    ] = None,
    on: On = None,
    batch: Annotated[
        Path | None,
        typer.Option(
            "--batch",
            help="CSV file with columns country,framework,level,date. Each row gets an answer.",
        ),
    ] = None,
    mappings: Mappings = None,
    *,
    sources: WithSources = False,
    as_json: AsJson = False,
) -> None:
    """Show the EQF level of a national level on a day.

    The answer names its source, or the reason why there is no EQF level.
    """
    from gateway.cli.country_argument import parts_of, read_country
    from gateway.errors import UsageError
    from gateway.harmonise.tables.level_answers import NoLevel

    if batch is not None:
        if country is not None:
            raise UsageError("give COUNTRY FRAMEWORK LEVEL or --batch FILE.csv, not both")
        _answer_file(batch, _tables(mappings), as_json=as_json)
        return
    if country is None or nqf_level is None:
        raise UsageError(
            "expected COUNTRY FRAMEWORK LEVEL, such as: gateway level IE NFQ 8 --on 2020-06-30 "
            '(give "" for an unknown framework)'
        )
    tables, day = _tables(mappings), parse_day(on)
    country = read_country(country, tables)
    found = tables.level(country, framework or None, nqf_level, day)
    if as_json:
        print_json(_level_facts(found, country, tables, day))
    else:
        lines = _level_lines(found, tables, in_full=sources)
        if isinstance(found, NoLevel) and not found.row and (parts := parts_of(country, tables)):
            lines["parts"] = f"{', '.join(parts)} have tables of their own; ask for one of them"
        print_lines(_headline(found, country, nqf_level, day), lines)


@app.command("credits")
def convert_credits(
    country: Annotated[str, typer.Argument(help="Country or part of a country.")],
    unit: Annotated[
        str, typer.Argument(help="Unit as in the document, such as KP, hp, CATS, ECTS.")
    ],
    amount: Annotated[str, typer.Argument(help="Number of units.")],
    sector: Annotated[
        str | None, typer.Option("--sector", help="Education sector: HE, VET or GEN.")
    ] = None,
    on: On = None,
    per_year: Annotated[
        int | None,
        typer.Option(
            "--per-year",
            help="Units of one full-time year. Distinguishes units that have the same name.",
        ),
    ] = None,
    mappings: Mappings = None,
    *,
    sources: WithSources = False,
    as_json: AsJson = False,
) -> None:
    """Convert an amount of a national unit to ECTS credits.

    The answer names its source, or the reason why the amount cannot be converted.
    """
    from gateway.cli.country_argument import read_country
    from gateway.errors import UsageError

    sector = sector.strip().upper() if sector else None
    if sector not in {None, "HE", "VET", "GEN"}:
        raise UsageError(f"--sector: expected HE, VET or GEN, found {sector}")
    number = _read_amount(amount)
    tables, day = _tables(mappings), parse_day(on)
    country = read_country(country, tables)
    found = tables.credits(country, unit, number, sector, day, per_year=per_year)
    if as_json:
        print_json(_credit_facts(found, country, number, tables))
    else:
        lines = _credit_lines(found, tables, in_full=sources)
        print_lines(_credit_headline(found, number, unit), lines)


def _read_amount(text: str) -> Decimal:
    from gateway.errors import UsageError
    from gateway.harmonise.tables.credits import MAX_AMOUNT

    expected = f"expected a number from {_LEAST_AMOUNT} to {MAX_AMOUNT}, such as 60 or 7.5"
    try:
        number = Decimal(text)
    except InvalidOperation:
        raise UsageError(f"AMOUNT: {expected}, found {text}") from None
    if not (number.is_finite() and _LEAST_AMOUNT <= number <= MAX_AMOUNT):
        raise UsageError(f"AMOUNT: {expected}, found {text}")
    return number


def _tables(mappings: Path | None) -> Tables:
    from gateway.harmonise.tables.compiled_tables import Tables

    return Tables.load(mappings or Settings().mappings)


def parse_day(text: str | None) -> date | None:
    """Return the day of ``--on``, or ``None`` when it is left out."""
    from gateway.errors import UsageError

    if not text:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise UsageError(f"--on: expected a day, such as 2020-06-30, found {text}") from None


def print_json(value: Any) -> None:
    """Print facts as JSON."""
    print(json.dumps(value, ensure_ascii=False, indent=2, default=str))


def print_lines(headline: str, lines: dict[str, str]) -> None:
    """Print an answer, and below it each fact that has a text."""
    print(headline)
    for name, text in lines.items():
        if text:
            print(f"  {name:<12} {text}")


def _reason(reason: str, prefix: str = "") -> str:
    from gateway.harmonise.tables.rule_codes import RULES

    return f"{reason} ({RULES[prefix + reason].meaning})"


def _headline(found: LevelMatch | NoLevel, country: str, asked: str, day: date | None) -> str:
    from gateway.harmonise.tables.level_answers import LevelMatch

    what = " ".join(filter(None, (country, found.framework, asked, f"on {day}" if day else "")))
    return f"{what}: EQF {found.eqf}" if isinstance(found, LevelMatch) else f"{what}: no EQF level"


def _level_lines(found: LevelMatch | NoLevel, tables: Tables, *, in_full: bool) -> dict[str, str]:
    from gateway.cli.source_lines import format_sources
    from gateway.harmonise.tables.level_answers import NoLevel

    years = ", ".join(map(str, found.referenced_years))

    return {
        "why": _reason(found.reason) if isinstance(found, NoLevel) else "",
        "frameworks": ", ".join(found.frameworks) if isinstance(found, NoLevel) else "",
        "hint": _hint(found),
        "country": _outside(found),
        "row": found.row,
        "version": found.version,
        "first day": found.undated,
        "relation": found.relation + (f", referenced {years}" if years else ""),
        "confidence": found.confidence,
        "source": format_sources(found.sources, "pairing", in_full=in_full) or found.source,
        "EU concept": found.uri or ("not in the EU list" if found.row else ""),
        "note": found.note,
        "letters": "look-alike letters were replaced by Latin letters" if found.normalised else "",
        "tables": tables.digest,
    }


def _hint(found: LevelMatch | NoLevel) -> str:
    hint: str = getattr(found, "hint", "")
    return f"possibly {hint.replace('|', ' or ')}; never published" if hint else ""


def _outside(found: LevelMatch | NoLevel) -> str:
    from gateway.harmonise.tables.level_answers import outside_eqf

    return outside_eqf(found.outside_eqf_since) if found.outside_eqf_since else ""


def _level_facts(
    found: LevelMatch | NoLevel, country: str, tables: Tables, day: date | None
) -> dict[str, Any]:
    import msgspec
    from msgspec import structs

    from gateway.cli.source_lines import sources_as_json

    facts = msgspec.to_builtins(structs.replace(found, sources=()))
    facts["sources"] = sources_as_json(found.sources)
    return {
        "country": country,
        "on": day,
        "eqf_level": facts.pop("eqf", None),
        **facts,
        "tables_digest": tables.digest,
    }


def _credit_headline(found: CreditMatch | NoCredits, amount: Decimal, unit: str) -> str:
    from gateway.harmonise.tables.credits import CreditMatch

    if isinstance(found, CreditMatch):
        exact = "" if found.exact * 100 == found.points * 100 else f" (exactly {found.exact})"
        return f"{amount} {unit}: {found.points} ECTS credits{exact}"
    return f"{amount} {unit}: no ECTS value"


def _credit_lines(
    found: CreditMatch | NoCredits, tables: Tables, *, in_full: bool
) -> dict[str, str]:
    from gateway.cli.source_lines import format_sources
    from gateway.harmonise.tables.credits import NoCredits

    none = isinstance(found, NoCredits)
    hours = None if isinstance(found, NoCredits) else found.hours
    return {
        "why": _reason(found.reason, "credits_") if isinstance(found, NoCredits) else "",
        "units": ", ".join(found.units)
        if isinstance(found, NoCredits) and len(found.units) > 1
        else "",
        "hint": f"possibly {found.hint} ECTS credits; never published"
        if isinstance(found, NoCredits) and found.hint
        else "",
        "rate": "" if none else f"{getattr(found, 'ratio', '')} ECTS for one unit",
        "hours": _format_range(hours) if hours else "",
        "row": found.row,
        "version": found.version,
        "first day": found.undated,
        "confidence": found.confidence,
        "act": getattr(found, "act", ""),
        "source": format_sources(found.sources, "unit", in_full=in_full) or found.source,
        "note": found.note,
        "tables": tables.digest,
    }


def _format_range(hours: tuple[Fraction, Fraction]) -> str:
    least, most = (f"{float(value):.4g}" for value in hours)
    return f"{least if least == most else f'{least} to {most}'} for one ECTS credit"


def _credit_facts(
    found: CreditMatch | NoCredits, country: str, amount: Decimal, tables: Tables
) -> dict[str, Any]:
    from gateway.cli.source_lines import sources_as_json

    facts = {name: getattr(found, name) for name in found.__struct_fields__}
    facts["sources"] = sources_as_json(found.sources)
    if facts.get("hours"):
        facts["hours"] = [float(hours) for hours in facts["hours"]]
    return {
        "country": country,
        "amount": amount,
        "points": None,
        **facts,
        "tables_digest": tables.digest,
    }


def _answer_file(path: Path, tables: Tables, *, as_json: bool) -> None:
    names, rows = _read_questions(path)
    answers = [{**row, **_answer(row, tables)} for row in rows]
    if as_json:
        print_json({"tables_digest": tables.digest, "answers": answers})
    else:
        columns = [*names, *(name for name in ANSWER_COLUMNS if name not in names)]
        writer = csv.DictWriter(sys.stdout, columns, lineterminator="\n", extrasaction="ignore")
        writer.writeheader()
        writer.writerows(answers)
    stated = sum(1 for answer in answers if answer["eqf_level"])
    print(
        f"{len(answers)} questions, {stated} with an EQF level; tables {tables.digest}",
        file=sys.stderr,
    )
    if any(answer["reason"] == "bad_date" for answer in answers):
        raise typer.Exit(1)


def _read_questions(path: Path) -> tuple[list[str], Iterator[dict[str, str]]]:
    from gateway.errors import StorageError, UsageError

    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise StorageError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{path}: is not UTF-8; save the file as UTF-8") from None
    first = text.partition("\n")[0]
    reader = csv.DictReader(
        io.StringIO(text), delimiter=";" if first.count(";") > first.count(",") else ","
    )
    names = list(reader.fieldnames or ())
    if missing := [name for name in QUESTION_COLUMNS if name not in names]:
        raise UsageError(
            f"{path}:1: columns {', '.join(missing)} are missing; "
            f"expected {','.join(QUESTION_COLUMNS)}"
        )
    return names, (
        {name: value or "" for name, value in row.items() if name is not None} for row in reader
    )


def _answer(row: dict[str, str], tables: Tables) -> dict[str, str]:
    from gateway.harmonise.tables.level_answers import LevelMatch

    try:
        day = date.fromisoformat(row["date"]) if row["date"] else None
    except ValueError:
        return dict.fromkeys(ANSWER_COLUMNS, "") | {"reason": "bad_date"}
    country = row["country"].strip().upper()
    found = tables.level(country, row["framework"] or None, row["level"], day)
    stated = isinstance(found, LevelMatch)
    return {
        "eqf_level": str(found.eqf) if isinstance(found, LevelMatch) else "",
        "reason": "" if stated else str(getattr(found, "reason", "")),
        "table_version": found.version,
        "source": found.source,
        "remark": "; ".join(filter(None, (_hint(found), _outside(found)))),
    }


def register(parent: typer.Typer) -> None:
    """Add this module's commands to the command line."""
    for command in app.registered_commands:
        parent.registered_commands.append(command)
