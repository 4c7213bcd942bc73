"""List every answer of the tables that changed since sources and first days decide, with its reason.

``table_answers.json`` holds the answers before that: for each row one day in the middle of its
period, and for a row without a first day also a day of 1980. ``changed_table_answers.json`` lists
the answers that are different now, under the reason. Add an answer there when you change a row.
``GOLDEN=update`` adds answers whose new reason explains itself, and removes those that are the same
again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

from gateway.harmonise.tables.compiled_tables import Tables
from gateway.harmonise.tables.credits import CreditMatch
from gateway.harmonise.tables.level_answers import LevelMatch

ROOT = Path(__file__).parents[3]
GOLDEN = ROOT / "tests" / "golden"
TABLES = Tables.load(ROOT / "mappings")
BEFORE = json.loads((GOLDEN / "table_answers.json").read_text())
LISTED: dict[str, list[str]] = json.loads((GOLDEN / "changed_table_answers.json").read_text())

STYLE: dict[str, Any] = {"ensure_ascii": False, "indent": 1}
SELF_EXPLAINING = {
    "source_not_official": "No act, authority or text of the EU that was read states the value, "
    "so the row gives it only as a hint",
    "first_day_unknown": "The first day of the row is not known, "
    "and the day is before the first safe day",
}


def changes() -> Iterator[str]:
    """Yield a line for each answer that is not the one of before."""
    for country, framework, text, day, before in BEFORE["levels"]:
        level = TABLES.level(country, framework, text, date.fromisoformat(day))
        now = level.eqf if isinstance(level, LevelMatch) else str(level.reason)
        if now != before:
            yield f"{country} {framework} {text} on {day}: {before}, now {now}"
    for country, unit, sector, day, before in BEFORE["credits"]:
        amount = TABLES.credits(country, unit, Decimal(60), sector, date.fromisoformat(day))
        value = str(amount.points if isinstance(amount, CreditMatch) else amount.reason)
        if value != before:
            yield f"{country} 60 {unit} {sector} on {day}: {before}, now {value}"


def update(found: list[str]) -> None:
    """Rewrite the list, with new answers under the reason that they give themselves."""
    listed = {line for lines in LISTED.values() for line in lines}
    for why, lines in LISTED.items():
        LISTED[why] = [line for line in lines if line in found]
    for line in found:
        why = SELF_EXPLAINING.get(line.rpartition(", now ")[2])
        if why and line not in listed:
            LISTED.setdefault(why, []).append(line)
    text = json.dumps({why: lines for why, lines in LISTED.items() if lines}, **STYLE)
    (GOLDEN / "changed_table_answers.json").write_text(text + "\n")


def test_every_changed_answer_is_listed_with_its_reason():
    found = list(changes())
    if os.environ.get("GOLDEN") == "update":
        update(found)
    listed = [line for lines in LISTED.values() for line in lines]
    assert len(listed) == len(set(listed))
    assert sorted(set(found) - set(listed)) == []
    assert sorted(set(listed) - set(found)) == []


def test_no_level_became_another_level():
    """A row may stop to issue, or begin. It never gives another number for the same text."""
    for lines in LISTED.values():
        for line in lines:
            before, now = line.rpartition(": ")[2].split(", now ")
            assert not (before.isdigit() and now.isdigit()), line
