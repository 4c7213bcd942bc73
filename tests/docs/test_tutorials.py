"""Run every command of the tutorials and compare its output with the page."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TUTORIALS = ROOT / "docs" / "tutorials"
FENCE = re.compile(r'^```(sh|text)(?: title="([^"]*)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)
WAIT_SECONDS = 90
FIRST_TERMINAL = ""
READ_ONLY = ("gateway status", "gateway topics read", "gateway rejections list", "gateway explain")
"""Commands that a newcomer repeats until the page's output appears."""


@dataclass(slots=True)
class Block:
    """One fenced block: commands, or the output that a terminal shows."""

    language: str
    terminal: str
    text: str


def read_blocks(page: Path) -> list[Block]:
    """Return the blocks of a tutorial, without the installation, which the test environment already has."""
    found = [
        Block(language, terminal, text)
        for language, terminal, text in FENCE.findall(page.read_text(encoding="utf-8"))
    ]
    return [block for block in found if block.terminal != "install"]


@dataclass(slots=True)
class Terminal:
    """One shell of the newcomer, with all that it has printed."""

    shell: subprocess.Popen[str]
    printed: str = ""
    commands: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def collect(self) -> None:
        """Collect the output until the shell ends."""
        assert self.shell.stdout is not None
        for line in self.shell.stdout:
            with self.lock:
                self.printed += line

    def type(self, commands: str, *, wait: bool) -> str:
        """Type commands. Return what they print, or nothing when they are not waited for."""
        assert self.shell.stdin is not None
        self.commands += 1
        mark = f"--- end of block {self.commands} ---"
        start = len(self.printed)
        self.shell.stdin.write(f"{commands}\n" + (f"echo; echo '{mark}'\n" if wait else ""))
        self.shell.stdin.flush()
        if not wait:
            return ""
        deadline = time.monotonic() + WAIT_SECONDS
        while f"\n{mark}\n" not in self.printed[start:]:
            assert time.monotonic() < deadline, (
                f"these commands did not end:\n{commands}\n{self.printed[start:]}"
            )
            assert self.shell.poll() is None, f"the shell ended:\n{self.printed[start:]}"
            time.sleep(0.05)
        return self.printed[start:].partition(f"\n{mark}\n")[0]


def pattern_of(line: str) -> re.Pattern[str]:
    """Return what a shown line matches: ids, ages and numbers of processes differ on each machine, and ``...`` stands for any text."""
    shown = re.escape(" ".join(line.split()))
    shown = shown.replace(re.escape("..."), ".*")
    shown = re.sub(r"\b[0-9a-f]{8}(\\-[0-9a-f]{4}){3}\\-[0-9a-f]{12}\b", r"[0-9a-f-]{36}", shown)
    shown = re.sub(r"\b\d+\\ s\b", r"\\d+\\ s", shown)
    return re.compile(shown.replace(r"laptop\-4711", r"\S+"))


def missing_line(shown: str, printed: str) -> str:
    """Return the first shown line that was not printed, in this order; nothing when all were."""
    lines = iter([" ".join(line.split()) for line in printed.splitlines()])
    for line in shown.splitlines():
        if line.strip() == "...":
            continue
        pattern = pattern_of(line)
        if not any(pattern.fullmatch(candidate) for candidate in lines):
            return line
    return ""


@pytest.fixture
def terminals(tmp_path: Path):
    """Open shells in a folder that holds what a clone holds, and end whatever they started."""
    for folder in ("connectors", "mappings", "schemas", "docs"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    binaries = Path(sys.executable).parent
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "activate").write_text(f"export PATH={binaries}:$PATH\n")
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("GATEWAY_")
    }
    environment |= {
        name: os.environ[name]
        for name in ("GATEWAY_JAR_CACHE", "GATEWAY_JAR_MIRROR")
        if name in os.environ
    }
    environment |= {
        "PATH": f"{binaries}:{environment['PATH']}",
        "TERMINAL_WIDTH": "200",
        "COLUMNS": "200",
    }
    opened: dict[str, Terminal] = {}

    def open_terminal(name: str) -> Terminal:
        if name not in opened:
            shell = subprocess.Popen(
                ["bash", "--noprofile", "--norc"], cwd=tmp_path, env=environment, text=True, start_new_session=True,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            )  # fmt: skip
            opened[name] = Terminal(shell)
            threading.Thread(target=opened[name].collect, daemon=True).start()
        return opened[name]

    yield open_terminal
    for terminal in opened.values():
        os.killpg(terminal.shell.pid, signal.SIGTERM)
        terminal.shell.kill()
        terminal.shell.wait(10)
    subprocess.run(
        [binaries / "gateway", "kafka", "wipe", "--yes"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        timeout=60,
        check=True,
    )


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def follow(page: Path, open_terminal) -> None:
    """Paste each block of commands, and compare what it prints with the output that the page shows next."""
    blocks = read_blocks(page)
    seen: dict[str, int] = {}
    for number, block in enumerate(blocks):
        if block.language == "text":
            continue
        terminal = open_terminal(block.terminal)
        stays = "subscribe.py" in block.text
        printed = terminal.type(block.text, wait=not stays)
        outputs = []
        for other in blocks[number + 1 :]:
            if other.language != "text":
                break
            outputs.append(other)
        deadline = time.monotonic() + WAIT_SECONDS
        for output in outputs:
            while True:
                if output.terminal == FIRST_TERMINAL:
                    missing = missing_line(output.text, printed)
                else:
                    other = open_terminal(output.terminal)
                    printed = other.printed[seen.get(output.terminal, 0) :]
                    missing = missing_line(output.text, printed)
                if not missing:
                    break
                repeatable = output.terminal != FIRST_TERMINAL or block.text.startswith(READ_ONLY)
                assert repeatable, (
                    f"{page.name} shows this line:\n{missing}\nbut\n{block.text}\nprinted:\n{printed}"
                )
                assert time.monotonic() < deadline, (
                    f"{page.name}: this line did not appear:\n{missing}\nprinted:\n{printed}"
                )
                time.sleep(1)
                if output.terminal == FIRST_TERMINAL:
                    printed = terminal.type(block.text, wait=True)
            if output.terminal != FIRST_TERMINAL:
                seen[output.terminal] = len(open_terminal(output.terminal).printed)


@pytest.mark.slow
@pytest.mark.kafka
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", ["connect-a-registry", "subscribe-to-a-topic"])
def test_tutorial_commands_work_in_order(name: str, terminals):
    page = TUTORIALS / f"{name}.md"
    used = {
        int(port)
        for port in re.findall(r"\b(?:9092|18081|18090|9464)\b", page.read_text(encoding="utf-8"))
    } | {9464}
    if taken := sorted(port for port in used if not is_free(port)):
        pytest.skip(f"in use on this machine: port {', '.join(map(str, taken))}")
    follow(page, terminals)


def test_readme_and_tutorial_consumers_are_equal():
    program = (TUTORIALS / "subscribe.py").read_text(encoding="utf-8")
    for page in (ROOT / "README.md", TUTORIALS / "subscribe-to-a-topic.md"):
        assert f"```python\n{program}```" in page.read_text(encoding="utf-8"), page.name


def test_tutorial_samples_use_fictional_people():
    sample = (TUTORIALS / "awards.json").read_text(encoding="utf-8")
    assert all(host.endswith(".example") for host in re.findall(r"https?://([^/\"]+)", sample))
