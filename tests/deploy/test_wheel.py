"""Install the built wheel in a fresh environment, without a clone, and run its commands."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def run(*command: str | Path, cwd: Path) -> str:
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("GATEWAY_")
    }
    done = subprocess.run(
        list(map(str, command)), cwd=cwd, capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", folder, ROOT, cwd=folder)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def gateway(wheel: Path) -> Path:
    folder = wheel.parent / "environment"
    run(sys.executable, "-m", "venv", folder, cwd=wheel.parent)
    run(
        folder / "bin" / "pip",
        *("install", "-q", "--no-compile", "-c", ROOT / "requirements-dev.lock", f"{wheel}[local]"),
        cwd=wheel.parent,
    )
    return folder / "bin" / "gateway"


def test_wheel_holds_tables_schemas_and_demo_connectors(wheel: Path):
    names = zipfile.ZipFile(wheel).namelist()
    for folder in ("mappings", "schemas"):
        for path in (ROOT / folder).iterdir():
            assert f"gateway/shipped/{folder}/{path.name}" in names
    connectors = {
        Path(name).name for name in names if name.startswith("gateway/shipped/connectors/")
    }
    assert connectors == {path.name for path in (ROOT / "connectors").glob("demo-*")}


def test_wheel_looks_up_and_checks_without_a_clone(gateway: Path, tmp_path: Path):
    answer = run(gateway, "level", "IE", "NFQ", "8", cwd=tmp_path)
    assert "EQF 6" in answer
    assert " 0 error" not in (checked := run(gateway, "check", cwd=tmp_path))
    assert " files checked" in checked
    assert not list(tmp_path.iterdir())


def test_wheel_runs_the_demo(gateway: Path, tmp_path: Path):
    printed = run(gateway, "demo", "--records", "50", cwd=tmp_path)
    assert "50 received" in printed
    assert max(map(len, printed.splitlines())) <= 80, printed
    assert "its legal source" in printed.partition("Why EQF ")[2]
    assert not list(tmp_path.iterdir())
