"""The job of the comparison as one writes it in Python by hand: dictionaries in, dictionaries out.

It has no rules, no strict reading and no reasons beyond those that the comparison asks for. It runs
in an environment without the gateway.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

SNB = "http://data.europa.eu/snb/"
AUTHORITY = "http://publications.europa.eu/resource/authority/"
HUNDREDTH = Decimal("0.01")
Node = dict[str, Any]


class RejectedError(Exception):
    """A record without a document: the field, and the reason."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(field, reason)
        self.field = field
        self.reason = reason


class Normaliser:
    """A function from a record to its qualification."""

    def __init__(self, path: Path) -> None:
        facts = json.loads(path.read_text())
        self.context = facts["context"]
        self.levels = {
            name: [
                (row["from"], row["until"], _snb("eqf", row["eqf"]), _snb("qdr", row["nqf"]))
                for row in rows
            ]
            for name, rows in facts["levels"].items()
        }
        self.credits = {
            name: [(row["from"], row["until"], Decimal(str(row["ects"]))) for row in rows]
            for name, rows in facts["credits"].items()
        }
        self.languages = _authority("language", facts["languages"])
        self.countries = _authority("country", facts["countries"])
        self.modes = {
            code: _snb("learning-assessment", f"{SNB}learning-assessment/{name}")
            for code, name in facts["modes"].items()
        }
        self.formal = _snb("learning-setting", f"{SNB}learning-setting/{facts['formal']}")
        self.ects = _snb("education-credit", f"{SNB}education-credit/{facts['ects']}")
        self.fields: dict[str, Node] = {}

    def __call__(self, record: Node) -> Node:
        """Return the document of a record, or raise :class:`RejectedError`."""
        try:
            day = datetime.strptime(record["begins"], "%d.%m.%Y").date().isoformat()  # noqa: DTZ007
        except (KeyError, ValueError):
            raise RejectedError("valid_from", "not_a_date") from None
        if not record.get("title"):
            raise RejectedError("title", "missing")
        body, stated, earned = record["body"], record["level"], record["credits"]
        country = body["country"]
        level = self._level(f"{country}|{stated['scheme']}|{stated['value']}", day)
        ratio = self._ratio(f"{country}|{earned['unit']}", day)
        points = (Decimal(str(earned["value"])) * ratio).quantize(HUNDREDTH, ROUND_HALF_UP)
        changed = datetime.fromisoformat(record["changed"]).astimezone(UTC)
        iri = f"https://registry.example/programmes/{record['programmeId']}"
        return {
            "@context": self.context,
            "id": iri,
            "type": "Qualification",
            "title": record["title"],
            "description": {"en": record["summary"]},
            "thematicArea": [self._field(code) for code in record["fields"]],
            "language": [self.languages[record["language"]]],
            "learningOutcome": [
                {
                    "id": f"{iri}#outcome/{number}",
                    "type": "LearningOutcome",
                    "title": {"en": outcome["text"]},
                }
                for number, outcome in enumerate(record["outcomes"], 1)
            ],
            "creditPoint": {
                "id": f"{iri}#credit",
                "type": "CreditPoint",
                "framework": self.ects,
                "point": format(points.normalize(), "f"),
            },
            "volumeOfLearning": f"PT{earned['hours']}H",
            "maximumDuration": f"P{record['months']}M",
            "homepage": {
                "id": f"{iri}#homepage",
                "type": "WebResource",
                "contentUrl": record["link"],
            },
            "mode": self.modes[record["form"]],
            "learningSetting": self.formal,
            **self._note(earned, iri),
            "eqfLevel": level[0],
            "nqfLevel": level[1],
            "identifier": {
                "id": f"{iri}#identifier",
                "type": "Identifier",
                "notation": record["code"],
            },
            "awardingOpportunity": {
                "id": f"{iri}#awarding",
                "type": "AwardingOpportunity",
                "awardingBody": self._organisation(body, f"{iri}#awarding-body"),
                "temporal": {
                    "id": f"{iri}#validity",
                    "type": "PeriodOfTime",
                    "startDate": f"{day}T00:00:00Z",
                },
                "learningAchievementSpecification": iri,
            },
            "modified": changed.strftime("%Y-%m-%dT%H:%M:%SZ"),
        }

    def _level(self, name: str, day: str) -> tuple[Node, Node]:
        for first, last, eqf, national in self.levels.get(name, ()):
            if first <= day <= last:
                return eqf, national
        raise RejectedError("nqf_level", "level_unknown")

    def _ratio(self, name: str, day: str) -> Decimal:
        ratios = [ects for first, last, ects in self.credits.get(name, ()) if first <= day <= last]
        if len(ratios) != 1:
            raise RejectedError("credit_amount", "unit_unknown")
        return ratios[0]

    def _field(self, code: str) -> Node:
        node = self.fields.get(code)
        if node is None:
            node = self.fields[code] = _snb("isced-f", f"{SNB}isced-f/{code}")
        return node

    def _note(self, earned: Node, iri: str) -> Node:
        """Return the note of an amount in another unit than ECTS."""
        if earned["unit"] == "ECTS":
            return {}
        text = {"en": f"{earned['value']} {earned['unit']}"}
        return {"additionalNote": [{"id": f"{iri}#note/1", "type": "Note", "noteLiteral": text}]}

    def _organisation(self, body: Node, iri: str) -> Node:
        return {
            "id": iri,
            "type": "Organisation",
            "legalName": {"lv": body["name"]},
            "identifier": [
                {
                    "id": f"{iri}/{scheme}",
                    "type": "Identifier",
                    "notation": body[scheme],
                    "schemeName": scheme,
                }
                for scheme in ("pic", "schac")
            ],
            "location": {
                "id": f"{iri}/location",
                "type": "Location",
                "address": {
                    "id": f"{iri}/address",
                    "type": "Address",
                    "countryCode": self.countries[body["country"]],
                },
            },
        }


def _concept(iri: str, scheme: str) -> Node:
    return {
        "id": iri,
        "type": "Concept",
        "inScheme": {"id": scheme, "type": "ConceptScheme"},
    }


def _snb(vocabulary: str, iri: str) -> Node:
    return _concept(iri, f"{SNB}{vocabulary}/25831c2")


def _authority(vocabulary: str, iris: dict[str, str]) -> dict[str, Node]:
    return {code: _concept(iri, AUTHORITY + vocabulary) for code, iri in iris.items()}
