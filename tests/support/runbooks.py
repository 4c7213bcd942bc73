"""Read the runbooks of ``deploy/`` and run their commands literally, as an operator types them."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

FOLDER = Path(__file__).parents[2] / "deploy/runbooks"
PLACEHOLDER = re.compile(r"(?<![$\w])([A-Z][A-Z_]+[A-Z])\b(?!=)")
"""A word in capitals. A variable of the shell has a dollar sign and is no placeholder."""
_BLOCK = re.compile(r"^ *```sh\n(.*?)^ *```$", re.DOTALL | re.MULTILINE)
EVERY_CAUSE = ""
SECONDS = 180


@dataclass(frozen=True)
class Runbook:
    """A page: the commands that look, those that cure by cause, and its placeholders."""

    alert: str
    text: str
    look: list[str] = field(default_factory=list)
    cures: dict[str, list[str]] = field(default_factory=dict)
    placeholders: frozenset[str] = frozenset()

    @property
    def commands(self) -> list[str]:
        """All commands of the page."""
        return [*self.look, *(line for cure in self.cures.values() for line in cure)]


def commands(text: str) -> list[str]:
    """Return the lines of the blocks that are marked as ``sh``."""
    return [line.strip() for block in _BLOCK.findall(text) for line in block.splitlines()]


def read_runbook(alert: str) -> Runbook:
    """Return the runbook of an alert."""
    text = (FOLDER / f"{alert}.md").read_text()
    look = text.partition("## What to look at\n")[2].partition("## What to do\n")[0]
    do = text.partition("## What to do\n")[2].partition("## Is anything lost?\n")[0]
    parts = re.split(r"^### (.*)\n", do, flags=re.MULTILINE)
    causes = dict(zip(parts[1::2], parts[2::2], strict=True)) or {EVERY_CAUSE: do}
    rows = re.findall(r"^\| (`[A-Z_`, ]+`) \|", text, re.MULTILINE)
    return Runbook(
        alert,
        text,
        commands(look),
        {cause: commands(steps) for cause, steps in causes.items()},
        frozenset(name for row in rows for name in re.findall(r"`(\w+)`", row)),
    )


def run_line(
    line: str, values: Mapping[str, str], environment: Mapping[str, str], cwd: Path
) -> str:
    """Run one line in a shell and return its output.

    The line must succeed, and each placeholder needs a value.
    """
    typed = PLACEHOLDER.sub(lambda found: values[found[1]], line)
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", typed],
        env=dict(environment),
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, f"{typed}: exit code {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout + done.stderr
