"""Load the valid connectors for a command that concerns several."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from pydantic import SecretStr

from gateway.cli.runtime import load_valid_connectors
from gateway.cli.streams import select_connectors
from gateway.errors import ConfigError, UsageError
from gateway.settings import Settings

ROOT = Path(__file__).parents[3]


def settings_of(folder: Path) -> Settings:
    return Settings().model_copy(
        update={"connectors": folder, "pseudonym_key": SecretStr("k" * 40)}
    )


def test_invalid_file_is_named_and_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(ROOT / "connectors" / "demo-rest.yaml", tmp_path)
    (tmp_path / "broken.yaml").write_text("language: [")
    config = load_valid_connectors(settings_of(tmp_path))
    assert select_connectors(config, "demo-rest") == ["demo-rest"]
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"broken is left out: {tmp_path}/broken.yaml:")


def test_folder_without_a_valid_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "broken.yaml").write_text("language: [")
    with pytest.raises(ConfigError, match=r"broken\.yaml"):
        load_valid_connectors(settings_of(tmp_path))


def test_country_has_the_connectors_of_several_countries(tmp_path: Path) -> None:
    for name in ("demo-rest", "eu-emrex", "eu-eche"):
        shutil.copy(ROOT / "connectors" / f"{name}.yaml", tmp_path)
    config = load_valid_connectors(settings_of(tmp_path))
    assert select_connectors(config, "NO") == ["eu-emrex"]
    assert select_connectors(config, "no") == ["eu-emrex"]
    assert select_connectors(config, config.connectors["demo-rest"].country) == [
        "demo-rest",
        "eu-emrex",
    ]
    assert select_connectors(config, "eu-eche") == ["eu-eche"]
    with pytest.raises(UsageError, match="no connector for Norway"):
        select_connectors(config, "Norway")
