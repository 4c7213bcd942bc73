"""What the saved replies must at least give, after their records are harmonised and rendered.

The numbers come from the golden file, which ``test_saved.py`` compares with the saved replies.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest

from gateway.messages.topics import (
    CREDENTIALS_TOPIC,
    INCOMPLETE_ENTRIES_TOPIC,
    OPPORTUNITIES_TOPIC,
)
from tests.support.saved_endings import totals
from tests.support.saved_replies import ROOT

GOLDEN: dict[str, dict[str, Any]] = json.loads(
    (ROOT / "tests/golden/registries.json").read_text(encoding="utf-8")
)
MOST_INSTITUTIONS = 120
"""Of the credentials whose reply names an institution, so many at least have its real name."""


def sums(connector: str = "") -> dict[str, Counter[str]]:
    """Return the sums of one connector, or of all, with empty counters for groups without records."""
    found = totals(
        ending for name, ending in GOLDEN.items() if name.partition(" ")[0].startswith(connector)
    )
    groups = ("records", "published", "rejected", "withheld", "issues", "quality", "facts")
    return {group: found.get(group, Counter()) for group in groups}


def test_each_record_ends_in_one_way() -> None:
    for name, ending in GOLDEN.items():
        if "records" not in ending:
            assert ending["stream"], name
            continue
        ends = sum(ending.get(end, 0) for end in ("accepted", "removed", "deleted"))
        ends += sum(sum(ending.get(group, {}).values()) for group in ("rejected", "withheld"))
        assert ends == ending["records"], name


def test_accepted_records_are_on_a_topic() -> None:
    for name, ending in GOLDEN.items():
        assert sum(ending.get("published", {}).values()) >= ending.get("accepted", 0), name


def test_institutions_have_their_names() -> None:
    facts = sums()["facts"]
    assert sums()["published"][CREDENTIALS_TOPIC] > MOST_INSTITUTIONS
    assert facts["institution found"] >= MOST_INSTITUTIONS
    assert facts["institution named by its number"] == 0


def test_no_valid_quality_assurance_is_stated_where_no_report_was_read() -> None:
    """The Charter list has no reports, so it cannot say that none covers a day."""
    assert sums()["quality"]["NO_VALID_QA"] == 0


def test_no_published_record_loses_its_amount_of_credits() -> None:
    assert sums()["facts"]["credits not published"] == 0


def test_declared_levels_are_supported_by_the_table_of_their_country() -> None:
    assert sums()["issues"]["eqf_declared_unsupported"] == 0


@pytest.mark.parametrize(
    "connector",
    [
        "nl-ooapi",
        pytest.param(
            "se-ladok",
            marks=pytest.mark.xfail(reason="the saved courses hold no outcomes and no web page"),
        ),
    ],
)
def test_catalogue_publishes_learning_opportunities(connector: str) -> None:
    assert sums(connector)["published"][OPPORTUNITIES_TOPIC] >= 1


def test_catalogue_of_a_register_without_outcomes_lacks_only_these() -> None:
    """RIO has no learning outcomes. Its offers hold everything else that LOQ demands."""
    found = sums("nl-rio")
    offers = found["published"][INCOMPLETE_ENTRIES_TOPIC]
    assert offers >= 1
    assert not found["published"][OPPORTUNITIES_TOPIC]
    lacks = {fact: count for fact, count in found["facts"].items() if fact.startswith("without ")}
    assert lacks["without `learning_outcomes`"] == offers
    assert lacks.get("without `isced_f`", 0) < offers
