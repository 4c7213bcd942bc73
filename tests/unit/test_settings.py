"""Test the keys that settings read from files."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from gateway.observability import logs
from gateway.pseudonym_keys import load_keys
from gateway.settings import Settings

KEYS = ("pseudonym_key", "pseudonym_key_previous", "permanent_key")
KEY = "bm90IGEga2V5IG9mIGFueWJvZHksIGp1c3QgYSB0ZXN0"


def write(folder: Path, text: str | bytes) -> Path:
    path = folder / "key"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.fixture(autouse=True)
def no_keys_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in KEYS:
        monkeypatch.delenv(f"GATEWAY_{name}".upper(), raising=False)


@pytest.mark.parametrize("name", KEYS)
@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_key_file_replaces_the_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, end: str
):
    monkeypatch.setenv(f"GATEWAY_{name}_FILE".upper(), str(write(tmp_path, KEY + end)))

    assert getattr(Settings(), name).get_secret_value() == KEY


def test_key_of_a_file_equals_the_key_of_the_variable(tmp_path: Path):
    path = write(tmp_path, KEY + "\n")

    assert load_keys(Settings(pseudonym_key_file=path)) == load_keys(Settings(pseudonym_key=KEY))


def test_only_one_line_end_is_removed(tmp_path: Path):
    path = write(tmp_path, KEY + "\n\n")

    assert Settings(pseudonym_key_file=path).pseudonym_key.get_secret_value() == KEY + "\n"


@pytest.mark.parametrize("name", KEYS)
@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "cannot be read: No such file or directory"),
        ("", "is empty"),
        (" \n", "is empty"),
        (b"\xff\xfe", "is not text"),
    ],
)
def test_unusable_key_file_is_named(
    tmp_path: Path, name: str, content: str | bytes | None, reason: str
):
    path = tmp_path / "key" if content is None else write(tmp_path, content)

    with pytest.raises(ValidationError) as refused:
        Settings(**{f"{name}_file": path})

    (error,) = refused.value.errors()
    assert error["loc"] == (f"{name}_file",)
    assert f"{path} {reason}" in error["msg"]


def test_variable_and_file_together_are_refused(tmp_path: Path):
    environment = os.environ | {
        "GATEWAY_PSEUDONYM_KEY": KEY,
        "GATEWAY_PSEUDONYM_KEY_FILE": str(write(tmp_path, KEY)),
    }
    done = subprocess.run(
        [sys.executable, "-m", "gateway", "status"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 3
    assert "GATEWAY_PSEUDONYM_KEY and GATEWAY_PSEUDONYM_KEY_FILE are both set" in done.stderr
    assert KEY not in done.stderr


def test_logs_mask_the_key_of_a_file(tmp_path: Path):
    import io

    out = io.StringIO()
    logs.configure(Settings(pseudonym_key_file=write(tmp_path, KEY), log_format="json"), out)
    logs.structlog.get_logger("test").info("started", detail=f"the key is {KEY}")

    assert "started" in out.getvalue()
    assert KEY not in out.getvalue()
