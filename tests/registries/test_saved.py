"""Read every saved reply of every registry over HTTP through its connector.

A reviewer can read the results in ``tests/golden/registries.json``. ``GOLDEN=update pytest
tests/registries/test_saved.py`` writes that file again.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections import Counter

import pytest

from gateway.errors import StreamError
from gateway.harmonise.harmoniser import Harmoniser
from gateway.harmonise.tables.compiled_tables import Tables
from gateway.records import Accepted, Rejected
from tests.support.saved_replies import (
    CASES,
    NOT_READ,
    REFERENCE,
    REGISTRIES,
    ROOT,
    Case,
    connector_for,
    read,
)

GOLDEN = ROOT / "tests/golden/registries.json"
FOLDERS = ("finland/virta", "finland/koski", "finland/ytr", "netherlands/rio/soap", "netherlands/ooapi/samples", "belgium-flanders-led/soap",
           "sweden-ladok", "france-rncp", "emrex-elmo")  # fmt: skip

pytestmark = [
    pytest.mark.reference,
    pytest.mark.skipif(
        not REGISTRIES.is_dir(),
        reason=f"no reference material at {REFERENCE}; set GATEWAY_REFERENCE",
    ),
]
ENDING_NAMES = {"StreamHalted": "Halt"}
"""Names of errors in the golden file, where they differ from their class."""


@pytest.fixture(scope="module")
def tables() -> Tables:
    return Tables.load(ROOT / "mappings")


def ending(case: Case, tables: Tables) -> dict[str, object]:
    """How the records of one saved reply end: every one of them is in exactly one of the counts."""
    connector = connector_for(case)
    try:
        raws = asyncio.run(read(case))
    except StreamError as error:
        return {
            "stream": f"{ENDING_NAMES.get(type(error).__name__, type(error).__name__)} {error.reason}"
        }
    harmoniser = Harmoniser(connector, tables, pseudonym_key=b"k" * 32)
    ends: Counter[str] = Counter()
    issues: Counter[str] = Counter()
    for raw in raws:
        outcome = None if raw.body is None else harmoniser(raw)
        if outcome is None:
            ends["deleted"] += 1
        elif isinstance(outcome, Accepted):
            ends["accepted"] += 1
            issues.update(issue.code for issue in outcome.provenance.issues)
        elif isinstance(outcome, Rejected):
            ends[f"rejected: {outcome.field}: {outcome.reason}"] += 1
        else:
            ends[f"withheld: {outcome.reason}"] += 1
    assert sum(ends.values()) == len(raws)
    ids = len({raw.native_id for raw in raws})
    return {
        "records": len(raws),
        **({"ids": ids} if ids < len(raws) else {}),
        **dict(sorted(ends.items())),
        **({"issues": dict(sorted(issues.items()))} if issues else {}),
    }


def name(case: Case) -> str:
    return f"{case.connector} {case.stream} {case.file.rsplit('/', 1)[-1]}"


@pytest.mark.parametrize("case", CASES, ids=name)
def test_saved_reply_ends_as_the_golden_file_states(case, tables):
    found = ending(case, tables)
    if os.environ.get("GOLDEN") == "update":
        kept = json.loads(GOLDEN.read_text()) if GOLDEN.exists() else {}
        GOLDEN.parent.mkdir(exist_ok=True)
        GOLDEN.write_text(
            json.dumps(
                dict(sorted({**kept, name(case): found}.items())), indent=2, ensure_ascii=False
            )
            + "\n"
        )
    assert json.loads(GOLDEN.read_text())[name(case)] == found, (
        "GOLDEN=update pytest tests/registries/test_saved.py, and review the difference"
    )


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
