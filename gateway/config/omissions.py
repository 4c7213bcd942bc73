"""List the targets that no document contains, with the reason for each."""

from __future__ import annotations

from typing import Final

_LEARNING: Final = {
    "eqf_declared": "the gateway compares it with the tables, and publishes the level of the table",
    "credit_sector": (
        "it decides whether the credits are ECTS; it is only published beside credits that the "
        "registry calls ECTS and no act makes ECTS"
    ),
    "iri": "the id of the document comes from the connector and the record",
}
_PERSON: Final = "student-card services match a person by the European Student Identifier alone"
_RULE: Final = "it decides the EQF level, and student-card services have no field for it"
_BODY: Final = "student-card services know an institution by its identifiers"
_HIDDEN_ID: Final = "it may be a national number, so a keyed hash replaces it"

OMITTED: Final[dict[str, dict[str, str]]] = {
    "qualification": _LEARNING,
    "learning_opportunity": _LEARNING,
    "credential": _LEARNING
    | {f"parts.{name}": reason for name, reason in _LEARNING.items()}
    | {
        "id": _HIDDEN_ID,
        "holder.pseudonym": "it differs for each audience, and a credential has no audience",
        "parts.changed_at": "the time of the whole credential counts",
        "parts.valid_from": "ELM states the validity of a whole credential only",
        "parts.valid_until": "ELM states the validity of a whole credential only",
    },
    "student_status": {
        "id": _HIDDEN_ID,
        "holder.pseudonym": _PERSON,
        "holder.birth_date": _PERSON,
        "institution.name": _BODY,
        "institution.country": _BODY,
        "institution.homepage": _BODY,
        "nqf_framework": _RULE,
        "nqf_level": _RULE,
        "eqf_declared": _RULE,
    },
    "card": {
        "id": _HIDDEN_ID,
        "holder.pseudonym": _PERSON,
        "holder.given_name": _PERSON,
        "holder.family_name": _PERSON,
        "holder.full_name": _PERSON,
        "holder.birth_date": _PERSON,
        "holder.email": _PERSON,
        "issuer.name": _BODY,
        "issuer.country": _BODY,
        "issuer.homepage": _BODY,
        "issuer.identifiers": "all except the PIC, which the card number contains",
    },
    "provider": {},
}
"""The targets that no document contains, by kind of record and dotted name."""

CONDITIONS: Final[dict[str, dict[str, str]]] = {
    "qualification": {
        "accreditation": (
            "only with a title, a kind, and an agency with name and country, and only for an entry "
            "with its levels and its awarding body"
        ),
        "partial": "only for an entry with an EQF level and a national level",
    },
    "learning_opportunity": {
        "accreditation": (
            "only with a title, a kind, and an agency with name and country, and only for an entry "
            "with its levels and its awarding body"
        ),
        "partial": "only for an entry with an EQF level and a national level",
    },
    "credential": {
        "accreditation": "only with a title, a kind, and an agency with name and country",
        "partial": "only for a credential with a level",
        "assessment.assessed_on": "only with a grade, because ELM dates the result",
        "assessment.supervision": "only with a grade",
        "signed_original": "only up to 500,000 characters of base64",
    },
}
"""The targets that ELM can express under a condition only, by kind of record."""


def omission(emits: str, path: str) -> str:
    """Return why no document contains a target, or an empty text for a target that is published."""
    return OMITTED[emits].get(path, "")
