"""The topics as an AsyncAPI 3.0 document with Kafka bindings, made from :mod:`gateway.messages.topics`.

Values are described by the JSON Schemas beside it; headers are CloudEvents in binary mode.
"""

from __future__ import annotations

import io
from collections.abc import Collection
from typing import Any

from ruamel.yaml import YAML

from gateway.messages.topics import TOPICS, Topic, topic_config

BINDING = "0.5.0"
_LISTED = {"cleanup.policy"}
_NAMED = {"cleanup.policy", "retention.ms", "delete.retention.ms", "max.message.bytes"}
"""Topic settings that the Kafka binding has words for."""
_TEXT = {"type": "string"}
_HEADERS: dict[str, Any] = {
    "type": "object",
    "required": ["ce_specversion", "ce_id", "ce_source", "ce_type"],
    "properties": {
        "ce_specversion": {"const": "1.0"},
        "ce_id": _TEXT
        | {
            "description": "The same whenever the same content is published again: the key for dropping repeats"
        },
        "ce_source": _TEXT | {"description": "/connectors/<connector>/<stream>"},
        "ce_type": _TEXT | {"description": "What happened to what, with its version"},
        "ce_subject": _TEXT | {"description": "The record's key"},
        "ce_time": {
            "type": "string",
            "format": "date-time",
            "description": "When the registry changed the record, where it says so",
        },
        "ce_dataschema": {
            "type": "string",
            "format": "uri",
            "description": "$id of the JSON Schema of the value",
        },
        "content-type": _TEXT | {"description": "Media type of the value"},
    },
}


def document(version: str, described: Collection[str], provenance: str) -> str:
    """Return the document as YAML. ``described`` are the topics whose values have a schema file, ``provenance`` the header's."""
    found = {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Qualification gateway",
            "version": version,
            "description": "Harmonised qualifications, credentials and student-card facts on Kafka. Read with isolation level "
            "read_committed. A null value is a tombstone: the record is gone.",
            "license": {"name": "EUPL-1.2"},
        },
        "defaultContentType": "application/json",
        "channels": {topic.name: _channel(topic) for topic in TOPICS},
        "operations": {
            f"{action}.{topic.name}": {
                "action": action,
                "channel": {"$ref": f"#/channels/{topic.name}"},
            }
            for topic in TOPICS
            for action in _actions(topic)
        },
        "components": {
            "messages": {
                topic.name: _message(topic, topic.name in described, provenance) for topic in TOPICS
            },
            "messageTraits": {"cloudevent": {"headers": _HEADERS}},
        },
    }
    text = io.StringIO()
    yaml = YAML()
    yaml.width = 132
    yaml.representer.ignore_aliases = lambda _: True
    yaml.dump(found, text)
    return (
        "# Made from gateway/messages/topics.py by `gateway schema`. Do not edit.\n"
        + text.getvalue()
    )


def _channel(topic: Topic) -> dict[str, Any]:
    configuration: dict[str, Any] = {}
    for name, value in topic_config(topic).items():
        if name in _NAMED:
            configuration[name] = value.split(",") if name in _LISTED else int(value)
    personal = "Personal data. " if topic.personal else ""
    return {
        "address": topic.name,
        "title": topic.description,
        "description": f"{personal}Key: {topic.key_description}. Written by {', '.join(topic.writers)}; read by {', '.join(topic.readers)}.",
        "messages": {"record": {"$ref": f"#/components/messages/{topic.name}"}},
        "bindings": {
            "kafka": {
                "topic": topic.name,
                "partitions": topic.partitions,
                "topicConfiguration": configuration,
                "bindingVersion": BINDING,
            }
        },
    }


def _message(topic: Topic, described: bool, provenance: str) -> dict[str, Any]:
    found: dict[str, Any] = {
        "name": topic.name,
        "title": topic.description,
        "traits": [{"$ref": "#/components/messageTraits/cloudevent"}],
        "bindings": {
            "kafka": {
                "key": {"type": "string", "description": topic.key_description},
                "bindingVersion": BINDING,
            }
        },
    }
    if described:
        found["payload"] = {
            "schemaFormat": "application/schema+json;version=draft-2020-12",
            "schema": {"$ref": f"./{topic.name}.schema.json"},
        }
        found["headers"] = {
            "type": "object",
            "properties": {
                "provenance": {
                    "type": "string",
                    "description": f"Compact JSON, described by ./{provenance}.schema.json",
                }
            },
        }
    return found


def _actions(topic: Topic) -> list[str]:
    """Return what the gateway itself does with a topic."""
    own = {"poll", "harmonise", "control"}
    return ["send"] * bool(own & set(topic.writers)) + ["receive"] * bool(own & set(topic.readers))
