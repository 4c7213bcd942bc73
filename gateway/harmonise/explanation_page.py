"""Format an explanation as a page of text."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from gateway.harmonise.tables.rule_codes import RULES

if TYPE_CHECKING:
    from gateway.harmonise.explanation import Explanation
    from gateway.harmonise.explanation_rows import TableRow

_WIDTH = 110


_LONGEST = 160


def format_value(value: Any) -> str:
    """Return a value as the page shows it."""
    if value is None or value in ({}, (), []):
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return "; ".join(
            f"{key}: {format_value(one)}" for key, one in value.items() if format_value(one)
        )
    if isinstance(value, list | tuple):
        return (
            f"{len(value)} items"
            if any(isinstance(one, Mapping) for one in value)
            else ", ".join(map(format_value, value))
        )
    if isinstance(value, Decimal):
        return format(value, "f")
    return str(value)


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def format_page(page: Explanation) -> Iterator[str]:
    """Yield the lines of the page."""
    yield f"Record {page.record}: {page.outcome}"
    yield from _line("raw record", page.position)
    yield from _line(
        "connector", f"{page.connector}, stream {page.stream}, file digest {page.config_digest}"
    )
    yield from _line("country", page.country) if page.country else ()
    yield from _line("tables", f"digest {page.tables_digest}" if page.tables_digest else "none")
    nothing = "(nothing)" if page.outcome.startswith("accepted") else "(not published)"
    for field in page.fields:
        yield ""
        yield from textwrap.wrap(
            f"{field.field}: {field.value or nothing}", _WIDTH, subsequent_indent="    "
        )
        yield from _line("rule", field.rule)
        for source in field.sources:
            if source.values:
                yield from _line("source", f"{source.expression} = {' | '.join(source.values)}")
        for row in field.rows:
            yield from _row_lines(row, abbreviated=field.field.endswith("nqf_uri"))
    if page.quality_assurance:
        yield ""
        yield "Quality assurance"
    for name, text in page.quality_assurance.items():
        yield from _line(name, text)
    if page.notes:
        yield ""
        yield "Notes"
    for note in page.notes:
        yield from _line(
            note.rule or "-",
            f"{note.code} ({note.field or 'whole record'}): {note.meaning or note.message}",
        )
        if note.meaning and note.message:
            yield from _line("", note.message)


def _row_lines(row: TableRow, *, abbreviated: bool) -> Iterator[str]:
    yield from _line(
        "table row",
        f"{row.row or 'none'}, version {row.version}"
        if row.version
        else (row.row or f"none in {row.table}"),
    )
    if abbreviated:
        return
    standing = ", ".join(
        filter(
            None,
            (
                row.relation.replace("_", " "),
                f"referenced {row.referenced_year}" if row.referenced_year else "",
                row.confidence,
            ),
        )
    )
    for name, text in (
        ("standing", standing),
        ("stated by", row.source),
        ("address", row.address),
        ("remark", row.note),
    ):
        if text:
            yield from _line(name, text)
    if row.reason:
        code = row.reason if row.reason in RULES else f"credits_{row.reason}"
        yield from _line(
            "no value", f"{row.reason}: {RULES[code].meaning}" if code in RULES else row.reason
        )


def _line(name: str, text: str) -> list[str]:
    return textwrap.wrap(
        text, _WIDTH, initial_indent=f"  {name:<11} ", subsequent_indent=" " * 14
    ) or [f"  {name}"]
