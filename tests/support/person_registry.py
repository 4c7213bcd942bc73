"""A registry of persons on a real HTTP port, its connector, and what readers of the topics see."""

from __future__ import annotations

import asyncio
import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from aiokafka import ConsumerRecord

from gateway.kafka import topic_admin
from gateway.local import broker as kafka
from gateway.messages.topics import TOPICS
from gateway.settings import Settings
from tests.end_to_end.conftest import ROOT, Site

NAME = "persons"
KEY = "a key for tests only, never for people"
OTHER_KEY = "another key for tests only, for nobody"
ID_KEYS = {
    "ids": b"a key of ids, for tests only, of 32 bytes",
    "student-ids": b"another key of ids, for tests, of 32 bytes",
    "card-ids": b"a third key of ids, for tests, of 32 bytes",
}
"""Each stream has a key of its own, because the ids of a connector must not collide."""
DOCUMENT_TOPICS = (
    "europass.credentials.v1",
    "esc.credential-pointers.v1",
    "esc.student-status.v1",
    "esc.cards.v1",
)
EVERYTHING = tuple(topic.name for topic in TOPICS)
CONNECTOR = """\
language: 1
connector: persons
country: FI
title: A registry of persons
owner: {{name: Tests, contact: tests@example.org}}
rest:
  url: {{production: "{url}", acceptance: "{url}"}}
  errors: by_status
  limits: {{timeout: 5s, attempts: 1, patience: 2s}}
streams:
  awards:
    emits: credential
    every: 1s
    request: {{get: /awards, query: {{since: "{{since}}", until: "{{until}}"}}}}
    paging: none
    cursor: {{window: 3650d, start: 2026-01-01}}
    records: items
    id: [{award_id}]
    id_key: {{secret: persons/ids}}
    changed_at: changed
    achieved: {{always: "The registry lists awards only"}}
    map:
      kind: {{const: diploma}}
      title.en: title
      awarded_on: awarded
      awarding_body.name.en: {{const: University of Lakeland}}
      awarding_body.country: {{const: FI}}
      awarding_body.identifiers.pic: {{const: "999990002"}}
      holder.pseudonym: {{from: ssn, pseudonym: fi-national-number}}
      holder.given_name: {{from: given, basis: "Award document names its holder"}}
      holder.esi: {{from: esi, basis: "European Student Card"}}
      holder_consent: consent
    tests: [{{name: nobody, given: {{ssn: "1", n: "1", title: T, awarded: 2020-05-31}}, expect_some: {{}}}}]
  students:
    emits: student_status
    every: 1s
    request: {{get: /students}}
    paging: none
    cursor: scan
    deletions: 100%
    records: items
    id: ssn
    id_key: {{secret: persons/student-ids}}
    changed_at: changed
    map:
      holder.pseudonym: {{from: ssn, pseudonym: fi-national-number}}
      holder.esi: {{from: esi, basis: "European Student Card"}}
      institution.identifiers.pic: {{const: "999990002"}}
      active: active
      valid_until: until
      esc_agreement: agreement
    tests: [{{name: nobody, given: {{ssn: "1", active: "true", until: 2027-07-31}}, expect_some: {{}}}}]
  cards:
    emits: card
    every: 1s
    request: {{get: /cards}}
    paging: none
    cursor: scan
    deletions: 100%
    records: items
    id: ssn
    id_key: {{secret: persons/card-ids}}
    changed_at: changed
    map:
      holder.pseudonym: {{from: ssn, pseudonym: fi-national-number}}
      card_number: {{from: card, basis: "European Student Card"}}
      holder.esi: {{from: esi, basis: "European Student Card"}}
      issuer.identifiers.pic: {{const: "999990002"}}
      event: {{const: issued}}
      issued_on: {{const: 2025-08-01}}
      expires_on: {{const: 2029-08-01}}
      esc_agreement: agreement
    tests: [{{name: nobody, given: {{ssn: "1"}}, expect_some: {{}}}}]
"""


class PersonRegistry:
    """Persons by national number. Each of them has an award, an enrolment and a card."""

    def __init__(self) -> None:
        self.persons: dict[str, dict[str, Any]] = {}
        self.requests: list[str] = []
        registry = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                registry.requests.append(self.path)
                body = json.dumps({"items": registry.answer(self.path)}).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def answer(self, path: str) -> list[dict[str, Any]]:
        """Return the records for a request, the awards only of the requested window."""
        parts = urlsplit(path)
        if parts.path != "/awards":
            return list(self.persons.values())
        query = parse_qs(parts.query)
        since, until = (datetime.fromisoformat(query[name][0]) for name in ("since", "until"))
        return [
            person
            for person in self.persons.values()
            if since <= datetime.fromisoformat(person["changed"]) <= until
        ]

    def put(self, ssn: str, **values: Any) -> None:
        """Change all records of a person at one moment, to the microsecond."""
        person = {
            "ssn": ssn,
            "n": "1",
            "title": "Bachelor",
            "given": "Aava",
            "awarded": "2021-05-31",
            "esi": f"urn:schac:personalUniqueCode:int:esi:lakeland.example:{len(self.persons)}",
            "card": f"4b171400-b51e-103d-8abc-{len(self.persons):03}999990002",
            "consent": "false",
            "agreement": "false",
            "active": "true",
            "until": "2027-07-31",
        } | self.persons.get(ssn, {})
        changed = datetime.now(UTC).isoformat(timespec="microseconds")
        self.persons[ssn] = person | values | {"changed": changed}


@contextmanager
def person_site(folder: Path, *, award_id: str = "ssn") -> Iterator[tuple[Site, PersonRegistry]]:
    """Start a broker and a registry, and write the connector and its secret."""
    registry = PersonRegistry()
    (folder / "connectors").mkdir()
    for name, value in ID_KEYS.items():
        write_secret(folder, name, value)
    (folder / "connectors" / f"{NAME}.yaml").write_text(
        CONNECTOR.format(url=registry.url, award_id=award_id)
    )
    with kafka.running(folder / "kafka") as broker:
        asyncio.run(topic_admin.create_missing(Settings(kafka_bootstrap=broker.bootstrap)))
        site = Site(
            folder,
            broker.bootstrap,
            {NAME: registry.url},
            {name: value for name, value in os.environ.items() if not name.startswith("GATEWAY_")}
            | {
                "GATEWAY_KAFKA_BOOTSTRAP": broker.bootstrap,
                "GATEWAY_CONNECTORS": str(folder / "connectors"),
                "GATEWAY_MAPPINGS": str(ROOT / "mappings"),
                "GATEWAY_SECRETS_DIR": str(folder / "secrets"),
                "GATEWAY_PSEUDONYM_KEY": KEY,
                "GATEWAY_METRICS_PORT": "0",
                "GATEWAY_LOG_FORMAT": "json",
            },
        )
        try:
            yield site, registry
        finally:
            for process in site.running:
                if process.poll() is None:
                    process.terminate()
            for process in site.running:
                try:
                    process.wait(15)
                except Exception:  # noqa: BLE001 - the broker must stop in any case
                    process.kill()
            registry.server.shutdown()


def write_secret(folder: Path, name: str, value: bytes) -> None:
    """Write a secret of the ids."""
    secret = folder / "secrets" / NAME / name
    secret.parent.mkdir(parents=True, exist_ok=True)
    secret.write_bytes(value)
    secret.chmod(0o600)


def standing(records: list[ConsumerRecord]) -> dict[tuple[str, bytes], ConsumerRecord]:
    """Return the last record of each key that is not deleted."""
    last: dict[tuple[str, bytes], ConsumerRecord] = {}
    for record in records:
        last[record.topic, record.key] = record
    return {place: record for place, record in last.items() if record.value is not None}


def count_documents(site: Site, text: str = "") -> dict[str, int]:
    """Return how many documents with a text stand on each topic for platforms."""
    documents = standing(site.read(*DOCUMENT_TOPICS))
    return {
        topic: sum(
            place[0] == topic and text.encode() in (record.value or b"")
            for place, record in documents.items()
        )
        for topic in DOCUMENT_TOPICS
    }


def counts(*, credentials: int = 0, pointers: int = 0, students: int = 0, cards: int = 0) -> dict:
    """Return the same as :func:`count_documents`, for a comparison."""
    return dict(zip(DOCUMENT_TOPICS, (credentials, pointers, students, cards), strict=True))
