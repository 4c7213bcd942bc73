"""Read every saved reply of every registry over HTTP, harmonise its records and render them.

A reviewer can read the results in ``tests/golden/registries.json``, and their sums in
``published.md``. ``GOLDEN=update pytest tests/registries/test_saved.py`` writes both again.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from gateway.harmonise.tables.compiled_tables import Tables
from tests.support.saved_endings import ending, table, totals
from tests.support.saved_providers import saved_providers
from tests.support.saved_replies import (
    CASES,
    NOT_READ,
    REFERENCE,
    REGISTRIES,
    ROOT,
    Case,
)

GOLDEN = ROOT / "tests/golden/registries.json"
PUBLISHED = Path(__file__).with_name("published.md")
UPDATE = "GOLDEN=update pytest tests/registries/test_saved.py, and review the difference"
FOLDERS = ("finland/virta", "finland/koski", "finland/ytr", "netherlands/rio/soap", "netherlands/ooapi/samples", "belgium-flanders-led/soap",
           "sweden-ladok", "france-rncp", "emrex-elmo", "ewp")  # fmt: skip

pytestmark = [
    pytest.mark.reference,
    pytest.mark.skipif(
        not REGISTRIES.is_dir(),
        reason=f"no reference material at {REFERENCE}; set GATEWAY_REFERENCE",
    ),
]


@pytest.fixture(scope="module")
def tables() -> Tables:
    return Tables.load(ROOT / "mappings")


def name(case: Case) -> str:
    return f"{case.connector} {case.stream} {case.file.rsplit('/', 1)[-1]}"


@pytest.mark.parametrize("case", CASES, ids=name)
def test_saved_reply_ends_as_the_golden_file_states(case, tables):
    found = ending(case, tables, saved_providers())
    if os.environ.get("GOLDEN") == "update":
        update(name(case), found)
    assert json.loads(GOLDEN.read_text())[name(case)] == found, UPDATE


def update(key: str, found: dict[str, object]) -> None:
    kept = json.loads(GOLDEN.read_text()) if GOLDEN.exists() else {}
    kept = {known: kept[known] for known in sorted(kept) if known in {name(case) for case in CASES}}
    golden = dict(sorted({**kept, key: found}.items()))
    GOLDEN.write_text(json.dumps(golden, indent=2, ensure_ascii=False) + "\n")
    PUBLISHED.write_text(table(golden))


def test_the_page_holds_the_sums_of_the_golden_file():
    assert PUBLISHED.read_text() == table(json.loads(GOLDEN.read_text())), UPDATE


def test_credentials_name_an_institution_that_a_register_has():
    sums = totals(json.loads(GOLDEN.read_text()).values())
    assert sums["facts"]["institution found"] >= 120
    assert not sums["facts"]["institution named by its number"]
    assert not sums["quality"]["NO_VALID_QA"], "no report was read, so none can be said to lack"


def test_every_saved_payload_is_used():
    payloads = {
        str(path.relative_to(REFERENCE))
        for folder in FOLDERS
        for path in (REGISTRIES / folder).iterdir()
        if path.suffix in {".xml", ".json", ".csv", ".zip", ".b64"}
        and not path.stem.endswith((".schema", ".swagger", ".openapi"))
    }
    assert payloads - {case.file for case in CASES} - set(NOT_READ) == set()


def test_golden_file_has_no_extra_entries():
    assert set(json.loads(GOLDEN.read_text())) == {name(case) for case in CASES}
