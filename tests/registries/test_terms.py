"""What ``fi-virta`` says of a term, for each state of its study right."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from gateway.config.loading import load_connector
from gateway.config.rules import MappingRule
from gateway.harmonise.harmoniser import Harmoniser
from gateway.harmonise.tables.compiled_tables import Tables
from gateway.local.registries.saved_replies import SavedReply
from gateway.render.publication import publication
from tests.support.saved_replies import ROOT, read_stream

REPLY = """<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body>
<l:OpiskelijanKaikkiTiedotListaResponse xmlns:l="http://tietovaranto.csc.fi/luku">
<v:Virta xmlns:v="urn:mace:funet.fi:virta/2015/09/01">{people}</v:Virta>
</l:OpiskelijanKaikkiTiedotListaResponse></s:Body></s:Envelope>"""
PERSON = """<v:Opiskelija avain="5"><v:Henkilotunnus>010190-901A</v:Henkilotunnus>
<v:KansallinenOppijanumero>1.2.246.562.24.00000000017</v:KansallinenOppijanumero>
<v:Opiskeluoikeudet>{rights}</v:Opiskeluoikeudet>
<v:LukukausiIlmoittautumiset>{terms}</v:LukukausiIlmoittautumiset></v:Opiskelija>"""
ACTIVE, OPTION, CONCLUDED, PASSIVATED, DISCONTINUED, ENDED = "123456"


def right(*states: str, kind: str = "2", until: str = "", key: str = "9") -> str:
    """Return a study right with states such as ``2024-08-01 2025-05-31 1``."""
    parts = []
    for state in states:
        begin, *end, code = state.split()
        last = f"<v:LoppuPvm>{end[0]}</v:LoppuPvm>" if end else ""
        parts.append(
            f"<v:Tila><v:AlkuPvm>{begin}</v:AlkuPvm>{last}<v:Koodi>{code}</v:Koodi></v:Tila>"
        )
    last = f"<v:LoppuPvm>{until}</v:LoppuPvm>" if until else ""
    return (
        f'<v:Opiskeluoikeus opiskelijaAvain="5" avain="{key}"><v:AlkuPvm>2024-08-01</v:AlkuPvm>'
        f"{last}{''.join(parts)}<v:Tyyppi>{kind}</v:Tyyppi><v:Myontaja>10076</v:Myontaja>"
        "</v:Opiskeluoikeus>"
    )


def term(
    begin: str = "2025-08-01", end: str = "2025-12-31", *, state: str = "1", key: str = "9"
) -> str:
    """Return a term enrolment."""
    last = f"<v:LoppuPvm>{end}</v:LoppuPvm>" if end else ""
    of = f' opiskeluoikeusAvain="{key}"' if key else ""
    return (
        f'<v:LukukausiIlmoittautuminen opiskelijaAvain="5"{of}><v:Myontaja>10076</v:Myontaja>'
        f"<v:Tila>{state}</v:Tila><v:IlmoittautumisPvm>2025-07-01</v:IlmoittautumisPvm>"
        f"<v:AlkuPvm>{begin}</v:AlkuPvm>{last}</v:LukukausiIlmoittautuminen>"
    )


@pytest.fixture(scope="module")
def tables() -> Tables:
    return Tables.load(ROOT / "mappings")


def statuses(tables: Tables, people: str) -> list[dict[str, Any]]:
    """Return the documents of a reply, or the rejections as their field and reason."""
    connector = load_connector(ROOT / "connectors/fi-virta.yaml")
    stream = connector.streams["enrolments"]
    agreed = MappingRule(const=True, basis="Card terms of the tests")
    rules = {**stream.map, "esc_agreement": agreed}
    connector = connector.with_streams({"enrolments": stream.model_copy(update={"map": rules})})
    reply = SavedReply(REPLY.format(people=people).encode(), "text/xml", "POST")
    raws = asyncio.run(read_stream(connector, "enrolments", lambda _: [reply], {"person": ["1"]}))
    harmonise = Harmoniser(connector, tables, pseudonym_key=b"k" * 32)
    found = []
    for raw in raws:
        outcome = harmonise(raw)
        assert outcome == harmonise.harmonise_with_rules(raw)
        made = publication(outcome, raw, connector)
        if made.documents:
            found.append(json.loads(made.documents[0].value or b""))
        else:
            found.append({"rejected": f"{made.outcome.field}: {made.outcome.reason}"})  # type: ignore[union-attr]
    return found


SINCE_2024 = "2024-08-01 1"
IN_TERMS: dict[str, tuple[str, str, tuple[str, str, str]]] = {
    "present": (right(SINCE_2024), term(), ("activated", "ACTIVE", "2025-12-31")),
    "absent": (right(SINCE_2024), term(state="2"), ("updated", "INACTIVE", "2025-12-31")),
    "absent without loss of time": (
        right(SINCE_2024),
        term(state="3"),
        ("updated", "INACTIVE", "2025-12-31"),
    ),
    "did not enrol": (right(SINCE_2024), term(state="4"), ("updated", "INACTIVE", "2025-12-31")),
    "concluded within the term": (
        right("2025-10-16 3", "2024-08-01 2025-10-15 1", until="2025-10-15"),
        term(),
        ("ended", "INACTIVE", "2025-10-15"),
    ),
    "discontinued for one day, as some institutions write it": (
        right("2024-08-01 2025-10-15 1", "2025-10-16 2025-10-16 5", until="2025-10-15"),
        term(),
        ("ended", "INACTIVE", "2025-10-15"),
    ),
    "concluded after the term": (
        right("2024-08-01 2026-05-31 1", "2026-06-01 3", until="2026-05-31"),
        term(),
        ("activated", "ACTIVE", "2025-12-31"),
    ),
    "ended and renewed within the term": (
        right("2024-08-01 2025-09-30 1", "2025-10-01 2025-10-31 6", "2025-11-01 1"),
        term(),
        ("activated", "ACTIVE", "2025-12-31"),
    ),
    "ended before the term and renewed in it": (
        right("2025-09-01 1", "2024-08-01 2025-01-31 1", "2025-02-01 2025-08-31 6"),
        term(),
        ("activated", "ACTIVE", "2025-12-31"),
    ),
    "ended before the term": (
        right("2024-08-01 2025-01-31 1", "2025-02-01 5", until="2025-01-31"),
        term(),
        ("ended", "INACTIVE", "2025-12-31"),
    ),
    "an option that is not used yet": (
        right("2024-08-01 2"),
        term(),
        ("updated", "INACTIVE", "2025-12-31"),
    ),
    "passivated in the term": (
        right("2024-08-01 2025-09-30 1", "2025-10-01 4"),
        term(),
        ("updated", "INACTIVE", "2025-12-31"),
    ),
    "passivated before, active again": (
        right("2024-08-01 2025-08-31 4", "2025-09-01 1"),
        term(),
        ("activated", "ACTIVE", "2025-12-31"),
    ),
    "a planned end within the term": (
        right("2024-08-01 2025-11-30 1", until="2025-11-30"),
        term(),
        ("activated", "ACTIVE", "2025-11-30"),
    ),
    "a term without its last day": (
        right(SINCE_2024, until="2026-07-31"),
        term(end=""),
        ("activated", "ACTIVE", "2026-07-31"),
    ),
    "a term of no study right": ("", term(key=""), ("activated", "ACTIVE", "2025-12-31")),
    "days with a time zone": (
        right("2025-10-16Z 3", "2024-08-01Z 2025-10-15Z 1", until="2025-10-15Z"),
        term("2025-08-01Z", "2025-12-31Z"),
        ("ended", "INACTIVE", "2025-10-15"),
    ),
}


@pytest.mark.parametrize("name", IN_TERMS)
def test_status_of_a_term(name: str, tables: Tables) -> None:
    rights, terms, expected = IN_TERMS[name]
    (found,) = statuses(tables, PERSON.format(rights=rights, terms=terms))
    event = found["eventType"].removeprefix("student.status.")
    assert (event, found["status"], found["validUntil"]) == expected
    assert found["esi"] == "urn:schac:personalUniqueCode:int:esi:FI:1.2.246.562.24.00000000017"


@pytest.mark.parametrize(
    ("kind", "level"),
    [
        ("1", "BACHELOR"), ("2", "BACHELOR"), ("3", "MASTER"), ("4", "MASTER"), ("6", "DOCTORATE"), ("7", "DOCTORATE"),
        *((kind, None) for kind in ("5", "8", "9", "10", "13", "19", "20", "99")),
    ],
)  # fmt: skip
def test_level_of_the_programme(kind: str, level: str | None, tables: Tables) -> None:
    people = PERSON.format(rights=right(SINCE_2024, kind=kind), terms=term())
    (found,) = statuses(tables, people)
    assert found.get("academicLevel") == level
    assert ("eqfLevel" in found) == (level is not None)


@pytest.mark.parametrize(
    ("kind", "status"),
    [("2", "INACTIVE"), ("7", "INACTIVE"), ("10", "ACTIVE"), ("13", "ACTIVE")],
)
def test_study_right_without_a_term(kind: str, status: str, tables: Tables) -> None:
    """Students of a degree enrol for each term, and others do not have to."""
    people = PERSON.format(rights=right(SINCE_2024, kind=kind, until="2026-07-31"), terms="")
    (found,) = statuses(tables, people)
    assert (found["status"], found["validUntil"]) == (status, "2026-07-31")


def test_study_right_without_any_last_day_is_rejected(tables: Tables) -> None:
    people = PERSON.format(rights=right(SINCE_2024, kind="13"), terms="")
    assert statuses(tables, people) == [{"rejected": "valid_until: missing"}]


def test_study_right_of_an_unknown_type_without_a_term_is_rejected(tables: Tables) -> None:
    people = PERSON.format(rights=right(SINCE_2024, kind="77", until="2026-07-31"), terms="")
    assert statuses(tables, people) == [{"rejected": "active: unmapped"}]


@pytest.mark.parametrize(
    ("rights", "terms", "reason"),
    [
        (right("2024-08-01 7"), term(), "unmapped"),
        (right("2024-08-01 2025-10-15 1", "2025-10-16 7"), term(), "unmapped"),
        (right(), term(), "unmapped"),
        (right(SINCE_2024), term(state=""), "missing"),
        (right(SINCE_2024), term(state="9"), "unmapped"),
    ],
)
def test_unknown_state_is_rejected_and_never_read_as_absent(
    rights: str, terms: str, reason: str, tables: Tables
) -> None:
    people = PERSON.format(rights=rights, terms=terms)
    assert statuses(tables, people) == [{"rejected": f"active: {reason}"}]


def test_unknown_state_on_other_days_does_not_matter(tables: Tables) -> None:
    rights = right("2024-08-01 2024-12-31 7", "2025-01-01 1")
    (found,) = statuses(tables, PERSON.format(rights=rights, terms=term()))
    assert found["status"] == "ACTIVE"


def test_equal_keys_of_two_people_are_not_mixed_up(tables: Tables) -> None:
    """A key of a study right is unique within its person only."""
    first = PERSON.format(rights=right(SINCE_2024, kind="7"), terms=term())
    second = PERSON.format(rights=right("2024-08-01 2"), terms=term("2025-08-02"))
    one, two = statuses(tables, first + second)
    assert (one["status"], one["academicLevel"]) == ("ACTIVE", "DOCTORATE")
    assert (two["status"], two["academicLevel"]) == ("INACTIVE", "BACHELOR")


@pytest.mark.parametrize(
    "people", ["", PERSON.format(rights="", terms=""), '<v:Opiskelija avain="5"/>']
)
def test_person_without_a_study_right_is_an_empty_list(people: str, tables: Tables) -> None:
    assert statuses(tables, people) == []
