"""Build SOAP requests from a WSDL file or an XML template, and read SOAP replies.

The gateway reads a WSDL file and its imports only from the folder of the connector. The address
of the service comes from the connector, never from the WSDL. The gateway's own parser reads the
replies, because zeep would turn an invalid date into ``None``.
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
from gateway.config.side_files import MAX_SIDE_FILE_BYTES, read_side_file
from gateway.errors import ConfigError, Finding
from gateway.fetch.soap import zeep_internals

ENV11 = "http://schemas.xmlsoap.org/soap/envelope/"
ENV12 = "http://www.w3.org/2003/05/soap-envelope"
WSA = "http://www.w3.org/2005/08/addressing"
XROAD = "http://x-road.eu/xsd/xroad.xsd"
XROAD_ID = "http://x-road.eu/xsd/identifiers"
XROAD_REPRESENTATION = "http://x-road.eu/xsd/representation.xsd"
ENVELOPES = {"1.1": ENV11, "1.2": ENV12}
_ANONYMOUS = WSA + "/anonymous"


class Wsdl:
    """A WSDL file next to a connector file. It is loaded once, without network access.

    ``service`` and ``port`` select a port when the WSDL describes several. Raise ``ConfigError``
    (``bad-wsdl``) when the WSDL cannot be used.
    """

    def __init__(self, path: Path, service: str | None = None, port: str | None = None) -> None:
        import zeep
        from zeep.transports import Transport

        folder = path.resolve().parent
        bytes_left = MAX_SIDE_FILE_BYTES

        class Vendored(Transport):
            """A zeep transport that reads files below one folder and refuses all others."""

            def __init__(self) -> None:
                # The base class would open a session, but this transport must not use a network.
                self._close_session = False

            def load(self, url: str) -> bytes:
                parsed = urlparse(url)
                if parsed.scheme in {"http", "https"}:
                    # A web address stands for the file of the same name next to the WSDL.
                    local = folder / Path(parsed.path).name
                else:
                    local = Path(url2pathname(parsed.path) if parsed.scheme == "file" else url)
                if (
                    parsed.scheme not in {"", "file", "http", "https"}
                    or not local.resolve().is_relative_to(folder)
                    or not local.is_file()
                ):
                    raise OSError(
                        f"it imports {url}, which is not in the folder of the WSDL; "
                        f"save it there as {local.name}"
                    )
                nonlocal bytes_left
                content = read_side_file(local, bytes_left)
                bytes_left -= len(content)
                return content

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
            self._binding = zeep_internals.binding(self._client, service, port)
        except Exception as error:  # noqa: BLE001 - zeep passes on all errors of its parsers
            raise ConfigError(
                [_finding(path, "bad-wsdl", f"the WSDL cannot be used: {_shorten_error(error)}")]
            ) from None
        self._path = path

    @property
    def operations(self) -> tuple[str, ...]:
        """The names of the operations that the port offers."""
        return tuple(self._binding.all())

    def build(self, operation: str, body: Mapping[str, Any]) -> tuple[etree._Element, str]:
        """Return the body element of an operation and its ``soapAction``.

        Raise ``ConfigError`` (``bad-request``) when ``operation`` or ``body`` does not match the
        WSDL.
        """
        try:
            envelope, headers = zeep_internals.create_message(
                self._client, self._binding, operation, dict(body)
            )
        except Exception as error:  # noqa: BLE001 - zeep passes on all errors of its parsers
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
    """An envelope that is ready to be signed and sent.

    ``message_id`` is the WS-Addressing id that the reply must relate to.
    """

    envelope: etree._Element
    action: str
    message_id: str = ""


def build_message(version: str, content: etree._Element, action: str) -> SoapMessage:
    """Return a message that contains ``content`` in its body.

    If ``content`` is an envelope already, the function only adds a missing header to it.
    """
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


def with_addressing(message: SoapMessage, addressing: Addressing, url: str) -> SoapMessage:
    """Return the message with WS-Addressing headers and a new message id."""
    header = required_header(message.envelope)
    message_id = f"urn:uuid:{uuid4()}"
    understood = f"{{{etree.QName(message.envelope).namespace}}}mustUnderstand"
    parts = {
        "To": addressing.to or url,
        "Action": addressing.action or message.action,
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
    return SoapMessage(message.envelope, message.action, message_id)


def with_xroad(message: SoapMessage, xroad: XRoad, request_id: str) -> SoapMessage:
    """Add the headers of X-Road message protocol 4.0 to the envelope, and return the message."""
    header = required_header(message.envelope)
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
    return message


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
    """Return the HTTP headers of the X-Road message protocol for REST."""
    client = xroad.client
    required = {
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
    return required | {name: value for name, value in optional.items() if value}


def xroad_path(xroad: XRoad) -> str:
    """Return the path of a REST service below the address of the security server."""
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
    """Return the HTTP headers of a SOAP message.

    SOAP 1.1 requires a ``SOAPAction`` header, so an empty action becomes ``""``.
    """
    quoted = action.replace("\\", "\\\\").replace('"', '\\"')
    if version == "1.2":
        parameter = f'; action="{quoted}"' if action else ""
        return {
            "Content-Type": f"application/soap+xml; charset=utf-8{parameter}",
            "Accept": "application/soap+xml, multipart/related",
        }
    return {
        "Content-Type": "text/xml; charset=utf-8",
        "SOAPAction": f'"{quoted}"',
        "Accept": "text/xml, multipart/related",
    }


# --- replies


@dataclass(frozen=True, slots=True)
class Fault:
    """A SOAP fault.

    ``codes`` begins with the outermost code. SOAP 1.2 refines it with subcodes. ``text`` may
    contain personal data. The gateway matches it against patterns and never logs it.
    """

    codes: tuple[str, ...]
    text: str

    @property
    def code(self) -> str:
        """All codes in one text."""
        return " ".join(self.codes)[:200]

    @property
    def names(self) -> tuple[str, ...]:
        """The texts of the fault that a pattern may match: codes, codes without prefix, text."""
        return (self.code, *self.codes, *map(_local_name, self.codes), self.text)

    @property
    def transient(self) -> bool:
        """Whether the outermost code blames the server rather than the request.

        A subcode only refines the outermost code, so that it decides nothing.
        """
        return bool(self.codes) and _local_name(self.codes[0]).startswith(("Server", "Receiver"))


def _local_name(code: str) -> str:
    """Return a fault code without its prefix or its namespace in braces."""
    name = code.rpartition("}")[2]
    return name.partition(":")[2] or name


def is_envelope(root: etree._Element) -> bool:
    """Return whether a document is a SOAP envelope."""
    name = etree.QName(root)
    return name.localname == "Envelope" and name.namespace in {ENV11, ENV12}


def header_of(envelope: etree._Element) -> etree._Element | None:
    """Return the header of an envelope, or ``None``."""
    return envelope.find(f"{{{etree.QName(envelope).namespace}}}Header")


def required_header(envelope: etree._Element) -> etree._Element:
    """Return the header of an envelope that this module built."""
    header = header_of(envelope)
    if header is None:
        raise AssertionError
    return header


def body_of(envelope: etree._Element) -> etree._Element | None:
    """Return the body of an envelope, or ``None``."""
    return envelope.find(f"{{{etree.QName(envelope).namespace}}}Body")


def fault_of(root: etree._Element) -> Fault | None:
    """Return the SOAP 1.1 or 1.2 fault in a reply, or ``None``. The HTTP status does not matter.

    Some services put the parts of a fault into the namespace of the envelope, or into none.
    """
    if not is_envelope(root):
        return None
    body = body_of(root)
    fault = next((child for child in body if _is_fault(child)), None) if body is not None else None
    if fault is None:
        return None
    parts = {etree.QName(part).localname: part for part in reversed(fault)}
    codes: list[str] = []
    if (code := parts.get("faultcode")) is not None:
        codes.append(_text(code))
    nested = parts.get("Code")
    while nested is not None:
        values = {etree.QName(part).localname: part for part in reversed(nested)}
        if (value := values.get("Value")) is not None:
            codes.append(_text(value))
        nested = values.get("Subcode")
    reason = parts.get("faultstring", parts.get("Reason"))
    return Fault(
        tuple(code[:200] for code in codes if code),
        _text(reason)[:2000] if reason is not None else "",
    )


def _is_fault(element: etree._Element) -> bool:
    name = etree.QName(element)
    return name.localname == "Fault" and (name.namespace or ENV11) in {ENV11, ENV12}


def relates_to(root: etree._Element) -> str | None:
    """Return the message id in the ``RelatesTo`` header of a reply, or ``None``."""
    header = header_of(root)
    element = header.find(f"{{{WSA}}}RelatesTo") if header is not None else None
    return _text(element) if element is not None else None


def _text(element: etree._Element) -> str:
    return "".join(map(str, element.itertext())).strip()
