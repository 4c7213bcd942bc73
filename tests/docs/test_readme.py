"""The commands of README.md work as they stand there, in a fresh clone, in their order."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.main import get_command

from gateway.cli import app
from tests.docs.test_tutorials import Terminal, is_free

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BLOCKS = FENCE.findall(README)
COMMANDS = [
    line for language, text in BLOCKS if not language for line in text.splitlines() if line.strip()
]
"""Every line that the page asks a person to type, in its order."""
[CONSUMER] = [text for language, text in BLOCKS if language == "python"]
QUICK = ("gateway check", "gateway level")
"""Commands that need no Kafka."""
PORTS = (9092, 18081, 18082, 9464)
DEMO_SECONDS, COMMAND_SECONDS, STATUS_SECONDS = 600, 120, 120
EXPECTED = {
    "make demo": r"Why EQF \d\?",
    "gateway topics read": r'"displayParameter"',
    "gateway explain": r"eqf_level",
    "gateway kafka start": r"9092",
}
"""What the output of a command has to contain, beside the words after ``: `` in its comment."""


def split_comment(line: str) -> tuple[str, str]:
    command, _, comment = line.partition("  # ")
    return command.strip(), comment.strip()


def expected_output(line: str) -> list[str]:
    """Return the patterns of what a line shows: a level in its comment, and those of EXPECTED."""
    command, comment = split_comment(line)
    shown = re.findall(r"EQF \d", comment) if command.startswith("gateway level") else []
    return shown + [words for start, words in EXPECTED.items() if command.startswith(start)]


@pytest.mark.parametrize("line", [line for line in COMMANDS if "gateway " in line])
def test_commands_and_options_exist(line: str):
    for words in re.findall(r"(?:^|; )gateway ([^;&>#]+)", line):
        command = get_command(app)
        for word in words.split():
            if word in getattr(command, "commands", {}):
                command = command.commands[word]
        known = {option for one in command.params for option in one.opts}
        assert set(re.findall(r"--[\w-]+", words)) <= known
        assert not hasattr(command, "commands"), f"gateway {words} names no command"


@pytest.mark.parametrize("line", [line for line in COMMANDS if line.startswith("make ")])
def test_make_targets_exist(line: str):
    command, _ = split_comment(line)
    done = subprocess.run([*command.split(), "-n"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("line", [line for line in COMMANDS if line.startswith(QUICK)])
def test_quick_commands_print_what_the_page_says(line: str):
    command, _ = split_comment(line)
    done = subprocess.run(
        [sys.executable, "-m", *command.split()],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for words in expected_output(line):
        assert re.search(words, done.stdout), done.stdout


class Shell:
    """A terminal in the clone, with the job control of a person's shell."""

    def __init__(self, clone: Path, environment: dict[str, str]) -> None:
        shell = subprocess.Popen(
            ["bash", "--noprofile", "--norc"], cwd=clone, env=environment, text=True,
            start_new_session=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )  # fmt: skip
        self.terminal = Terminal(shell)
        self.number = 0
        threading.Thread(target=self.terminal.collect, daemon=True).start()
        self.type("set -m", 10)

    def type(self, line: str, seconds: float) -> tuple[int, str]:
        """Type one line, and return its exit code and what it printed."""
        self.number += 1
        mark, start = f"--- end {self.number}", len(self.terminal.printed)
        stdin = self.terminal.shell.stdin
        assert stdin is not None
        stdin.write(f"{line}\ncode=$?; echo; echo '{mark}' $code\n")
        stdin.flush()
        deadline = time.monotonic() + seconds
        while not (found := re.search(rf"\n{mark} (\d+)\n", self.terminal.printed[start:])):
            assert time.monotonic() < deadline, f"{line}:\n{self.terminal.printed[start:]}"
            time.sleep(0.05)
        return int(found[1]), self.terminal.printed[start:][: found.start()]


@pytest.fixture
def newcomer(tmp_path: Path) -> Iterator[tuple[Path, dict[str, str]]]:
    """A fresh clone, and the environment of a person who has never used the gateway."""
    if taken := [port for port in PORTS if not is_free(port)]:
        pytest.skip(f"in use on this machine: port {', '.join(map(str, taken))}")
    clone, home = tmp_path / "clone", tmp_path / "home"
    home.mkdir()
    subprocess.run(["git", "clone", "--quiet", ROOT, clone], check=True)
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("GATEWAY_", "XDG_", "MAKE", "VIRTUAL_ENV", "PYTHON"))
    }
    environment |= {"HOME": str(home), "COLUMNS": "100"}
    yield clone, environment
    if (gateway := clone / ".venv/bin/gateway").exists():
        subprocess.run([gateway, "kafka", "wipe", "--yes"], cwd=clone, env=environment, check=False)


def consume(shell: Shell, clone: Path) -> None:
    """Run the page's consumer until it has printed a document, and then kcat if it is there."""
    (clone / "consumer.py").write_text(CONSUMER)
    code, printed = shell.type("timeout 20 python consumer.py", 40)
    assert code == 124, printed
    assert re.search(r"eu\.europass\.credential\.\w+\.v1", printed), printed
    [kcat] = re.findall(r"`(kcat [^`]*)`", README)
    if shutil.which("kcat"):
        code, printed = shell.type(f"{kcat} -e", COMMAND_SECONDS)
        assert (code, "ce_type=" in printed) == (0, True), printed


def read_status(shell: Shell, line: str) -> None:
    """Type ``gateway status`` until every stream has been polled, as its comment says."""
    deadline = time.monotonic() + STATUS_SECONDS
    while True:
        code, printed = shell.type(line, COMMAND_SECONDS)
        assert code == 0, printed
        rows = [
            row.split() for row in printed.splitlines() if re.match(r"demo-(soap|rest) \w+ ", row)
        ]
        if rows and all("running" in row and "-" not in row[3:5] for row in rows):
            return
        assert time.monotonic() < deadline, printed
        time.sleep(2)


@pytest.mark.slow
@pytest.mark.kafka
@pytest.mark.timeout(1800)
def test_page_can_be_typed_line_by_line(newcomer: tuple[Path, dict[str, str]]):
    clone, environment = newcomer
    shell = Shell(clone, environment)
    try:
        for line in COMMANDS:
            command, _ = split_comment(line)
            if command == "make test":  # the other tests run it
                continue
            if command.startswith("kill "):
                consume(shell, clone)
            if command.startswith("gateway status"):
                read_status(shell, line)
                continue
            code, printed = shell.type(line, DEMO_SECONDS if "make" in line else COMMAND_SECONDS)
            assert code == 0, f"{line}:\n{printed}"
            for words in expected_output(line):
                assert re.search(words, printed), f"{line}:\n{printed}"
            if command == "make demo":
                assert "source .venv/bin/activate" in README
                assert shell.type("source .venv/bin/activate", 10)[0] == 0
        assert is_free(9092), "the broker still runs"
    finally:
        os.killpg(shell.terminal.shell.pid, signal.SIGHUP)
        shell.terminal.shell.kill()
        shell.terminal.shell.wait(10)
