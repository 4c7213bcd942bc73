"""A connector with every kind of record, once in JSON and once in XML, and an accepted record each.

The rules have the same form in both formats, because ``to_xml`` writes a payload as elements.
"""

from __future__ import annotations

import copy
from functools import cache
from typing import Any, Literal
from xml.sax.saxutils import escape

import msgspec

from gateway.config.connector import Connector
from gateway.config.loading import build_connector
from gateway.config.yaml.document import parse_yaml
from gateway.records import RawRecord

Format = Literal["json", "xml"]
FORMATS: tuple[Format, ...] = ("json", "xml")
KINDS = (
    "qualifications",
    "opportunities",
    "credentials",
    "statuses",
    "cards",
    "programmes",
    "courses",
    "awards",
)
"""The streams. The last three have the fields that most registries send, and no others."""
ESI = "urn:schac:personalUniqueCode:int:esi:university.example:900000017"
CARD = "4b171400-b51e-103d-8abc-001900000001"

_HEAD = """\
language: 1
connector: every-kind
country: COUNTRY
title: Every kind of record
owner: {name: Example office, contact: registry@office.example}
rest: {url: {production: "https://office.example"}, errors: by_status}
tables:
  mode: {map: {full: presential, remote: online, mixed: blended}}
  kind: {map: {D: diploma, C: certificate, T: transcript, M: micro_credential}}
  event: {map: {A: updated, S: suspended, R: revoked}}
streams:
"""
_STREAM = """\
  NAME:
    emits: EMITS
    request: {get: /NAME}
    cursor: scan
    decode: [FORMAT]
    records: RECORDS
    id: id
ACHIEVED    map:
"""
_LEARNING = """\
title.en: title~en
title.lv: title~lv
description.en: summary
nqf_framework: level~scheme
nqf_level: level~value
eqf_declared: level~eqf
cycle: level~cycle
credit_amount: credits~value
credit_unit: credits~unit
credit_sector: credits~sector
workload_hours: credits~hours
duration_months: months
isced_f: fields
languages: language
mode: {from: form, table: mode}
setting: {const: formal}
learning_outcomes: {each: outcomes, map: {title.en: text, kind: kind, esco: skill}}
entry_requirement.en: entry
partial: partial
micro: micro
homepage: link
awarding_body.name.en: body~name
awarding_body.country: body~country
awarding_body.homepage: body~link
awarding_body.identifiers.schac: body~schac
awarding_body.identifiers.pic: body~pic
accreditation: {each: reviews, map: {title.en: title, agency.name.en: agency, valid_from: since}}
valid_from: {from: begins, as: {date: "%d.%m.%Y"}}
valid_until: ends
changed_at: changed
"""
_RULES = {
    "qualifications": _LEARNING + "code: code\nstatus: status\n",
    "opportunities": _LEARNING
    + """\
provider.name.en: provider~name
provider.country: provider~country
provider.identifiers.pic: provider~pic
leads_to: leads
starts_on: starts
ends_on: finishes
location: town
location_country: land
""",
    "credentials": _LEARNING
    + """\
kind: {from: type, table: kind}
awarded_on: awarded
issued_at: issued
issuer.name.en: issuer~name
issuer.country: issuer~country
holder.pseudonym: {from: person~number, pseudonym: student}
holder.esi: {from: person~esi, basis: law}
holder.given_name: {from: person~given, basis: law}
holder.family_name: {from: person~family, basis: law}
holder.birth_date: {from: person~born, basis: law}
holder.email: {from: person~email, basis: law}
holder_consent: consent
revoked: revoked
assessment.kind: exam~kind
assessment.title.en: exam~title
assessment.supervision: exam~watched
assessment.grade: {from: exam~grade, basis: law}
assessment.grading_scale: exam~scale
further_information.en: further
parts:
  each: modules
  map:
    id: code
    title.en: name
    nqf_framework: scheme
    nqf_level: level
    credit_amount: credits
    credit_unit: unit
    awarded_on: {from: day, basis: law}
    assessment.grade: {from: grade, basis: law}
    assessment.grading_scale: scale
""",
    "statuses": """\
holder.esi: {from: person~esi, basis: law}
holder.full_name: {from: person~name, basis: law}
holder.email: {from: person~email, basis: law}
institution.name.en: body~name
institution.country: body~country
institution.identifiers.pic: body~pic
institution.identifiers.schac: body~schac
active: active
ended: ended
valid_from: begins
valid_until: ends
nqf_framework: level~scheme
nqf_level: level~value
degree_programme: degree
esc_agreement: {from: agreed, basis: law}
changed_at: changed
""",
    "cards": """\
card_number: {from: number, basis: law}
holder.esi: {from: person~esi, basis: law}
issuer.identifiers.pic: body~pic
event: {from: state, table: event}
active: active
card_type: type
issued_on: issued
expires_on: expires
processor: processor
display_name: product
esc_agreement: {from: agreed, basis: law}
changed_at: changed
""",
}
_RARE = ("accreditation", "micro", "parts", "issuer", "revoked", "further_information", "location")


def _without_rare_fields(rules: str) -> str:
    return "".join(
        f"{line}\n"
        for line in rules.partition("parts:\n")[0].splitlines()
        if not line.startswith(_RARE)
    )


_RULES |= {
    "programmes": _without_rare_fields(_RULES["qualifications"]),
    "courses": _without_rare_fields(_RULES["opportunities"]),
    "awards": _without_rare_fields(_RULES["credentials"]),
}
_EMITS = {
    "qualifications": "qualification",
    "opportunities": "learning_opportunity",
    "credentials": "credential",
    "statuses": "student_status",
    "cards": "card",
    "programmes": "qualification",
    "courses": "learning_opportunity",
    "awards": "credential",
}
_BODY = {
    "name": "Jūras University",
    "country": "IE",
    "link": "https://university.example/",
    "schac": "university.example",
    "pic": "900000001",
}
_ENTRY: dict[str, Any] = {
    "title": {"en": "Water management", "lv": "Ūdens apsaimniekošana"},
    "summary": "A programme for people who shape rivers.",
    "level": {"scheme": "NFQ", "value": "8", "eqf": "6", "cycle": "first"},
    "credits": {"value": 180, "unit": "ECTS", "sector": "HE", "hours": 4500},
    "months": 36,
    "fields": ["0712", "0521"],
    "language": ["eng", "lav"],
    "form": "full",
    "outcomes": [
        {"text": "Explains the principles of the field", "kind": "knowledge"},
        {"text": "Designs and defends a solution"},
    ],
    "entry": "Leaving certificate",
    "partial": False,
    "micro": False,
    "link": "https://university.example/programmes/1",
    "body": _BODY,
    "reviews": [{"title": "Review", "agency": "Example agency", "since": "2020-01-01"}],
    "begins": "01.09.2019",
    "ends": "2030-08-31",
    "changed": "2026-03-01T14:00:00+02:00",
}
_PERSON = {
    "number": "19900101-1234",
    "esi": ESI,
    "given": "Aino",
    "family": "Esimerkki",
    "born": "1990-01-02",
    "email": "aino@student.university.example",
}
ACCEPTED: dict[str, dict[str, Any]] = {
    "qualifications": {"id": "Q-1", "code": "43481", "status": "active", **_ENTRY},
    "opportunities": {
        "id": "L-1",
        **_ENTRY,
        "provider": {"name": "Example college", "country": "IE", "pic": "900000001"},
        "leads": "Q-1",
        "starts": "2026-09-01",
        "finishes": "2027-06-30",
        "town": "Example Town",
        "land": "IE",
    },
    "credentials": {
        "id": "D-1",
        **_ENTRY,
        "type": "D",
        "awarded": "2023-06-15",
        "issued": "2023-06-16T10:00:00Z",
        "issuer": {"name": "Example ministry", "country": "IE"},
        "person": _PERSON,
        "consent": True,
        "revoked": False,
        "exam": {
            "kind": "written",
            "title": "Examination",
            "watched": "supervised_with_id",
            "grade": "4",
            "scale": "0-5",
        },
        "further": "Part of a larger programme",
        "modules": [
            {
                "code": "M1",
                "name": "Hydrology",
                "scheme": "NFQ",
                "level": "7",
                "credits": 100,
                "unit": "ECTS",
                "day": "2022-05-30",
                "grade": "5",
                "scale": "0-5",
            },
            {"code": "M2", "name": "Statistics", "credits": 80, "unit": "ECTS"},
        ],
    },
    "statuses": {
        "id": "S-1",
        "person": {"esi": ESI, "name": "Aino Esimerkki", "email": _PERSON["email"]},
        "body": _BODY,
        "active": True,
        "ended": False,
        "begins": "2025-09-01",
        "ends": "2026-08-31",
        "level": {"scheme": "NFQ", "value": "9"},
        "degree": True,
        "agreed": True,
        "changed": "2026-03-01T14:00:00+02:00",
    },
    "cards": {
        "id": "K-1",
        "number": CARD,
        "person": {"esi": ESI},
        "body": {"pic": "900000001"},
        "state": "A",
        "active": True,
        "type": "SMART_CDZ",
        "issued": "2025-01-01",
        "expires": "2027-09-30",
        "processor": "VATIE-0000000X",
        "product": "Campus card",
        "agreed": True,
        "changed": "2026-03-01T14:00:00+02:00",
    },
}
_SAME = {"programmes": "qualifications", "courses": "opportunities", "awards": "credentials"}
ACCEPTED |= {
    name: {
        key: value
        for key, value in ACCEPTED[same].items()
        if key not in {"reviews", "modules", "micro", "issuer", "revoked", "further"}
    }
    for name, same in _SAME.items()
}
"""A payload of each stream that is accepted. Change a copy, see :func:`accepted`."""


def accepted(kind: str) -> dict[str, Any]:
    """Return a copy of the accepted payload of a stream."""
    return copy.deepcopy(ACCEPTED[kind])


@cache
def every_kind(form: Format, country: str = "IE") -> Connector:
    """Return the connector in a format, with the tables of a country."""
    document = parse_yaml(_connector_text(form, country).encode(), "every-kind.yaml")
    connector, findings = build_connector(document)
    assert connector is not None, [str(finding) for finding in findings]
    return connector


def _connector_text(form: Format, country: str) -> str:
    text = _HEAD.replace("COUNTRY", country)
    for name in KINDS:
        always = '    achieved: {always: "The office lists awards only"}\n'
        text += (
            _STREAM.replace("NAME", name)
            .replace("EMITS", _EMITS[name])
            .replace("FORMAT", form)
            .replace("RECORDS", "items" if form == "json" else '"//record"')
            .replace("ACHIEVED", always if _EMITS[name] == "credential" else "")
        )
        rules = _RULES[name].replace("~", "." if form == "json" else "/")
        text += "".join(f"      {line}\n" for line in rules.splitlines())
        given = '{a: "1"}' if form == "json" else '"<record/>"'
        text += f"    tests: [{{name: t, given: {given}, expect_rejected: {{reason: missing}}}}]\n"
    return text


def body_of(payload: Any, form: Format) -> bytes:
    """Return a payload as bytes."""
    return msgspec.json.encode(payload) if form == "json" else to_xml(payload)


def to_xml(payload: Any, name: str = "record") -> bytes:
    """Return a payload as elements. A list becomes several elements with the same name."""
    return "".join(_elements(name, payload)).encode("utf-8", "surrogatepass")


def _elements(name: str, value: Any) -> list[str]:
    if isinstance(value, list):
        return [text for item in value for text in _elements(name, item)]
    if isinstance(value, dict):
        inner = "".join(text for key, item in value.items() for text in _elements(key, item))
    elif value is None:
        return [f"<{name}/>"]
    elif isinstance(value, bool):
        inner = "true" if value else "false"
    else:
        inner = escape(str(value))
    return [f"<{name}>{inner}</{name}>"]


def raw_of(kind: str, payload: Any, form: Format, **changes: Any) -> RawRecord:
    """Return the raw record of a payload."""
    return raw_of_body(kind, body_of(payload, form), form, **changes)


def raw_of_body(kind: str, body: bytes | None, form: Format, **changes: Any) -> RawRecord:
    """Return the raw record of a body."""
    values: dict[str, Any] = {
        "connector": "every-kind",
        "stream": kind,
        "native_id": f"{kind}-1",
        "body": body,
        "media_type": f"application/{form}",
        **changes,
    }
    return RawRecord(**values)
