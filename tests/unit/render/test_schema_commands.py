"""Run the commands ``schema``, ``validate`` and ``export``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gateway.cli import app
from gateway.errors import UsageError
from gateway.render.render import Rendered, render
from tests.support import samples


def run(*arguments: str | Path) -> tuple[int, str]:
    result = CliRunner().invoke(app, [str(one) for one in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


@pytest.fixture
def catalogue(tmp_path: Path) -> Path:
    lines = []
    for name in ("qualification", "specification", "qualification-small"):
        found = render(
            samples.accepted(samples.RECORDS[name]),
            samples.keys(name),
            country="IE",
            at=samples.AT,
        )
        assert isinstance(found, Rendered)
        lines.append((found.documents[0].value or b"").decode())
    path = tmp_path / "catalogue.jsonl"
    path.write_text("\n".join(lines))
    return path


def test_schema_command_writes_and_detects_changes(tmp_path: Path):
    assert run("schema", "--check", "--dir", tmp_path)[0] == 1
    assert not list(tmp_path.iterdir())
    assert run("schema", "--dir", tmp_path)[0] == 0
    assert run("schema", "--check", "--dir", tmp_path)[0] == 0
    (tmp_path / "asyncapi.yaml").write_text("asyncapi: 3.0.0")
    code, said = run("schema", "--check", "--dir", tmp_path)
    assert code == 1
    assert "asyncapi.yaml" in said
    assert "gateway schema" in said


def test_validate_names_the_position_of_errors(catalogue: Path):
    code, said = run("validate", catalogue)
    assert code == 0
    assert "3 documents, 0 with findings" in said
    assert "shapes are not available" in said
    catalogue.write_text(catalogue.read_text().replace('"eqfLevel"', '"eqfLevels"', 1))
    code, said = run("validate", catalogue)
    assert code == 1
    assert f"{catalogue}:1: schema: document: misses ['eqfLevel']" in said


@pytest.mark.reference
def test_validate_with_the_official_shapes(catalogue: Path, reference: Path):
    assert run("validate", catalogue, "--shapes", reference / "elm")[0] == 0
    document = json.loads(catalogue.read_text().splitlines()[0])
    document["eqfLevel"]["inScheme"]["id"] = "http://data.europa.eu/snb/qdr/25831c2"
    catalogue.write_text(json.dumps(document))
    code, said = run("validate", catalogue, "--shapes", reference / "elm")
    assert code == 1
    assert "shapes:" in said


def test_validate_refuses_empty_input(tmp_path: Path):
    empty = tmp_path / "empty.json"
    empty.write_text("[]")
    with pytest.raises(UsageError, match="nothing to validate"):
        run("validate", empty)
    with pytest.raises(UsageError, match="neither a file nor a topic"):
        run("validate", "no.such.topic")


def test_validation_findings_do_not_quote_documents(tmp_path: Path):
    path = tmp_path / "one.json"
    path.write_text(
        json.dumps(
            {
                "eventType": "student.status.updated",
                "esi": "secret-17",
                "fullName": "",
                "grade": "secret-18",
            }
        )
    )
    code, said = run("validate", path)
    assert code == 1
    assert "grade" in said
    assert "secret" not in said


def test_export_lists_omitted_records(catalogue: Path, tmp_path: Path):
    code, said = run("export", "qdr", "--from", catalogue, "--out", tmp_path / "qdr.xml")
    assert code == 1
    assert "the XML profile demands language" in said
    assert "2 of 3 entries" in said
    assert (tmp_path / "qdr.xml").read_bytes().count(b"<learningOutcome id=") == 4
