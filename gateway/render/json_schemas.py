"""JSON Schemas (2020-12) of the documents on each topic, a published contract with subscribers.

The schemas are closed, so the gateway cannot publish a field without an entry here. On the
student-card topics, this enforces data minimisation. Within v1, a schema may only gain optional
fields.
"""

from __future__ import annotations

import json
from typing import Any, Final

import msgspec

from gateway.harmonise.quality_assurance import OUTCOMES
from gateway.identifiers import STUDENT_IDENTIFIER_PATTERN
from gateway.messages.topics import (
    CARDS_TOPIC,
    CREDENTIALS_TOPIC,
    INCOMPLETE_ENTRIES_TOPIC,
    OPPORTUNITIES_TOPIC,
    POINTERS_TOPIC,
    PROVIDERS_TOPIC,
    QUALIFICATIONS_TOPIC,
    STUDENT_STATUS_TOPIC,
)
from gateway.records import Provenance, Provider
from gateway.render.elm_classes import CATALOGUE, CREDENTIAL, CREDENTIAL_ROOT, INCOMPLETE_CATALOGUE
from gateway.render.elm_common import ESCO_ATTRIBUTION
from gateway.render.render import SCHEMAS
from gateway.render.student_card import ACADEMIC_LEVELS, CARD_TYPES, MAX_PROCESSOR_LENGTH

Schema = dict[str, Any]

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
VERSION: Final = "1.0.0"
PROVENANCE: Final = "provenance"

_STRING: Final[Schema] = {"type": "string", "minLength": 1}
_TEXT: Final[Schema] = {
    "type": "object",
    "description": "Text by BCP 47 language tag",
    "minProperties": 1,
    "additionalProperties": _STRING,
}
_IRI: Final[Schema] = {"type": "string", "format": "uri"}
_MOMENT: Final[Schema] = {"type": "string", "format": "date-time"}
_DAY: Final[Schema] = {"type": "string", "format": "date"}
_DURATION: Final[Schema] = {"type": "string", "pattern": "^P"}
_DECIMAL: Final[Schema] = {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?$"}


_ESI: Final[Schema] = {
    "type": "string",
    "maxLength": 255,
    "allOf": [{"pattern": STUDENT_IDENTIFIER_PATTERN}],
}
_SIMPLE: Final[dict[str, Schema]] = {
    "text": _TEXT,
    "string": _STRING,
    "iri": _IRI,
    "moment": _MOMENT,
    "duration": _DURATION,
    "decimal": _DECIMAL,
    "boolean": {"type": "boolean"},
    "one": {"const": 1},
    "order": {"type": "string", "pattern": "^[1-9][0-9]*$"},
}


def schemas() -> dict[str, Schema]:
    """Return the schema of each topic by topic name, and the schema of the provenance header."""
    catalogue = {"@context": {"type": "array", "minItems": 1}}
    return {
        QUALIFICATIONS_TOPIC: _elm(
            QUALIFICATIONS_TOPIC,
            "A qualification, or an achievement specification when no table states its level",
            CATALOGUE,
            ("Qualification", "LearningAchievementSpecification"),
            catalogue,
        ),
        OPPORTUNITIES_TOPIC: _elm(
            OPPORTUNITIES_TOPIC,
            "A course or programme somebody offers",
            CATALOGUE,
            ("LearningOpportunity",),
            catalogue,
        ),
        INCOMPLETE_ENTRIES_TOPIC: _elm(
            INCOMPLETE_ENTRIES_TOPIC,
            "A catalogue entry without a field that LOQ requires and its register does not hold",
            INCOMPLETE_CATALOGUE,
            ("Qualification", "LearningAchievementSpecification", "LearningOpportunity"),
            catalogue,
        ),
        CREDENTIALS_TOPIC: _credentials(),
        STUDENT_STATUS_TOPIC: _student_status(),
        CARDS_TOPIC: _card(),
        POINTERS_TOPIC: _pointer(),
        PROVIDERS_TOPIC: structure(
            PROVIDERS_TOPIC, "A trusted provider and its quality assurance", Provider
        ),
        PROVENANCE: structure(
            PROVENANCE,
            "The provenance header: how a record came about; no personal data",
            Provenance,
        ),
    }


def structure(name: str, title: str, kind: type) -> Schema:
    """Return the schema of a record class, for documents that contain the record unchanged."""
    (root,), parts = msgspec.json.schema_components([kind], ref_template="#/$defs/{name}")
    text = json.dumps({**root, "$defs": parts})
    for class_name, published_name in _PUBLISHED_NAMES.items():
        text = text.replace(f'"#/$defs/{class_name}"', f'"#/$defs/{published_name}"').replace(
            f'"{class_name}"', f'"{published_name}"'
        )
    return _with_header(name, title, json.loads(text))


_PUBLISHED_NAMES = {"Notification": "News", "RegistryOwner": "Owner"}
"""Class names to the names of their published definitions.

A published name remains the same if the class gets a new name.
"""


def _with_header(name: str, title: str, body: Schema) -> Schema:
    head = {"$schema": DIALECT, "$id": f"{SCHEMAS}/{name}.json", "title": title, "version": VERSION}
    return (
        head
        | ({"$comment": ESCO_ATTRIBUTION} if "esco" in json.dumps(body).casefold() else {})
        | body
    )


def _elm(
    name: str, title: str, classes: dict[str, str], roots: tuple[str, ...], extra: Schema
) -> Schema:
    """Return the schema of an ELM document.

    ``extra`` contains the fields that only the root node has.
    """
    definitions = {class_name: _node(class_name, fields) for class_name, fields in classes.items()}
    for root in roots:
        node = definitions[root]
        definitions[root] = node | {"properties": node["properties"] | extra}
    choice = [{"$ref": f"#/$defs/{root}", "required": sorted(extra)} for root in roots]
    return _with_header(
        name,
        title,
        {**(choice[0] if len(choice) == 1 else {"oneOf": choice}), "$defs": definitions},
    )


def _node(name: str, fields: str) -> Schema:
    properties: Schema = {"id": _IRI, "type": {"const": name}}
    required = ["id", "type"]
    for word in fields.split():
        field, _, kind = word.partition(":")
        properties[field.rstrip("!")] = _type_schema(kind)
        if field.endswith("!"):
            required.append(field.rstrip("!"))
    return {
        "type": "object",
        "additionalProperties": False,
        "required": required,
        "properties": properties,
    }


def _type_schema(kind: str) -> Schema:
    if kind.endswith("*"):
        return {"type": "array", "minItems": 1, "items": _type_schema(kind[:-1])}
    if "|" in kind:
        return {"oneOf": [_type_schema(choice) for choice in kind.split("|")]}
    return _SIMPLE.get(kind) or {"$ref": f"#/$defs/{kind}"}


def _credentials() -> Schema:
    body = _elm(
        CREDENTIALS_TOPIC,
        "A person's award, unsealed",
        CREDENTIAL | {"EuropeanDigitalCredential": CREDENTIAL_ROOT},
        (),
        {},
    )
    root = body["$defs"]["EuropeanDigitalCredential"]
    root["properties"] |= {
        "@context": {"type": "array", "minItems": 2},
        "type": {"const": ["VerifiableCredential", "EuropeanDigitalCredential"]},
    }
    root["required"].insert(0, "@context")
    return {name: value for name, value in body.items() if name != "oneOf"} | {
        "$ref": "#/$defs/EuropeanDigitalCredential"
    }


def _event_schema(
    name: str, title: str, events: tuple[str, ...], fields: Schema, optional: tuple[str, ...]
) -> Schema:
    source = {
        "registryId": {"type": "string", "allOf": [{"pattern": "^[a-z0-9][a-z0-9_-]{0,62}$"}]},
        "country": {"type": "string", "pattern": "^[A-Z]{2}$"},
        "sourceEventId": {"type": "string", "maxLength": 128},
        "mappingTable": {
            "type": "string",
            "description": "Mapping table and version that was used",
        },
    }
    envelope: Schema = {
        "schemaVersion": {"const": "1"},
        "eventId": {
            "type": "string",
            "format": "uuid",
            "description": "The same whenever the same event is published again",
        },
        "eventType": {"enum": list(events)},
        "occurredAt": _MOMENT
        | {"description": "The day, in UTC, on which it became true in the registry"},
        "publishedAt": _MOMENT
        | {"description": "The day, in UTC, on which the gateway took the record in"},
        "source": _closed_object(source, ("mappingTable",)),
    }
    return _with_header(name, title, _closed_object(envelope | fields, optional))


def _closed_object(properties: Schema, optional: tuple[str, ...] = ()) -> Schema:
    required = [name for name in properties if name not in optional]
    return {
        "type": "object",
        "additionalProperties": False,
        "required": required,
        "properties": properties,
    }


_INSTITUTION: Final[Schema] = {
    "pic": {"type": "string", "pattern": "^[0-9]{9}$"},
    "oid": {"type": "string", "pattern": "^E[0-9]{8}$"},
    "schacHomeOrganization": {
        "type": "string",
        "maxLength": 253,
        "pattern": r"^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,24}$",
    },
    "erasmusCode": {
        "type": "string",
        "pattern": "^(IRL|LUX|[A-Z]{2} |[A-Z] {2})[A-Z][A-Z-]*[A-Z][0-9]{2,3}$",
    },
    "deqarId": {"type": "string", "pattern": "^DEQARINST(AP)?[0-9]{4,}$"},
}


def _student_status() -> Schema:
    fields: Schema = {
        "esi": _ESI,
        "institution": _closed_object(
            _INSTITUTION, ("oid", "schacHomeOrganization", "erasmusCode", "deqarId")
        ),
        "status": {"enum": ["ACTIVE", "INACTIVE"]},
        "validFrom": _DAY,
        "validUntil": _DAY,
        "academicLevel": {
            "enum": list(ACADEMIC_LEVELS.values()),
            "description": "Left out where the router has no word for the level",
        },
        "eqfLevel": {"type": "integer", "minimum": 5, "maximum": 8},
        "fullName": {"type": "string", "minLength": 1, "maxLength": 255},
        "email": {"type": "string", "format": "email", "maxLength": 255},
        "escAgreement": {
            "const": True,
            "description": "Without the student's agreement nothing is published",
        },
    }
    events = tuple(f"student.status.{event}" for event in ("activated", "updated", "ended"))
    optional = ("validFrom", "academicLevel", "eqfLevel", "fullName", "email")
    return _event_schema(
        STUDENT_STATUS_TOPIC,
        "One person's enrolment at one institution, in full",
        events,
        fields,
        optional,
    )


def _card() -> Schema:
    fields: Schema = {
        "cardNumber": {
            "type": "string",
            "pattern": "^[0-9a-f]{8}-[0-9a-f]{4}-1[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9]{12}$",
        },
        "personIdentifier": _ESI,
        "issuerIdentifier": _INSTITUTION["pic"]
        | {"description": "PIC; the last nine digits of cardNumber"},
        "processorIdentifier": {"type": "string", "maxLength": MAX_PROCESSOR_LENGTH},
        "cardStatusType": {
            "enum": ["ACTIVE", "INACTIVE"],
            "description": "Readers derive that a card has expired",
        },
        "cardType": {"enum": sorted(CARD_TYPES)},
        "issuedAt": _DAY,
        "expiresAt": _DAY,
        "displayName": {"type": "string", "maxLength": 255},
    }
    events = tuple(
        f"card.{event}"
        for event in ("issued", "updated", "suspended", "reactivated", "expired", "revoked")
    )
    return _event_schema(
        CARDS_TOPIC,
        "One European Student Card, in full",
        events,
        fields,
        ("processorIdentifier", "displayName"),
    )


def _pointer() -> Schema:
    credential: Schema = {
        "credentialId": _IRI,
        "kind": {"enum": ["MICRO_CREDENTIAL", "SHORT_CYCLE", "DEGREE", "OTHER_PROVISION"]},
        "profile": {"enum": ["EDC", "ELMO", "OPEN_BADGE_3", "OTHER"]},
        "title": _TEXT,
        "awardedOn": _DAY,
        "eqfLevel": {"type": "integer", "minimum": 1, "maximum": 8},
        "ectsCredits": {"type": "number", "exclusiveMinimum": 0},
        "iscedF": {"type": "string", "pattern": "^[0-9]{2,4}$"},
        "escoSkills": {
            "type": "array",
            "uniqueItems": True,
            "items": {
                "type": "string",
                "pattern": r"^http://data\.europa\.eu/esco/skill/[A-Za-z0-9.-]+$",
            },
        },
        "assessment": {"enum": ["ATTENDANCE", "ASSESSED", "NONE"]},
        "qualityAssurance": {"enum": list(OUTCOMES)},
        "qaReport": {"type": "string", "pattern": r"^https://data\.deqar\.eu/report/[0-9]+$"},
    }
    required = ("credentialId", "kind", "title", "awardedOn")
    fields: Schema = {
        "esi": _ESI,
        "awardingBody": _closed_object(_INSTITUTION, tuple(_INSTITUTION))
        | {"anyOf": [{"required": [name]} for name in ("pic", "deqarId", "schacHomeOrganization")]},
        "credential": _closed_object(
            credential, tuple(name for name in credential if name not in required)
        ),
        "holderConsent": {"const": True},
    }
    events = ("credential.available", "credential.updated", "credential.revoked")
    return _event_schema(
        POINTERS_TOPIC,
        "That a credential exists, and where; no grade, transcript or name",
        events,
        fields,
        (),
    )
