"""End commands clearly when their output is closed, full, or cannot be written."""

from __future__ import annotations

import subprocess
import sys

import pytest

COMMANDS = (
    ("coverage",),
    ("coverage", "--json"),
    ("coverage", "--country", "IE", "--format", "csv"),
    ("level", "IE", "NFQ", "8"),
    ("--help",),
    ("coverage", "--help"),
)
NOT_WRITTEN = "gateway: cannot write to the standard output: "


def run(arguments: tuple[str, ...], streams: str, unbuffered: str = "") -> tuple[int, str]:
    """Run a command with redirected streams, as a shell does it."""
    done = subprocess.run(
        [
            "/bin/sh",
            "-c",
            f'exec "$@" {streams}',
            "sh",
            sys.executable,
            "-m",
            "gateway",
            *arguments,
        ],
        env={"PATH": "/usr/bin:/bin", "PYTHONUNBUFFERED": unbuffered},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_a_closed_output_changes_no_exit_code(arguments):
    assert run(arguments, ">&-") == (0, "")


@pytest.mark.parametrize("streams", ["2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize(
    ("arguments", "code"),
    [(("coverage",), 0), (("level", "IE"), 2), (("level", "XQ", "A", "1"), 2)],
)
def test_closed_streams_keep_the_exit_code(arguments, code, streams):
    assert run(arguments, streams) == (code, "")


@pytest.mark.parametrize(
    ("streams", "unbuffered"), [(">/dev/full", ""), (">/dev/full", "1"), ("1</dev/null", "")]
)
@pytest.mark.parametrize("arguments", [("coverage",), ("level", "IE", "NFQ", "8"), ("--help",)])
def test_an_output_that_cannot_be_written_is_one_message(arguments, streams, unbuffered):
    code, said = run(arguments, streams, unbuffered)
    assert code == 74
    assert said.startswith(NOT_WRITTEN)
    assert len(said.splitlines()) == 1
