"""Load a folder of connector files of which some are not valid."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from pydantic import SecretStr

from gateway.errors import ConfigError, UsageError
from gateway.pipeline.loaded_config import load_config
from gateway.settings import Settings

ROOT = Path(__file__).parents[3]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    for name in ("demo-rest", "nl-rio"):
        shutil.copy(ROOT / "connectors" / f"{name}.yaml", tmp_path)
    shutil.copytree(ROOT / "mappings", tmp_path / "mappings")
    return Settings().model_copy(
        update={
            "connectors": tmp_path,
            "mappings": tmp_path / "mappings",
            "pseudonym_key": SecretStr("k" * 40),
        }
    )


BROKEN = {
    "empty file": b"",
    "not YAML": b"language: [",
    "not text": b"\xff\xfe\x00",
    "another kind of file": b"- 1\n",
    "unknown key": b"language: 1\nconnektor: broken\n",
    "name of another connector": (ROOT / "connectors" / "demo-rest.yaml").read_bytes(),
}


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN)
def test_invalid_file_leaves_out_its_connector_only(settings: Settings, content: bytes) -> None:
    (settings.connectors / "broken.yaml").write_bytes(content)
    config = load_config(settings, leave_out_invalid=True)
    assert config.connectors.keys() == config.harmonisers.keys() == {"demo-rest", "nl-rio"}
    assert config.not_loaded.keys() == {"broken"}
    assert all(finding.file.endswith("broken.yaml") for finding in config.not_loaded["broken"])
    with pytest.raises(ConfigError):
        load_config(settings)
    assert load_config(settings, ["nl-rio"]).connectors.keys() == {"nl-rio"}
    with pytest.raises(ConfigError):
        load_config(settings, ["broken"])


def test_file_that_cannot_be_read_leaves_out_its_connector_only(settings: Settings) -> None:
    (settings.connectors / "broken.yaml").mkdir()
    (settings.connectors / "gone.yaml").symlink_to("nowhere.yaml")
    config = load_config(settings, leave_out_invalid=True)
    assert config.connectors.keys() == {"demo-rest", "nl-rio"}
    assert config.not_loaded.keys() == {"broken", "gone"}


def test_connector_whose_table_is_missing_is_left_out(settings: Settings) -> None:
    file = settings.connectors / "nl-rio.yaml"
    assert "level_table" not in file.read_text()
    text = file.read_text()
    rule = next(line for line in text.splitlines() if "eqf_level" in line or "nqf_level" in line)
    indent = rule[: len(rule) - len(rule.lstrip())]
    file.write_text(text.replace(rule, f"{indent}nqf_level: {{from: x, table: no-such-table}}", 1))
    config = load_config(settings, leave_out_invalid=True)
    assert config.connectors.keys() == config.harmonisers.keys() == {"demo-rest"}
    (finding, *_) = config.not_loaded["nl-rio"]
    assert finding.line
    assert finding.file == str(file)


def test_folder_without_a_valid_file_does_not_load(settings: Settings) -> None:
    for file in settings.connectors.glob("*.yaml"):
        file.write_text("language: [")
    with pytest.raises(ConfigError) as caught:
        load_config(settings, leave_out_invalid=True)
    assert {Path(finding.file).stem for finding in caught.value.findings} == {
        "demo-rest",
        "nl-rio",
    }


def test_invalid_mapping_table_stops_all_connectors(settings: Settings) -> None:
    (settings.mappings / "nl.yaml").write_text("country: [")
    with pytest.raises(ConfigError, match=r"nl\.yaml"):
        load_config(settings, leave_out_invalid=True)


def test_unknown_name_is_refused(settings: Settings) -> None:
    with pytest.raises(UsageError, match="unknown connector nope"):
        load_config(settings, ["nope"], leave_out_invalid=True)
