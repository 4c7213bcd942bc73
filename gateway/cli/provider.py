"""``gateway provider``: show who an institution is, and what it held on a day."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.tables import AsJson, On, parse_day


def provider(
    country: Annotated[
        str, typer.Argument(help="Country, such as FI. Omit it to look in every country.")
    ] = "",
    number: Annotated[
        str, typer.Argument(help="National number of the institution in this country.")
    ] = "",
    on: On = None,
    pic: Annotated[str, typer.Option("--pic", help="Participant Identification Code.")] = "",
    schac: Annotated[str, typer.Option("--schac", help="Domain (SCHAC home organisation).")] = "",
    erasmus: Annotated[str, typer.Option("--erasmus", help="Erasmus code, with any blanks.")] = "",
    ror: Annotated[str, typer.Option("--ror", help="ROR address, or its last part.")] = "",
    deqar: Annotated[str, typer.Option("--deqar", help="DEQAR number.")] = "",
    eter: Annotated[str, typer.Option("--eter", help="ETER code.")] = "",
    oid: Annotated[str, typer.Option("--oid", help="Organisation id of Erasmus+ (OID).")] = "",
    vat: Annotated[str, typer.Option("--vat", help="VAT number.")] = "",
    mappings: Annotated[
        Path | None,
        typer.Option("--mappings", help="Folder of mapping tables.  [default: GATEWAY_MAPPINGS]"),
    ] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Show the name, the identifiers and the quality assurance of an institution on a day.

    The day is today, unless --on gives another one. The exit code is 1 when no register has it.
    """
    from gateway.cli.runtime import load_settings
    from gateway.errors import UsageError
    from gateway.harmonise.tables.compiled_tables import Tables
    from gateway.operations.provider import format_answer, load_providers, look_up

    identifiers = {
        "pic": pic, "schac": schac, "erasmus": erasmus, "ror": ror, "deqar": deqar,
        "eter": eter, "oid": oid, "vat": vat,
    }  # fmt: skip
    given = {scheme: value for scheme, value in identifiers.items() if value.strip()}
    if bool(number.strip()) == bool(given):
        raise UsageError(
            "expected COUNTRY NUMBER, such as: gateway provider FI 10076 --on 2015-06-01, "
            "or identifiers, such as: gateway provider --pic 999880560"
        )
    day = parse_day(on) or datetime.now(UTC).date()
    settings = load_settings()
    tables = Tables.load(mappings or settings.mappings)
    providers, country = asyncio.run(load_providers(settings)), country.strip().upper()
    answers = look_up(providers, tables.institutions, country, number, given, day)
    if as_json:
        facts = {
            "looked_for": answers.looked_for,
            "found": [answer.to_dict() for answer in answers.found],
            "refused": answers.refused,
        }
        print(json.dumps(facts, ensure_ascii=False, indent=2))
    else:
        for answer in answers.found:
            print("\n".join(format_answer(answer)))
    if answers.found:
        return
    if not as_json:
        why = "".join(f"; {reason}" for reason in answers.refused)
        typer.echo(
            f"no institution found: looked for {answers.looked_for} in reference.providers.v1 "
            f"and in the lists of the mapping files{why}",
            err=True,
        )
    raise typer.Exit(1)


def register(app: typer.Typer) -> None:
    """Add this module's command to the command line."""
    app.command("provider")(provider)
