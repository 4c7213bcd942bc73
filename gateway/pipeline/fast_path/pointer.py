"""Write the pointer to an award that its holder agreed to share, on the fast path.

The function of the ordinary way writes the pointer. It gets a record with only those values that it
reads. The values that many awards share come from the memories, and the others from the record.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec

from gateway.records import Assessment, Credential, Holder, LearningOutcome, RawRecord
from gateway.render.record_ids import pseudonym_writer
from gateway.render.student_card import EventSource, credential_pointer

POINTER_FIELDS = (
    *("holder_consent", "holder.esi", "changed_at", "awarded_on", "title", "learning_outcomes"),
    *("kind_names", "level_eqf", "level_cycle", "credits_points_number", "subject_isced"),
    *("awarding_body_itself", "assessment_type", "awarding_body_quality"),
)
"""The values that a pointer states, in the order of the arguments of its writer."""
_OUTCOMES = tuple[LearningOutcome, ...]


class PointerWriter:
    """A writer of the pointers of one connector.

    ``published_at`` is the time of the raw record on its topic, in milliseconds. It is set before
    the writer is called.
    """

    def __init__(self, connector: str, country: str, audience_key: bytes) -> None:
        self.published_at = 0
        self._connector = connector
        self._country = country
        self._key = audience_key
        self._pseudonym_of = pseudonym_writer(audience_key, connector)

    def __call__(self, raw: RawRecord, root: bytes, consent: bool | None, *values: Any) -> Any:
        """Return the pointer, ``None`` without consent, or an issue for a value that is missing."""
        if not consent:
            return None
        esi, changed_at, awarded_on, title, outcomes, names, eqf, cycle, points, *rest = values
        fields, body, assessment, facts_of = rest
        quality = facts_of(awarded_on, eqf, title.values()) if facts_of else {}
        skills = [outcome for outcome in outcomes or () if "esco" in outcome]
        record = Credential(
            id="",
            holder_consent=True,
            holder=Holder(esi=esi),
            changed_at=changed_at,
            awarded_on=awarded_on,
            title=title,
            learning_outcomes=msgspec.convert(skills, type=_OUTCOMES) if skills else (),
            kind=names[0],
            micro=names[1],
            eqf_level=eqf,
            cycle=cycle,
            credit_points=points,
            isced_f=fields,
            awarding_body=body,
            assessment=Assessment(kind=assessment) if assessment else None,
        )
        source = EventSource(
            raw.connector,
            self._pseudonym_of(raw.native_id),
            raw.version,
            raw.changed_at,
            self._country,
            datetime.fromtimestamp(self.published_at / 1000, UTC),
            self._key,
        )
        return credential_pointer(record, root.decode(), source, quality)
