"""Declare every topic of the gateway: names, keys, partitions, retention and access.

Topic creation, topic verification, the AsyncAPI document and the Strimzi files all use these
declarations.
"""

from __future__ import annotations

from dataclasses import dataclass

QUALIFICATIONS_TOPIC = "europass.qualifications.v1"
OPPORTUNITIES_TOPIC = "europass.learning-opportunities.v1"
INCOMPLETE_ENTRIES_TOPIC = "catalogue.incomplete-entries.v1"
CREDENTIALS_TOPIC = "europass.credentials.v1"
STUDENT_STATUS_TOPIC = "esc.student-status.v1"
CARDS_TOPIC = "esc.cards.v1"
POINTERS_TOPIC = "esc.credential-pointers.v1"
PROVIDERS_TOPIC = "reference.providers.v1"

DAY_MS = 86_400_000
COMPLETE_ENTRY_TOPICS = frozenset({QUALIFICATIONS_TOPIC, OPPORTUNITIES_TOPIC})
"""The topics of the entries that fulfil the LOQ profile. No incomplete entry is on them."""
ENTRY_TOPICS = COMPLETE_ENTRY_TOPICS | {INCOMPLETE_ENTRIES_TOPIC}
"""The topics of the catalogue."""
PLATFORMS = ("europass", "esc")
"""Roles of readers outside the gateway."""

_NO_PERSONAL_DATA = "contains no personal data"
_NOT_PUBLISHED = "none, because it is not published"
_NATIVE_ID = "A native id can identify a person"


@dataclass(frozen=True, slots=True)
class Topic:
    """The declaration of one topic.

    ``readers`` and ``writers`` are roles. ``days`` is the retention time. A compacted topic
    with ``days`` drops a key after its tombstone, and at the latest after that time.
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
    """Why ``readers`` may read the records of this topic."""
    max_bytes: int = 1_048_576


RAW = Topic(
    "gateway.raw.v1",
    "connector|native id",
    "Each record as last received",
    personal=True,
    writers=("poll", "erase"),
    readers=("harmonise", "operator", "audit", "replay"),
    max_bytes=5_242_880,
    legal_basis=f"{_NOT_PUBLISHED}; kept so that a changed table can be applied",
)
CURSORS = Topic(
    "gateway.cursors.v1",
    "connector|stream",
    "The cursor of each stream, its pending requests, and fingerprints of keys",
    writers=("poll",),
    readers=("poll", "harmonise", "operator", "audit"),
    legal_basis=_NO_PERSONAL_DATA,
)
DIGESTS = Topic(
    "gateway.digests.v1",
    "connector|stream|native id",
    "The digest of each record",
    writers=("poll", "erase"),
    readers=("poll", "operator", "audit"),
    legal_basis=f"{_NOT_PUBLISHED}; used to detect changed records. {_NATIVE_ID}",
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
INCOMPLETE_ENTRIES = Topic(
    INCOMPLETE_ENTRIES_TOPIC,
    "persistent IRI",
    "ELM JSON-LD: catalogue entries without a field that LOQ requires",
    readers=("europass", "harmonise", "audit", "replay"),
    legal_basis="public catalogue",
)
CREDENTIALS = Topic(
    CREDENTIALS_TOPIC,
    "credential id",
    "Unsealed European Digital Credentials",
    personal=True,
    readers=("europass", "audit", "replay"),
    legal_basis="the `basis:` that the connector's rule names for each personal field; "
    "without one the file does not load",
)
STUDENT_STATUS = Topic(
    STUDENT_STATUS_TOPIC,
    "pseudonymous hash",
    "Enrolment of a student at an institution",
    personal=True,
    readers=("esc", "harmonise", "audit", "replay"),
    legal_basis="the student's agreement (`esc_agreement`) and the `basis:` of each field",
)
CARDS = Topic(
    CARDS_TOPIC,
    "ESCN",
    "Lifecycle of a European Student Card",
    personal=True,
    readers=("esc", "harmonise", "audit", "replay"),
    legal_basis="the student's agreement (`esc_agreement`) and the `basis:` of each field",
)
POINTERS = Topic(
    POINTERS_TOPIC,
    "credential id",
    "The existence and the location of a credential",
    personal=True,
    readers=("esc", "harmonise", "audit", "replay"),
    legal_basis="the holder's consent (`holder_consent`)",
)
SUPPRESSIONS = Topic(
    "gateway.suppressions.v1",
    "keyed hash of a record or a person",
    "Erased records and persons, as keyed hashes",
    partitions=1,
    writers=("erase",),
    readers=("poll", "audit"),
    legal_basis="the duty to keep erased data erased; contains keyed hashes",
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
    legal_basis="the duty to prove what was erased, when and why",
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
    "connector|native id",
    "Why a record was rejected; no payload",
    days=90,
    readers=("operator", "audit", "replay"),
    legal_basis=f"{_NOT_PUBLISHED}; contains the reason and the place, never the value. "
    f"{_NATIVE_ID}",
    personal=True,
)
COMMANDS = Topic(
    "gateway.commands.v1",
    "connector",
    "Commands of operators and timers",
    # Connectors are assigned to workers by partition, so few partitions would leave workers idle.
    partitions=24,
    compacted=False,
    days=1,
    writers=("operator", "control"),
    readers=("control", "audit"),
    legal_basis=_NO_PERSONAL_DATA,
)
NOTIFICATIONS = Topic(
    "gateway.notifications.v1",
    "connector",
    "Events that an operator or a registry owner should know",
    compacted=False,
    days=7,
    writers=("control", "harmonise"),
    readers=("control", "harmonise", "operator", "audit"),
    legal_basis=_NO_PERSONAL_DATA,
)
STATUS = Topic(
    "gateway.status.v1",
    "connector|stream, or @worker",
    "State of each stream and each worker, as numbers and codes",
    partitions=1,
    days=30,
    writers=("control", "harmonise"),
    readers=("control", "harmonise", "operator", "audit"),
    legal_basis=_NO_PERSONAL_DATA,
)

TOPICS: tuple[Topic, ...] = (
    RAW,
    CURSORS,
    DIGESTS,
    QUALIFICATIONS,
    OPPORTUNITIES,
    INCOMPLETE_ENTRIES,
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


DOCUMENT_TOPICS = frozenset(topic.name for topic in TOPICS if set(topic.readers) & set(PLATFORMS))
"""The topics that platforms read. ``GATEWAY_COMPRESSION`` applies to their records."""
PERSONAL_DOCUMENT_TOPICS = frozenset(
    topic.name for topic in TOPICS if topic.personal and set(topic.readers) & set(PLATFORMS)
)
"""The topics on which platforms read records about persons."""


def personal_data_table() -> str:
    """Return the topics, their readers and the legal basis as the Markdown table of the README."""
    lines = [
        "| topic | personal data | read by | legal basis | kept |",
        "|---|---|---|---|---|",
    ]
    for topic in TOPICS:
        days = f"{topic.days} day" if topic.days == 1 else f"{topic.days} days"
        kept = ", at most ".join(
            [
                *(["until replaced or deleted"] if topic.compacted else []),
                *([days] if topic.days else []),
            ]
        )
        readers = ", ".join(f"**{role}**" if role in PLATFORMS else role for role in topic.readers)
        personal = "yes" if topic.personal else "no"
        lines.append(f"| `{topic.name}` | {personal} | {readers} | {topic.legal_basis} | {kept} |")
    return "\n".join(lines) + "\n"


def topic_config(topic: Topic) -> dict[str, str]:
    """Return the configuration of a topic, with the names and values that Kafka uses."""
    policies = [
        *(["compact"] if topic.compacted else []),
        *(["delete"] if topic.days or not topic.compacted else []),
    ]
    config = {"cleanup.policy": ",".join(policies), "max.message.bytes": str(topic.max_bytes)}
    if topic.compacted:
        # A reader that was down for a week still receives the tombstone. Each segment closes
        # after a day, so that compaction can delete erased records.
        config |= {
            "delete.retention.ms": str(7 * DAY_MS),
            "segment.ms": str(DAY_MS),
            "max.compaction.lag.ms": str(7 * DAY_MS),
        }
    if "delete" in policies:
        config["retention.ms"] = str((topic.days or 7) * DAY_MS)
    return config
