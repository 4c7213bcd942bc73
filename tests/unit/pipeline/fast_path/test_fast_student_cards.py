"""Enrolments and cards on the fast path: what is common goes fast, and all else the ordinary way."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from functools import cache
from typing import Any

import pytest

from bench.harmonise import Fetched
from gateway.harmonise.harmoniser import Harmoniser
from gateway.harmonise.providers import Providers
from gateway.identifiers import is_student_identifier, parse_student_identifier
from gateway.pipeline.fast_path.fast_path import FastPath
from gateway.pipeline.record_processor import RecordProcessor
from gateway.records import RawRecord
from tests.support.equality import (
    MARCH,
    SECRET,
    Comparison,
    World,
    facts,
    fetched,
    mapping_tables,
)
from tests.support.equality_neighbours import with_value, without
from tests.support.equality_records import CONNECTORS
from tests.support.every_kind import CARD, ESI, accepted, every_kind, raw_of

WORLD = World({"every-kind": every_kind("json"), "demo-file": CONNECTORS["demo-file"]})
WORLDS: dict[int, World] = {}
PREFIX = "urn:schac:personalUniqueCode:int:esi:"
ROW = {
    "cardNumber": CARD,
    "cardStatusType": "ACTIVE",
    "cardType": "SMART_CDZ",
    "issuedAt": "2025-01-01",
    "expiresAt": "2027-09-30",
    "issuerIdentifier": "900000001",
    "personIdentifier": ESI,
    "processorIdentifier": "",
    "displayName": "Campus card",
}


def row_of(cells: dict[str, Any], **changes: Any) -> RawRecord:
    """Return the raw record of a row of the demonstration's card office."""
    values: dict[str, Any] = {
        "connector": "demo-file",
        "stream": "cards",
        "native_id": CARD,
        "body": json.dumps(cells, separators=(",", ":")).encode(),
        **changes,
    }
    return RawRecord(**values)


@cache
def harmonisers(world: int) -> dict[str, Harmoniser]:
    """Return the harmonisers of a world, which all its processors share."""
    return {
        name: Harmoniser(
            connector, mapping_tables(), pseudonym_key=SECRET, providers=WORLDS[world].providers
        )
        for name, connector in WORLDS[world].connectors.items()
    }


def new_processor(world: World, *, fast: bool) -> RecordProcessor:
    """Return a processor without memories."""
    WORLDS[id(world)] = world
    return RecordProcessor(harmonisers(id(world)).get, SECRET, fast_path=fast)


def paths(processor: RecordProcessor) -> list[FastPath]:
    """Return the fast paths that a processor has built."""
    assert processor.fast_paths is not None
    return [built.path for built in processor.fast_paths._built.values() if built.path is not None]


def assert_fast(record: Fetched, *, fast: bool, world: World = WORLD) -> None:
    """Check that a record has the ordinary result, and whether it goes the fast way."""
    expected = facts(new_processor(world, fast=False), record)
    processor = new_processor(world, fast=True)
    for _ in range(3):
        assert facts(processor, record) == expected
    (path,) = paths(processor)
    assert path._fast == (2 if fast else 0)  # the first record goes both ways
    assert not path.differences


@pytest.mark.parametrize("kind", ["statuses", "cards"])
def test_a_common_record_goes_the_fast_way(kind: str):
    assert_fast(fetched(raw_of(kind, accepted(kind), "json")), fast=True)


def test_a_common_row_of_a_table_goes_the_fast_way():
    assert_fast(fetched(row_of(ROW)), fast=True)


@pytest.mark.parametrize(
    ("kind", "place", "value"),
    [
        ("statuses", ("person", "name"), "J\u016bra " + "x" * 250),
        ("statuses", ("person", "name"), None),
        ("statuses", ("person", "email"), None),
        ("statuses", ("active",), False),
        ("statuses", ("ended",), True),
        ("statuses", ("degree",), False),
        ("statuses", ("level",), None),
        ("statuses", ("begins",), None),
        ("statuses", ("changed",), None),
        ("statuses", ("person", "esi"), f"{PREFIX}IE:1"),
        ("statuses", ("body", "schac"), None),
        ("cards", ("number",), CARD.upper()),
        ("cards", ("active",), None),
        ("cards", ("state",), "S"),
        ("cards", ("processor",), None),
        ("cards", ("product",), None),
        ("cards", ("product",), 'A "card" of J\u016bra'),
    ],
)
def test_neighbours_that_go_the_fast_way(kind: str, place: tuple[str, ...], value: Any):
    payload = with_value(accepted(kind), place, value)
    if (kind, place) == ("cards", ("active",)):
        payload["state"] = "S"
    assert_fast(fetched(raw_of(kind, payload, "json")), fast=True)


@pytest.mark.parametrize(
    ("kind", "place", "value"),
    [
        ("statuses", ("agreed",), False),
        ("statuses", ("agreed",), None),
        ("statuses", ("person", "esi"), None),
        ("statuses", ("person", "esi"), "90001"),
        ("statuses", ("person", "esi"), f"{PREFIX}-bad.example:1"),
        ("statuses", ("person", "esi"), f"{PREFIX}{'a' * 64}.example:1"),
        ("statuses", ("person", "name"), "x" * 256),
        ("statuses", ("person", "email"), "nobody"),
        ("statuses", ("body", "pic"), "12"),
        ("statuses", ("active",), None),
        ("statuses", ("begins",), "2027-01-01"),
        ("statuses", ("begins",), "2025-02-30"),
        ("statuses", ("ends",), None),
        ("cards", ("agreed",), False),
        ("cards", ("number",), None),
        ("cards", ("number",), CARD[:-1]),
        ("cards", ("number",), CARD.replace("900000001", "900000002")),
        ("cards", ("body", "pic"), "900000002"),
        ("cards", ("body", "pic"), None),
        ("cards", ("state",), "X"),
        ("cards", ("active",), None),
        ("cards", ("type",), "GOLD"),
        ("cards", ("issued",), None),
        ("cards", ("expires",), None),
        ("cards", ("expires",), "2024-12-31"),
        ("cards", ("processor",), "x" * 33),
        ("cards", ("product",), "x" * 256),
        ("cards", ("product",), "a\u202eb"),
    ],
)
def test_neighbours_that_go_the_ordinary_way(kind: str, place: tuple[str, ...], value: Any):
    assert_fast(fetched(raw_of(kind, with_value(accepted(kind), place, value), "json")), fast=False)


@pytest.mark.parametrize("kind", ["statuses", "cards"])
@pytest.mark.parametrize(
    "changes",
    [
        {"change_time_problem": "in_future"},
        {"corrects_event_id": "fedcba9876543210fedcba9876543210"},
        {"native_id": "?missing a1"},
    ],
)
def test_records_with_a_history_go_the_ordinary_way(kind: str, changes: dict[str, Any]):
    record = fetched(raw_of(kind, accepted(kind), "json", **changes))
    expected = facts(new_processor(WORLD, fast=False), record)
    assert facts(new_processor(WORLD, fast=True), record) == expected


def test_a_row_with_too_few_cells_goes_the_ordinary_way():
    """The reader marks such a row, and all its other cells look right."""
    assert_fast(fetched(row_of({**ROW, "_malformed": [9, 8]})), fast=False)


def test_a_holder_with_a_day_of_birth_goes_the_ordinary_way():
    """A document has no such day, but the rules check it."""
    connector = every_kind("json")
    stream = connector.streams["statuses"]
    rule = connector.streams["credentials"].map["holder.birth_date"]
    changed = stream.model_copy(update={"map": {**stream.map, "holder.birth_date": rule}})
    world = World(
        {"every-kind": connector.with_streams({**connector.streams, "statuses": changed})}
    )
    for born, fast in ((None, True), ("1990-01-02", False), ("2999-01-01", False)):
        payload = with_value(accepted("statuses"), ("person", "born"), born)
        assert_fast(fetched(raw_of("statuses", payload, "json")), fast=fast, world=world)


@pytest.mark.parametrize("kind", ["statuses", "cards"])
def test_the_day_of_publication_is_that_of_the_raw_record(kind: str):
    processor = new_processor(WORLD, fast=True)
    days = []
    for timestamp in (0, MARCH, MARCH + 1, MARCH + 86_400_000, MARCH):
        record = fetched(raw_of(kind, accepted(kind), "json"), timestamp=timestamp)
        result = facts(processor, record)
        assert result == facts(new_processor(WORLD, fast=False), record)
        days.append(json.loads(result["outgoing"][0][3])["publishedAt"][:10])
    morning = datetime.fromtimestamp(MARCH / 1000, UTC).date()
    tomorrow = f"{morning + timedelta(1)}"
    assert days == ["1970-01-01", f"{morning}", f"{morning}", tomorrow, f"{morning}"]


@pytest.mark.parametrize("kind", ["statuses", "cards"])
@pytest.mark.parametrize(
    "changed",
    [
        "0001-01-01T00:00:00+00:00",
        "2026-03-01T14:00:00+00:00",
        "2026-03-01T14:00:00.000001+00:00",
        "2026-03-01T14:00:00.120000+00:00",
        "2026-03-01T23:30:00-02:00",
        "2026-03-01T00:30:00+05:30",
    ],
)
def test_the_id_of_an_event_covers_its_exact_time(kind: str, changed: str):
    payload = without(accepted(kind), ("changed",))
    raw = raw_of(kind, payload, "json", changed_at=datetime.fromisoformat(changed))
    assert_fast(fetched(raw), fast=True)
    mapped = raw_of(kind, {**accepted(kind), "changed": changed}, "json")
    assert_fast(fetched(mapped), fast=True)


@pytest.mark.parametrize(
    "native_id", [CARD, CARD.upper(), "card 17", "\u00e4/\u00f6 |%20", CARD[:-1]]
)
@pytest.mark.parametrize("number", [CARD, CARD.upper()])
def test_the_key_of_a_card(native_id: str, number: str):
    payload = {**accepted("cards"), "number": number}
    assert_fast(fetched(raw_of("cards", payload, "json", native_id=native_id)), fast=True)
    assert_fast(fetched(row_of({**ROW, "cardNumber": number}, native_id=native_id)), fast=True)


def test_a_level_on_both_sides_of_each_boundary_of_the_tables():
    """Enrolments share a remembered level only if the tables give the same answer for both."""
    first_day = mapping_tables().judgements.level_day
    every_day = (date(1990, 1, 1) + timedelta(number) for number in range(16_000))
    changing = [day for day in every_day if first_day("IE", day) == day]
    assert changing
    records = []
    for day in sorted({day + timedelta(step) for day in changing for step in (-1, 0, 1)}):
        for level in ("5", "6", "7", "8", "9", "10", "unknown"):
            payload = with_value(accepted("statuses"), ("level", "value"), level)
            begun = {**payload, "begins": f"{day}", "ends": "2999-08-31"}
            ended = {**without(payload, ("begins",)), "ends": f"{day}"}
            records += [fetched(raw_of("statuses", each, "json")) for each in (begun, ended)]
    results = Comparison(WORLD).assert_equal(records, passes=2)
    assert sum(result["outcome"] == "accepted" for result in results) > len(records) / 2


def test_known_providers_give_the_same_institution():
    world = World(WORLD.connectors, providers=Providers(()))
    for kind in ("statuses", "cards"):
        assert_fast(fetched(raw_of(kind, accepted(kind), "json")), fast=True, world=world)


def test_no_memory_has_a_value_about_a_person():
    processor = new_processor(WORLD, fast=True)
    for number in range(20):
        person = {"esi": f"{ESI}{number}", "name": f"Name{number}", "email": f"e{number}@a.example"}
        status = {**accepted("statuses"), "person": person}
        card = {
            **accepted("cards"),
            "person": person,
            "number": CARD.replace("4b", f"{number + 10}"),
        }
        for kind, payload in (("statuses", status), ("cards", card)):
            record = fetched(raw_of(kind, payload, "json", native_id=f"native-{number}"))
            assert facts(processor, record)["outcome"] == "accepted"
    found = paths(processor)
    assert len(found) == 2
    for path in found:
        assert path._fast == 19  # the first record goes both ways
        for memory in path.memories:
            assert len(memory.entries) == 1, memory.name
            text = repr(memory.entries)
            assert not any(
                word in text for word in ("Name", "@a.example", ESI, "native-", CARD[8:])
            )


@pytest.mark.parametrize(
    "text",
    [
        ESI,
        ESI.upper(),
        f"{PREFIX}IE:1",
        f"{PREFIX}ZZ:1",
        f"{PREFIX}ie:1",
        f"{PREFIX}a.example:1",
        f"{PREFIX}a.example:",
        f"{PREFIX}a..example:1",
        f"{PREFIX}.example:1",
        f"{PREFIX}-a.example:1",
        f"{PREFIX}a-.example:1",
        f"{PREFIX}a--b.example:1",
        f"{PREFIX}a.e:1",
        f"{PREFIX}a.{'e' * 25}:1",
        f"{PREFIX}{'a' * 63}.example:1",
        f"{PREFIX}{'a' * 64}.e1:1",
        f"{PREFIX}{'a' * 64}.ex:1",
        f"{PREFIX}{'a.' * 20}example:1",
        f"{PREFIX}a.example:1:2",
        f"{PREFIX}a.example:1 2",
        f"{PREFIX}a.example:1\n",
        f"{PREFIX}a.example:%41",
        f"{PREFIX}a.example:%4",
        f"{PREFIX}a.example:{'1' * 300}",
        f"{PREFIX}a.example:\u0661",
        "",
    ],
)
def test_the_short_check_of_a_student_identifier_agrees_with_its_parser(text: str):
    assert is_student_identifier(text) is not isinstance(parse_student_identifier(text), str)
