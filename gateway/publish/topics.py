"""Every topic the gateway reads or writes: the one place where names, keys, partitions, retention and access are declared.

Creation, verification, AsyncAPI, Strimzi and ACL files are all made from this table.
"""

from __future__ import annotations

from dataclasses import dataclass

DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class Topic:
    """One topic. ``readers`` and ``writers`` are roles; ``days`` is the retention of a topic that is not compacted."""

    name: str
    key: str
    holds: str
    partitions: int = 4
    compacted: bool = True
    days: int | None = None
    personal: bool = False
    writers: tuple[str, ...] = ("harmonise",)
    readers: tuple[str, ...] = ()
    max_bytes: int = 1_048_576


RAW = Topic(
    "gateway.raw.v1", "connector|native id", "Records as last received", personal=True, writers=("poll",), readers=("harmonise", "operator"),
    max_bytes=5_242_880,
)
CURSORS = Topic("gateway.cursors.v1", "connector|stream", "Where each stream stands", writers=("poll",), readers=("poll", "operator"))
DIGESTS = Topic("gateway.digests.v1", "connector|stream|native id", "Digest of each record", writers=("poll",), readers=("poll", "operator"))
QUALIFICATIONS = Topic("europass.qualifications.v1", "persistent IRI", "ELM LOQ JSON-LD: qualifications", readers=("europass",))
OPPORTUNITIES = Topic("europass.learning-opportunities.v1", "persistent IRI", "ELM LOQ JSON-LD: courses and programmes", readers=("europass",))
CREDENTIALS = Topic("europass.credentials.v1", "credential id", "Unsealed European Digital Credentials", personal=True, readers=("europass",))
STUDENT_STATUS = Topic("esc.student-status.v1", "pseudonymous hash", "Enrolment of a student at an institution", personal=True, readers=("esc",))
CARDS = Topic("esc.cards.v1", "ESCN", "Life of a European Student Card", personal=True, readers=("esc",))
POINTERS = Topic("esc.credential-pointers.v1", "credential id", "That a credential exists, and where", personal=True, readers=("esc",))
PROVIDERS = Topic("reference.providers.v1", "provider id", "Trusted providers and their quality assurance", readers=("harmonise", "europass", "esc"))
REJECTIONS = Topic("gateway.rejections.v1", "as raw", "Why a record was rejected; no payload", compacted=False, days=90, readers=("operator",))
COMMANDS = Topic("gateway.commands.v1", "connector", "What operators and timers ask for", compacted=False, days=7, writers=("operator", "control"), readers=("control",))
NOTIFICATIONS = Topic("gateway.notifications.v1", "connector", "What happened", compacted=False, days=7, writers=("control",), readers=("operator",))

TOPICS: tuple[Topic, ...] = (
    RAW, CURSORS, DIGESTS, QUALIFICATIONS, OPPORTUNITIES, CREDENTIALS, STUDENT_STATUS, CARDS, POINTERS, PROVIDERS, REJECTIONS, COMMANDS,
    NOTIFICATIONS,
)
