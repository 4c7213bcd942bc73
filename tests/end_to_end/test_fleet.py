"""Check the findings that the gateway reports when the files of a folder contradict each other."""

from __future__ import annotations

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from gateway.errors import ConfigError
from gateway.pipeline.loaded_config import load_config
from gateway.settings import Settings

ROOT = Path(__file__).parents[2]
PUSHED = """language: 1
connector: {name}
country: LV
title: A registry that calls
owner: {{name: Tests, contact: tests@example.org}}
push: {{path: /{path}, auth: {{basic: {{username: caller, password: {{secret: caller}}}}}}}}
streams:
  awards:
    emits: credential
    records: items
    id: id
    map: {{title.en: title}}
    tests: [{{name: shape, given: {{id: "1", title: One}}, expect_some: {{}}}}]
"""


def load(folder: Path) -> list[str]:
    settings = Settings(
        connectors=folder,
        mappings=ROOT / "mappings",
        pseudonym_key="0123456789abcdef0123456789abcdef",
    )
    return list(load_config(settings).connectors)


def test_duplicate_push_path_is_a_finding(
    tmp_path: Path,
) -> None:
    for name, path in (("first", "a"), ("second", "b")):
        (tmp_path / f"{name}.yaml").write_text(PUSHED.format(name=name, path=path))
    assert load(tmp_path) == ["first", "second"]
    (tmp_path / "second.yaml").write_text(PUSHED.format(name="second", path="a"))
    with pytest.raises(ConfigError) as refused:
        load(tmp_path)
    (finding,) = refused.value.findings
    assert (finding.code, finding.line, finding.column) == ("path-twice", 6, 14)
    assert "first receives at /a, too" in finding.message


def test_connector_file_with_another_suffix_is_logged(tmp_path: Path) -> None:
    (tmp_path / "third.yml").write_text(PUSHED.format(name="third", path="c"))
    with capture_logs() as said:
        assert load(tmp_path) == []
    assert [(one["event"], Path(one["file"]).name) for one in said] == [
        ("file is not read", "third.yml")
    ]
