"""Write the review of a country's table as Markdown or CSV."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable

from gateway.check.table_review import STATEMENT, CountryReview, ReviewSource

SIGNATURE_LINES = ("Name", "Function", "Body", "Date", "Signature")
ASKED = ("Correct", "Remark")
"""The columns that the reviewer fills in."""
_FORMULA = re.compile(r"[=+@\t\r]|-(?![0-9])")
_NUMBER = re.compile(r"\[([0-9]+)\]")
_MARKDOWN_SIGNS = re.compile(r"([\\|*_`<>])")


def title_of(review: CountryReview) -> str:
    """Return the title of a review."""
    return f"{review.name}: levels, credits and grades"


def facts_of(review: CountryReview) -> tuple[tuple[str, str], ...]:
    """Return what identifies the table that a person signs."""
    return (
        ("Country", f"{review.name} ({review.country})"),
        ("Version of this table", review.digest),
        ("File", f"mappings/{review.file}"),
        ("Version of all tables", review.tables_digest),
        ("Printed on", review.printed.isoformat()),
    )


def source_details(source: ReviewSource) -> tuple[tuple[str, str], ...]:
    """Return the facts of a source that it has, each with its name."""
    facts = (
        ("Kind", source.kind),
        ("Publisher", source.publisher),
        ("Article", source.article),
        ("Gazette", source.gazette),
        ("Read on", source.read or "not read"),
        ("States", source.states),
        ("Address", source.address),
        ("Note", source.note),
    )
    return tuple((name, text) for name, text in facts if text)


def format_markdown(review: CountryReview) -> str:
    """Return the review as Markdown."""
    lines = [f"# {_escape(title_of(review))}", ""]
    lines += [f"- {name}: {_escape(text)}" for name, text in facts_of(review)]
    lines += ["", *(f"{_escape(text)}\n" for text in review.summary)]
    for table in review.tables:
        lines += [f"## {_escape(table.title)}", ""]
        lines += [f"- {_escape(text)}" for text in table.about]
        lines += [""] if table.about else []
        heads = (*table.heads, *ASKED)
        lines += [_row(heads), _row("---" for _ in heads)]
        lines += [_row((*map(_escape, row), "", "")) for row in table.rows]
        lines.append("")
    lines += ["## Sources", ""]
    for source in review.sources:
        details = "; ".join(f"{name}: {text}" for name, text in source_details(source))
        lines += [f"{source.number}. {_escape(source.title)}. {_escape(details)}"]
    lines += ["", "## Signature", "", STATEMENT, ""]
    lines += [f"Version of this table: {review.digest}", ""]
    lines += [f"- {name}: ____________________" for name in SIGNATURE_LINES]
    return "\n".join(lines) + "\n"


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _escape(text: str) -> str:
    return _MARKDOWN_SIGNS.sub(r"\\\1", " ".join(text.split()))


def format_csv(review: CountryReview) -> str:
    """Return the review as one CSV table: all columns of all tables, and each source in full."""
    heads = list(dict.fromkeys(head for table in review.tables for head in table.heads))
    names = ["Country", "Version of this table", "Table", *heads, "Sources in full", *ASKED]
    sources = {str(source.number): _in_full(source) for source in review.sources}
    stream = io.StringIO()
    writer = csv.DictWriter(stream, names, restval="", lineterminator="\n")
    writer.writeheader()
    for table in review.tables:
        for cells in table.rows:
            row = dict(zip(table.heads, map(_as_text, cells), strict=True))
            numbers = _NUMBER.findall(row.get("Source", ""))
            writer.writerow(
                {
                    "Country": review.country,
                    "Version of this table": review.digest,
                    "Table": table.title,
                    **row,
                    "Sources in full": "\n".join(sources[number] for number in numbers),
                }
            )
    return stream.getvalue()


def _as_text(cell: str) -> str:
    """Return a cell that a spreadsheet shows as text, and never runs as a formula."""
    return f"'{cell}" if _FORMULA.match(cell) else cell


def _in_full(source: ReviewSource) -> str:
    details = "; ".join(f"{name}: {text}" for name, text in source_details(source))
    return f"[{source.number}] {source.title}. {details}"
