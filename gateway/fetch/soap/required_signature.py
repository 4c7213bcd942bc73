"""Require that each document of a message comes from an envelope with a valid signature.

A chain of decode steps with a :class:`RequiredSignature` returns only documents that were verified,
or that a step took out of a verified document. The signer of a large message is verified before its
body is parsed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NoReturn, cast

from lxml import etree

from gateway.fetch import charset, xml_parser
from gateway.fetch.decode_budget import DecodeBudget
from gateway.fetch.http.body import ReplyBody
from gateway.fetch.soap import envelope
from gateway.fetch.soap.signature_limits import SIGNATURE_EXPECTED, SignatureRefused

LARGE_MESSAGE_BYTES = 100_000
"""The size above which the header is verified before the body is parsed."""
MAX_HEADER_BYTES = 1_000_000
"""The largest beginning of a message in which its header must end."""
_Head = etree._Element | None  # noqa: SLF001 - the type of an element
_BLANKS = b"\xef\xbb\xbf\xff\xfe\x00 \t\r\n"


@dataclass(slots=True)
class RequiredSignature:
    """The signature that one message must have.

    ``verify_signer`` checks who signed an envelope whose body may be incomplete. ``verify`` returns
    the signed parts of a complete one. Both raise an error for a message without a valid signature.

    A message is verified once, even if several streams read it.
    """

    verify_signer: Callable[[etree._Element], None]
    verify: Callable[[etree._Element], etree._Element]
    where: str
    takes_signed_documents: bool = False
    """Whether a document that is signed as a whole needs no envelope, as a file of an export."""
    _verified: dict[tuple[str, str | None, str | None], etree._Element] = field(
        default_factory=dict, repr=False
    )

    def parse(
        self,
        body: ReplyBody,
        *,
        transport: str | None,
        configured: str | None,
        budget: DecodeBudget,
    ) -> etree._Element:
        """Return an envelope that contains only the verified parts of a message."""
        key = (body.sha256, transport, configured)
        if key in self._verified:
            return self._verified[key]
        xml_parser.reject_empty_or_html(body, self.where)
        if not body.head(4_096).lstrip(_BLANKS).startswith(b"<"):
            self.refuse()
        if body.size > LARGE_MESSAGE_BYTES:
            head = self._parse_head(body, transport, configured)
            if head is not None:
                self.verify_signer(head)
        root = xml_parser.parse(
            body, transport=transport, configured=configured, where=self.where, budget=budget
        )
        self._verified[key] = self.verify(root)
        return self._verified[key]

    def refuse(self) -> NoReturn:
        """Raise ``SIGNATURE_ABSENT`` for a document that no signature covers."""
        raise SignatureRefused(
            "SIGNATURE_ABSENT",
            f"{self.where}: the message is not signed; {SIGNATURE_EXPECTED}",
        )

    def _parse_head(
        self, body: ReplyBody, transport: str | None, configured: str | None
    ) -> etree._Element | None:
        """Return an envelope whose header is complete, or ``None`` to leave it to the parser."""
        encoding = charset.xml_encoding(body.head(), transport, configured, self.where)
        if encoding.is_utf8:
            return self._parse_head_of_utf8(body)
        converted = charset.converted_to_utf8(body, encoding, self.where)
        try:
            return self._parse_head_of_utf8(converted)
        finally:
            converted.close()

    def _parse_head_of_utf8(self, body: ReplyBody) -> etree._Element | None:
        parser = etree.XMLPullParser(
            events=("start",),
            encoding="utf-8",
            **xml_parser.HARDENED,
        )
        root: Any = None
        read_bytes = 0
        for piece in body.chunks():
            try:
                parser.feed(piece)
            except etree.XMLSyntaxError:
                return None  # The parser of the whole message explains the error.
            if parser.feed_error_log.filter_from_errors():
                return None  # A prefix without a namespace, which ends the parsing only later.
            started: Any = parser.read_events()
            for _, element in started:
                if root is None:
                    root = element
                    if root.getroottree().docinfo.internalDTD is not None:
                        return None
                    if not envelope.is_envelope(root):
                        self.refuse()
                elif _is_body(element, root):
                    return cast("_Head", root)
            read_bytes += len(piece)
            if read_bytes > MAX_HEADER_BYTES:
                raise SignatureRefused(
                    "SIGNATURE_TOO_COMPLEX",
                    f"{self.where}: the header of the message is larger than {MAX_HEADER_BYTES} "
                    "bytes; ask the registry to send only the signature and its tokens",
                )
        return cast("_Head", root)


def _is_body(element: etree._Element, root: etree._Element) -> bool:
    name = etree.QName(root).namespace
    return element.getparent() is root and element.tag == f"{{{name}}}Body"
