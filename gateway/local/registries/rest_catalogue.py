"""Run a REST catalogue of programmes and courses in JSON.

It uses page numbers with ``hasNextPage`` and a bearer token. Clients cannot request only the
changes. A deleted record disappears from the pages, so clients must compare complete scans.
"""

from __future__ import annotations

import hmac
import json
import uuid
from datetime import date, timedelta
from typing import Any

from aiohttp import web

from gateway.local.registries.misbehaviour import Misbehaviour
from gateway.local.registries.people import (
    FICTION,
    SUBJECTS,
    Institution,
    choose_flaw,
    institutions,
    names_in_version,
)
from gateway.local.registries.record_store import RecordStore, StoredEntry
from gateway.local.registries.server import Registry

TOKEN = "demo-token"  # noqa: S105 - a public value for the demo
PATH = "/catalogue/v1"
PAGE_SIZE = 100
PAGE_SIZES = (10, 20, 50, 100, 250)
FLAWS = ("unknown level", "no title", "impossible date", "level conflict")
_IDENTITIES = uuid.UUID("6d1f0f52-33a6-4d0b-9a3a-5a6f0c2f7e11")

_FICTION = FICTION["rest"]
_INSTITUTIONS = institutions("rest")
_FIRST_CODE = 30_000


async def start(
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    records: int = 0,
    seed: int = 1,
    token: str = TOKEN,
    page_size: int = PAGE_SIZE,
    without_outcomes: int = 0,
) -> Catalogue:
    """Start a service with ``records`` records in total, half programmes and half courses.

    The first courses, ``without_outcomes`` of them, have no learning outcomes.
    """
    registry = Catalogue(seed=seed, token=token, page_size=page_size)
    registry.without_outcomes = without_outcomes
    registry.stocks["programmes"].fill(records // 2)
    registry.stocks["courses"].fill(records - records // 2)
    return await registry.start(host, port)


class Catalogue(Registry):
    """A registry with two streams, ``programmes`` and ``courses``."""

    def __init__(self, *, seed: int = 1, token: str = TOKEN, page_size: int = PAGE_SIZE) -> None:
        super().__init__(
            {
                stream: RecordStore(stream, seed, _RecordName(seed, stream))
                for stream in ("programmes", "courses")
            }
        )
        self.without_outcomes = 0
        self._token = token
        self._page_size = page_size
        self._found: dict[str, tuple[int, list[StoredEntry]]] = {}

    def routes(self) -> list[web.RouteDef]:
        """Return the route of the two collections."""
        return [web.get(f"{PATH}/{{stream:programmes|courses}}", self._get)]

    def content(self, stream: str, entry: StoredEntry) -> bytes:
        """Return one record as a JSON object."""
        record = (
            _programme(self.stocks[stream], entry)
            if stream == "programmes"
            else _course(self.stocks[stream], entry)
        )
        if stream == "courses" and entry.number < self.without_outcomes:
            record["learningOutcomes"] = []
        return json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode()

    async def _get(self, request: web.Request) -> web.StreamResponse:
        if not hmac.compare_digest(
            request.headers.get("Authorization", "").encode(), f"Bearer {self._token}".encode()
        ):
            return web.json_response(
                {"status": 401, "title": "Unauthorized"},
                status=401,
                headers={"WWW-Authenticate": "Bearer"},
            )
        stream = request.match_info["stream"]
        try:
            page, size = (
                int(request.query.get("pageNumber", "1")),
                int(request.query.get("pageSize", str(self._page_size))),
            )
        except ValueError:
            page, size = 0, 0
        if page < 1 or size not in (*PAGE_SIZES, self._page_size):
            return web.json_response(
                {"status": 400, "title": "pageNumber or pageSize is not allowed"}, status=400
            )
        trouble = self.next_misbehaviour(stream)
        if trouble is not None and trouble.kind == "error_inside":
            return web.json_response({"status": 503, "title": "Temporarily unavailable"})
        return await self.reply(request, trouble, self._page(stream, page, size, trouble))

    def _page(
        self, stream: str, page: int, size: int, trouble: Misbehaviour | None
    ) -> web.Response:
        served = self.serve_page(stream, self._current_records(stream), page, size, trouble)
        head = json.dumps(
            {
                "pageSize": size,
                "pageNumber": page,
                "hasPreviousPage": page > 1,
                "hasNextPage": served.has_more,
                "totalPages": served.pages,
            },
        ).encode()
        items = b",".join(served.contents)
        return web.Response(
            body=head[:-1] + b', "items": [' + items + b"]}", content_type="application/json"
        )

    def _current_records(self, stream: str) -> list[StoredEntry]:
        revision = self.stocks[stream].revision
        if self._found.get(stream, (None,))[0] != revision:
            self._found[stream] = (revision, list(self.stocks[stream].alive()))
        return self._found[stream][1]


def _programme(stock: RecordStore, entry: StoredEntry) -> dict[str, Any]:
    random_source = stock.random_source(entry.number)
    subject, institution = random_source.choice(SUBJECTS), random_source.choice(_INSTITUTIONS)
    kind = random_source.choice(_FICTION["programmes"])
    level, eqf, code = kind["level"], kind["eqf"], str(_FIRST_CODE + entry.number)
    names = {
        language: f"{kind['names'][language]} {subject.names[language]}"
        for language in _FICTION["languages"]
    }
    first_day: date | str = date(2014 + random_source.randrange(10), 9, 1)
    match choose_flaw(random_source, FLAWS):
        case "unknown level":
            level = "6++"
        case "no title":
            names = {}
        case "impossible date":
            first_day = "2022-06-31"
        case "level conflict":
            eqf += 1
    return {
        "programmeId": stock.name(entry.number),
        "primaryCode": {"codeType": "programmeCode", "code": code},
        "name": _language_texts(names_in_version(names, entry.version)),
        "description": _language_texts(
            {
                "en": f"A programme about {subject.names['en'].lower()} "
                "for people who like to find out."
            }
        ),
        "levelOfQualification": level,
        "eqfLevel": eqf,
        "sector": kind["sector"],
        "studyLoad": {"studyLoadUnit": kind["unit"], "value": kind["load"]},
        "fieldsOfStudy": subject.isced_f,
        "learningOutcomes": [_language_texts({"en": outcome}) for outcome in subject.outcomes],
        "teachingLanguage": random_source.choice(("nld", "eng")),
        "modeOfDelivery": [random_source.choice(("situated", "online", "hybrid"))],
        "link": f"https://www.{institution.domain}/programmes/{code}",
        "organization": _organization(institution),
        "validFrom": str(first_day),
        "validTo": None,
    }


def _course(stock: RecordStore, entry: StoredEntry) -> dict[str, Any]:
    random_source = stock.random_source(entry.number)
    subject, institution = random_source.choice(SUBJECTS), random_source.choice(_INSTITUTIONS[:2])
    names = {language: f"Module {subject.names[language]}" for language in _FICTION["languages"]}
    level = random_source.choice(("6", "6", "7"))
    first_day: date | str = date(2024, 9, 2) + timedelta(weeks=random_source.randrange(100))
    match choose_flaw(random_source, FLAWS[:3]):
        case "unknown level":
            level = "intermediate"
        case "no title":
            names = {}
        case "impossible date":
            first_day = "2025-11-31"
    return {
        "courseId": stock.name(entry.number),
        "primaryCode": {"codeType": "identifier", "code": f"M-{entry.number + 1:05d}"},
        "name": _language_texts(names_in_version(names, entry.version)),
        "description": _language_texts(
            {"en": f"An introduction to {subject.names['en'].lower()}."}
        ),
        "levelOfQualification": level,
        "studyLoad": {"studyLoadUnit": "ects", "value": random_source.choice((2.5, 5, 7.5, 15))},
        "fieldsOfStudy": subject.isced_f,
        "learningOutcomes": [_language_texts({"en": outcome}) for outcome in subject.outcomes],
        "admissionRequirements": _language_texts({"en": "Secondary education"}),
        "teachingLanguage": random_source.choice(("nld", "eng")),
        "modeOfDelivery": [random_source.choice(("situated", "online", "hybrid"))],
        "microCredential": random_source.random() < 0.3,  # noqa: PLR2004
        "link": f"https://www.{institution.domain}/courses/M-{entry.number + 1:05d}",
        "organization": _organization(institution),
        "firstStartDate": str(first_day),
    }


def _language_texts(texts: dict[str, str]) -> list[dict[str, str]]:
    return [{"language": language, "value": value} for language, value in texts.items()]


def _organization(institution: Institution) -> dict[str, Any]:
    return {
        "organizationId": institution.code,
        "name": _language_texts(institution.names),
        "countryCode": _FICTION["country"],
        "otherCodes": [
            {"codeType": "schac_home", "code": institution.domain},
            {"codeType": "pic", "code": institution.pic},
        ],
        "link": f"https://www.{institution.domain}",
    }


class _RecordName:
    def __init__(self, seed: int, stream: str) -> None:
        self._prefix = f"{seed}:{stream}:"

    def __call__(self, number: int) -> str:
        return str(uuid.uuid5(_IDENTITIES, self._prefix + str(number)))
