"""Build the parts that sections of the status page share: tables, cells, readable numbers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from htpy import (
    Element,
    Node,
    a,
    caption,
    code,
    div,
    h2,
    p,
    section,
    span,
    tbody,
    td,
    th,
    thead,
    tr,
)
from htpy import table as table_element
from htpy import time as time_element

EXPIRES_SOON_SECONDS = 30 * 86_400
"""A certificate or a mapping table that ends within this time is marked."""
MAX_ROWS = 200
"""A table shows at most this number of rows, and the number of rows that it does not show."""
NBSP = "\N{NO-BREAK SPACE}"

EMPTY_CELL = td(".none")[span(aria_hidden="true")["·"], span(".hidden")["none"]]
EMPTY_NUMBER_CELL = td(class_="n none")[span(aria_hidden="true")["·"], span(".hidden")["none"]]
_LEVEL_SYMBOLS = {"good": "✓", "plain": "○", "bad": "▲"}


def titled_section(name: str, title: Node, content: Node) -> Element:
    """Return a section with a heading. ``name`` is its anchor and its accessible name."""
    return section(aria_labelledby=name)[h2(id=name)[title], content]


def scrolling_region(title: str, content: Node) -> Element:
    """Return a box that scrolls sideways, also with the keyboard."""
    return div(".wide", role="group", aria_label=f"{title}, scrolls sideways", tabindex="0")[
        content
    ]


def table_section(
    name: str,
    title: str,
    heads: Sequence[str],
    rows: Iterable[Sequence[Node]],
    *,
    empty: str,
    numbers: range,
) -> Element:
    """Return a section with one table, or with the text ``empty`` if there are no rows.

    The columns in ``numbers`` are aligned to the right.
    """
    rows = list(rows)
    if not rows:
        return titled_section(name, title, p[empty])
    # The section has the name of its heading, so the table needs one of its own.
    table = table_element(aria_labelledby=f"{name}-table")[
        caption(".hidden", id=f"{name}-table")[f"Table: {title}"],
        thead[
            tr[
                (
                    th(scope="col", class_="n" if index in numbers else None)[head]
                    for index, head in enumerate(heads)
                )
            ]
        ],
        tbody[(tr[row] for row in rows[:MAX_ROWS])],
    ]
    hidden = len(rows) - MAX_ROWS
    more = p[count(hidden, "row is", "rows are"), " not shown; all are in ", code["/metrics"], "."]
    return titled_section(
        name, title, [scrolling_region(title, table), more if hidden > 0 else None]
    )


def row_head(content: Node) -> Element:
    """Return the cell that names a row."""
    return th(scope="row")[content]


def code_cell(text: str) -> Element:
    """Return a cell with a code or a name from a configuration file."""
    return td[code[text]]


def level_cell(level: str, text: str, runbook: str = "", why: str = "", name: str = "") -> Element:
    """Return a cell with a state, marked by a symbol and not by its colour alone.

    ``level`` is ``good``, ``plain`` or ``bad``. A bad state links to ``why`` and to ``runbook``,
    which are addresses or blank. ``name`` tells the links of several rows apart.
    """
    is_bad = level == "bad"
    of_name = span(".hidden")[f" of {name}"] if name else None
    return td(class_=level)[
        span(aria_hidden="true")[_LEVEL_SYMBOLS[level]],
        " ",
        a(href=why or runbook)[text] if is_bad and (why or runbook) else text,
        (" (", a(href=runbook)["runbook", of_name], ")") if is_bad and why and runbook else None,
    ]


def runbook_address(folder: str, name: str) -> str:
    """Return the address of a runbook, which is blank if ``folder`` is."""
    return f"{folder.rstrip('/')}/{name}.md" if folder else ""


def number_cell(value: float | None) -> Element:
    """Return a cell with a number, or an empty cell for ``None``."""
    return EMPTY_NUMBER_CELL if value is None else td(".n")[number(value)]


def percent_cell(part: float, whole: float) -> Element:
    """Return a cell with ``part`` of ``whole`` in per cent."""
    return td(".n")[floor_percent(part, whole)]


def ago_cell(when: float | None, now: float) -> Element:
    """Return a cell with the time since ``when``; both times are Unix times."""
    if when is None:
        return EMPTY_CELL
    return td[time_element(datetime=_iso(when))[f"{duration(max(0.0, now - when))} ago"]]


def until_cell(when: float | None, now: float) -> Element:
    """Return a cell with the day on which something ends, marked if that day is near or past."""
    if when is None:
        return EMPTY_CELL
    day = datetime.fromtimestamp(when, UTC).strftime("%-d %B %Y")
    is_soon = when - now < EXPIRES_SOON_SECONDS
    note = " (past)" if when <= now else " (soon)" if is_soon else ""
    return td(class_="bad" if is_soon else "plain")[time_element(datetime=_iso(when))[day], note]


def number(value: float) -> str:
    """Return a whole number with spaces between the thousands."""
    return f"{value:,.0f}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def count(amount: int, singular: str, plural: str) -> str:
    """Return a number and the noun that fits it."""
    return f"{number(amount)} {singular if amount == 1 else plural}"


def floor_percent(part: float, whole: float) -> str:
    """Return a share that reads 100 % only if nothing is missing."""
    return f"{math.floor(max(0.0, part / whole) * 1000) / 10:g}{NBSP}%"


def duration(seconds: float) -> str:
    """Return a duration in the largest unit that fits, for example ``5 min``."""
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * size or seconds == size:
            return f"{seconds / size:.0f}{NBSP}{unit}"
    return f"{seconds:.0f}{NBSP}s"


def instant(when: float) -> str:
    """Return a Unix time as text in UTC."""
    return datetime.fromtimestamp(when, UTC).strftime("%-d %B %Y, %H:%M:%S UTC")


def _iso(when: float) -> str:
    return datetime.fromtimestamp(when, UTC).isoformat(timespec="seconds")
