from __future__ import annotations

import csv
import os
from pathlib import Path

import pytest

from gateway.harmonise.tables.compiled_tables import Tables

ROOT = Path(__file__).parents[3]
FACTS = Path(os.environ.get("GATEWAY_REFERENCE", ROOT.parent / "shared" / "reference")) / "facts"


@pytest.fixture(scope="session")
def tables() -> Tables:
    return Tables.load(ROOT / "mappings")


@pytest.fixture(scope="session")
def facts():
    def read(name: str) -> list[dict[str, str]]:
        path = FACTS / name
        if not path.exists():
            pytest.skip(f"{path} is not there; set GATEWAY_REFERENCE to the reference material")
        with path.open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))

    return read
