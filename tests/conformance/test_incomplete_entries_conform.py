"""An incomplete entry is valid ELM, and violates LOQ in nothing but the fields that it lists.

ELM has no profile for entries without these fields. ``EDC-generic-no-cv.ttl`` describes the same
classes without the lists of LOQ. It demands a title, and of a course its provider. It does not know
the reference to the qualification that a course leads to, so these courses are checked without it.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.check.published_documents import DocumentValidator
from gateway.messages.topics import INCOMPLETE_ENTRIES_TOPIC
from tests.support.official_oracles import Oracles
from tests.unit.render.test_incomplete_entries import CASES, entry

pytestmark = pytest.mark.reference

PROPERTIES = {
    "isced_f": "ISCEDFCode",
    "learning_outcomes": "learningOutcome",
    "languages": "language",
    "homepage": "homepage",
}
"""The property of ELM whose minimum an entry without the field does not reach."""


def document(case: str) -> dict[str, Any]:
    name, absent, _ = CASES[case]
    return json.loads(entry(name, absent)[0].value or b"")


@pytest.mark.parametrize("case", CASES)
def test_incomplete_entry_fits_the_general_shapes(oracles: Oracles, case: str) -> None:
    found = document(case)
    found.pop("learningActivitySpecification", None)
    assert oracles.targets(found, "elm") >= 1
    assert oracles.rudof(found, "elm") == []
    assert oracles.shacl(found, "elm") == []
    assert oracles.vocabulary(found) == []


@pytest.mark.parametrize("case", CASES)
def test_incomplete_entry_violates_loq_in_its_missing_fields_only(
    oracles: Oracles, case: str
) -> None:
    found, (_, _, missing) = document(case), CASES[case]
    violations = oracles.rudof(found, "loq")
    assert violations
    assert all("MinCountConstraintComponent" in text for text in violations)
    assert len(violations) == len(missing.split())
    allowed = {f"MinCount:{PROPERTIES[field]}" for field in missing.split()}
    assert set(oracles.shacl(found, "loq")) <= allowed


def test_general_shapes_find_an_entry_without_a_title(oracles: Oracles) -> None:
    found = document("no outcomes")
    del found["title"]
    assert oracles.rudof(found, "elm") != []


def test_validate_knows_the_topic_of_incomplete_entries(oracles: Oracles) -> None:
    validator = DocumentValidator(oracles.home)
    for case in CASES:
        assert validator(document(case), INCOMPLETE_ENTRIES_TOPIC) == []
    assert validator(document("no outcomes")) != []
