"""Run the tools that check the files of ``deploy``, and skip a test where its tool is missing."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
CHART = DEPLOY / "helm/qualification-gateway"
NEEDED = ("--set=kafka.bootstrap=k:9093,pseudonymKey.secret=pseudonyms",)
"""The values that have no default."""


def needs(tool: str, hint: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(
        not shutil.which(tool),
        reason=f"{tool} is not on PATH ({hint}): nothing was checked with it",
    )


def run(*command: str | Path, cwd: Path = ROOT) -> str:
    done = subprocess.run(
        list(map(str, command)), cwd=cwd, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
