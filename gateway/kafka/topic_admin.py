"""Create and verify the topics of a cluster."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from aiokafka import codec
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
from gateway.messages.topics import (
    AUDIT,
    COMMANDS,
    CURSORS,
    DIGESTS,
    NOTIFICATIONS,
    RAW,
    REJECTIONS,
    STATUS,
    SUPPRESSIONS,
    TOPICS,
    Topic,
    topic_config,
)
from gateway.settings import Settings

SMALLEST_MAX_BYTES = 65_536
"""The least that a topic of the gateway's own must accept. A rejection can replace a document that
is too large, but nothing can replace a cursor or a rejection."""
_STATE_TOPICS = (CURSORS, DIGESTS, SUPPRESSIONS)
_OWN_TOPICS = (*_STATE_TOPICS, AUDIT, COMMANDS, NOTIFICATIONS, REJECTIONS, STATUS)


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
    :class:`~gateway.errors.IntegrityStop` if a setting or the number of partitions would lose
    the gateway's state, or if the gateway cannot read the codec of a topic. Raises
    :class:`~gateway.errors.Denied` if the principal may not describe a topic. Such a topic may
    still exist.
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
        _check_settings(topic, configured[topic.name])
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


def _check_settings(topic: Topic, configured: Mapping[str, str | None]) -> None:
    """Raise :class:`~gateway.errors.IntegrityStop` for settings that the gateway cannot work with.

    Kafka would delete its state, or the gateway could not read or write the topic.
    """
    policies = (configured.get("cleanup.policy") or "").split(",")
    if topic.compacted and "compact" not in policies:
        raise IntegrityStop(
            f"{topic.name}: cleanup.policy is {','.join(policies)}, must be compact; "
            "Kafka would delete the gateway's state"
        )
    if topic in _STATE_TOPICS and "delete" in policies:
        raise IntegrityStop(
            f"{topic.name}: cleanup.policy is {','.join(policies)}, must be compact alone; "
            "Kafka would delete the gateway's state when it is old"
        )
    if not topic.compacted and "compact" in policies:
        raise IntegrityStop(
            f"{topic.name}: cleanup.policy is {','.join(policies)}, must be delete; "
            "Kafka would keep only one record of each connector"
        )
    codec = configured.get("compression.type") or "producer"
    if codec not in _readable_codecs():
        raise IntegrityStop(
            f"{topic.name}: compression.type is {codec}, and this gateway reads "
            f"{', '.join(sorted(_readable_codecs() - {'producer', 'uncompressed'}))}; "
            "set another compression.type, or install the package cramjam"
        )
    largest = int(configured.get("max.message.bytes") or SMALLEST_MAX_BYTES)
    if topic in _OWN_TOPICS and largest < SMALLEST_MAX_BYTES:
        raise IntegrityStop(
            f"{topic.name}: max.message.bytes is {largest}, must be {SMALLEST_MAX_BYTES} or more; "
            f"declared is {topic.max_bytes}; the gateway could not write its records"
        )


def _readable_codecs() -> set[str]:
    """Return the values of ``compression.type`` that this installation can read."""
    readable = {
        "gzip": codec.has_gzip(),
        "snappy": codec.has_snappy(),
        "lz4": codec.has_lz4(),
        "zstd": codec.has_zstd(),
    }
    return {"producer", "uncompressed", *(name for name, has in readable.items() if has)}


def _raise_denied(settings: Settings, what: str, names: set[str]) -> None:
    if names:
        raise access_denied(
            settings, f"{what} {', '.join(sorted(names))}", TopicAuthorizationFailedError()
        )
