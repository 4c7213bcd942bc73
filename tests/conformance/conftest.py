"""The fixture for the official oracles."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.official_oracles import Oracles


@pytest.fixture(scope="session")
def oracles(reference: Path) -> Oracles:
    return Oracles(reference)
