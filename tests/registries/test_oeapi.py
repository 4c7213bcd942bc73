"""Version 6 of the Open Education API: enrolments become student statuses, by configuration alone."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.config.loading import load_connector
from gateway.errors import StreamHalted
from gateway.fetch import read_pages
from gateway.fetch.registry_client import RegistryClient
from gateway.harmonise.harmoniser import Harmoniser
from gateway.harmonise.tables.compiled_tables import Tables
from gateway.local.registries.saved_replies import SavedReply, SavedReplyRegistry
from gateway.messages.topics import STUDENT_STATUS_TOPIC
from gateway.records import Document, RawRecord, Withheld
from gateway.render.publication import publication
from tests.support.dutch_replies import in_envelope, oeapi_replies
from tests.support.saved_replies import REFERENCE, ROOT, WINDOW, here, secret, with_token

CONNECTOR = ROOT / "connectors/nl-oeapi.yaml"
SPECIFICATION = REFERENCE / "oeapi-6/oeapi.json"
ESI = "urn:schac:personalUniqueCode:int:esi:voorbeeld.example:s1"
PERSONAL = ("Martina", "Damme", "00000", "2003-09-30", "poekie", "+31 123 456 789", "Utrecht")
AGREEMENT = {"const": True, "basis": "Agreement of the students of an example, version 1"}

pytestmark = [
    pytest.mark.reference,
    pytest.mark.skipif(
        not SPECIFICATION.is_file(),
        reason=f"no reference material at {REFERENCE}; set GATEWAY_REFERENCE",
    ),
]


@pytest.fixture(scope="module")
def tables() -> Tables:
    return Tables.load(ROOT / "mappings")


def with_agreement(folder: Path) -> Path:
    """Return the file of an institution whose students agreed, and that states the agreement."""
    text = yaml.safe_load(CONNECTOR.read_text())
    enrolments = text["streams"]["enrolments"]
    enrolments["map"]["esc_agreement"] = AGREEMENT
    enrolments["tests"] = [test for test in enrolments["tests"] if "exchange" in test]
    file = folder / "nl-oeapi.yaml"
    file.write_text(yaml.safe_dump(text, allow_unicode=True))
    return file


def replies(**changes: Any) -> list[SavedReply]:
    """Return the examples of the specification, with a student identifier and a PIC."""
    name = "ProgrammeOfferingAssociation"
    saved = oeapi_replies(SPECIFICATION, "programme-offering-associations", name)
    found = []
    for reply in saved:
        whole = json.loads(reply.body)
        inner = whole["responses"]["demo.example"]
        for item in inner.get("items", ()):
            item.update(changes)
        if "surname" in inner:
            inner["otherCodes"].append({"codeType": "esi", "code": ESI})
        if "organisationType" in inner:
            inner["otherCodes"].append({"codeType": "pic", "code": "999991111"})
        found.append(SavedReply(in_envelope(inner), target=reply.target))
    return [with_token(b"", "")[0], *found]


async def read(file: Path, served: list[SavedReply]) -> list[RawRecord]:
    async with await SavedReplyRegistry(served).start() as registry:
        connector = here(load_connector(file), registry.url)
        async with RegistryClient(connector, secret, "production") as client:
            loops = {"offering": ["f1"]}
            pages = read_pages(connector, "enrolments", WINDOW, client, subjects=loops)
            return [raw async for page in pages for raw in page.records]


def status(file: Path, tables: Tables, **changes: Any) -> tuple[RawRecord, Any, list[Document]]:
    """Return the raw record, its outcome, and the documents that leave."""
    [raw] = asyncio.run(read(file, replies(**changes)))
    connector = load_connector(file)
    made = publication(Harmoniser(connector, tables, pseudonym_key=b"k" * 32)(raw), raw, connector)
    return raw, made.outcome, [document for document in made.documents if document.value]


def test_without_an_agreement_no_document_leaves(tables: Tables) -> None:
    _, outcome, documents = status(CONNECTOR, tables)
    assert isinstance(outcome, Withheld)
    assert outcome.reason == "no_agreement"
    assert documents == []


def test_with_an_agreement_an_enrolment_is_a_student_status(tmp_path: Path, tables: Tables) -> None:
    _, _, documents = status(with_agreement(tmp_path), tables, actualEndDateTime=None)
    [document] = [found for found in documents if found.topic == STUDENT_STATUS_TOPIC]
    text = (document.value or b"").decode()
    assert ESI in text
    assert "999991111" in text
    assert "2025-10-25" in text
    assert not [value for value in PERSONAL if value in text]


def test_names_and_numbers_of_a_student_are_not_even_stored(tables: Tables) -> None:
    raw, _, _ = status(CONNECTOR, tables)
    stored = (raw.body or b"").decode()
    assert ESI in stored
    assert not [value for value in PERSONAL if value in stored.replace("OU Utrecht", "")]


@pytest.mark.parametrize(
    ("state", "active", "ended"),
    [
        ("associated", True, False),
        ("pending", False, False),
        ("queued", False, False),
        ("denied", False, True),
        ("cancelled", False, True),
        ("finished", False, True),
    ],
)
def test_state_says_whether_a_student_is_enrolled(
    tmp_path: Path, tables: Tables, state: str, active: bool, ended: bool
) -> None:
    _, outcome, _ = status(with_agreement(tmp_path), tables, state=state)
    assert (outcome.record.active, outcome.record.ended) == (active, ended)


def test_unknown_state_is_rejected(tmp_path: Path, tables: Tables) -> None:
    _, outcome, documents = status(with_agreement(tmp_path), tables, state="x-waiting")
    assert (outcome.field, outcome.reason) == ("active", "unmapped")
    assert documents == []


def test_lecturers_are_no_students(tables: Tables) -> None:
    assert asyncio.run(read(CONNECTOR, replies(role="lecturer"))) == []


@pytest.mark.parametrize("path", ["programme-offerings", "programmes", "organisations"])
@pytest.mark.parametrize("code", [403, 404])
def test_enrolment_is_skipped_while_what_it_names_is_refused(path: str, code: int) -> None:
    """A rejection would remove the published status, and the card with it."""
    refused = SavedReply(in_envelope({}, code), target=f".*/{path}/[^/]*")
    assert asyncio.run(read(CONNECTOR, [refused, *replies()])) == []


def test_poll_fails_while_every_person_is_refused() -> None:
    refused = SavedReply(in_envelope({}, 403), target=".*/persons/[^/]*")
    with pytest.raises(StreamHalted):
        asyncio.run(read(CONNECTOR, [refused, *replies()]))
