"""Validate replies with their schemas: offline, by file name, strictly or with a count."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from gateway.config.connector import SchemaCheck
from gateway.errors import StreamHalted
from gateway.fetch import xml_parser
from gateway.fetch.decode.chain import DecodedReply
from gateway.fetch.decode.schema_check import SchemaChecker
from gateway.fetch.http.body import ReplyBody
from gateway.observability import metrics

REFERENCE = Path(
    os.environ.get("GATEWAY_REFERENCE", Path(__file__).parents[4] / "shared" / "reference")
)
XS = 'xmlns:xs="http://www.w3.org/2001/XMLSchema"'


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "a.xsd").write_text(
        f'<xs:schema {XS} xmlns:b="urn:b" targetNamespace="urn:a"><xs:import namespace="urn:b" schemaLocation="http://x.example/deep/b.xsd"/>'
        '<xs:element name="r" type="b:T"/></xs:schema>'
    )
    (tmp_path / "b.xsd").write_text(
        f'<xs:schema {XS} targetNamespace="urn:b"><xs:simpleType name="T"><xs:restriction base="xs:int"/></xs:simpleType></xs:schema>'
    )
    return tmp_path


def check(folder, document: str, mode: str = "strict", **rule):
    root = xml_parser.parse(ReplyBody.from_bytes(document.encode()))
    SchemaChecker(SchemaCheck(mode=mode, **(rule or {"xsd": "a.xsd"})), folder, "test", "s").check(
        DecodedReply([], root)
    )


def test_schema_import_is_found_in_its_folder(folder):
    check(folder, "<r xmlns='urn:a'>1</r>")
    with pytest.raises(StreamHalted) as caught:
        check(folder, "<r xmlns='urn:a'>CANARY</r>")
    assert caught.value.reason == "SCHEMA"
    assert "CANARY" not in str(caught.value)
    before = metrics.ISSUES.labels("test", "s", "reply_schema")._value.get()
    check(folder, "<r xmlns='urn:a'>x</r>", "warn")
    assert metrics.ISSUES.labels("test", "s", "reply_schema")._value.get() == before + 1
    check(folder, "<r xmlns='urn:a'>x</r>", "off")


def test_envelope_is_checked_by_its_body(folder):
    wrap = '<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body>{}</s:Body></s:Envelope>'
    check(folder, wrap.format("<r xmlns='urn:a'>1</r>"))
    with pytest.raises(StreamHalted):
        check(folder, wrap.format("<r xmlns='urn:a'>x</r>"))


@pytest.mark.parametrize(
    "where", ["http://x.example/absent.xsd", "file:///etc/absent.xsd", "../outside.xsd"]
)
def test_schema_reads_nothing_outside_its_folder(folder, where):
    inner = folder / "inner"
    inner.mkdir()
    (folder / "outside.xsd").write_text((folder / "b.xsd").read_text())
    (inner / "a.xsd").write_text(
        (folder / "a.xsd").read_text().replace("http://x.example/deep/b.xsd", where)
    )
    with pytest.raises(StreamHalted) as caught:
        check(inner, "<r xmlns='urn:a'>1</r>")
    assert caught.value.reason == "SCHEMA_UNREADABLE"


@pytest.mark.reference
def test_reply_that_breaks_its_schema_is_refused(tmp_path):
    saved = REFERENCE / "registries" / "finland" / "virta"
    if not saved.is_dir():
        pytest.skip("the reference material is not here: set GATEWAY_REFERENCE")
    for file in (saved / "xsd").iterdir():
        shutil.copy(file, tmp_path)
    for reply in sorted(saved.glob("OpiskelijanKaikki*.xml")):
        with pytest.raises(StreamHalted) as caught:
            check(tmp_path, reply.read_text(), xsd="Virta.xsd")
        assert caught.value.reason == "SCHEMA"
        assert "at line 7 (SCHEMAV_CVC_PATTERN_VALID)" in str(
            caught.value
        )  # their invented numbers of persons are of no valid form
        assert reply.stem.rpartition("-")[2] not in str(caught.value)
