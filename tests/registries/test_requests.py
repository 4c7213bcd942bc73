"""Validate the requests to SOAP registries with the schemas in their WSDL or XSD files."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import pytest
from lxml import etree

from gateway.config.loading import load_connector
from gateway.errors import StreamError
from gateway.fetch import read_pages
from gateway.fetch.registry_client import RegistryClient
from gateway.local.registries.saved_replies import SavedReply, SavedReplyRegistry
from tests.support.saved_replies import (
    REFERENCE,
    REGISTRIES,
    ROOT,
    WINDOW,
    here,
    secret,
    with_details,
)

pytestmark = [
    pytest.mark.reference,
    pytest.mark.skipif(
        not REGISTRIES.is_dir(),
        reason=f"no reference material at {REFERENCE}; set GATEWAY_REFERENCE",
    ),
]
XS = "{http://www.w3.org/2001/XMLSchema}"
SOAP = "{http://schemas.xmlsoap.org/soap/envelope/}"
FAULT = b'<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body><nothing/></s:Body></s:Envelope>'
RIO_OFFER = REGISTRIES / "netherlands/rio/soap/opvragen_aangebodenOpleiding-2-response.xml"
RIO_REPLIES = (
    with_details("4c358c84-dfc3-4a30-874e-0b70db15638b")(RIO_OFFER.read_bytes(), "")
    if RIO_OFFER.exists()
    else []
)
CASES = [
    (
        "fi-virta",
        "achievements",
        "finland/virta/opiskelijatiedot.wsdl",
        [SavedReply(FAULT, "text/xml", "POST")],
    ),
    (
        "ee-kutse",
        "certificates",
        "estonia/kutseregister.wsdl",
        [SavedReply(FAULT, "text/xml", "POST")],
    ),
    ("ee-ehis", "students", "estonia/ehis.wsdl", [SavedReply(FAULT, "text/xml", "POST")]),
    (
        "be-led",
        "certificates",
        "belgium-flanders-led/xsd/LED.GeefBewijsDienst-02.00/WebService/GeefBewijs.xsd",
        [SavedReply(FAULT, "text/xml", "POST")],
    ),
    (
        "nl-rio",
        "offers",
        "netherlands/rio/DUO_RIO_Raadplegen_OnderwijsOrganisatie_V4.xsd",
        RIO_REPLIES,
    ),
    (
        "nl-rio",
        "units",
        "netherlands/rio/DUO_RIO_Raadplegen_OnderwijsOrganisatie_V4.xsd",
        [SavedReply(FAULT, "text/xml", "POST")],
    ),
]


def schema_for(file: Path, namespace: str, folder: Path) -> etree.XMLSchema:
    """The schema of a namespace: the file itself, or the part of a WSDL, whose other parts it finds beside it; nothing is fetched."""
    if file.suffix == ".xsd":
        return etree.XMLSchema(etree.parse(file))
    wsdl = etree.parse(file)
    parts = {part.get("targetNamespace"): part for part in wsdl.iter(f"{XS}schema")}
    for known in (
        "x-road/identifiers",
        "x-road/swaref",
        "x-road/xroad",
        "x-road/representation",
        "emrex-elmo/xml",
    ):
        found = etree.parse(REGISTRIES / f"{known}.xsd").getroot()
        parts.setdefault(found.get("targetNamespace"), found)
    names = {space: folder / f"{number}.xsd" for number, space in enumerate(parts)}
    for part in parts.values():
        for imported in list(part.iter(f"{XS}import")):
            part.remove(imported)
        for space in set(names) - {
            part.get("targetNamespace")
        }:  # one of them uses a namespace that it forgets to import
            part.insert(
                0, etree.Element(f"{XS}import", namespace=space, schemaLocation=str(names[space]))
            )
    for space, part in parts.items():
        names[space].write_bytes(etree.tostring(part))
    return etree.XMLSchema(etree.parse(names[namespace]))


async def asked(name: str, stream: str, replies: list[SavedReply]) -> list[str]:
    async with await SavedReplyRegistry(replies).start() as registry:
        connector = here(load_connector(ROOT / f"connectors/{name}.yaml"), registry.url)
        async with RegistryClient(connector, person, "production") as client:
            with contextlib.suppress(StreamError):
                _ = [page async for page in read_pages(connector, stream, WINDOW, client)]
        return [body for _, _, body in registry.asked]


def person(name: str) -> bytes:
    return (
        b"78672429129"
        if name == "be-led/persons"
        else b"49001010000"
        if name == "ee-ehis/persons"
        else b"010190-111A"
        if name.endswith("persons")
        else secret(name)
    )


@pytest.mark.parametrize(
    ("name", "stream", "file", "replies"),
    CASES,
    ids=lambda value: value if isinstance(value, str) and "/" not in value else "",
)
def test_requests_are_valid_by_the_registry_schema(name, stream, file, replies, tmp_path):
    bodies = [
        etree.fromstring(body.encode()).find(f"{SOAP}Body")[0]
        for body in asyncio.run(asked(name, stream, replies))
    ]
    assert bodies
    for body in bodies:
        alone = etree.fromstring(etree.tostring(body))
        schema = schema_for(REGISTRIES / file, etree.QName(alone).namespace, tmp_path)
        assert schema.validate(alone), [
            f"{error.line}: {error.message}" for error in schema.error_log
        ]
