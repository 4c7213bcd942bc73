"""Choose the character encoding of a document, and convert a document to UTF-8.

What the connector names applies. Without it, the bytes themselves show how wide a character is,
and what a reply says of itself must fit them. A claim that the bytes disprove is ignored.
"""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain

from gateway.config.charsets import WIDE, contains_ascii, find_charset, suggest_charset
from gateway.errors import RetryLater, StreamError, StreamHalted
from gateway.fetch.http.body import ReplyBody, Spool

HEAD_BYTES = 512
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_ZEROS = (
    ((False, True, True, True), "utf-32-le"),
    ((True, True, True, False), "utf-32-be"),
    ((False, True, False, True), "utf-16-le"),
    ((True, False, True, False), "utf-16-be"),
)
"""Which of the first four bytes are zero when a document begins with two ASCII characters."""
DECLARED_CHARSET = re.compile(
    r"\A\s*<\?xml\s[^>]*?encoding\s*=\s*[\"']\s*([A-Za-z0-9._:-]+)\s*[\"']"
)
"""The XML declaration at the beginning of a document; its group is the charset."""


@dataclass(frozen=True, slots=True)
class Encoding:
    """Python's name of an encoding, and the length of the byte order mark before the text."""

    codec: str
    mark_size: int = 0

    @property
    def is_utf8(self) -> bool:
        """Whether the document needs no conversion; ASCII is a part of UTF-8."""
        return self.codec in {"utf-8", "ascii"}


def xml_encoding(
    head: bytes, transport: str | None, configured: str | None, where: str
) -> Encoding:
    """Return the encoding of an XML document, from its first bytes.

    ``transport`` is the charset of the HTTP header, ``configured`` the one of the connector. Raise
    ``ENCODING`` or ``ENCODING_CONFLICT``.
    """
    if configured:
        return configured_encoding(head, configured, where)
    marked = _marked(head)
    if wide := _wide(head):
        return Encoding(wide, marked.mark_size if marked else 0)
    declared = DECLARED_CHARSET.search(
        head.removeprefix(codecs.BOM_UTF8)[:HEAD_BYTES].decode("latin-1")
    )
    claims = {name: _claimed(name, where) for name in (transport, declared and declared[1]) if name}
    if marked is not None:
        claims["utf-8 by its byte order mark"] = marked.codec
    names = [name for name, codec in claims.items() if codec not in WIDE]
    distinct = {"utf-8" if claims[name] == "ascii" else claims[name] for name in names}
    if len(distinct) > 1:
        raise StreamHalted(
            "ENCODING_CONFLICT",
            f"{where}: the reply names several charsets ({', '.join(sorted(names))}); "
            "name the right one in the connector: `decode: [{xml: {encoding: NAME}}]`",
        )
    return Encoding(distinct.pop() if distinct else "utf-8", marked.mark_size if marked else 0)


def configured_encoding(head: bytes, name: str, where: str) -> Encoding:
    """Return the encoding that a connector names.

    Raise ``ENCODING`` for an unknown name, and ``ENCODING_CONFLICT`` when the byte order mark of
    the document shows another encoding.
    """
    codec = find_charset(name)
    if codec is None:
        near = suggest_charset(name)
        raise StreamHalted(
            "ENCODING",
            f"{where}: the connector names the charset {name[:40]!r}, which does not exist; "
            f"{f'did you mean {near!r}?' if near else 'expected a name such as windows-1250'}",
        )
    marked = _marked(head)
    if marked is not None and not _is_same(codec, marked.codec):
        raise StreamHalted(
            "ENCODING_CONFLICT",
            f"{where}: the connector names the charset {name[:40]!r}, "
            f"but the document has the byte order mark of {marked.codec}; correct `encoding:`",
        )
    if marked is not None:
        return marked
    if codec in {"utf-16", "utf-32"}:
        return Encoding(_wide(head) or f"{codec}-be")
    return Encoding(codec)


def json_encoding(head: bytes, configured: str | None, where: str) -> Encoding:
    """Return the encoding of JSON: UTF-8 unless the connector names another."""
    if configured:
        return configured_encoding(head, configured, where)
    if wide := _wide(head):
        name = wide[:6]
        raise StreamHalted(
            "ENCODING",
            f"{where}: the JSON is in {name.upper()} and not in UTF-8; "
            f"write `decode: [{{json: {{encoding: {name}}}}}]`",
        )
    return _marked(head) or Encoding("utf-8")


def csv_encoding(
    body: ReplyBody, transport: str | None, configured: str | None, where: str
) -> Encoding:
    """Return the encoding of a table.

    Without ``configured`` and without a byte order mark, a table is in UTF-8 if all its bytes are
    valid UTF-8. Only another table is read in the charset of the HTTP header.
    """
    head = body.head(HEAD_BYTES)
    if configured:
        return configured_encoding(head, configured, where)
    marked = _marked(head)
    if wide := _wide(head):
        return Encoding(wide, marked.mark_size if marked else 0)
    if marked is not None or not transport:
        return marked or Encoding("utf-8")
    claimed = _claimed(transport, where)
    return Encoding("utf-8") if claimed in WIDE or _is_valid_utf8(body) else Encoding(claimed)


def text_bytes(text: str) -> bytes:
    """Return XML that a file or a document holds as text, in UTF-8.

    Its declaration then names no encoding, because the text has none.
    """
    declared = DECLARED_CHARSET.match(text)
    if declared is not None:
        head, _, tail = text[: declared.end()].rpartition("encoding")
        text = head.rstrip() + text[len(head) + len("encoding") + len(tail) :]
    return text.encode("utf-8", "surrogatepass")


def claimed_charset(transport: str | None) -> str:
    """Return the charset of the HTTP header if it could explain bytes that are not UTF-8."""
    codec = find_charset(transport) if transport else None
    return (transport or "") if codec not in {None, "utf-8", "ascii"} else ""


def converted_to_utf8(body: ReplyBody, encoding: Encoding, where: str) -> ReplyBody:
    """Return a document in UTF-8, without its byte order mark.

    Raise ``ENCODING`` when bytes are not valid, or ``INCOMPLETE_BODY`` when the document may have
    been cut off inside a character.
    """
    decoder = codecs.getincrementaldecoder(encoding.codec)()
    spool = Spool(4 * body.size + 16)
    position, skip = 0, encoding.mark_size
    for piece in chain(body.chunks(), [b""]):
        waiting = len(decoder.getstate()[0])
        try:
            spool.write(decoder.decode(piece[skip:], final=not piece).encode())
        except UnicodeDecodeError as error:
            spool.discard()
            at = position + skip - waiting + error.start
            raise invalid_bytes(body, encoding.codec, at, where, is_end=not piece) from None
        position, skip = position + len(piece), 0
    return spool.body(proved=body.is_complete)


def invalid_bytes(
    body: ReplyBody, codec: str, position: int, where: str, *, is_end: bool, hint: str = ""
) -> StreamError:
    """Return the error about a byte that an encoding does not have."""
    if is_end and not body.is_complete:
        return RetryLater(
            "INCOMPLETE_BODY",
            f"{where}: the reply stops inside a character, so its end is missing; "
            "the gateway tries again",
        )
    return StreamHalted(
        "ENCODING",
        f"{where}: byte {position} is not valid {codec}; "
        f"{hint or 'name the right charset with `encoding:` in the decode step'}",
    )


def _marked(head: bytes) -> Encoding | None:
    return next(
        (Encoding(codec, len(mark)) for mark, codec in _MARKS if head.startswith(mark)), None
    )


def _wide(head: bytes) -> str | None:
    """Return the encoding of a document whose characters have two or four bytes, or ``None``."""
    marked = _marked(head)
    if marked is not None:
        return marked.codec if marked.codec in WIDE else None
    zeros = tuple(byte == 0 for byte in head[:4])
    return next((codec for pattern, codec in _ZEROS if pattern == zeros), None)


def _is_same(codec: str, marked: str) -> bool:
    return codec == marked or (codec in {"utf-16", "utf-32"} and marked.startswith(codec))


def _claimed(name: str, where: str) -> str:
    """Return the encoding that a reply names for itself; raise ``ENCODING`` if it is refused."""
    codec = find_charset(name)
    if codec is None or not (codec in WIDE or _is_safe(codec)):
        raise StreamHalted(
            "ENCODING",
            f"{where}: the reply names the charset {name[:40]!r}, which "
            f"{'does not exist' if codec is None else 'only a connector may choose'}; "
            "name the right one with `encoding:` in the decode step",
        )
    return codec


@lru_cache(maxsize=64)
def _is_safe(codec: str) -> bool:
    return contains_ascii(codec)


def _is_valid_utf8(body: ReplyBody) -> bool:
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        for piece in body.chunks():
            decoder.decode(piece)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True
