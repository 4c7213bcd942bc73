"""Write the table of bad inputs. ``make hostile`` runs ``python -m tests.hostile.hostile_table``."""

from __future__ import annotations

import importlib
from itertools import groupby
from pathlib import Path

HERE = Path(__file__).parent
README = HERE / "README.md"
MODULES = ("bad_configuration", "bad_payloads", "bad_commands")
HEAD = """# Bad inputs and their outcomes

This page lists every bad input and its outcome. `make hostile` writes it from the rows that
`test_bad_inputs.py` tests. Each row uses a real file, a real socket or a real command line.
A test fails if this page and the rows differ.

| verdict | meaning |
|---|---|
| as specified | the outcome is the one that the list of bad inputs requires |
| differs | the outcome is another one; the row gives the reason |
| gap | the gateway does not handle the input yet |

Messages have the form `file:line:column: code: field: problem; expectation or remedy`. They never
contain a secret or a personal value, and every row asserts that. A payload has one of three outcomes:

- The poll fails. `RetryLater` means that the gateway retries. `StreamHalted` means that it notifies a
  person. The cursor does not move.
- The gateway rejects one record.
- The gateway accepts the record.
"""
ATTACKS = "## Attacks in depth\n"
VERDICTS = {"as asked": "as specified"}
"""The verdicts that the page words differently from the rows."""


def rows() -> list:
    """Return every row in the order of the list."""
    for module in MODULES:
        importlib.import_module(f"tests.hostile.{module}")
    from tests.hostile.bad_inputs import ROWS

    return sorted(ROWS, key=lambda row: row.number)


def written() -> str:
    """Return the text of the page."""
    found = rows()
    counts = {
        verdict: sum(row.verdict == verdict for row in found)
        for verdict in ("as asked", "differs", "gap")
    }
    lines = [
        HEAD,
        f"{len(found)} rows: {counts['as asked']} as specified, {counts['differs']} differ with a reason, {counts['gap']} gaps.",
    ]
    for group, members in groupby(found, key=lambda row: row.group):
        lines += [
            "",
            f"## {group}",
            "",
            "| # | input | outcome | verdict | tested by |",
            "|---|---|---|---|---|",
        ]
        lines += [_line(row) for row in members]
    return "\n".join(lines) + "\n\n" + attacks()


def attacks() -> str:
    """Return the last section of the page, which people write by hand."""
    return ATTACKS + README.read_text().partition(ATTACKS)[2]


def _line(row: object) -> str:
    why = row.gap or row.differs
    tried = [f"`{row.name}`"] if row.attempt else []
    tried += [f"`{named.rpartition('/')[2]}`" for named in filter(None, row.elsewhere.split(", "))]
    cells = (
        str(row.number),
        row.given,
        row.ends,
        f"**{row.verdict}**: {why}" if why else VERDICTS.get(row.verdict, row.verdict),
        "; ".join(tried),
    )
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


if __name__ == "__main__":
    README.write_text(written())
