"""Check that each reason code of a stream has its cause, its remedy and its runbook."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.main import get_command

from gateway.cli import app
from gateway.fetch.decode import formats
from gateway.observability.causes import CAUSES, cause_of
from gateway.pipeline import deletion_guard, rejection_guard

ROOT = Path(__file__).parents[3]
RUNBOOKS = ROOT / "deploy" / "runbooks"
CALLS = {"StreamHalted", "RetryLater", "ReplyVerdict", "_require_size", "_record_failure"}
CODE = re.compile(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)+|[A-Z]{4,}")
NO_REASONS = {"GATEWAY_STAGE", "GATEWAY_RECEIVE_CERT_FILE", "GATEWAY_RECEIVE_KEY_FILE"}


def raised_codes() -> Iterator[tuple[str, str]]:
    """Yield each reason code that the source names, and the file that names it."""
    for path in sorted((ROOT / "gateway").rglob("*.py")):
        tree = ast.parse(path.read_text("utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and _name(node) in CALLS:
                for text in _texts(node.args[:3]):
                    yield text, path.name
            elif isinstance(node, ast.Assign) and "REASON" in ast.unparse(node.targets[0]):
                for text in _texts([node.value]):
                    yield text, path.name
            elif isinstance(node, ast.Return | ast.Dict) and "fetch" in path.parts:
                for part in ast.walk(node):
                    if isinstance(part, ast.Tuple) and len(part.elts) == 2:
                        for text in _texts([part.elts[0]]):
                            yield text, path.name


def _name(call: ast.Call) -> str:
    return getattr(call.func, "id", getattr(call.func, "attr", ""))


def _texts(nodes: list[ast.expr]) -> Iterator[str]:
    for node in nodes:
        for part in [node] if isinstance(node, ast.Constant) else ast.walk(node):
            text = part.value if isinstance(part, ast.Constant) else None
            if isinstance(text, str) and CODE.fullmatch(text) and text not in NO_REASONS:
                yield text


CODES = {
    *raised_codes(),
    *((code, "formats.py") for code in formats._REFUSALS.values()),
    (rejection_guard.REASON, "rejection_guard.py"),
    (deletion_guard.REASON, "deletion_guard.py"),
    *((code, "stream_poller.py") for code in ("denied", "integrity", "unexpected", "fenced")),
}


def test_the_codes_are_found():
    names = {code for code, _ in CODES}
    assert len(names) > 100
    assert {"LIST_MISSING", "TLS_EXPIRED", "JSON_NUMBER", "DENIED", "DNS_FAILED"} <= names


@pytest.mark.parametrize(("code", "file"), sorted(CODES))
def test_each_reason_code_has_a_cause(code: str, file: str):
    is_known = code in CAUSES or any(
        code.startswith(known) for known in CAUSES if known.endswith(("_", "_5"))
    )
    assert is_known, f"{file} raises {code}; add it to gateway/observability/causes.py"


@pytest.mark.parametrize("code", sorted(CAUSES))
def test_each_cause_is_a_sentence_with_a_step_and_a_runbook(code: str):
    cause = CAUSES[code]
    assert cause.meaning.endswith(".")
    assert len(cause.meaning.split()) <= 20
    assert cause.remedy.steps or not cause.is_bad
    if cause.remedy.runbook:
        assert (RUNBOOKS / f"{cause.remedy.runbook}.md").is_file()


@pytest.mark.parametrize("code", sorted(CAUSES))
def test_each_command_of_a_cause_exists_with_its_options(code: str):
    commands = get_command(app).commands
    for step in CAUSES[code].remedy.steps:
        if not step.startswith("gateway "):
            continue
        words = step.split()[1:]
        command = commands[words.pop(0)]
        while getattr(command, "commands", None):
            command = command.commands[words.pop(0)]
        options = {option for one in command.params for option in one.opts}
        assert {word for word in words if word.startswith("--")} <= options


def test_a_code_of_a_connector_file_means_that_its_rule_stopped_the_stream():
    cause = cause_of("QUOTA_USED")
    assert (cause.code, cause.meaning) == ("QUOTA_USED", CAUSES["STOPPED"].meaning)


@pytest.mark.parametrize(
    ("code", "like"),
    [("HTTP_404", "HTTP_"), ("HTTP_503", "HTTP_5"), ("SIGNATURE_EXPIRED", "SIGNATURE_")],
)
def test_a_family_of_codes_has_one_cause(code: str, like: str):
    assert cause_of(code).meaning == CAUSES[like].meaning
