"""Files that a connector file names stay in their folder. Nothing outside is opened."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gateway.check import check
from gateway.config.connector import SchemaCheck, Soap
from gateway.config.loading import build_connector, load_connector
from gateway.config.side_files import MAX_SIDE_FILE_BYTES, find_side_file, read_side_file
from gateway.config.yaml.document import read_yaml
from gateway.errors import ConfigError, StreamHalted
from gateway.fetch.decode.json_schema import first_violation, read_json_schema
from gateway.fetch.decode.schema_check import SchemaChecker
from gateway.fetch.registry_client import RegistryClient
from gateway.fetch.secrets import FileSecrets
from gateway.fetch.soap.envelope import Wsdl

EXAMPLES = Path(__file__).parents[2] / "connectors"
SOAP = (EXAMPLES / "demo-soap.yaml").read_text(encoding="utf-8")
WSDL = (EXAMPLES / "demo-soap.wsdl").read_text(encoding="utf-8")
OUTSIDE = [
    "/etc/hostname",
    "//etc/hostname",
    "../hostname",
    "../../../../../../etc/hostname",
    "sub/../../hostname",
    "sub/..",
    "..",
    "%2e%2e/hostname",
    "..%2fhostname",
    "%2Fetc%2Fhostname",
    r"..\hostname",
    r"\etc\hostname",
    r"%5cetc%5chostname",
    r"C:\hostname",
    "C:hostname",
    "file:///etc/hostname",
    "FILE:/etc/hostname",
    "https://office.example/a.wsdl",
    "~/hostname",
    "a.wsdl\0",
    "a.wsdl%00",
    "a\nb.wsdl",
]
"""Names that lead out of a folder in one of the ways in which programs read them."""


def opened(path: Path) -> str:
    """Make a pipe: a program that opens it for reading would hang, so that the test would fail."""
    os.mkfifo(path)
    return str(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder of connectors with a neighbour that must not be read."""
    (tmp_path / "hostname").write_text("not for connectors", encoding="utf-8")
    connectors = tmp_path / "connectors"
    (connectors / "sub").mkdir(parents=True)
    (connectors / "demo-soap.wsdl").write_text(WSDL, encoding="utf-8")
    (connectors / "demo-soap.yaml").write_text(SOAP, encoding="utf-8")
    return connectors


def with_wsdl(folder: Path, name: str) -> Path:
    """Return the connector file with another WSDL."""
    file = folder / "demo-soap.yaml"
    file.write_text(SOAP.replace("wsdl: demo-soap.wsdl", f"wsdl: {json.dumps(name)}"), "utf-8")
    return file


@pytest.mark.parametrize("name", OUTSIDE)
def test_name_that_leads_out_of_the_folder_is_refused_with_its_line(
    folder: Path, name: str
) -> None:
    file = with_wsdl(folder, name)
    with pytest.raises(ConfigError):
        load_connector(file)
    found = [one for one in check(file) if one.path == "soap.wsdl" and one.severity == "error"]
    line = next(n for n, row in enumerate(file.read_text().splitlines(), 1) if "wsdl:" in row)
    assert [(one.code, one.line) for one in found][:1] == [("bad-value", line)], found


@pytest.mark.parametrize("name", OUTSIDE)
@pytest.mark.parametrize("key", ["xsd", "json_schema"])
def test_schema_outside_the_folder_is_refused(folder: Path, key: str, name: str) -> None:
    text = SOAP.replace(
        "    records:", f"    schema: {{{key}: {json.dumps(name)}}}\n    records:", 1
    )
    file = folder / "demo-soap.yaml"
    file.write_text(text, encoding="utf-8")
    connector, findings = build_connector(read_yaml(file))
    assert connector is None
    assert any(f"schema.{key}" in one.path and one.code == "bad-value" for one in findings)


@pytest.mark.parametrize("name", OUTSIDE)
def test_secret_outside_its_folder_is_not_opened(tmp_path: Path, name: str) -> None:
    secrets = tmp_path / "secrets"
    (secrets / "sub").mkdir(parents=True)
    opened(tmp_path / "hostname")
    with pytest.raises(StreamHalted) as caught:
        FileSecrets(secrets)(name)
    assert caught.value.reason == "SECRET_MISSING"
    assert FileSecrets(secrets).world_readable_file(name) is None


def test_secret_through_a_link_out_of_its_folder_is_not_opened(tmp_path: Path) -> None:
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    (secrets / "token").symlink_to(opened(tmp_path / "elsewhere"))
    (secrets / "loop").symlink_to(secrets / "loop")
    for name in ("token", "loop"):
        with pytest.raises(StreamHalted) as caught:
            FileSecrets(secrets)(name)
        assert caught.value.reason == "SECRET_MISSING"


def test_files_in_the_folder_are_found_directly_below_it_and_through_inner_links(
    folder: Path,
) -> None:
    (folder / "..2026").mkdir()
    (folder / "..2026" / "real.wsdl").write_text(WSDL, encoding="utf-8")
    (folder / "..data").symlink_to("..2026")
    (folder / "inner.wsdl").symlink_to("..data/real.wsdl")
    for name in ("demo-soap.wsdl", "inner.wsdl", "sub/later.wsdl", "a..b.wsdl"):
        assert find_side_file(folder, name) == folder / name
    file = with_wsdl(folder, "inner.wsdl")
    assert not [one for one in check(file) if one.path == "soap.wsdl"]


@pytest.mark.parametrize("link", ["file", "folder", "loop"])
def test_link_out_of_the_folder_is_refused_before_it_is_opened(folder: Path, link: str) -> None:
    target = folder.parent / "secret.wsdl"
    opened(target)
    name = "sub/more/secret.wsdl" if link == "folder" else "link.wsdl"
    if link == "file":
        (folder / name).symlink_to(target)
    elif link == "folder":
        (folder / "sub" / "more").symlink_to(folder.parent)
    else:
        (folder / name).symlink_to(folder / name)
    file = with_wsdl(folder, name)
    found = [one for one in check(file) if one.path == "soap.wsdl"]
    assert [one.code for one in found] == ["bad-value"]
    assert "leads out of the folder" in found[0].message
    connector = load_connector(file)
    assert isinstance(connector.protocol, Soap)
    client = RegistryClient(connector, lambda _: b"s", "production", now=lambda: datetime.now(UTC))
    with pytest.raises(ConfigError, match="leads out of the folder"):
        client.wsdl(Path(connector.folder), connector.protocol)


@pytest.mark.parametrize(
    "place",
    ["/etc/hostname", "../hostname", "file:///etc/hostname", "%2e%2e/hostname", "..%5chostname",
     "file:%2e%2e/hostname", "ftp://office.example/a.xsd", "sub/../../hostname"],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["import", "include"])
def test_import_of_a_wsdl_stays_in_its_folder(folder: Path, kind: str, place: str) -> None:
    space = ' namespace="urn:other"' if kind == "import" else ""
    part = (
        '<xsd:schema xmlns:xsd="http://www.w3.org/2001/XMLSchema" targetNamespace="urn:x">'
        f'<xsd:{kind}{space} schemaLocation="{place}"/></xsd:schema>'
    )
    text = WSDL.replace("types>", f"types>{part}", 1)
    assert part in text
    (folder / "demo-soap.wsdl").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        Wsdl(folder / "demo-soap.wsdl")
    assert "not for connectors" not in str(caught.value)


@pytest.mark.parametrize("trick", ["fifo", "device", "folder", "huge"])
def test_import_of_a_wsdl_that_is_no_usual_file_costs_nothing(folder: Path, trick: str) -> None:
    part = (
        '<xsd:schema xmlns:xsd="http://www.w3.org/2001/XMLSchema" targetNamespace="urn:x">'
        '<xsd:include schemaLocation="more.xsd"/></xsd:schema>'
    )
    more = folder / "more.xsd"
    if trick == "fifo":
        opened(more)
    elif trick == "device":
        more.symlink_to("/dev/zero")
    elif trick == "folder":
        more.mkdir()
    else:
        more.touch()
        os.truncate(more, 10**12)  # a file with a hole, which takes no space
    (folder / "demo-soap.wsdl").write_text(WSDL.replace("types>", f"types>{part}", 1), "utf-8")
    with pytest.raises(ConfigError):
        Wsdl(folder / "demo-soap.wsdl")


XSD = '<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema">{}<xs:element name="a"/></xs:schema>'


def checker(folder: Path, **rule: str) -> SchemaChecker:
    return SchemaChecker(SchemaCheck(mode="strict", **rule), folder, "office", "awards")


@pytest.mark.parametrize("place", ["/etc/hostname", "../hostname", "file:///etc/hostname"])
def test_import_of_a_schema_stays_in_its_folder(folder: Path, place: str) -> None:
    (folder / "a.xsd").write_text(XSD.format(f'<xs:include schemaLocation="{place}"/>'), "utf-8")
    with pytest.raises(StreamHalted) as caught:
        checker(folder, xsd="a.xsd")
    assert caught.value.reason == "SCHEMA_UNREADABLE"


@pytest.mark.parametrize("main", [True, False])
def test_entity_of_a_schema_reads_no_file(folder: Path, main: bool) -> None:
    pipe = opened(folder.parent / "secret")
    entity = f'<!DOCTYPE a [<!ENTITY e SYSTEM "{pipe}">]>'
    if main:
        (folder / "a.xsd").write_text(entity + XSD.format("&e;"), "utf-8")
    else:
        (folder / "a.xsd").write_text(XSD.format('<xs:include schemaLocation="b.xsd"/>'), "utf-8")
        (folder / "b.xsd").write_text(entity + XSD.format("&e;"), "utf-8")
    with pytest.raises(StreamHalted) as caught:
        checker(folder, xsd="a.xsd")
    assert caught.value.reason == "SCHEMA_UNREADABLE"


@pytest.mark.parametrize("kind", ["xsd", "json_schema"])
@pytest.mark.parametrize("trick", ["fifo", "folder", "huge", "outside", "missing"])
def test_schema_that_is_no_usual_file_is_unreadable(folder: Path, kind: str, trick: str) -> None:
    file = folder / "a.schema"
    if trick == "fifo":
        opened(file)
    elif trick == "folder":
        file.mkdir()
    elif trick == "huge":
        file.touch()
        os.truncate(file, MAX_SIDE_FILE_BYTES + 1)
    elif trick == "outside":
        file.symlink_to(folder.parent / "hostname")
    with pytest.raises(StreamHalted) as caught:
        checker(folder, **{kind: "a.schema"})
    assert caught.value.reason == "SCHEMA_UNREADABLE"


@pytest.mark.parametrize(
    "reference",
    ["file:///etc/hostname", "/etc/hostname", "../hostname", "https://office.example/x.json"],
)
def test_reference_of_a_json_schema_opens_nothing(folder: Path, reference: str) -> None:
    file = folder / "a.json"
    for schema in ({"$ref": reference}, {"$id": "file:///etc/x", "$ref": reference}):
        file.write_text(json.dumps(schema), encoding="utf-8")
        validator = read_json_schema(file, "office.awards")
        with pytest.raises(StreamHalted, match="refers to another file"):
            first_violation(validator, {}, file, "office.awards")


def test_json_schema_that_refers_to_itself_is_unreadable(folder: Path) -> None:
    file = folder / "a.json"
    file.write_text('{"$ref": "#"}', encoding="utf-8")
    with pytest.raises(StreamHalted, match="refers to itself"):
        first_violation(read_json_schema(file, "s"), {}, file, "s")


def test_json_schema_still_knows_its_own_definitions_and_patterns(folder: Path) -> None:
    file = folder / "a.json"
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$defs": {"code": {"type": "string", "pattern": r"^\d{2}$"}},
        "properties": {"code": {"$ref": "#/$defs/code"}},
        "patternProperties": {"^x_": {"type": "integer"}},
        "additionalProperties": False,
    }
    file.write_text(json.dumps(schema), encoding="utf-8")
    validator = read_json_schema(file, "s")
    for value, violation in (
        ({"code": "07", "x_a": 1}, None),
        ({"code": "7"}, "at $.code (pattern)"),
        ({"x_a": "1"}, "at $.x_a (type)"),
        ({"y": 1}, "at $ (additionalProperties)"),
        ({"code": "\ud800"}, "at $.code (pattern)"),
    ):
        assert first_violation(validator, value, file, "s") == violation


def test_side_file_is_read_up_to_its_limit(tmp_path: Path) -> None:
    file = tmp_path / "a.xsd"
    file.write_bytes(b"x" * 10)
    assert read_side_file(file, 10) == b"x" * 10
    with pytest.raises(OSError, match="too large"):
        read_side_file(file, 9)
