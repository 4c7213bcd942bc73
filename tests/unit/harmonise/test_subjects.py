"""Find the data subject of a raw record.

Each identifier and each key finds the person, also when the rest of the record is invalid.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.config.loading import load_connector
from gateway.harmonise.data_subjects import DataSubjectFinder, PersonalValueFinder, identifier_kinds
from gateway.harmonise.pseudonyms import pseudonymiser
from gateway.records import RawRecord

CONNECTORS = Path(__file__).parents[3] / "connectors"
SOAP = load_connector(CONNECTORS / "demo-soap.yaml")
ESI = "urn:schac:personalUniqueCode:int:esi:lakeland.example:d-1"
KEYS = (b"k" * 32, b"o" * 32)


def degree(student: str, rest: str = "") -> RawRecord:
    body = f'<t:degree xmlns:t="urn:example:student-records:1" kind="degree"><t:student>{student}</t:student>{rest}</t:degree>'
    return RawRecord(
        connector="demo-soap",
        stream="degrees",
        native_id="D-1",
        body=body.encode(),
        media_type="application/xml",
    )


def ids(kind: str, country: str, value: str) -> set[str]:
    return {pseudonymiser(key, country, kind)(value) for key in KEYS}


@pytest.mark.parametrize(
    ("student", "expected"),
    [
        (f"<t:esi>{ESI}</t:esi>", ids("esi", "", ESI)),
        (
            "<t:nationalNumber>010190-901A</t:nationalNumber>",
            ids("fi-national-number", "FI", "010190-901a "),
        ),
        (
            f"<t:nationalNumber>010190-901A</t:nationalNumber><t:esi>{ESI}</t:esi>",
            ids("fi-national-number", "FI", "010190-901A") | ids("esi", "", ESI),
        ),
        ("<t:givenName>Aava</t:givenName>", set()),
        (
            f"<t:esi>{ESI}</t:esi><t:esi>another</t:esi><t:nationalNumber>1</t:nationalNumber>",
            ids("fi-national-number", "FI", "1"),
        ),
    ],
    ids=["esi", "national number", "both", "neither", "an ambiguous one does not hide the other"],
)
def test_person_is_found_by_each_identifier(student: str, expected: set[str]):
    assert (
        DataSubjectFinder(SOAP, KEYS)(degree(student, "<t:awarded>2021-02-30</t:awarded>"))
        == expected
    )


def test_unreadable_record_names_no_person():
    find = DataSubjectFinder(SOAP, KEYS)
    for body in (b"", b"{}", b"<a", b"<a/>", None):
        for stream in ("degrees", "gone"):
            assert (
                find(
                    RawRecord(
                        connector="demo-soap",
                        stream=stream,
                        native_id="1",
                        body=body,
                        media_type="application/xml",
                    )
                )
                == frozenset()
            )


def test_protected_values_are_found():
    found = PersonalValueFinder(SOAP)(
        degree(
            "<t:nationalNumber>010190-901A</t:nationalNumber><t:birthDate>1990-01-01</t:birthDate>"
        )
    )
    assert {"010190-901A", "1990-01-01"} <= set(found)


@pytest.mark.parametrize("path", sorted(CONNECTORS.glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_connectors_support_erasure_by_person(path: Path):
    connector = load_connector(path)
    find = DataSubjectFinder(connector, KEYS)
    for stream in connector.streams:
        assert (
            find(RawRecord(connector=connector.connector, stream=stream, native_id="1", body=b"{}"))
            == frozenset()
        )
    assert all(kind for _, kind in identifier_kinds([connector]))
