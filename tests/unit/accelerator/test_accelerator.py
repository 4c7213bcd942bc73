"""The gateway refuses an accelerator that does not fit, with one line, and works without it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import accelerator
from gateway.messages import cloudevents
from gateway.messages.event_ids import event_id
from tests.support.accelerator import needs_accelerator

ROOT = Path(__file__).parents[3]
SHOW = "from gateway import accelerator as a; print(a.is_used); print(a.refusal)"


def imported_from(folder: Path) -> list[str]:
    """Return what a new process prints about the accelerator in a folder."""
    done = subprocess.run(
        [sys.executable, "-c", SHOW],
        capture_output=True, text=True, check=True, cwd=ROOT, timeout=60,
        env={"PYTHONPATH": str(folder)},
    )  # fmt: skip
    assert not done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    ("source", "cause"),
    [
        ("INTERFACE = 0", "because it has the interface 0: expected 1, from the same release"),
        ("", "because it has the interface None: expected 1"),
        ("from .missing import *", "because it is incomplete"),
        ("raise ImportError('invalid ELF header')", "because it does not load: expected a build"),
        ("1 / 0", "because it does not load"),
    ],
)
def test_an_accelerator_that_does_not_fit_is_refused_in_one_line(
    tmp_path: Path, source: str, cause: str
) -> None:
    package = tmp_path / "qualification_gateway_speed"
    package.mkdir()
    (package / "__init__.py").write_text(source)
    used, refusal = imported_from(tmp_path)
    assert used == "False"
    assert refusal.startswith("qualification-gateway-speed is not used, ")
    assert cause in refusal
    assert "`make speed`" in refusal
    assert "pip uninstall" in refusal


def test_a_file_that_is_no_library_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "qualification_gateway_speed.abi3.so").write_bytes(b"not a library")
    used, refusal = imported_from(tmp_path)
    assert used == "False"
    assert "because it does not load" in refusal


def test_nothing_is_said_where_it_is_not_installed() -> None:
    assert accelerator.load("qualification_gateway_speed_not_installed") == (None, "")


def test_the_gateway_states_the_interface_of_the_crate() -> None:
    crate = (ROOT / "speed" / "src" / "lib.rs").read_text()
    assert f"const INTERFACE: u32 = {accelerator.INTERFACE};" in crate


@needs_accelerator
def test_the_parts_of_the_accelerator_are_in_use() -> None:
    assert cloudevents.document_ids.__module__ != cloudevents.__name__


@given(
    st.text(max_size=20), st.binary(max_size=300), st.none() | st.binary(max_size=5_000),
    st.binary(max_size=70), st.text(max_size=40),
)  # fmt: skip
def test_both_ids_of_a_document_are_those_of_their_definitions(
    topic: str, key: bytes, value: bytes | None, secret: bytes, raw_event_id: str
) -> None:
    content, event = cloudevents.document_ids(topic, key, value, secret, raw_event_id)
    assert content.decode() == cloudevents.content_id(topic, key, value)
    assert event.decode() == event_id(secret, raw_event_id, content.decode())
