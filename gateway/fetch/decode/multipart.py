"""Read a message of several parts: SOAP with attachments, MTOM, and other multipart replies.

The body of a part is taken byte for byte. A message without its final boundary is refused, because
nothing else shows that it is complete.
"""

from __future__ import annotations

import binascii
import email
import email.policy
import hashlib
import quopri
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from urllib.parse import unquote

from lxml import etree

from gateway.errors import RetryLater, StreamError, StreamHalted
from gateway.fetch.decode import containers
from gateway.fetch.http.body import ReplyBody
from gateway.fetch.http.request_reply import content_type_parameter

MAX_PARTS = 1_000
MAX_HEADER_BYTES = 65_536
_BLANK_LINE = re.compile(rb"\A\r?\n|\r?\n\r?\n")
_PLAIN = {"", "7bit", "8bit", "binary", "none"}
_INCLUDE = "{http://www.w3.org/2004/08/xop/include}Include"


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a message. ``content_id`` and ``location`` are names, or empty texts."""

    content_id: str
    location: str
    content_type: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Multipart:
    """A complete message of at least one part. ``root`` is the part that a reader begins with."""

    parts: Sequence[Part] = field(default=(), repr=False)
    root: Part | None = None
    _by_id: dict[str, list[Part]] = field(init=False, repr=False, default_factory=dict)
    _by_location: dict[str, list[Part]] = field(init=False, repr=False, default_factory=dict)
    _digests: dict[int, str] = field(init=False, repr=False, default_factory=dict)

    def __post_init__(self) -> None:
        """Index the parts, because a document may refer to each of them many times."""
        for part in self.parts:
            for name in _names(part.content_id):
                self._by_id.setdefault(name, []).append(part)
            if part.location:
                self._by_location.setdefault(part.location, []).append(part)

    def find(self, reference: str) -> Part | None:
        """Return the part that a ``cid:`` address or a ``Content-Location`` names, or ``None``."""
        return next(iter(self.all_named(reference)), None)

    def all_named(self, reference: str) -> list[Part]:
        """Return all parts that an address names; more than one is a mistake of the sender."""
        parts = {id(part): part for name in _names(reference) for part in self._by_id.get(name, ())}
        return list(parts.values()) or self._by_location.get(reference, [])

    def has_location(self, text: str) -> bool:
        """Return whether a text is the ``Content-Location`` of a part."""
        return text in self._by_location

    def digest(self, part: Part) -> str:
        """Return the SHA-256 of a part in hex, computed once."""
        if id(part) not in self._digests:
            self._digests[id(part)] = hashlib.sha256(part.data).hexdigest()
        return self._digests[id(part)]

    def matching(self, pattern: str, where: str) -> Part:
        """Return the first part whose Content-ID fits a pattern with ``*``; raise ``MIME``."""
        wanted = _plain_id(pattern)
        for part in self.parts:
            if fnmatchcase(_plain_id(part.content_id), wanted):
                return part
        raise _malformed(
            where,
            f"none of its parts has the Content-ID {pattern!r}; "
            "an expression after `mime` begins with /",
        )


def read_multipart(body: ReplyBody, content_type: str, where: str) -> Multipart:
    """Return the parts of a message.

    The root part is the one that ``start`` in ``content_type`` names, or else the first one. Raise
    ``MIME`` or ``LIMIT_PARTS``.
    """
    boundary = content_type_parameter(content_type, "boundary").rstrip()
    if not boundary:
        raise _malformed(where, "its Content-Type names no boundary")
    data = body.read()
    line = re.compile(
        rb"(?:\A|\r?\n)--" + re.escape(boundary.encode("latin-1", "replace")) + rb"(--)?[ \t]*"
        rb"(?=\r?\n|\Z)"
    )
    pieces: list[bytes] = []
    begin: int | None = None
    is_complete = False
    for match in line.finditer(data):
        if begin is not None:
            pieces.append(data[begin : match.start()])
        begin = match.end()
        if is_complete := match[1] is not None:
            break
        if len(pieces) > MAX_PARTS:
            raise StreamHalted(
                "LIMIT_PARTS",
                f"{where}: the multipart message has more than {MAX_PARTS} parts; "
                "request smaller pages",
            )
    if begin is None:
        raise _malformed(where, "it contains no line with its boundary")
    if not is_complete:
        raise _malformed(where, "it stops before its final boundary")
    if not pieces:
        raise _malformed(where, "it has no parts")
    parts = [_part(piece, where) for piece in pieces]
    return Multipart(parts, _root(parts, content_type, where))


def _part(piece: bytes, where: str) -> Part:
    # A piece begins with the end of its boundary line.
    text = piece.removeprefix(b"\r").removeprefix(b"\n")
    blank = _BLANK_LINE.search(text)
    # Without a blank line the part has only headers.
    begin, end = (blank.start(), blank.end()) if blank else (len(text), len(text))
    if begin > MAX_HEADER_BYTES:
        raise _malformed(where, f"the headers of a part have more than {MAX_HEADER_BYTES} bytes")
    headers = email.message_from_bytes(text[:begin], policy=email.policy.compat32)
    data = text[end:]
    coding = str(headers.get("Content-Transfer-Encoding") or "").strip().lower()
    if coding == "base64":
        data = containers.decode_base64(ReplyBody.from_bytes(data), max(len(data), 1), where).read()
    elif coding == "quoted-printable":
        try:
            data = quopri.decodestring(data)
        except (binascii.Error, ValueError):
            raise _malformed(where, "a part is not valid quoted-printable") from None
    elif coding not in _PLAIN:
        raise _malformed(where, f"a part has the unknown transfer encoding {coding[:20]!r}")
    return Part(
        " ".join(str(headers.get("Content-ID") or "").split()),
        str(headers.get("Content-Location") or "").strip(),
        str(headers.get("Content-Type") or ""),
        data,
    )


def _root(parts: Sequence[Part], content_type: str, where: str) -> Part:
    start = content_type_parameter(content_type, "start")
    if not _names(start):
        return parts[0]
    named = Multipart(parts).find(start)
    if named is None:
        raise _malformed(where, "it has no part with the Content-ID that `start` names")
    return named


def _plain_id(text: str) -> str:
    text = text.strip()
    if text[:4].lower() == "cid:":
        text = text[4:]
    return text.strip("<> ")


def _names(text: str) -> set[str]:
    """Return the spellings of a Content-ID; an address percent-encodes it."""
    plain = _plain_id(text)
    return {plain, _plain_id(unquote(plain))} - {""}


def attachment_reference(value: object, message: Multipart) -> str | None:
    """Return the address of an attachment in a value of an expression, or ``None``.

    It is a text ``cid:…`` or the ``Content-Location`` of a part, an element with such a text, an
    ``xop:Include``, or an element that contains only an ``xop:Include``.
    """
    if isinstance(value, str):
        text = value.strip()
        is_location = message.has_location(text)
        return text if is_location or text[:4].lower() == "cid:" else None
    if not etree.iselement(value):
        return None
    if value.tag == _INCLUDE:
        return str(value.get("href") or "")
    if len(value) == 1 and value[0].tag == _INCLUDE:
        return str(value[0].get("href") or "")
    return attachment_reference(value.text, message) if len(value) == 0 and value.text else None


def require_attachment(message: Multipart, reference: str, where: str) -> Part:
    """Return the attachment that a message refers to; raise ``MIME`` when it is missing."""
    named = message.all_named(reference)
    if len({part.data for part in named}) > 1:
        raise _malformed(where, "it refers to an attachment, and several parts have its Content-ID")
    if not named:
        problem = (
            f"it refers to an attachment that is not among its {len(message.parts)} parts"
            if message.parts
            else "it refers to an attachment, but it is not a multipart message"
        )
        raise _malformed(where, problem)
    return named[0]


def name_attachments_by_content(root: etree._Element, message: Multipart) -> None:
    """Replace the Content-IDs in a document by digests of their attachments.

    A service makes new Content-IDs for each reply. A record would otherwise change at each poll.
    """
    for element in root.iter(etree.Element):
        for name, value in element.attrib.items():
            if (digest := _digest(message, str(value))) is not None:
                element.set(name, digest)
        if element.text and (digest := _digest(message, element.text)) is not None:
            element.text = digest


def _digest(message: Multipart, value: str) -> str | None:
    reference = attachment_reference(value, message)
    part = message.find(reference) if reference else None
    return f"cid:sha256-{message.digest(part)}" if part else None


def _malformed(where: str, problem: str) -> StreamError:
    return RetryLater("MIME", f"{where}: the multipart message cannot be read: {problem}")


__all__ = [
    "MAX_PARTS",
    "Multipart",
    "Part",
    "attachment_reference",
    "name_attachments_by_content",
    "read_multipart",
    "require_attachment",
]
