"""Read a reply's body with every size bounded, and know whether it is complete.

HTTP clients take a gzip stream without its end, and a body that ends when the connection does, for whole. Here a body is
``proved`` when its framing or its compression says so; otherwise the decoder has to prove it by the document's own end.
"""

from __future__ import annotations

import hashlib
import tempfile
import zlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import IO

from gateway.errors import RetryLater, StreamHalted

CHUNK = 65_536
IN_MEMORY = 4_194_304


@dataclass(slots=True)
class ReplyBody:
    """The decoded bytes of one reply, in memory or spooled to a temporary file that vanishes with it."""

    file: IO[bytes]
    size: int
    sha256: str
    is_complete: bool = True

    def read(self) -> bytes:
        """Return all of it. Only for what is known to be small, or has a limit of its own."""
        self.file.seek(0)
        return self.file.read()

    def chunks(self, size: int = CHUNK) -> Iterator[bytes]:
        """Give the bytes piece by piece, from the start."""
        self.file.seek(0)
        while chunk := self.file.read(size):
            yield chunk

    def head(self, size: int = 512) -> bytes:
        """Return the first bytes, to see what it is."""
        self.file.seek(0)
        return self.file.read(size)

    def close(self) -> None:
        """Release the memory or the file."""
        self.file.close()

    @classmethod
    def from_bytes(cls, data: bytes, *, proved: bool = True) -> ReplyBody:
        """Wrap bytes that are already here."""
        spool = Spool(max_bytes=max(len(data), 1))
        spool.write(data)
        return spool.body(proved=proved)


class Spool:
    """Collects a body up to ``max_bytes``; beyond :data:`IN_MEMORY` it moves to disk by itself."""

    def __init__(self, max_bytes: int, reason: str = "LIMIT_BYTES", *, where: str = "") -> None:
        self._file = tempfile.SpooledTemporaryFile(max_size=IN_MEMORY)  # noqa: SIM115 - handed over in body()
        self._hash = hashlib.sha256()
        self._max = max_bytes
        self._reason = reason
        self._where = where
        self.size = 0

    def write(self, chunk: bytes) -> None:
        """Add bytes; raises :class:`~gateway.errors.Halt` with the limit's reason when it grows too large."""
        self.size += len(chunk)
        if self.size > self._max:
            self._file.close()
            raise _too_large(self._reason, self._where or "the reply", self._max)
        self._hash.update(chunk)
        self._file.write(chunk)

    def body(self, *, proved: bool) -> ReplyBody:
        """Hand over what was collected."""
        return ReplyBody(self._file, self.size, self._hash.hexdigest(), proved)

    def discard(self) -> None:
        """Release everything."""
        self._file.close()


class Decompressor:
    """Bounded gzip or deflate decompression that knows whether the end was reached and the checksum matched."""

    def __init__(self, encoding: str) -> None:
        self._bits = 31 if encoding == "gzip" else 15
        self._gzip = encoding == "gzip"
        self._engine = zlib.decompressobj(self._bits)
        self._started = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Give decompressed pieces of at most :data:`CHUNK` bytes, so that a bomb is noticed while it is small."""
        while data:
            if self._engine.eof:
                if not self._gzip or not data.strip(b"\x00"):
                    return
                self._engine = zlib.decompressobj(
                    self._bits
                )  # gzip allows several members in a row
            try:
                chunk = self._engine.decompress(data, CHUNK)
            except zlib.error:
                if self._started or self._gzip:
                    raise RetryLater("INCOMPLETE_BODY", "the compressed reply is damaged") from None
                self._engine = zlib.decompressobj(-15)  # some servers send raw deflate
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
        """Whether the stream ended where it says it ends."""
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
    """Read a whole body. ``framed``: the transport proves its end (Content-Length or chunked).

    Raises :class:`~gateway.errors.RetryLater` (``INCOMPLETE_BODY``) or :class:`~gateway.errors.Halt` (``LIMIT_BYTES``,
    ``LIMIT_DECODED``, ``ENCODING``).
    """
    if encoding not in {"", "identity", "gzip", "x-gzip", "deflate"}:
        raise StreamHalted(
            "ENCODING",
            f"{where}: the reply is compressed with {encoding!r}, which was not asked for",
        )
    inflater = (
        Decompressor(encoding.removeprefix("x-")) if encoding not in {"", "identity"} else None
    )
    spool = Spool(
        max_decoded if inflater else max_bytes,
        "LIMIT_DECODED" if inflater else "LIMIT_BYTES",
        where=where,
    )
    received = 0
    try:
        async for chunk in pieces:
            received += len(chunk)
            if received > max_bytes:
                raise _too_large("LIMIT_BYTES", where, max_bytes)  # noqa: TRY301
            if inflater is None:
                spool.write(chunk)
                continue
            for part in inflater.feed(chunk):
                spool.write(part)
        if inflater is not None and received and not inflater.complete:
            raise RetryLater(
                "INCOMPLETE_BODY", f"{where}: the compressed reply stops before its end"
            )
    except BaseException:
        spool.discard()
        raise
    return spool.body(proved=length_is_known or inflater is not None)


def _too_large(reason: str, where: str, limit: int) -> StreamHalted:
    return StreamHalted(
        reason,
        f"{where}: larger than {limit} bytes; raise limits.max_response or ask for smaller pages",
    )
