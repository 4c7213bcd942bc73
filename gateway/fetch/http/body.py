"""Read the body of a reply within size limits, and detect whether the body is complete.

HTTP clients accept a gzip stream without its end. They also accept a body that ends with the
connection. This module marks a body as complete only when its framing or its compression proves
it. For other bodies the decoder must find the end of the document.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import tempfile
import zlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import IO

import structlog

from gateway.config.charsets import find_charset
from gateway.errors import RetryLater, StreamHalted

CHUNK = 65_536
IN_MEMORY = 4_194_304
MAX_GZIP_MEMBERS = 50_000
PAUSE_BYTES = 4_194_304
"""After so many decompressed bytes, other tasks of the event loop may continue."""
_NO_CODINGS = {
    *("", "identity", "none", "null", "no", "off", "false", "binary", "plain", "text", "raw"),
    *("7bit", "8bit", "chunked", "unicode", "ansi", "json", "xml", "*", "-"),
}
"""Words that servers put into ``Content-Encoding`` and that name no coding."""
log = structlog.get_logger()


@dataclass(slots=True)
class ReplyBody:
    """The decoded bytes of one reply, in memory or in a temporary file.

    :meth:`close` deletes the file. ``size`` is in bytes, and ``sha256`` is the digest in hex.
    ``is_complete`` is true when the transport or the compression proves that the body is complete.
    """

    file: IO[bytes]
    size: int
    sha256: str
    is_complete: bool = True

    def read(self) -> bytes:
        """Return the whole body. Use it only for bodies that are small or have their own limit."""
        self.file.seek(0)
        return self.file.read()

    def chunks(self, size: int = CHUNK) -> Iterator[bytes]:
        """Yield the bytes from the start, in chunks of at most ``size`` bytes."""
        self.file.seek(0)
        while chunk := self.file.read(size):
            yield chunk

    def head(self, size: int = 512) -> bytes:
        """Return the first ``size`` bytes, for example to detect the format."""
        self.file.seek(0)
        return self.file.read(size)

    def close(self) -> None:
        """Release the memory, or delete the temporary file."""
        self.file.close()

    @classmethod
    def from_bytes(cls, data: bytes, *, proved: bool = True) -> ReplyBody:
        """Return a body that holds ``data``."""
        spool = Spool(max_bytes=max(len(data), 1))
        spool.write(data)
        return spool.body(proved=proved)


class Spool:
    """A buffer of at most ``max_bytes``. It moves to disk beyond :data:`IN_MEMORY` bytes."""

    def __init__(self, max_bytes: int, reason: str = "LIMIT_BYTES", *, where: str = "") -> None:
        # The caller of body() closes the file.
        self._file = tempfile.SpooledTemporaryFile(max_size=IN_MEMORY)  # noqa: SIM115
        self._hash = hashlib.sha256()
        self._max = max_bytes
        self._reason = reason
        self._where = where
        self.size = 0

    def write(self, chunk: bytes) -> None:
        """Add bytes.

        Raise :class:`~gateway.errors.StreamHalted` when the body becomes larger than the limit.
        """
        self.size += len(chunk)
        if self.size > self._max:
            self._file.close()
            _require_size(self.size, self._max, self._reason, self._where or "the reply")
        self._hash.update(chunk)
        self._file.write(chunk)

    def body(self, *, proved: bool) -> ReplyBody:
        """Return the collected bytes as a body. The caller closes it."""
        return ReplyBody(self._file, self.size, self._hash.hexdigest(), proved)

    def discard(self) -> None:
        """Release the collected bytes."""
        self._file.close()


class Decompressor:
    """A gzip or deflate decompressor with bounded output.

    It detects whether the stream reached its end and whether the checksum matched.
    """

    def __init__(self, encoding: str) -> None:
        self._bits = 31 if encoding == "gzip" else 15
        self._gzip = encoding == "gzip"
        self._engine = zlib.decompressobj(self._bits)
        self._started = False
        self._members = 0

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield decompressed chunks of at most :data:`CHUNK` bytes.

        The caller can therefore stop a decompression bomb early. Raise
        :class:`~gateway.errors.RetryLater` (``INCOMPLETE_BODY``) when the data is damaged.
        """
        while data:
            if self._engine.eof:
                if not self._gzip or not data.strip(b"\x00"):
                    return
                # A gzip stream may consist of several members.
                self._members += 1
                if self._members > MAX_GZIP_MEMBERS:
                    raise StreamHalted(
                        "LIMIT_DECODED",
                        f"the compressed reply has more than {MAX_GZIP_MEMBERS} members; "
                        "request smaller pages",
                    )
                self._engine = zlib.decompressobj(self._bits)
            try:
                chunk = self._engine.decompress(data, CHUNK)
            except zlib.error:
                if self._started or self._gzip:
                    raise RetryLater(
                        "INCOMPLETE_BODY",
                        "the compressed reply is damaged; the gateway tries again",
                    ) from None
                # Some servers send deflate data without the zlib header.
                self._engine = zlib.decompressobj(-15)
                self._started = True
                continue
            self._started = True
            if chunk:
                yield chunk
            data = self._engine.unused_data if self._engine.eof else self._engine.unconsumed_tail
            while not data and len(chunk) == CHUNK and not self._engine.eof:
                chunk = self._engine.decompress(b"", CHUNK)
                if chunk:
                    yield chunk

    @property
    def complete(self) -> bool:
        """Whether the compressed stream reached its end."""
        return self._engine.eof


async def read_body(
    pieces: AsyncIterator[bytes],
    *,
    encoding: str,
    length_is_known: bool,
    max_bytes: int,
    max_decoded: int,
    where: str,
) -> ReplyBody:
    """Read a whole body.

    ``length_is_known`` means that the transport proves the end, with ``Content-Length`` or chunked
    encoding. ``max_bytes`` limits the received bytes, and ``max_decoded`` the decompressed bytes.
    ``where`` names the request in errors. ``encoding`` is the ``Content-Encoding`` header.

    Raise :class:`~gateway.errors.RetryLater` (``INCOMPLETE_BODY``) when the compressed body is
    damaged or cut off. Raise :class:`~gateway.errors.StreamHalted` (``LIMIT_BYTES``,
    ``LIMIT_DECODED`` or ``ENCODING``) when a limit is exceeded or the compression is not supported.
    """
    coding = _content_coding(encoding, where)
    inflater = Decompressor(coding) if coding else None
    spool = Spool(
        max_decoded if inflater else max_bytes,
        "LIMIT_DECODED" if inflater else "LIMIT_BYTES",
        where=where,
    )
    received = pause = 0
    try:
        async for chunk in pieces:
            received += len(chunk)
            _require_size(received, max_bytes, "LIMIT_BYTES", where)
            if inflater is None:
                spool.write(chunk)
                continue
            for part in inflater.feed(chunk):
                spool.write(part)
                if spool.size > pause:
                    pause = spool.size + PAUSE_BYTES
                    await asyncio.sleep(0)
        if inflater is not None and received:
            _require_end(inflater, where)
    except BaseException:
        spool.discard()
        raise
    return spool.body(proved=length_is_known or inflater is not None)


def _content_coding(header: str, where: str) -> str:
    """Return ``gzip`` or ``deflate`` from a ``Content-Encoding``, or an empty text for none.

    A word that names no coding, such as a charset, is ignored and logged once. Raise ``ENCODING``
    for a coding that the gateway did not request.
    """
    codings: list[str] = []
    for word in re.split(r"[,;]", header.lower()):
        name = word.strip("\"' \t")
        if name in {"gzip", "x-gzip", "deflate"}:
            codings.append(name.removeprefix("x-"))
        elif _names_no_coding(name):
            if name not in {"", "identity"}:
                _note_ignored_coding(where.partition(":")[0], name)
        elif not name.startswith("q="):
            raise StreamHalted(
                "ENCODING",
                f"{where}: the reply is compressed with {name[:40]!r}; "
                "the gateway requests gzip or deflate",
            )
    if len(codings) > 1:
        raise StreamHalted(
            "ENCODING",
            f"{where}: the reply is compressed several times ({', '.join(codings)}); "
            "the gateway requests one of gzip and deflate",
        )
    return codings[0] if codings else ""


def _names_no_coding(name: str) -> bool:
    """Return whether a word is none of the registered codings, but a known mistake."""
    is_charset = find_charset(name) is not None or name.startswith(("utf", "iso-", "windows-"))
    return name in _NO_CODINGS or "/" in name or is_charset


@lru_cache(maxsize=1_000)
def _note_ignored_coding(connector: str, name: str) -> None:
    log.warning(
        "reply names a content coding that is none; the body is read as it is",
        connector=connector,
        content_encoding=name[:40],
    )


def _require_size(size: int, limit: int, reason: str, where: str) -> None:
    if size > limit:
        raise StreamHalted(
            reason,
            f"{where}: the reply is larger than {limit} bytes; raise limits."
            f"{'max_response' if reason == 'LIMIT_BYTES' else 'max_decoded'} "
            "or request smaller pages",
        )


def _require_end(inflater: Decompressor, where: str) -> None:
    if not inflater.complete:
        raise RetryLater(
            "INCOMPLETE_BODY",
            f"{where}: the compressed reply stops before its end; the gateway tries again",
        )
