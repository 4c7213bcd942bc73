"""Check that the reference page and the JSON Schema agree with the models.

The page's example is a valid connector.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import jsonschema
import pytest
from ruamel.yaml import YAML

from gateway.check import check
from gateway.check.publishing import UNPUBLISHED
from gateway.config.publishing_needs import NEEDS as PUBLISHING_NEEDS
from gateway.config.reference_docs import block_name, json_schema, list_blocks, to_markdown
from gateway.config.yaml.document import read_yaml
from gateway.harmonise.tables.compiled_tables import Tables

ROOT = Path(__file__).parents[3]
SOURCES = ROOT / "connectors" / "language"
NEEDS = YAML(typ="safe").load((SOURCES / "needs.yaml").read_text())


def page() -> str:
    return to_markdown((SOURCES / "introduction.md").read_text(), NEEDS)


def test_language_page_is_up_to_date() -> None:
    assert (ROOT / "connectors" / "README.md").read_text() == page(), "run: gateway language"


def test_connector_schema_is_up_to_date() -> None:
    assert (ROOT / "schemas" / "connector.schema.json").read_text() == json_schema(NEEDS), (
        "run: gateway language"
    )


def test_fields_are_described_and_needs_name_fields() -> None:
    known = {
        f"{block_name(model)}.{field.alias or name}"
        for model in list_blocks()
        for name, field in model.model_fields.items()
    }
    bare = [
        name
        for model in list_blocks()
        for name, field in model.model_fields.items()
        if not field.description
    ]
    assert bare == []
    assert {
        need for need in NEEDS if need not in known and not need.startswith("Protocol.")
    } == set()


def test_page_example_passes_the_check(tmp_path: Path) -> None:
    example = re.search(r"```yaml\n(.*?)```", page(), re.DOTALL)
    assert example
    file = tmp_path / "ie-awards.yaml"
    file.write_text(example[1])
    assert [
        str(finding)
        for finding in check(file, Tables.load(ROOT / "mappings"))
        if finding.severity == "error" or finding.code == UNPUBLISHED
    ] == [], "the example must be complete: readers copy it, and its records are published"


@pytest.mark.parametrize("emits", PUBLISHING_NEEDS)
def test_page_lists_what_publishing_requires(emits: str) -> None:
    section = page().partition(f"### emits: {emits}\n")[2].partition("\n### ")[0]
    for need in PUBLISHING_NEEDS[emits]:
        assert f"- {need.text}: `" in section
    if not PUBLISHING_NEEDS[emits]:
        assert "no target is required" in section


@pytest.mark.parametrize(
    "file", sorted((ROOT / "connectors").glob("*.yaml")), ids=lambda file: file.stem
)
def test_connector_schema_accepts_shipped_connectors(file: Path) -> None:
    schema = json.loads(json_schema())
    plain = json.loads(json.dumps(read_yaml(file).value, default=float))
    jsonschema.Draft202012Validator(schema).validate(plain)
