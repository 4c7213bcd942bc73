"""Find the accelerator for tests that need it."""

from __future__ import annotations

import pytest

from gateway import accelerator

needs_accelerator = pytest.mark.skipif(
    not accelerator.is_used,
    reason=accelerator.refusal or "the accelerator is not installed: run `make speed`",
)
