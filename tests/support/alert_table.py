"""The table of alerts in ``deploy/README.md``. The tests with a real gateway write its rows.

``ALERTS_TABLE=write`` writes the measured figures. Without it, a test checks that its row exists.
"""

from __future__ import annotations

import fcntl
import os
import re

from tests.support.prometheus_server import ALERTS, ROOT

README = ROOT / "deploy/README.md"
BEGIN, END = "<!-- alerts -->\n", "<!-- end of alerts -->\n"
HEAD = "| alert | fault | ranges | true after | `for` | clears after |\n|---|---|---|---|---|---|\n"


def read_rows() -> dict[str, str]:
    """Return the rows of the table by alert."""
    table = README.read_text().partition(BEGIN)[2].partition(END)[0]
    return {name: row for row, name in re.findall(r"^(\| `(\w+)` .*)$", table, re.MULTILINE)}


def record(alert: str, fault: str, factor: int, fires: float, clears: float) -> None:
    """Write the row of an alert, or check that the table has one for this fault."""
    ranges = "as shipped" if factor == 1 else f"÷ {factor}"
    row = (
        f"| `{alert}` | {fault} | {ranges} | {fires:.0f} s | {ALERTS[alert].get('for', '0s')} "
        f"| {clears:.0f} s |"
    )
    print(row)
    if os.environ.get("ALERTS_TABLE") == "write":
        with README.open("r+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            rows = read_rows() | {alert: row}
            before, _, rest = file.read().partition(BEGIN)
            after = rest.partition(END)[2]
            lines = "".join(f"{rows[name]}\n" for name in ALERTS if name in rows)
            file.seek(0)
            file.truncate()
            file.write(before + BEGIN + HEAD + lines + END + after)
    assert f"| `{alert}` | {fault} | {ranges} |" in read_rows().get(alert, ""), (
        f"deploy/README.md has no row for {alert} with this fault: run with ALERTS_TABLE=write"
    )
