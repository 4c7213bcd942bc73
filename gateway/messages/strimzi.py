"""Generate the Strimzi files from :mod:`gateway.messages.topics`.

Each topic becomes a ``KafkaTopic``. Each principal becomes a ``KafkaUser`` with the rights
that it needs and no others. Run ``python -m gateway.messages.strimzi deploy/strimzi`` to
write the files. A test fails if they differ from the declarations.
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
"""A transaction is durable once two of three brokers have stored it."""

_HEADER = (
    "# Made from gateway/messages/topics.py by "
    "`python -m gateway.messages.strimzi deploy/strimzi`. Do not edit.\n"
)


@dataclass(frozen=True, slots=True)
class User:
    """A principal with its topic roles, its consumer group and its transactional ids."""

    name: str
    roles: frozenset[str]
    group: str = ""
    group_is_prefix: bool = False
    transactions: str = ""
    verifies: bool = False
    """True if it reads the configuration of every topic when it starts."""
    watches: str = ""
    """A consumer group whose offsets it reads, to learn the progress of the stage."""


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
    """Return the text of each file by file name."""
    return {
        "topics.yaml": _HEADER
        + "".join("---\n" + _dump(topic_resource(topic, cluster)) for topic in TOPICS),
        "users.yaml": _HEADER
        + "".join("---\n" + _dump(user_resource(user, cluster)) for user in USERS),
    }


def topic_resource(topic: Topic, cluster: str = CLUSTER) -> dict[str, Any]:
    """Return a topic as a ``KafkaTopic`` resource."""
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
    """Return a principal as a ``KafkaUser`` resource with exactly the rights of its roles."""
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
    """Return the access rules of a user: topics first, then groups, then transactional ids."""
    rules = [
        _rule("topic", topic.name, operations)
        for topic in TOPICS
        if (operations := _topic_rule(user, topic))
    ]
    if user.group:
        rules.append(_rule("group", user.group, ["Describe", "Read"], prefix=user.group_is_prefix))
    if user.watches:
        rules.append(_rule("group", user.watches, ["Describe"]))
    if user.transactions:
        rules.append(
            _rule("transactionalId", user.transactions, ["Describe", "Write"], prefix=True)
        )
    return rules


def write_files(folder: Path) -> list[Path]:
    """Write the files into ``folder``, create it if needed, and return their paths."""
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
