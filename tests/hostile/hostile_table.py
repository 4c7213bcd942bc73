"""Write the table of bad inputs: ``python tests/hostile/hostile_table.py``, which ``make hostile`` calls."""

from __future__ import annotations

import importlib
import sys
from itertools import groupby
from pathlib import Path

HERE = Path(__file__).parent
README = HERE / "README.md"
MODULES = ("bad_configuration", "bad_payloads", "bad_commands")
HEAD = """# Bad inputs, and how each ends

Written by `make hostile` from the rows that `test_bad_inputs.py` tries, each with a real file, a real socket or a real command line;
a difference between this page and the rows fails a test. *As asked*: as the list of bad inputs we hold ourselves to names it. *Differs*: ours
ends otherwise, and why. *Gap*: not there yet.

Messages have the form `file:line:column: code: field: what is wrong; what is expected or what to do`, and never hold a secret's or a
person's value: every row asserts that. Payloads end as a poll that failed (`RetryLater`: tried again, `Halt`: a person is told; the cursor
stands where it stood), as a rejection of one record, or as an accepted one.
"""


def rows() -> list:
    """Every row in the order of the list."""
    for path in (HERE, HERE.parent / "fetch"):
        if str(path) not in sys.path:
            sys.path.insert(0, str(path))
    for module in MODULES:
        importlib.import_module(module)
    from bad_inputs import ROWS

    return sorted(ROWS, key=lambda row: row.number)


def written() -> str:
    """The page."""
    found = rows()
    counts = {verdict: sum(row.verdict == verdict for row in found) for verdict in ("as asked", "differs", "gap")}
    lines = [HEAD, f"{len(found)} rows: {counts['as asked']} as asked, {counts['differs']} differ with a reason, {counts['gap']} gaps."]
    for group, members in groupby(found, key=lambda row: row.group):
        lines += ["", f"## {group}", "", "| # | input | how it ends | verdict | tried by |", "|---|---|---|---|---|"]
        lines += [_line(row) for row in members]
    return "\n".join(lines) + "\n"


def _line(row: object) -> str:
    why = row.gap or row.differs
    tried = [f"`{row.name}`"] if row.attempt else []
    tried += [f"`{named.rpartition('/')[2]}`" for named in filter(None, row.elsewhere.split(", "))]
    cells = (str(row.number), row.given, row.ends, f"**{row.verdict}**: {why}" if why else row.verdict, "; ".join(tried))
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


if __name__ == "__main__":
    README.write_text(written())
