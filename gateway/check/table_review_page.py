"""Write the review of a country's table as one HTML page that a person can read, print and sign."""

from __future__ import annotations

import re
from importlib.resources import files

import htpy
from htpy import Element, Node, a, dd, div, dl, dt, h1, h2, li, ol, p, section, td, th, tr
from markupsafe import Markup

from gateway.check.table_review import STATEMENT, CountryReview, ReviewSource, ReviewTable
from gateway.check.table_review_formats import (
    ASKED,
    SIGNATURE_LINES,
    facts_of,
    source_details,
    title_of,
)

_STYLE = files("gateway.check").joinpath("table_review.css").read_text("utf-8")
_NUMBER = re.compile(r"(\[[0-9]+\])")


def format_html(review: CountryReview) -> str:
    """Return the page. It needs no other file, and runs no script."""
    title = title_of(review)
    head = htpy.head[
        htpy.meta(charset="utf-8"),
        htpy.meta(name="viewport", content="width=device-width, initial-scale=1"),
        htpy.title[title],
        htpy.link(rel="icon", href="data:,"),
        htpy.style[Markup(_STYLE)],  # noqa: S704 - a file of this package, not input
    ]
    names = [(f"t{number}", table) for number, table in enumerate(review.tables, start=1)]
    contents = [(name, table.title) for name, table in names]
    contents += [("sources", "Sources"), ("signature", "Signature")]
    body = htpy.body[
        a(".skip", href="#main")["Skip to content"],
        htpy.header[h1[title], _facts(facts_of(review))],
        htpy.nav(aria_label="On this page")[
            htpy.ul[(li[a(href=f"#{name}")[text]] for name, text in contents)]
        ],
        htpy.main(id="main")[
            (p[text] for text in review.summary),
            (_table(name, table) for name, table in names),
            _sources(review),
            _signature(review),
        ],
    ]
    return str(htpy.html(lang="en")[head, body]) + "\n"


def _facts(facts: tuple[tuple[str, str], ...]) -> Element:
    return dl[(div[dt[name], dd[_linked(text)]] for name, text in facts)]


def _linked(text: str) -> Node:
    """Return a text, as a link if it is an address of the web."""
    return a(href=text)[text] if text.startswith(("https://", "http://")) else text


def _table(name: str, table: ReviewTable) -> Element:
    # The roles keep the table a table where the style shows each row as a block.
    heads = (*table.heads, *ASKED)
    return section(aria_labelledby=name)[
        h2(id=name)[table.title],
        htpy.ul(".about")[(li[_with_links(text)] for text in table.about)] if table.about else None,
        htpy.table(role="table", aria_labelledby=name)[
            htpy.thead(role="rowgroup")[
                tr(role="row")[(th(scope="col", role="columnheader")[head] for head in heads)]
            ],
            htpy.tbody(role="rowgroup")[(_row(heads, row) for row in table.rows)],
        ],
    ]


def _row(heads: tuple[str, ...], row: tuple[str, ...]) -> Element:
    first, *others = row
    cells = [th(scope="row", role="rowheader", data_label=heads[0])[first]]
    cells += [
        td(role="cell", data_label=head, class_=_class(head, text))[_with_links(text)]
        for head, text in zip(heads[1:], (*others, "☐ yes ☐ no", ""), strict=True)
    ]
    return tr(role="row")[cells]


def _class(head: str, text: str) -> str | None:
    if head in ASKED:
        return "check" if head == ASKED[0] else "remark"
    if not text:
        return "empty"
    if head == "Days":
        return "days"
    return "none" if text.startswith("none: ") else None


def _with_links(text: str) -> Node:
    """Return a text in which each number of a source leads to the source."""
    return [
        a(href=f"#s{part[1:-1]}")[part] if _NUMBER.fullmatch(part) else part
        for part in _NUMBER.split(text)
        if part
    ]


def _sources(review: CountryReview) -> Element:
    return section(aria_labelledby="sources")[
        h2(id="sources")["Sources"],
        ol[(_source(source) for source in review.sources)] if review.sources else p["None."],
    ]


def _source(source: ReviewSource) -> Element:
    return li(id=f"s{source.number}", value=str(source.number))[
        htpy.strong[source.title], _facts(source_details(source))
    ]


def _signature(review: CountryReview) -> Element:
    return section(".signature", aria_labelledby="signature")[
        h2(id="signature")["Signature"],
        p[STATEMENT],
        p["Version of this table: ", htpy.code[review.digest]],
        dl[(div[dt[name], dd(".line")] for name in SIGNATURE_LINES)],
    ]
