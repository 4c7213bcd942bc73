"""Fixtures of the equality tests."""

from __future__ import annotations

import pytest

from gateway.pipeline.fast_path import fast_path


@pytest.fixture(autouse=True)
def _try_every_record(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try each record on the fast path, also where most records need the ordinary way.

    A worker pauses the fast path then, so that the tests would compare the ordinary way with itself.
    """
    monkeypatch.setattr(fast_path, "_TRIAL", 10**12)
