"""Check the published schemas.

The schemas are generated, stay compatible within v1, and describe every rendered document.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from ruamel.yaml import YAML

from gateway.cli.schemas import schema_files
from gateway.messages.topics import TOPICS, topic_config
from gateway.render.elm_common import ESCO_ATTRIBUTION
from gateway.render.json_schemas import schemas
from gateway.render.render import Rendered, render
from tests.support import samples

ROOT = Path(__file__).parents[3]
GOLDEN = ROOT / "tests" / "golden" / "contracts"
SCHEMAS = schemas()
FORMATS = Draft202012Validator.FORMAT_CHECKER


def rendered(name: str, **options: Any) -> Rendered:
    found = render(
        samples.accepted(samples.RECORDS[name]),
        samples.keys(name),
        country="IE",
        at=samples.AT,
        **options,
    )
    assert isinstance(found, Rendered), found
    return found


def test_schema_files_are_up_to_date():
    for name, text in schema_files().items():
        assert (ROOT / "schemas" / name).read_text(encoding="utf-8") == text, (
            f"run `gateway schema`: {name} differs"
        )


def test_schemas_are_valid_and_have_ids():
    for name, schema in SCHEMAS.items():
        Draft202012Validator.check_schema(schema)
        assert schema["$id"].endswith(f"/{name}.json")
        if "esco" in json.dumps(schema).casefold():
            assert schema["$comment"] == ESCO_ATTRIBUTION


@pytest.mark.parametrize("version", ["3.1", "3.3"])
@pytest.mark.parametrize("name", samples.RECORDS)
def test_rendered_documents_fit_their_schema(name: str, version: str):
    for document in rendered(name, loq_version=version).documents:
        assert document.schema == SCHEMAS[document.topic]["$id"]
        if document.value is not None:
            Draft202012Validator(SCHEMAS[document.topic], format_checker=FORMATS).validate(
                json.loads(document.value)
            )


def test_rendering_is_byte_stable():
    for name in samples.RECORDS:
        assert rendered(name) == rendered(name)


def test_schemas_change_only_by_addition():
    old = json.loads((GOLDEN / "v1.json").read_text(encoding="utf-8"))
    assert (
        {topic.name for topic in TOPICS}
        >= set(old["documents"])
        >= {name for name in SCHEMAS if name != "provenance"}
    )
    for topic, documents in old["documents"].items():
        for document in documents:
            Draft202012Validator(SCHEMAS[topic]).validate(document)
    for topic, schema in old["schemas"].items():
        assert narrowed(schema, json.loads(json.dumps(SCHEMAS[topic])), topic) == []


def narrowed(old: Any, new: Any, place: str) -> list[str]:
    """Name every place where a new schema takes away or demands what the old one did not."""
    if not isinstance(old, dict) or not isinstance(new, dict):
        return [] if old == new else [f"{place}: changed"]
    found = [
        f"{place}: now demands {name}"
        for name in set(new.get("required", ())) - set(old.get("required", ()))
    ]
    for name, value in old.items():
        here = f"{place}.{name}"
        if name in {"description", "title", "version", "$comment", "$id", "required"}:
            continue
        if name == "enum":
            found += [f"{here}: lost {one}" for one in value if one not in new.get("enum", ())]
        elif name in {"oneOf", "anyOf"}:
            found += (
                [f"{here}: lost a form"]
                if any(one not in new.get(name, ()) for one in value)
                else []
            )
        elif name not in new:
            # Less restriction is an addition; a field that is gone is not.
            found += [f"{here}: gone"] if place.endswith(("properties", "$defs")) else []
        else:
            found += narrowed(value, new[name], here)
    return found


@pytest.mark.parametrize(
    "change",
    [
        lambda s: s["required"].append("email"),
        lambda s: s["properties"].pop("email"),
        lambda s: s["properties"]["status"]["enum"].remove("ACTIVE"),
        lambda s: s["properties"]["esi"].update(maxLength=10),
    ],
)
def test_compatibility_test_detects_a_removal(change: Any):
    old = json.loads(json.dumps(SCHEMAS["esc.student-status.v1"]))
    new = json.loads(json.dumps(old))
    assert narrowed(old, new, "x") == []
    new["properties"]["nickname"] = {"type": "string"}
    assert narrowed(old, new, "x") == []
    change(new)
    assert narrowed(old, new, "x")


def test_asyncapi_matches_the_topics():
    document = YAML(typ="safe").load(schema_files()["asyncapi.yaml"])
    assert document["asyncapi"] == "3.0.0"
    assert set(document["channels"]) == {topic.name for topic in TOPICS}
    for topic in TOPICS:
        binding = document["channels"][topic.name]["bindings"]["kafka"]
        assert binding["partitions"] == topic.partitions
        assert binding["topicConfiguration"]["cleanup.policy"] == topic_config(topic)[
            "cleanup.policy"
        ].split(",")
    for message in document["components"]["messages"].values():
        if "payload" in message:
            assert (ROOT / "schemas" / message["payload"]["schema"]["$ref"]).is_file()
    for operation in document["operations"].values():
        assert operation["channel"]["$ref"].removeprefix("#/channels/") in document["channels"]
