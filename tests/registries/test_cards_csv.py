"""Cards from a CSV file: published rows, and wrong rows with their row and column."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace
from typing import Any

import pytest

from gateway.config.connector import Connector
from gateway.config.loading import load_connector
from gateway.config.rules import MappingRule
from gateway.errors import StreamHalted
from gateway.harmonise.harmoniser import Harmoniser
from gateway.harmonise.tables.compiled_tables import Tables
from gateway.local.registries.saved_replies import SavedReply
from gateway.messages.cloudevents import decode_raw, encode_raw_headers
from gateway.messages.topics import CARDS_TOPIC, REJECTIONS
from gateway.pipeline.record_processor import RecordProcessor
from gateway.records import RawRecord
from tests.support.saved_replies import REFERENCE, ROOT, read_stream

CONNECTOR = ROOT / "connectors/eu-esc-cards-csv.yaml"
SAMPLE = ROOT / "docs/how-to/cards.csv"
ESI = "urn:schac:personalUniqueCode:int:esi:university.example:900000017"
GOOD = {
    "cardNumber": "4b171400-b51e-103d-8abc-001900000001",
    "cardStatusType": "ACTIVE",
    "cardType": "SMART_CDZ",
    "issuedAt": "2025-01-01",
    "expiresAt": "2027-09-30",
    "issuerIdentifier": "900000001",
    "personIdentifier": ESI,
    "processorIdentifier": "",
    "displayName": "Campus card",
}
KEY = b"a key for tests only, never for people"


@pytest.fixture(scope="module")
def tables() -> Tables:
    return Tables.load(ROOT / "mappings")


def connector(*, agreed: bool = True, separator: str = ",") -> Connector:
    loaded = load_connector(CONNECTOR)
    stream = loaded.streams["cards"]
    rule = {"esc_agreement": MappingRule(const=True, basis="Card terms of the tests")}
    (decoder,) = stream.decode
    table = decoder.csv.model_copy(update={"separator": separator})  # type: ignore[union-attr]
    changed = {
        "map": {**stream.map, **(rule if agreed else {})},
        "decode": (decoder.model_copy(update={"csv": table}),),  # type: ignore[union-attr]
    }
    return loaded.with_streams({"cards": stream.model_copy(update=changed)})


def table_of(*rows: dict[str, str], separator: str = ",") -> bytes:
    """Return a table with the columns of the first row."""
    lines = [separator.join(rows[0]), *(separator.join(row.values()) for row in rows)]
    return ("\n".join(lines) + "\n").encode()


def ends(data: bytes, tables: Tables, made: Connector | None = None) -> list[dict[str, Any] | str]:
    """Return the document of each row, or its rejection as "reason at field: detail"."""
    made = made or connector()
    reply = [SavedReply(data, "text/csv")]
    raws = asyncio.run(read_stream(made, "cards", lambda _: reply, {}))
    harmoniser = Harmoniser(made, tables, pseudonym_key=KEY)
    process = RecordProcessor({made.connector: harmoniser}.get, KEY)
    found: list[dict[str, Any] | str] = []
    for raw in raws:
        result = process(stored(raw))
        values = {one.topic: one.value for one in result.outgoing if one.value is not None}
        if rejected := values.get(REJECTIONS.name):
            facts = json.loads(rejected)
            found.append(f"{facts['reason']} at {facts['field']}: {facts['detail']}")
        else:
            found.append(json.loads(values[CARDS_TOPIC]) if values else result.reason)
    return found


def stored(raw: RawRecord) -> Any:
    """Return a record as the raw topic holds it."""
    return SimpleNamespace(
        key=raw.key.encode(),
        value=raw.body,
        headers=encode_raw_headers(raw),
        timestamp=0,
        topic="gateway.raw.v1",
        partition=0,
        offset=0,
    )


def test_row_becomes_a_card(tables: Tables) -> None:
    (card,) = ends(table_of(GOOD | {"processorIdentifier": "B12345678"}), tables)
    assert isinstance(card, dict)
    facts = {name: card[name] for name in card if name not in {"eventId", "occurredAt", "publishedAt", "source", "schemaVersion"}}  # fmt: skip
    assert facts == {
        "eventType": "card.updated",
        "cardNumber": GOOD["cardNumber"],
        "personIdentifier": ESI,
        "issuerIdentifier": "900000001",
        "cardStatusType": "ACTIVE",
        "cardType": "SMART_CDZ",
        "issuedAt": "2025-01-01",
        "expiresAt": "2027-09-30",
        "processorIdentifier": "B12345678",
        "displayName": "Campus card",
    }


WRONG: dict[str, tuple[dict[str, str], str]] = {
    "a card number that is missing": ({"cardNumber": ""}, "missing at id: row 2, column cardNumber: "),
    "a card number that is no ESCN": (
        {"cardNumber": "4b171400-b51e-403d-8abc-001900000001"},
        "missing at card_number: row 2, column cardNumber: ",
    ),
    "an unknown status": ({"cardStatusType": "LOST"}, "unmapped at active: row 2, column cardStatusType: "),
    "no status": ({"cardStatusType": ""}, "missing at active: row 2, column cardStatusType: "),
    "an unknown type": ({"cardType": "9"}, "unmapped at card_type: row 2, column cardType: "),
    "a day in another form": ({"issuedAt": "1.1.2025"}, "not_a_date at issued_on: row 2, column issuedAt: "),
    "an impossible day": ({"expiresAt": "2027-02-30"}, "not_a_date at expires_on: row 2, column expiresAt: "),
    "no day of expiry": ({"expiresAt": ""}, "missing at expires_on: row 2, column expiresAt: "),
    "no day of issue": ({"issuedAt": ""}, "missing at issued_on: row 2, column issuedAt: "),
    "an expiry before the issue": (
        {"expiresAt": "2024-12-31"},
        "dates_out_of_order at expires_on: row 2, column expiresAt: ",
    ),
    "another issuer than in the number": (
        {"issuerIdentifier": "900000002"},
        "pic_conflict at issuer.identifiers.pic: row 2, column issuerIdentifier: ",
    ),
    "no issuer": (
        {"issuerIdentifier": ""},
        "missing at issuer.identifiers.pic: row 2, column issuerIdentifier: ",
    ),
    "a national number for the identifier": (
        {"personIdentifier": "010190-901A"},
        "invalid at holder.esi: row 2, column personIdentifier: ",
    ),
    "no identifier": ({"personIdentifier": ""}, "missing at holder.esi: row 2, column personIdentifier: "),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_wrong_row_is_rejected_with_its_row_and_column(name: str, tables: Tables) -> None:
    change, expected = WRONG[name]
    other = GOOD | {"cardNumber": "4b171401-b51e-103d-8abc-001900000001"}
    wrong, good = ends(table_of(GOOD | change, other), tables)
    assert isinstance(wrong, str)
    assert wrong.startswith(expected), wrong
    assert len(wrong) > len(expected), "what was expected"
    assert "010190" not in wrong
    assert isinstance(good, dict), "the other rows of the file are published"


def test_row_with_too_few_or_too_many_cells_is_rejected(tables: Tables) -> None:
    heads, row = table_of(GOOD).decode().splitlines()
    short = row.replace("71400-", "71401-").rpartition(",")[0]
    long = row.replace("71400-", "71402-") + ",further"
    one, two, three = ends(f"{heads}\n\n{short}\n{long}\n{row}".encode(), tables)
    assert one == "malformed_row at : row 3: expected 9 cells, and the row has 8"
    assert two == "malformed_row at : row 4: expected 9 cells, and the row has 10"
    assert isinstance(three, dict)


def test_rows_are_counted_as_a_spreadsheet_counts_them(tables: Tables) -> None:
    """The first row names the columns. A cell of two lines is in one row."""
    rows = [GOOD | {"displayName": '"Campus\ncard"'}, GOOD | {"cardNumber": "", "cardType": "1"}]
    first, second = ends(b"\xef\xbb\xbf" + table_of(*rows).replace(b"\n4b", b"\r\n\r\n4b"), tables)
    assert isinstance(first, dict)
    assert isinstance(second, str)
    assert second.startswith("missing at id: row 4, column cardNumber: ")


def test_order_of_the_columns_has_no_meaning_and_further_ones_are_not_read(tables: Tables) -> None:
    turned = dict(reversed((GOOD | {"email": "someone@office.example"}).items()))
    assert ends(table_of(turned), tables) == ends(table_of(GOOD), tables)


def test_separator_of_a_spreadsheet(tables: Tables) -> None:
    data = table_of(GOOD, separator=";")
    (card,) = ends(data, tables, connector(separator=";"))
    assert isinstance(card, dict)
    with pytest.raises(StreamHalted, match="cardNumber"):
        ends(data, tables)


@pytest.mark.parametrize(
    ("first", "rest", "advice"),
    [
        (";".join(GOOD), ";".join(GOOD.values()), 'Write `decode: [{csv: {separator: ";"}}]`'),
        ("\t".join(GOOD), "\t".join(GOOD.values()), 'separator: "\\t"'),
        (",".join(GOOD).upper(), ",".join(GOOD.values()), "The first row has `CARDNUMBER`"),
        (",".join(GOOD.values()), ",".join(GOOD.values()), "Compare the first row"),
    ],
)
def test_first_row_in_another_form_says_what_to_write(
    first: str, rest: str, advice: str, tables: Tables
) -> None:
    with pytest.raises(StreamHalted) as raised:
        ends(f"{first}\n{rest}\n".encode(), tables)
    assert raised.value.reason == "LIST_MISSING"
    assert advice in str(raised.value)
    assert "university.example" not in str(raised.value), "a first row of values is not quoted"


def test_missing_column_rejects_every_row(tables: Tables) -> None:
    renamed = {name.replace("expiresAt", "expires"): value for name, value in GOOD.items()}
    (end,) = ends(table_of(renamed), tables)
    assert isinstance(end, str)
    assert end.startswith("missing at expires_on: row 2, column expiresAt: ")


@pytest.mark.parametrize(
    ("status", "event", "shown"),
    [
        ("ACTIVE", "updated", "ACTIVE"),
        ("active", "updated", "ACTIVE"),
        ("INACTIVE", "suspended", "INACTIVE"),
        ("EXPIRED", "expired", "INACTIVE"),
    ],
)
def test_status(status: str, event: str, shown: str, tables: Tables) -> None:
    (card,) = ends(table_of(GOOD | {"cardStatusType": status}), tables)
    assert isinstance(card, dict)
    assert (card["eventType"], card["cardStatusType"]) == (f"card.{event}", shown)


def test_types_of_both_versions_of_the_router(tables: Tables) -> None:
    names = ("UNKNOWN", "PASSIVE", "SMART_NO_CDZ", "SMART_CDZ", "SMART_MAY_SP")
    for number, name in enumerate(names):
        for written in (str(number), name, name.lower()):
            (card,) = ends(table_of(GOOD | {"cardType": written}), tables)
            assert isinstance(card, dict)
            assert card["cardType"] == name


def test_without_an_agreement_every_card_is_withheld(tables: Tables) -> None:
    assert ends(table_of(GOOD), tables, connector(agreed=False)) == ["no_agreement"]


def test_too_long_texts_are_left_out(tables: Tables) -> None:
    (card,) = ends(table_of(GOOD | {"processorIdentifier": "B" * 33}), tables)
    assert isinstance(card, dict)
    assert "processorIdentifier" not in card


def test_sample_of_the_guide(tables: Tables) -> None:
    first, second, third = ends(SAMPLE.read_bytes(), tables)
    assert isinstance(first, dict)
    assert isinstance(second, dict)
    assert third == (
        "not_a_date at expires_on: row 4, column expiresAt: expected a date such as 2026-02-28; "
        'for another form: as: {date: "%d.%m.%Y"}'
    )


def test_row_travels_with_the_raw_record_and_is_no_part_of_it() -> None:
    """A row that moves within the file is not a changed record."""
    one = RawRecord(connector="c", stream="s", native_id="1", body=b"{}", row="row 7 of a.csv")
    record = stored(one)
    assert decode_raw(record.key, record.value, record.headers).row == "row 7 of a.csv"
    moved = RawRecord(connector="c", stream="s", native_id="1", body=b"{}", row="row 8 of a.csv")
    content = dict(encode_raw_headers(one))["ce_contentid"]
    assert dict(encode_raw_headers(moved))["ce_contentid"] == content


@pytest.mark.reference
@pytest.mark.skipif(
    not (REFERENCE / "student-card").is_dir(),
    reason=f"no reference material at {REFERENCE}; set GATEWAY_REFERENCE",
)
def test_columns_are_those_of_the_router() -> None:
    router = json.loads(
        (REFERENCE / "student-card/esc-router/esc-router-v2.openapi.json").read_text()
    )
    fields = router["components"]["schemas"]["CardUpdateView"]["properties"]
    rules = load_connector(CONNECTOR).streams["cards"].map.values()
    assert {rule.from_ for rule in rules} == set(fields)
    assert set(SAMPLE.read_text().splitlines()[0].split(",")) == set(fields)
