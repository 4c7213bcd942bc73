"""Every topic the gateway reads or writes: the one place where names, keys, partitions, retention and access are declared.

Creation, verification, AsyncAPI, Strimzi and ACL files are all made from this table.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from aiokafka.admin import NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import ClusterAuthorizationFailedError, NoError, TopicAlreadyExistsError, TopicAuthorizationFailedError, for_code

from gateway.errors import Denied, IntegrityStop, Unavailable
from gateway.kafka.connection import admin, denied
from gateway.settings import Settings

DAY_MS = 86_400_000
PLATFORMS = ("europass", "esc")
"""Roles of readers outside the gateway."""


@dataclass(frozen=True, slots=True)
class Topic:
    """One topic. ``readers`` and ``writers`` are roles.

    ``days`` is the retention of a topic that is not compacted; a compacted one that has it too forgets a key with its tombstone or
    after that time, whichever comes first.
    """

    name: str
    key: str
    holds: str
    partitions: int = 4
    compacted: bool = True
    days: int | None = None
    personal: bool = False
    writers: tuple[str, ...] = ("harmonise",)
    readers: tuple[str, ...] = ()
    basis: str = ""
    """On which basis what stands here may be read by ``readers``."""
    max_bytes: int = 1_048_576


RAW = Topic(
    "gateway.raw.v1",
    "connector|native id",
    "Records as last received",
    personal=True,
    writers=("poll", "erase"),
    readers=("harmonise", "operator", "audit", "replay"),
    max_bytes=5_242_880,
    basis="nothing leaves: kept so that a changed table can be applied again",
)
CURSORS = Topic(
    "gateway.cursors.v1",
    "connector|stream",
    "Where each stream stands",
    writers=("poll",),
    readers=("poll", "operator", "audit"),
    basis="nothing of anybody",
)
DIGESTS = Topic(
    "gateway.digests.v1",
    "connector|stream|native id",
    "Digest of each record",
    writers=("poll", "erase"),
    readers=("poll", "operator", "audit"),
    basis="nothing leaves: tells the changed from the unchanged; a native id may say who somebody is",
    personal=True,
)
QUALIFICATIONS = Topic(
    "europass.qualifications.v1",
    "persistent IRI",
    "ELM LOQ JSON-LD: qualifications",
    readers=("europass", "audit", "replay"),
    basis="public catalogue",
)
OPPORTUNITIES = Topic(
    "europass.learning-opportunities.v1",
    "persistent IRI",
    "ELM LOQ JSON-LD: courses and programmes",
    readers=("europass", "audit", "replay"),
    basis="public catalogue",
)
CREDENTIALS = Topic(
    "europass.credentials.v1",
    "credential id",
    "Unsealed European Digital Credentials",
    personal=True,
    readers=("europass", "audit", "replay"),
    basis="the `basis:` that the connector's rule names for each personal field; without one the file does not load",
)
STUDENT_STATUS = Topic(
    "esc.student-status.v1",
    "pseudonymous hash",
    "Enrolment of a student at an institution",
    personal=True,
    readers=("esc", "audit", "replay"),
    basis="the student's agreement (`esc_agreement`), and the `basis:` of each field",
)
CARDS = Topic(
    "esc.cards.v1",
    "ESCN",
    "Life of a European Student Card",
    personal=True,
    readers=("esc", "audit", "replay"),
    basis="the student's agreement (`esc_agreement`), and the `basis:` of each field",
)
POINTERS = Topic(
    "esc.credential-pointers.v1",
    "credential id",
    "That a credential exists, and where",
    personal=True,
    readers=("esc", "audit", "replay"),
    basis="the holder's consent (`holder_consent`)",
)
SUPPRESSIONS = Topic(
    "gateway.suppressions.v1",
    "keyed hash of a record or a person",
    "What was erased and may not come back",
    partitions=1,
    writers=("erase",),
    readers=("poll", "audit"),
    basis="the duty to keep erased what was erased: keyed hashes",
)
AUDIT = Topic(
    "gateway.audit.v1",
    "connector",
    "Receipts of erasures: who, when, where, why; no personal data",
    partitions=1,
    compacted=False,
    days=3650,
    writers=("erase",),
    readers=("operator", "audit"),
    basis="the duty to show what was erased, when and why",
)
PROVIDERS = Topic(
    "reference.providers.v1",
    "provider id",
    "Trusted providers and their quality assurance",
    readers=("harmonise", "operator", "europass", "esc", "audit", "replay"),
    basis="public registers",
)
REJECTIONS = Topic(
    "gateway.rejections.v1",
    "as raw",
    "Why a record was rejected; no payload",
    days=90,
    readers=("operator", "audit", "replay"),
    basis="nothing leaves: why, where, never what; a native id may say who somebody is",
    personal=True,
)
COMMANDS = Topic(
    "gateway.commands.v1",
    "connector",
    "What operators and timers ask for",
    partitions=24,  # connectors go to workers by them: few would leave workers without any
    compacted=False,
    days=1,
    writers=("operator", "control"),
    readers=("control", "audit"),
    basis="nothing of anybody",
)
NOTIFICATIONS = Topic(
    "gateway.notifications.v1",
    "connector",
    "What happened",
    compacted=False,
    days=7,
    writers=("control", "harmonise"),
    readers=("operator", "audit"),
    basis="nothing of anybody",
)
STATUS = Topic(
    "gateway.status.v1",
    "connector|stream, or @worker",
    "How each stream and each worker is; numbers and codes",
    partitions=1,
    days=30,
    writers=("control", "harmonise"),
    readers=("operator", "audit"),
    basis="nothing of anybody",
)

TOPICS: tuple[Topic, ...] = (
    RAW,
    CURSORS,
    DIGESTS,
    QUALIFICATIONS,
    OPPORTUNITIES,
    CREDENTIALS,
    STUDENT_STATUS,
    CARDS,
    POINTERS,
    PROVIDERS,
    REJECTIONS,
    SUPPRESSIONS,
    AUDIT,
    COMMANDS,
    NOTIFICATIONS,
    STATUS,
)


def personal_data() -> str:
    """Return the record of what may leave on which basis, as the table that stands in the README."""
    lines = ["| topic | personal data | who reads it | on which basis | kept |", "|---|---|---|---|---|"]
    for topic in TOPICS:
        days = f"{topic.days} day" if topic.days == 1 else f"{topic.days} days"
        kept = " or ".join([*(["until replaced or deleted"] if topic.compacted else []), *([days] if topic.days else [])])
        readers = ", ".join(f"**{one}**" if one in PLATFORMS else one for one in topic.readers)
        lines.append(f"| `{topic.name}` | {'yes' if topic.personal else 'no'} | {readers} | {topic.basis} | {kept} |")
    return "\n".join(lines) + "\n"


def settings_of(topic: Topic) -> dict[str, str]:
    """Return the topic's configuration as Kafka names it."""
    policies = [*(["compact"] if topic.compacted else []), *(["delete"] if topic.days or not topic.compacted else [])]
    found = {"cleanup.policy": ",".join(policies), "max.message.bytes": str(topic.max_bytes)}
    if topic.compacted:
        # A tombstone outlives any reader's downtime of a week; a segment closes each day so that erased records go.
        found |= {"delete.retention.ms": str(7 * DAY_MS), "segment.ms": str(DAY_MS), "max.compaction.lag.ms": str(7 * DAY_MS)}
    if "delete" in policies:
        found["retention.ms"] = str((topic.days or 7) * DAY_MS)
    return found


def as_set(topic: Topic, settings: Settings) -> Topic:
    """Return the topic as this installation keeps it."""
    return replace(topic, days=settings.raw_days) if topic == RAW and settings.raw_days else topic


async def apply(settings: Settings) -> list[str]:
    """Create the topics that are missing; return their names."""
    client = await admin(settings)
    try:
        present = set(await client.list_topics())
        missing = [topic for topic in TOPICS if topic.name not in present]
        wanted = [
            NewTopic(topic.name, topic.partitions, settings.kafka_replication, topic_configs=settings_of(as_set(topic, settings)))
            for topic in missing
        ]
        reply = await client.create_topics(wanted)
        for name, code, *_ in reply.topic_errors:
            if code not in {NoError.errno, TopicAlreadyExistsError.errno}:
                kind = for_code(code)
                error = Denied if issubclass(kind, TopicAuthorizationFailedError | ClusterAuthorizationFailedError) else Unavailable
                raise error(
                    f"{name}: Kafka does not create it ({kind.__name__}); replication {settings.kafka_replication} needs as many brokers"
                )
        return [topic.name for topic in missing]
    finally:
        await client.close()


async def verify(settings: Settings) -> list[str]:
    """Raise :class:`~gateway.errors.Unavailable` unless every topic is there with the partitions and clean-up declared here.

    Returns what else is not as declared, one line each: with other times, an erased record may stay on disk longer than promised.
    Raises :class:`~gateway.errors.Denied` when this principal may not see one: that a topic is refused does not say that it is missing.
    """
    client = await admin(settings)
    try:
        described = await client.describe_topics([topic.name for topic in TOPICS])
        _refuse(settings, "a look at", {one["topic"] for one in described if one["error_code"] == TopicAuthorizationFailedError.errno})
        found = {one["topic"]: len(one["partitions"]) for one in described if one["partitions"]}
        missing = [topic.name for topic in TOPICS if topic.name not in found]
        if missing:
            raise Unavailable(f"topics are missing: {', '.join(missing)}; create them with `gateway topics apply`")
        replies = await client.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic.name) for topic in TOPICS])
        entries = [entry for reply in replies for entry in reply.resources]
        _refuse(settings, "the configuration of", {entry[3] for entry in entries if entry[0] == TopicAuthorizationFailedError.errno})
        configured = {entry[3]: {item[0]: item[1] for item in entry[4]} for entry in entries}
    finally:
        await client.close()
    for topic in TOPICS:
        policy = configured[topic.name].get("cleanup.policy")
        if topic.compacted and "compact" not in (policy or ""):
            raise IntegrityStop(f"{topic.name}: cleanup.policy is {policy}, must be compact; the gateway's state would be deleted")
        if topic in (CURSORS, DIGESTS, COMMANDS) and found[topic.name] != topic.partitions:
            raise IntegrityStop(
                f"{topic.name}: has {found[topic.name]} partitions, must keep {topic.partitions}; state is found by partition"
            )
    return [
        f"{topic.name}: {name} is {configured[topic.name].get(name)}, declared is {value}"
        for topic in TOPICS
        for name, value in settings_of(as_set(topic, settings)).items()
        if set((configured[topic.name].get(name) or "").split(",")) != set(value.split(","))
    ]


def _refuse(settings: Settings, what: str, names: set[str]) -> None:
    if names:
        raise denied(settings, f"{what} {', '.join(sorted(names))}", TopicAuthorizationFailedError())
