"""Create and verify the topics of a cluster."""

from __future__ import annotations

from dataclasses import replace

from aiokafka.admin import NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    NoError,
    TopicAlreadyExistsError,
    TopicAuthorizationFailedError,
    for_code,
)

from gateway.errors import Denied, IntegrityStop, Unavailable
from gateway.kafka.connection import access_denied, admin_client
from gateway.messages.topics import COMMANDS, CURSORS, DIGESTS, RAW, TOPICS, Topic, topic_config
from gateway.settings import Settings


def with_settings(topic: Topic, settings: Settings) -> Topic:
    """Return the topic with the retention that this installation configures."""
    return (
        replace(topic, days=settings.raw_retention_days)
        if topic == RAW and settings.raw_retention_days
        else topic
    )


async def create_missing(settings: Settings) -> list[str]:
    """Create the topics that do not exist, and return their names.

    Raises :class:`~gateway.errors.Denied` if the principal lacks a right. Raises
    :class:`~gateway.errors.Unavailable` if Kafka refuses for another reason.
    """
    client = await admin_client(settings)
    try:
        present = set(await client.list_topics())
        missing = [topic for topic in TOPICS if topic.name not in present]
        wanted = [
            NewTopic(
                topic.name,
                topic.partitions,
                settings.kafka_replication,
                topic_configs=topic_config(with_settings(topic, settings)),
            )
            for topic in missing
        ]
        reply = await client.create_topics(wanted)
        for name, code, *_ in reply.topic_errors:
            if code not in {NoError.errno, TopicAlreadyExistsError.errno}:
                kind = for_code(code)
                error = (
                    Denied
                    if issubclass(
                        kind, TopicAuthorizationFailedError | ClusterAuthorizationFailedError
                    )
                    else Unavailable
                )
                raise error(
                    f"{name}: Kafka did not create the topic ({kind.__name__}); "
                    f"replication {settings.kafka_replication} needs as many brokers"
                )
        return [topic.name for topic in missing]
    finally:
        await client.close()


async def verify_topics(settings: Settings) -> list[str]:
    """Check every topic against its declaration and return the tolerable differences.

    Each difference is one line. For example, with another ``segment.ms`` an erased record may
    stay on disk longer than documented.

    Raises :class:`~gateway.errors.Unavailable` if a topic is missing. Raises
    :class:`~gateway.errors.IntegrityStop` if a wrong clean-up policy or number of partitions
    would lose the gateway's state. Raises :class:`~gateway.errors.Denied` if the principal
    may not describe a topic. Such a topic may still exist.
    """
    client = await admin_client(settings)
    try:
        described = await client.describe_topics([topic.name for topic in TOPICS])
        _raise_denied(
            settings,
            "the description of",
            {
                topic["topic"]
                for topic in described
                if topic["error_code"] == TopicAuthorizationFailedError.errno
            },
        )
        partition_counts = {
            topic["topic"]: len(topic["partitions"]) for topic in described if topic["partitions"]
        }
        missing = [topic.name for topic in TOPICS if topic.name not in partition_counts]
        if missing:
            raise Unavailable(
                f"topics are missing: {', '.join(missing)}; create them with `gateway topics apply`"
            )
        replies = await client.describe_configs(
            [ConfigResource(ConfigResourceType.TOPIC, topic.name) for topic in TOPICS]
        )
        entries = [entry for reply in replies for entry in reply.resources]
        _raise_denied(
            settings,
            "the configuration of",
            {entry[3] for entry in entries if entry[0] == TopicAuthorizationFailedError.errno},
        )
        configured = {entry[3]: {item[0]: item[1] for item in entry[4]} for entry in entries}
    finally:
        await client.close()
    for topic in TOPICS:
        policy = configured[topic.name].get("cleanup.policy")
        if topic.compacted and "compact" not in (policy or ""):
            raise IntegrityStop(
                f"{topic.name}: cleanup.policy is {policy}, must be compact; "
                "Kafka would delete the gateway's state"
            )
        count = partition_counts[topic.name]
        if topic in (CURSORS, DIGESTS, COMMANDS) and count != topic.partitions:
            raise IntegrityStop(
                f"{topic.name}: has {count} partitions, must have {topic.partitions}; "
                "the gateway finds its state by partition"
            )
    return [
        f"{topic.name}: {name} is {configured[topic.name].get(name)}, declared is {value}"
        for topic in TOPICS
        for name, value in topic_config(with_settings(topic, settings)).items()
        if set((configured[topic.name].get(name) or "").split(",")) != set(value.split(","))
    ]


def _raise_denied(settings: Settings, what: str, names: set[str]) -> None:
    if names:
        raise access_denied(
            settings, f"{what} {', '.join(sorted(names))}", TopicAuthorizationFailedError()
        )
