"""Check that wrong usage prints one clear line without a traceback and sets the right exit code."""

from __future__ import annotations

import os
import shutil
import socket
from pathlib import Path

import pytest

from tests.support.forked_process import FinishedProcess, command

ROOT = Path(__file__).parents[2]
KEY = "a key for tests only, never for people"


def gateway(*arguments: str, cwd: Path = ROOT, **environment: str) -> FinishedProcess:
    return command(
        *arguments,
        environment={"GATEWAY_PSEUDONYM_KEY": KEY, "GATEWAY_METRICS_PORT": "0"} | environment,
        cwd=cwd,
        limit=120,
    )


def says(done: FinishedProcess, code: int, *words: str) -> None:
    assert done.code == code, done
    lines = done.err.strip().splitlines()
    assert "Traceback" not in done.err
    assert all(word in done.err for word in words), done.err
    assert len(lines) == 1, lines


def test_no_arguments_show_help_and_exit_with_usage_error():
    done = gateway()
    assert done.code == 2
    assert "Write a connector:" in done.out + done.err


def test_unknown_connector_lists_the_known_ones():
    says(gateway("run", "nope"), 2, "nope", "demo-rest")


def test_missing_secret_names_file_and_variable(tmp_path: Path):
    done = gateway(
        "run", "demo-rest", GATEWAY_SECRETS_DIR=str(tmp_path), GATEWAY_KAFKA_BOOTSTRAP="127.0.0.1:1"
    )
    says(done, 2, "demo-rest/token", "GATEWAY_SECRET_DEMO_REST_TOKEN")


def test_run_without_names_does_not_call_production_by_accident(tmp_path: Path):
    given = {"GATEWAY_KAFKA_BOOTSTRAP": "127.0.0.1:1", "GATEWAY_SECRETS_DIR": str(tmp_path)}
    refused = gateway("run", **given)
    assert refused.code == 2
    for words in ("would call 1", "in production", "GATEWAY_STAGE", "name the connectors"):
        assert words in refused.err.splitlines()[-1]
    for line, environment in (
        ("run fi-eperusteet", {}),
        ("run --roles harmonise", {}),
        ("run", {"GATEWAY_STAGE": "production"}),
        ("run", {"GATEWAY_STAGE": "acceptance"}),
    ):
        done = gateway(*line.split(), **given, **environment)
        assert done.code == 4, done
        assert "no Kafka answers" in done.err.splitlines()[-1]


def test_run_without_names_calls_registries_of_this_machine(tmp_path: Path):
    for file in (ROOT / "connectors").glob("demo-*"):
        shutil.copy(file, tmp_path)
    done = gateway(
        "run",
        GATEWAY_CONNECTORS=str(tmp_path),
        GATEWAY_KAFKA_BOOTSTRAP="127.0.0.1:1",
        GATEWAY_SECRET_DEMO_REST_TOKEN="a token",
        GATEWAY_SECRET_DEMO_SOAP_KEY="a key",
    )
    says(done, 4, "no Kafka answers")


@pytest.mark.parametrize(
    ("line", "meant"),
    [
        ("run demo-sop", "demo-soap"),
        ("status fi_virta_", "fi-virta"),
        ("pause DEMO-REST", "demo-rest"),
        ("verify virta", "fi-virta"),
        ("explain demo-res 1", "demo-rest"),
        ("erase demo-res 1 --yes --reason x", "demo-rest"),
    ],
)
def test_unknown_connector_gets_a_suggestion(line: str, meant: str):
    done = gateway(*line.split(), GATEWAY_KAFKA_BOOTSTRAP="127.0.0.1:1")
    says(done, 2, f"(did you mean {meant}?)")


def test_missing_pseudonym_key_shows_how_to_create_one():
    says(
        gateway("run", "demo-rest", GATEWAY_PSEUDONYM_KEY="short"),
        2,
        "GATEWAY_PSEUDONYM_KEY",
        "openssl rand",
    )


def test_status_needs_no_pseudonym_key():
    done = gateway("status", GATEWAY_PSEUDONYM_KEY="", GATEWAY_KAFKA_BOOTSTRAP="127.0.0.1:1")
    says(done, 4, "no Kafka answers")


def test_missing_broker_names_the_command_to_start_one(tmp_path: Path):
    done = gateway("topics", "verify", GATEWAY_DATA_DIR=str(tmp_path))
    says(done, 4, "gateway kafka start", "GATEWAY_KAFKA_BOOTSTRAP")


COMMANDS = (
    "topics verify", "topics read gateway.raw.v1", "status", "pause demo-rest", "rejections list", "rejections replay --all",
    "renormalise EU", "renormalise EU --dry-run", "explain demo-rest 1", "verify demo-rest", "erase demo-rest 1 --verify",
    "erase demo-rest 1 --yes --reason x", "run demo-rest", "run demo-rest --wait 1",
)  # fmt: skip


@pytest.mark.parametrize("line", COMMANDS)
def test_unreachable_broker_is_one_clear_line(line: str):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{closed.getsockname()[1]}"
        done = gateway(
            *line.split(),
            GATEWAY_KAFKA_BOOTSTRAP=address,
            GATEWAY_SECRET_DEMO_REST_TOKEN="a token",
        )
        says(done, 4, f"no Kafka answers at {address} (Connection refused)")


def test_bad_yaml_names_line_and_column(tmp_path: Path):
    (tmp_path / "xx-bad.yaml").write_text("language: 1\nconnector: xx-bad\n\tcountry: SE\n")
    done = gateway("run", GATEWAY_CONNECTORS=str(tmp_path))
    assert done.code == 3
    assert f"{tmp_path}/xx-bad.yaml:3:1:" in done.err
    assert "Traceback" not in done.err


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every file")
def test_unreadable_file_is_named(tmp_path: Path):
    (tmp_path / "xx-bad.yaml").write_text("language: 1\n")
    (tmp_path / "xx-bad.yaml").chmod(0)
    says(gateway("run", GATEWAY_CONNECTORS=str(tmp_path)), 3, "xx-bad.yaml")


def test_directory_instead_of_a_file_is_named(tmp_path: Path):
    (tmp_path / "xx-bad.yaml").mkdir()
    done = gateway("run", GATEWAY_CONNECTORS=str(tmp_path))
    assert done.code in {3, 74}
    assert "xx-bad.yaml" in done.err
    assert "Traceback" not in done.err


def test_first_start_lists_everything_missing(tmp_path: Path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        given = {
            "GATEWAY_SECRETS_DIR": str(tmp_path),
            "GATEWAY_DATA_DIR": str(tmp_path),
            "GATEWAY_METRICS_PORT": port,
        }
        done = gateway("run", "demo-rest", "demo-soap", **given)
        stage = gateway("run", "--roles", "harmonise", **given)
    assert done.code == 2
    lacks = (
        "demo-rest/token",
        "demo-soap/key",
        "no Kafka: start one",
        f"port {port} on 127.0.0.1 is in use",
    )
    lines = done.err.splitlines()
    assert len(lines) == len(lacks), lines
    assert all(
        line.startswith("gateway: ") and what in line
        for line, what in zip(lines, lacks, strict=True)
    ), lines
    assert (stage.code, len(stage.err.splitlines())) == (4, 2), (
        "a stage needs no secret of a registry"
    )


@pytest.mark.kafka
def test_port_in_use_is_reported_before_polling(site):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        process = site.run(GATEWAY_METRICS_PORT=port)
        assert process.wait(90) == 4
        assert f"port {port} on 127.0.0.1 is in use" in site.log()
        assert not site.read("gateway.raw.v1")
