"""``gateway check``, ``new``, ``preview``, ``diff``: what an authority does with a connector file, without Kafka."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

from gateway.settings import Settings


class Form(str, Enum):
    """How findings are written."""

    text = "text"
    json = "json"
    github = "github"
    sarif = "sarif"


def tables_here() -> Any:
    """Return the mapping tables of this deployment, or ``None`` when there are none yet."""
    from gateway.harmonise.tables import Tables

    mappings = Settings().mappings
    return Tables.load(mappings) if mappings.is_dir() and any(mappings.glob("*.yaml")) else None


def files_of(paths: list[Path]) -> list[Path]:
    """Return the connector files of paths; a directory stands for all of its files."""
    from gateway.errors import UsageError

    found = [file for path in paths for file in (sorted(path.glob("*.yaml")) if path.is_dir() else [path])]
    if not found:
        raise UsageError(f"no connector file in {', '.join(map(str, paths))}; `gateway new` writes one")
    return found


def check(
    paths: Annotated[
        list[Path] | None, typer.Argument(help="Connector files, or directories of them  [default: GATEWAY_CONNECTORS]")
    ] = None,
    form: Annotated[Form, typer.Option("--format", help="How findings are written")] = Form.text,
    *,
    strict: Annotated[bool, typer.Option("--strict", help="Warnings count, too")] = False,
) -> None:
    """Check connector files and run the tests inside them; exit code 1 when something is wrong."""
    from gateway.check import check as check_file
    from gateway.check.report import write

    files = files_of(paths or [Settings().connectors])
    tables = tables_here()
    findings = [finding for file in files for finding in check_file(file, tables)]
    if findings or form is not Form.text:
        print(write(findings, form.value))
    bad = [finding for finding in findings if finding.severity == "error" or (strict and finding.severity == "warning")]
    if form is Form.text:
        one = "1 file" if len(files) == 1 else f"{len(files)} files"
        print(f"{one} checked: {len(bad)} {'finding' if len(bad) == 1 else 'findings'}" if bad else f"{one} checked: nothing wrong")
    if bad:
        raise typer.Exit(1)


def register(app: typer.Typer) -> None:
    """Add this module's commands to the command line."""
    app.command("check")(check)
