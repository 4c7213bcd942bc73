"""Every command ends with a documented exit code and one clear line, whatever is wrong.

The commands come from the command line itself, so that a new command is tried as well.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from gateway.__main__ import main
from gateway.cli import app
from tests.support.forked_process import FinishedProcess, apart

ROOT = Path(__file__).parents[3]
DOCUMENTED = {
    int(code)
    for code in re.findall(
        r"^\| (\d+) \|", (ROOT / "docs/reference/commands.md").read_text(), re.MULTILINE
    )
}
GIVEN = {
    "country": "IE", "framework": "NFQ", "nqf_level": "8", "unit": "ECTS", "amount": "5",
    "classification": "nsf", "code": "243", "number": "1", "protocol": "rest", "topic": "gateway.raw.v1",
    "sources": "gateway.raw.v1", "connector": "demo-soap", "native_id": "1", "record": "1",
    "file": "connectors/demo-soap.yaml", "old": "connectors/demo-soap.yaml", "new": "connectors/demo-soap.yaml",
}  # fmt: skip
"""A value for each required argument."""
NEED_KAFKA = {
    "backfill", "erase", "explain", "pause", "poll", "provider", "rejections list", "rejections replay",
    "rejections show", "renormalise", "resume", "status", "topics apply", "topics read", "topics verify",
    "validate", "verify", "why",
}  # fmt: skip
MORE = {
    "backfill": ["--from", "2026-01-01"],
    "erase": ["--reason", "a test", "--yes"],
    "rejections replay": ["--connector", "demo-soap"],
    "explain": ["C-1"],
    "provider": ["FI", "10076"],
}
CLOSED = "127.0.0.1:1"
SIMILAR = [
    ("poll demo-sop", "unknown connector demo-sop (did you mean demo-soap?)"),
    ("pause demo-soap degree", "has no stream degree (did you mean degrees?)"),
    ("resume demo-soap Credit", "has no stream Credit (did you mean credits?)"),
    ("backfill demo-soap enrolment --from 2026-01-01", "(did you mean enrolments?)"),
    ("preview connectors/demo-soap.yaml --stream degree", "(did you mean degrees?)"),
    ("run demo_soup", "unknown connector demo_soup (did you mean demo-soap?)"),
    ("status demo-res", "(did you mean demo-rest?)"),
    ("verify demo-fle", "(did you mean demo-file?)"),
    ("explain demo-sop 1", "(did you mean demo-soap?)"),
    ("erase demo-sop 1 --reason a --yes", "(did you mean demo-soap?)"),
    ("level IRL NFQ 8", "did you mean IE?"),
    ("credits Irelnd ECTS 5", "did you mean IE (Ireland)?"),
    ("coverage --country Irelnd", "did you mean IE (Ireland)?"),
    ("new IE rst", "no protocol 'rst' (did you mean rest?)"),
    ("drill list-emty", "(did you mean list-empty?)"),
]


def run(*words: str, **environment: str) -> FinishedProcess:
    """Run a command in a fork, in the folder of the repository and without its settings."""

    def act() -> None:
        import os

        os.chdir(ROOT)
        for name in [name for name in os.environ if name.startswith("GATEWAY_")]:
            del os.environ[name]
        os.environ["GATEWAY_PSEUDONYM_KEY"] = "a key for tests only, never for people"
        os.environ.update(environment)
        sys.argv = ["gateway", *words]
        main()

    return apart(act)


def commands(command: Any = None, *path: str) -> Iterator[tuple[str, Any]]:
    command = command or get_command(app)
    if not (inner := getattr(command, "commands", None)):
        yield " ".join(path), command
        return
    for name, one in inner.items():
        yield from commands(one, *path, name)


COMMANDS: Mapping[str, Any] = dict(commands())


def required(command: Any) -> list[str]:
    return [
        GIVEN[parameter.name]
        for parameter in command.params
        if parameter.param_type_name == "argument"
        and (parameter.required or parameter.name in {"connector", "native_id"})
    ]


def expect(done: FinishedProcess, code: int) -> None:
    assert done.code == code, done.err + done.out
    assert code in DOCUMENTED
    assert "Traceback" not in done.err
    assert not re.search(r"\.py\b", done.err), done.err


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_unknown_option_ends_with_2(name: str):
    done = run(*name.split(), "--no-such-option")
    expect(done, 2)
    assert "No such option: --no-such-option" in done.err


@pytest.mark.parametrize(
    "name",
    sorted(name for name, one in COMMANDS.items() if any(p.required for p in one.params)),
)
def test_missing_argument_ends_with_2(name: str):
    done = run(*name.split())
    expect(done, 2)
    assert "Missing argument" in done.err


@pytest.mark.parametrize("name", sorted(NEED_KAFKA))
def test_command_without_kafka_ends_with_4(name: str):
    done = run(
        *name.split(),
        *required(COMMANDS[name]),
        *MORE.get(name, ()),
        GATEWAY_KAFKA_BOOTSTRAP=CLOSED,
        GATEWAY_SECRET_DEMO_SOAP_KEY="demo-key",
        GATEWAY_STAGE="acceptance",
    )
    expect(done, 4)
    assert CLOSED in done.err + done.out


def test_every_command_that_reads_kafka_is_tried():
    """A command that is not named above ends without Kafka, or starts one itself."""
    others = {"check", "coverage", "credits", "demo", "diff", "drill", "export qdr", "field", "kafka start", "kafka status",
              "kafka stop", "kafka wipe", "language", "level", "new", "preview", "run", "schema"}  # fmt: skip
    assert COMMANDS.keys() - NEED_KAFKA == others


@pytest.mark.parametrize(("words", "hint"), SIMILAR, ids=[words for words, _ in SIMILAR])
def test_similar_name_is_suggested(words: str, hint: str):
    done = run(*words.split(), GATEWAY_KAFKA_BOOTSTRAP=CLOSED)
    expect(done, 2)
    assert hint in done.err, done.err


@pytest.mark.parametrize(
    ("words", "meant"),
    [("stauts", "status"), ("topics raed", "read"), ("kafka strat", "start"), ("rejections lst", "list"), ("export qrd", "qdr")],
)  # fmt: skip
def test_similar_command_is_suggested(words: str, meant: str):
    done = run(*words.split())
    expect(done, 2)
    assert re.search(rf"Did you mean .*{meant}'", done.err), done.err


def test_invalid_setting_ends_with_3():
    done = run("status", GATEWAY_METRICS_PORT="many")
    expect(done, 3)
    assert "GATEWAY_METRICS_PORT" in done.err
