"""Write records in the format of a Kafka record batch, version 2.

aiokafka has such a writer, too. This one takes headers that are encoded already, and computes the
checksum with the instruction of the processor. See docs/decisions/0103.
"""

from __future__ import annotations

from struct import Struct

from aiokafka.codec import zstd_encode
from crc32c import crc32c

from gateway.messages.header_block import NULL, HeaderBlock, varint
from gateway.messages.outgoing import OutgoingRecord

_LEAD = Struct(">qiibI")
"""Offset, length of the rest, leader epoch, version of the format, checksum of what follows."""
_HEADER = Struct(">hiqqqhii")
"""Attributes, last offset, first and last time, producer, epoch, sequence, number of records."""
_HEADER_BYTES = _LEAD.size + _HEADER.size
_VERSION = 2
_UNKNOWN_EPOCH = -1
_TRANSACTIONAL = 0x10
_ZSTD = 4
_ZSTD_LEVEL = 1
"""The lowest cost of the processor. Higher levels hardly shrink these records further."""
_NO_PRODUCER = -1, -1, 0


class RecordBatch:
    """The records of one partition that a transaction sends together.

    A batch stays below ``max_bytes``, and is complete once it refuses a record. It accepts its
    first record of any size. With ``compress`` it is compressed with zstd, unless that would make
    it larger.
    """

    __slots__ = (
        "_attributes",
        "_body",
        "_compress",
        "_count",
        "_encoded",
        "_first_time",
        "_last_time",
        "_max_bytes",
        "_producer",
        "_records",
        "_size",
    )

    def __init__(self, max_bytes: int, *, compress: bool = False) -> None:
        self._max_bytes = max_bytes
        self._compress = compress
        self._attributes = _TRANSACTIONAL
        self._records: list[bytes] = []
        self._body: bytes | None = None
        self._encoded: bytes | None = None
        self._count = 0
        self._size = _HEADER_BYTES
        self._first_time = self._last_time = 0
        self._producer: tuple[int, int, int] = _NO_PRODUCER

    def append(self, record: OutgoingRecord, now: int) -> bool:
        """Add a record, or return ``False`` if the batch is full or closed.

        ``now`` is the time, in milliseconds, of a record without a time of its own.
        """
        count, key, value, headers = self._count, record.key, record.value, record.headers
        time = now if record.timestamp is None else record.timestamp
        if not count:
            self._first_time = self._last_time = time
        if type(headers) is not HeaderBlock:
            headers = HeaderBlock.of(headers)
        block = headers.encoded
        front = b"\0%b%b%b%b%b" % (
            varint(time - self._first_time),
            varint(count),
            varint(len(key)),
            key,
            NULL if value is None else varint(len(value)),
        )
        length = len(front) + len(block) + (0 if value is None else len(value))
        prefix = varint(length)
        size = self._size + len(prefix) + length
        if (size >= self._max_bytes and count) or self._body is not None:
            return False
        self._records += (prefix, front, value or b"", block)
        self._size = size
        self._count = count + 1
        if time > self._last_time:  # noqa: PLR1730 - faster than a call of max
            self._last_time = time
        return True

    def close(self) -> None:
        """Refuse further records, and compress those that were added."""
        if self._body is not None:
            return
        body = b"".join(self._records)
        self._records = []
        if self._compress:
            compressed = zstd_encode(body, _ZSTD_LEVEL)
            if len(compressed) < len(body):
                body = compressed
                self._attributes |= _ZSTD
        self._body = body

    @property
    def closed(self) -> bool:
        """Whether the batch refuses further records."""
        return self._body is not None

    @property
    def record_count(self) -> int:
        """The number of records."""
        return self._count

    @property
    def size(self) -> int:
        """The number of bytes before compression."""
        return self._size

    @property
    def sent_size(self) -> int:
        """The number of bytes that a broker receives. Reading it closes the batch."""
        self.close()
        return len(self._encoded or b"") or _HEADER_BYTES + len(self._body or b"")

    def set_producer(self, producer_id: int, epoch: int, sequence: int) -> None:
        """Name the producer and the number of the first record, before the first :meth:`encode`."""
        self._producer = producer_id, epoch, sequence

    def encode(self) -> bytes:
        """Close the batch and return its bytes. Every further call returns the same bytes."""
        if self._encoded is None:
            self.close()
            body = self._body or b""
            header = _HEADER.pack(
                self._attributes,
                self._count - 1,
                self._first_time,
                self._last_time,
                *self._producer,
                self._count,
            )
            checksum = crc32c(body, crc32c(header))
            length = _HEADER_BYTES - 12 + len(body)  # what follows the offset and this length
            lead = _LEAD.pack(0, length, _UNKNOWN_EPOCH, _VERSION, checksum)
            self._encoded = b"".join((lead, header, body))
            self._body = b""
        return self._encoded
