"""SOAP requests and replies: envelopes built from a vendored WSDL or an XML template, headers, faults.

A WSDL and what it imports are read from the connector's own folder and nowhere else; the address that is called comes from the
connector, never from a WSDL. Replies are read by our own parser: zeep would turn an invalid date into nothing.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlparse
from urllib.request import url2pathname
from uuid import uuid4

from lxml import etree

from gateway.config.connection import Addressing, XRoad, XRoadMember
from gateway.errors import ConfigError, Finding

ENV11 = "http://schemas.xmlsoap.org/soap/envelope/"
ENV12 = "http://www.w3.org/2003/05/soap-envelope"
WSA = "http://www.w3.org/2005/08/addressing"
XROAD = "http://x-road.eu/xsd/xroad.xsd"
XROAD_ID = "http://x-road.eu/xsd/identifiers"
XROAD_REPRESENTATION = "http://x-road.eu/xsd/representation.xsd"
ENVELOPES = {"1.1": ENV11, "1.2": ENV12}
_ANONYMOUS = WSA + "/anonymous"


class Wsdl:
    """A WSDL beside a connector file, loaded once, offline."""

    def __init__(self, path: Path, service: str | None = None, port: str | None = None) -> None:
        import zeep
        from zeep.transports import Transport

        folder = path.resolve().parent

        class Vendored(Transport):
            """Reads files below one folder; everything else is refused before it is opened."""

            def __init__(self) -> None:
                self._close_session = False  # and no session: nothing here may reach a network

            def load(self, url: str) -> bytes:
                parsed = urlparse(url)
                if parsed.scheme in {
                    "http",
                    "https",
                }:  # an address is only a name: the file of that name beside the WSDL is meant
                    local = folder / Path(parsed.path).name
                else:
                    local = Path(url2pathname(parsed.path) if parsed.scheme == "file" else url)
                if (
                    parsed.scheme not in {"", "file", "http", "https"}
                    or not local.resolve().is_relative_to(folder)
                    or not local.is_file()
                ):
                    raise OSError(
                        f"it imports {url}, which does not lie beside it; save it there as {local.name}"
                    )
                return local.read_bytes()

            def get(self, *_: Any) -> Any:
                raise NotImplementedError

            post = post_xml = get

        settings = zeep.Settings(
            strict=True,
            forbid_dtd=True,
            forbid_entities=True,
            forbid_external=False,
            xml_huge_tree=False,
        )
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                make: Any = zeep.Client
                self._client = make(str(path.resolve()), transport=Vendored(), settings=settings)
            self._binding = self._client.bind(service, port)._binding  # noqa: SLF001 - the one place that knows zeep's inside
        except Exception as error:  # noqa: BLE001 - zeep raises whatever its parser met
            raise ConfigError(
                [_finding(path, "bad-wsdl", f"the WSDL cannot be used: {_shorten_error(error)}")]
            ) from None
        self._path = path

    @property
    def operations(self) -> tuple[str, ...]:
        """The names of the operations of the port."""
        return tuple(self._binding.all())

    def build(self, operation: str, body: Mapping[str, Any]) -> tuple[etree._Element, str]:
        """Return the body's element for an operation and its soapAction; what the WSDL does not know is a ConfigError."""
        try:
            envelope, headers = self._binding._create(
                operation, (), dict(body), client=self._client
            )
        except Exception as error:  # noqa: BLE001 - see above
            raise ConfigError(
                [_finding(self._path, "bad-request", f"{operation}: {_shorten_error(error)}")]
            ) from None
        content = next(child for child in envelope if etree.QName(child).localname == "Body")
        action = str(headers.get("SOAPAction", "")).strip('"')
        return content[0], action


def _finding(path: Path, code: str, text: str) -> Finding:
    return Finding(str(path), 0, 0, code, "soap.wsdl", text)


def _shorten_error(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) < 400 else text[:400] + "…"  # noqa: PLR2004


@dataclass(frozen=True, slots=True)
class SoapMessage:
    """An envelope ready to be signed and sent, and the id a reply has to relate to."""

    envelope: etree._Element
    action: str
    message_id: str = ""


def build_message(version: str, content: etree._Element, action: str) -> SoapMessage:
    """Wrap a body's content; a template that is an Envelope already is taken as it is."""
    if etree.QName(content).localname == "Envelope":
        envelope = content
        if header_of(envelope) is None:
            envelope.insert(0, etree.Element(f"{{{etree.QName(envelope).namespace}}}Header"))
        return SoapMessage(envelope, action)
    namespace = ENVELOPES[version]
    envelope = etree.Element(f"{{{namespace}}}Envelope", nsmap={"soap": namespace})
    etree.SubElement(envelope, f"{{{namespace}}}Header")
    etree.SubElement(envelope, f"{{{namespace}}}Body").append(content)
    return SoapMessage(envelope, action)


def with_addressing(made: SoapMessage, addressing: Addressing, url: str) -> SoapMessage:
    """Add the WS-Addressing headers."""
    header = required_header(made.envelope)
    message_id = f"urn:uuid:{uuid4()}"
    understood = f"{{{etree.QName(made.envelope).namespace}}}mustUnderstand"
    parts = {
        "To": addressing.to or url,
        "Action": addressing.action or made.action,
        "MessageID": message_id,
    }
    for name, value in parts.items():
        element = etree.SubElement(header, f"{{{WSA}}}{name}", nsmap={"wsa": WSA})
        element.text = value
    header[-3].set(understood, "0")
    for name, address in (("From", addressing.from_), ("ReplyTo", addressing.reply_to)):
        if address:
            element = etree.SubElement(header, f"{{{WSA}}}{name}", nsmap={"wsa": WSA})
            etree.SubElement(element, f"{{{WSA}}}Address").text = address
    return SoapMessage(made.envelope, made.action, message_id)


def with_xroad(made: SoapMessage, xroad: XRoad, request_id: str) -> SoapMessage:
    """Add the X-Road header block of message protocol 4.0."""
    header = required_header(made.envelope)
    spaces = {"xro": XROAD, "iden": XROAD_ID}
    client = etree.SubElement(header, f"{{{XROAD}}}client", nsmap=spaces)
    client.set(f"{{{XROAD_ID}}}objectType", "SUBSYSTEM" if xroad.client.subsystem else "MEMBER")
    _add_member(client, xroad.client)
    service = etree.SubElement(header, f"{{{XROAD}}}service", nsmap=spaces)
    service.set(f"{{{XROAD_ID}}}objectType", "SERVICE")
    _add_member(service, xroad.service)
    for name, value in (
        ("id", request_id),
        ("userId", xroad.user_id),
        ("issue", xroad.issue),
        ("protocolVersion", xroad.protocol_version),
    ):
        if value:
            etree.SubElement(header, f"{{{XROAD}}}{name}", nsmap=spaces).text = value
    if xroad.represented_party:
        kind, _, code = xroad.represented_party.rpartition("/")
        party = etree.SubElement(
            header,
            f"{{{XROAD_REPRESENTATION}}}representedParty",
            nsmap={"repr": XROAD_REPRESENTATION},
        )
        if kind:
            etree.SubElement(party, f"{{{XROAD_REPRESENTATION}}}partyClass").text = kind
        etree.SubElement(party, f"{{{XROAD_REPRESENTATION}}}partyCode").text = code
    return made


def _add_member(parent: etree._Element, member: XRoadMember) -> None:
    for name, value in (
        ("xRoadInstance", member.instance),
        ("memberClass", member.member_class),
        ("memberCode", member.member),
        ("subsystemCode", member.subsystem),
        ("serviceCode", member.service),
        ("serviceVersion", member.version),
    ):
        if value:
            etree.SubElement(parent, f"{{{XROAD_ID}}}{name}").text = value


def xroad_http_headers(xroad: XRoad, request_id: str) -> dict[str, str]:
    """Return the headers of the X-Road message protocol for REST."""
    client = xroad.client
    made = {
        "X-Road-Client": "/".join(
            part
            for part in (client.instance, client.member_class, client.member, client.subsystem)
            if part
        ),
        "X-Road-Id": request_id,
    }
    optional = {
        "X-Road-UserId": xroad.user_id,
        "X-Road-Issue": xroad.issue,
        "X-Road-Represented-Party": xroad.represented_party,
    }
    return made | {name: value for name, value in optional.items() if value}


def xroad_path(xroad: XRoad) -> str:
    """Return the path below the security server under which a REST service is reached."""
    service = xroad.service
    parts = (
        service.instance,
        service.member_class,
        service.member,
        service.subsystem,
        service.service,
    )
    return "r1/" + "/".join(part for part in parts if part)


def http_headers(version: str, action: str) -> dict[str, str]:
    """Return the HTTP headers of a SOAP message; an empty soapAction is sent as ``""``."""
    if version == "1.2":
        parameter = f'; action="{action}"' if action else ""
        return {
            "Content-Type": f"application/soap+xml; charset=utf-8{parameter}",
            "Accept": "application/soap+xml, multipart/related",
        }
    return {
        "Content-Type": "text/xml; charset=utf-8",
        "SOAPAction": f'"{action}"',
        "Accept": "text/xml, multipart/related",
    }


# --- replies


@dataclass(frozen=True, slots=True)
class Fault:
    """A SOAP fault. ``text`` may hold what a person typed: it is matched against patterns and never logged."""

    code: str
    text: str

    @property
    def transient(self) -> bool:
        """Whether the sender says that it is not our message that is wrong."""
        name = self.code.rpartition(":")[2]
        return name.startswith(("Server", "Receiver"))


def is_envelope(root: etree._Element) -> bool:
    """Return whether a document is a SOAP envelope."""
    name = etree.QName(root)
    return name.localname == "Envelope" and name.namespace in {ENV11, ENV12}


def header_of(envelope: etree._Element) -> etree._Element | None:
    """Return the Header, if there is one."""
    return envelope.find(f"{{{etree.QName(envelope).namespace}}}Header")


def required_header(envelope: etree._Element) -> etree._Element:
    """Return the Header of an envelope this module made."""
    found = header_of(envelope)
    if found is None:
        raise AssertionError
    return found


def body_of(envelope: etree._Element) -> etree._Element | None:
    """Return the Body, if there is one."""
    return envelope.find(f"{{{etree.QName(envelope).namespace}}}Body")


def fault_of(root: etree._Element) -> Fault | None:
    """Return the fault in a reply, SOAP 1.1 or 1.2, whatever the HTTP status says."""
    if not is_envelope(root):
        return None
    namespace = etree.QName(root).namespace
    body = body_of(root)
    fault = body.find(f"{{{namespace}}}Fault") if body is not None else None
    if fault is None:
        return None
    if namespace == ENV12:
        codes = [_text(element) for element in fault.iter(f"{{{ENV12}}}Value")]
        reason = fault.find(f"{{{ENV12}}}Reason")
    else:
        codes = [_text(element) for element in fault.findall("faultcode")]
        reason = fault.find("faultstring")
    return Fault(" ".join(codes)[:200], _text(reason)[:2000] if reason is not None else "")


def relates_to(root: etree._Element) -> str | None:
    """Return the id a reply says it answers."""
    header = header_of(root)
    found = header.find(f"{{{WSA}}}RelatesTo") if header is not None else None
    return _text(found) if found is not None else None


def _text(element: etree._Element) -> str:
    return "".join(map(str, element.itertext())).strip()
