"""Describe the topics as an AsyncAPI 3.0 document with Kafka bindings.

The document is generated from :mod:`gateway.messages.topics`. It refers to the JSON Schemas
in the same folder for the values. Headers are CloudEvents in binary mode.
"""

from __future__ import annotations

import io
from collections.abc import Collection
from typing import Any

from ruamel.yaml import YAML

from gateway.messages.cloudevents import MISSING_FIELDS_HEADER, RECORD_TYPE_HEADER
from gateway.messages.topics import INCOMPLETE_ENTRIES_TOPIC, TOPICS, Topic, topic_config

BINDING = "0.5.0"
_LISTED = {"cleanup.policy"}
_NAMED = {"cleanup.policy", "retention.ms", "delete.retention.ms", "max.message.bytes"}
"""Topic settings for which the Kafka binding defines a name."""
_TEXT = {"type": "string"}
_HEADERS: dict[str, Any] = {
    "type": "object",
    "required": ["ce_specversion", "ce_id", "ce_contentid", "ce_source", "ce_type"],
    "properties": {
        "ce_specversion": {"const": "1.0"},
        "ce_id": _TEXT
        | {
            "description": "Id of this event, unique together with ce_source. "
            "If you have already processed this id, skip the record."
        },
        "ce_contentid": _TEXT
        | {
            "description": "Id of the content. The same topic, key and value always have the same "
            "id, so do not skip records by it"
        },
        "ce_source": _TEXT | {"description": "/connectors/<connector>/<stream>"},
        "ce_type": _TEXT | {"description": "Type of the event, with its version"},
        "ce_subject": _TEXT | {"description": "The record's key"},
        "ce_time": {
            "type": "string",
            "format": "date-time",
            "description": "When the registry changed the record, if the registry gives a time; "
            "for a record about a person the day, in UTC",
        },
        "ce_dataschema": {
            "type": "string",
            "format": "uri",
            "description": "The $id of the JSON Schema of the value",
        },
        "content-type": _TEXT | {"description": "Media type of the value"},
    },
}
_TOPIC_HEADERS: dict[str, dict[str, Any]] = {
    INCOMPLETE_ENTRIES_TOPIC: {
        RECORD_TYPE_HEADER: {
            "enum": ["qualification", "learning_opportunity"],
            "description": "Type of the entry; not on tombstones",
        },
        MISSING_FIELDS_HEADER: _TEXT
        | {
            "description": "Fields that LOQ requires and the register does not hold, "
            "joined by commas; not on tombstones"
        },
    },
}
"""Further headers of single topics."""


def document(version: str, described: Collection[str], provenance: str) -> str:
    """Return the document as YAML.

    ``described`` names the topics whose values have a schema file. ``provenance`` names the
    schema file of the provenance header.
    """
    content = {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Qualification gateway",
            "version": version,
            "description": "Harmonised qualifications, credentials and student-card facts "
            "on Kafka. Read with isolation level read_committed. "
            "A null value is a tombstone: the record was deleted. Records on the topics that "
            "platforms read are compressed with zstd. A reader needs Java client 2.1, librdkafka "
            "1.0, aiokafka 0.10 with cramjam, kafka-python 2.0.2 with zstandard, or a newer one.",
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
    yaml.dump(content, text)
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
        "description": f"{personal}Key: {topic.key_description}. "
        f"Written by {', '.join(topic.writers)}; read by {', '.join(topic.readers)}.",
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
    message: dict[str, Any] = {
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
        message["payload"] = {
            "schemaFormat": "application/schema+json;version=draft-2020-12",
            "schema": {"$ref": f"./{topic.name}.schema.json"},
        }
        message["headers"] = {
            "type": "object",
            "properties": {
                "provenance": {
                    "type": "string",
                    "description": f"Compact JSON, described by ./{provenance}.schema.json",
                },
                **_TOPIC_HEADERS.get(topic.name, {}),
            },
        }
    return message


def _actions(topic: Topic) -> list[str]:
    """Return whether the gateway's own roles send to a topic, receive from it, or both."""
    roles = {"poll", "harmonise", "control"}
    sends, receives = bool(roles & set(topic.writers)), bool(roles & set(topic.readers))
    return ["send"] * sends + ["receive"] * receives
