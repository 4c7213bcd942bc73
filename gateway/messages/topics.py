"""Every topic the gateway reads or writes: the one place where names, keys, partitions, retention and access are declared.

Creation, verification, AsyncAPI, Strimzi and ACL files are all made from this table.
"""

from __future__ import annotations

from dataclasses import dataclass

QUALIFICATIONS_TOPIC = "europass.qualifications.v1"
OPPORTUNITIES_TOPIC = "europass.learning-opportunities.v1"
CREDENTIALS_TOPIC = "europass.credentials.v1"
STUDENT_STATUS_TOPIC = "esc.student-status.v1"
CARDS_TOPIC = "esc.cards.v1"
POINTERS_TOPIC = "esc.credential-pointers.v1"
PROVIDERS_TOPIC = "reference.providers.v1"

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
    key_description: str
    description: str
    partitions: int = 4
    compacted: bool = True
    days: int | None = None
    personal: bool = False
    writers: tuple[str, ...] = ("harmonise",)
    readers: tuple[str, ...] = ()
    legal_basis: str = ""
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
    legal_basis="nothing leaves: kept so that a changed table can be applied again",
)
CURSORS = Topic(
    "gateway.cursors.v1",
    "connector|stream",
    "Where each stream stands",
    writers=("poll",),
    readers=("poll", "operator", "audit"),
    legal_basis="nothing of anybody",
)
DIGESTS = Topic(
    "gateway.digests.v1",
    "connector|stream|native id",
    "Digest of each record",
    writers=("poll", "erase"),
    readers=("poll", "operator", "audit"),
    legal_basis="nothing leaves: tells the changed from the unchanged; a native id may say who somebody is",
    personal=True,
)
QUALIFICATIONS = Topic(
    QUALIFICATIONS_TOPIC,
    "persistent IRI",
    "ELM LOQ JSON-LD: qualifications",
    readers=("europass", "audit", "replay"),
    legal_basis="public catalogue",
)
OPPORTUNITIES = Topic(
    OPPORTUNITIES_TOPIC,
    "persistent IRI",
    "ELM LOQ JSON-LD: courses and programmes",
    readers=("europass", "audit", "replay"),
    legal_basis="public catalogue",
)
CREDENTIALS = Topic(
    CREDENTIALS_TOPIC,
    "credential id",
    "Unsealed European Digital Credentials",
    personal=True,
    readers=("europass", "audit", "replay"),
    legal_basis="the `basis:` that the connector's rule names for each personal field; without one the file does not load",
)
STUDENT_STATUS = Topic(
    STUDENT_STATUS_TOPIC,
    "pseudonymous hash",
    "Enrolment of a student at an institution",
    personal=True,
    readers=("esc", "audit", "replay"),
    legal_basis="the student's agreement (`esc_agreement`), and the `basis:` of each field",
)
CARDS = Topic(
    CARDS_TOPIC,
    "ESCN",
    "Life of a European Student Card",
    personal=True,
    readers=("esc", "audit", "replay"),
    legal_basis="the student's agreement (`esc_agreement`), and the `basis:` of each field",
)
POINTERS = Topic(
    POINTERS_TOPIC,
    "credential id",
    "That a credential exists, and where",
    personal=True,
    readers=("esc", "audit", "replay"),
    legal_basis="the holder's consent (`holder_consent`)",
)
SUPPRESSIONS = Topic(
    "gateway.suppressions.v1",
    "keyed hash of a record or a person",
    "What was erased and may not come back",
    partitions=1,
    writers=("erase",),
    readers=("poll", "audit"),
    legal_basis="the duty to keep erased what was erased: keyed hashes",
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
    legal_basis="the duty to show what was erased, when and why",
)
PROVIDERS = Topic(
    PROVIDERS_TOPIC,
    "provider id",
    "Trusted providers and their quality assurance",
    readers=("harmonise", "operator", "europass", "esc", "audit", "replay"),
    legal_basis="public registers",
)
REJECTIONS = Topic(
    "gateway.rejections.v1",
    "as raw",
    "Why a record was rejected; no payload",
    days=90,
    readers=("operator", "audit", "replay"),
    legal_basis="nothing leaves: why, where, never what; a native id may say who somebody is",
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
    legal_basis="nothing of anybody",
)
NOTIFICATIONS = Topic(
    "gateway.notifications.v1",
    "connector",
    "What happened",
    compacted=False,
    days=7,
    writers=("control", "harmonise"),
    readers=("operator", "audit"),
    legal_basis="nothing of anybody",
)
STATUS = Topic(
    "gateway.status.v1",
    "connector|stream, or @worker",
    "How each stream and each worker is; numbers and codes",
    partitions=1,
    days=30,
    writers=("control", "harmonise"),
    readers=("operator", "audit"),
    legal_basis="nothing of anybody",
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


def personal_data_table() -> str:
    """Return the record of what may leave on which basis, as the table that stands in the README."""
    lines = [
        "| topic | personal data | who reads it | on which basis | kept |",
        "|---|---|---|---|---|",
    ]
    for topic in TOPICS:
        days = f"{topic.days} day" if topic.days == 1 else f"{topic.days} days"
        kept = " or ".join(
            [
                *(["until replaced or deleted"] if topic.compacted else []),
                *([days] if topic.days else []),
            ]
        )
        readers = ", ".join(f"**{one}**" if one in PLATFORMS else one for one in topic.readers)
        lines.append(
            f"| `{topic.name}` | {'yes' if topic.personal else 'no'} | {readers} | {topic.legal_basis} | {kept} |"
        )
    return "\n".join(lines) + "\n"


def topic_config(topic: Topic) -> dict[str, str]:
    """Return the topic's configuration as Kafka names it."""
    policies = [
        *(["compact"] if topic.compacted else []),
        *(["delete"] if topic.days or not topic.compacted else []),
    ]
    found = {"cleanup.policy": ",".join(policies), "max.message.bytes": str(topic.max_bytes)}
    if topic.compacted:
        # A tombstone outlives any reader's downtime of a week; a segment closes each day so that erased records go.
        found |= {
            "delete.retention.ms": str(7 * DAY_MS),
            "segment.ms": str(DAY_MS),
            "max.compaction.lag.ms": str(7 * DAY_MS),
        }
    if "delete" in policies:
        found["retention.ms"] = str((topic.days or 7) * DAY_MS)
    return found
