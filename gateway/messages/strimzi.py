"""Strimzi files made from :mod:`gateway.messages.topics`: one ``KafkaTopic`` a topic, one ``KafkaUser`` a principal, least privilege.

``python -m gateway.messages.strimzi deploy/strimzi`` writes them; a test fails when they are older than the table they come from.
"""

from __future__ import annotations

import io
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from gateway.messages.topics import TOPICS, Topic, topic_config

API = "kafka.strimzi.io/v1"
CLUSTER = "gateway-kafka"
REPLICAS = 3
MIN_IN_SYNC_REPLICAS = 2
"""A transaction is durable once two of three brokers have it."""

_HEADER = "# Made from gateway/messages/topics.py by `python -m gateway.messages.strimzi deploy/strimzi`. Do not edit.\n"


@dataclass(frozen=True, slots=True)
class User:
    """One principal: the roles it plays on topics, its consumer groups, and its transactional ids."""

    name: str
    roles: frozenset[str]
    group: str = ""
    group_is_prefix: bool = False
    transactions: str = ""
    verifies: bool = False
    """Reads the configuration of every topic when it starts."""
    watches: str = ""
    """A group whose offsets it asks for, to know how far the stage is."""


USERS = (
    User(
        "gateway-poll",
        frozenset({"poll", "control", "replay"}),
        group="gateway-control",
        transactions="poll-",
        verifies=True,
        watches="harmonise",
    ),
    User(
        "gateway-harmonise",
        frozenset({"harmonise"}),
        group="harmonise",
        transactions="harmonise-",
        verifies=True,
    ),
    User(
        "gateway-operator",
        frozenset({"operator"}),
        group="gateway-operator.",
        group_is_prefix=True,
        verifies=True,
    ),
    User("gateway-auditor", frozenset({"audit"}), verifies=True, watches="harmonise"),
    User(
        "gateway-eraser",
        frozenset({"erase", "audit"}),
        transactions="poll-",
        verifies=True,
        watches="harmonise",
    ),
    User("europass", frozenset({"europass"}), group="europass.", group_is_prefix=True),
    User("esc", frozenset({"esc"}), group="esc.", group_is_prefix=True),
)


def files(cluster: str = CLUSTER) -> dict[str, str]:
    """Return the text of each file by its name."""
    return {
        "topics.yaml": _HEADER
        + "".join("---\n" + _dump(topic_resource(topic, cluster)) for topic in TOPICS),
        "users.yaml": _HEADER
        + "".join("---\n" + _dump(user_resource(user, cluster)) for user in USERS),
    }


def topic_resource(topic: Topic, cluster: str = CLUSTER) -> dict[str, Any]:
    """Return one ``KafkaTopic``."""
    return {
        "apiVersion": API,
        "kind": "KafkaTopic",
        "metadata": {
            "name": topic.name,
            "labels": {
                "strimzi.io/cluster": cluster,
                "qualification-gateway/personal-data": str(topic.personal).lower(),
            },
            "annotations": {
                "qualification-gateway/holds": topic.description,
                "qualification-gateway/key": topic.key_description,
            },
        },
        "spec": {
            "topicName": topic.name,
            "partitions": topic.partitions,
            "replicas": REPLICAS,
            "config": {**topic_config(topic), "min.insync.replicas": str(MIN_IN_SYNC_REPLICAS)},
        },
    }


def user_resource(user: User, cluster: str = CLUSTER) -> dict[str, Any]:
    """Return one ``KafkaUser`` with exactly the rights its roles need."""
    return {
        "apiVersion": API,
        "kind": "KafkaUser",
        "metadata": {"name": user.name, "labels": {"strimzi.io/cluster": cluster}},
        "spec": {
            "authentication": {"type": "scram-sha-512"},
            "authorization": {"type": "simple", "acls": acl_rules(user)},
        },
    }


def acl_rules(user: User) -> list[dict[str, Any]]:
    """Return the access rules of a user: its topics, then its groups, then its transactional ids."""
    found = [
        _rule("topic", topic.name, operations)
        for topic in TOPICS
        if (operations := _topic_rule(user, topic))
    ]
    if user.group:
        found.append(_rule("group", user.group, ["Describe", "Read"], prefix=user.group_is_prefix))
    if user.watches:
        found.append(_rule("group", user.watches, ["Describe"]))
    if user.transactions:
        found.append(
            _rule("transactionalId", user.transactions, ["Describe", "Write"], prefix=True)
        )
    return found


def write_files(folder: Path) -> list[Path]:
    """Write the files and return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, text in files().items():
        paths.append(folder / name)
        paths[-1].write_text(text, encoding="utf-8")
    return paths


def _topic_rule(user: User, topic: Topic) -> list[str]:
    operations = set()
    if user.roles & set(topic.readers):
        operations |= {"Describe", "Read"}
    if user.roles & set(topic.writers):
        operations |= {"Describe", "Write"}
    if user.verifies:
        operations |= {"Describe", "DescribeConfigs"}
    return sorted(operations)


def _rule(kind: str, name: str, operations: list[str], *, prefix: bool = False) -> dict[str, Any]:
    return {
        "resource": {"type": kind, "name": name, "patternType": "prefix" if prefix else "literal"},
        "operations": operations,
        "host": "*",
    }


def _dump(document: dict[str, Any]) -> str:
    yaml = YAML()
    yaml.width = 140
    yaml.indent(mapping=2, sequence=4, offset=2)
    out = io.StringIO()
    yaml.dump(document, out)
    return out.getvalue()


if __name__ == "__main__":
    for path in write_files(Path(*sys.argv[1:2] or ["deploy/strimzi"])):
        print(path)  # noqa: T201
