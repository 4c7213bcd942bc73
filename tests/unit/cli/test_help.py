"""Print the version, the help and the completions of the command line."""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from gateway.cli import app
from gateway.cli.command_group import COMMANDS_BY_TASK, group_by_task

runner = CliRunner()


def printed(*arguments: str, **environment: str) -> str:
    result = runner.invoke(app, arguments, prog_name="gateway", env=environment)
    assert result.exit_code == 0, result.output
    return result.output


def test_version_is_that_of_the_package():
    assert (
        printed("--version").split(" with accelerator ")[0].rstrip()
        == f"gateway {importlib.metadata.version('qualification-gateway')}"
    )


@pytest.mark.parametrize("columns", ["80", "200"])
@pytest.mark.parametrize("group", ["", "topics", "rejections", "kafka", "export"])
def test_help_shows_whole_sentences(group: str, columns: str):
    text = printed(*([group] if group else []), "--help", COLUMNS=columns)
    assert "..." not in text.replace("[ARGS]...", "")
    assert max(map(len, text.splitlines())) <= 80
    command = get_command(app)
    commands = command.commands[group].commands if group else command.commands
    words = " ".join(text.split())
    for name, shown in commands.items():
        assert f"{name} {' '.join(shown.help.split()).partition('. ')[0].rstrip('.')}." in words


def test_every_command_has_a_task():
    assert "Other" not in group_by_task(list(get_command(app).commands))
    text = printed("--help")
    assert [
        line.rstrip(":") for line in text.splitlines() if line.rstrip(":") in COMMANDS_BY_TASK
    ] == list(COMMANDS_BY_TASK)


@pytest.mark.parametrize(
    ("words", "completed"),
    [("gateway stat", "status"), ("gateway run --accept-new-k", "--accept-new-key")],
)
def test_shell_completes_commands_and_options(words: str, completed: str):
    result = runner.invoke(
        app,
        [],
        prog_name="gateway",
        env={
            "_GATEWAY_COMPLETE": "complete_bash",
            "COMP_WORDS": words,
            "COMP_CWORD": str(words.count(" ")),
        },
    )
    assert result.output.split() == [completed]


PRINT_NO_DATA = {
    "run",  # its log is JSON with GATEWAY_LOG_FORMAT=json
    "demo",
    "new",  # writes a connector file
    "language",  # writes files of the repository
    "schema",
    "export qdr",  # writes the XML that its reader expects
    "kafka stop",
    "kafka wipe",
}
"""Every other command has ``--json``."""


def options_by_command(command: Any, name: str = "") -> Iterator[tuple[str, set[str]]]:
    if inner := getattr(command, "commands", None):
        for key, subcommand in inner.items():
            yield from options_by_command(subcommand, f"{name} {key}".strip())
    else:
        yield name, {option for parameter in command.params for option in parameter.opts}


def test_every_command_that_prints_data_prints_json():
    without = {
        name for name, options in options_by_command(get_command(app)) if "--json" not in options
    }
    assert without == PRINT_NO_DATA


def test_validate_prints_json(tmp_path: Path):
    documents = tmp_path / "documents.json"
    documents.write_text('[{"id": 1}, {}]')
    result = runner.invoke(app, ["validate", str(documents), "--json"])
    facts = json.loads(result.output)
    assert (result.exit_code, facts["documents"], facts["failed"]) == (1, 2, 2)
    assert {finding["document"] for finding in facts["findings"]} == {
        f"{documents}#1",
        f"{documents}#2",
    }
