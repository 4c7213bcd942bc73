"""Encode the headers of a record once, in the form in which Kafka stores them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Self

_SHORT = 8_192
"""Numbers below this one have at most two bytes."""
_MORE = 0x80
"""The bit of a byte after which another byte follows."""


class HeaderBlock:
    """The headers of one record as bytes, which a record batch copies as they are.

    Iterate over it to read the names and values. The order is the one in which they were encoded.
    """

    __slots__ = ("encoded",)

    def __init__(self, encoded: bytes) -> None:
        self.encoded = encoded

    @classmethod
    def of(cls, headers: Iterable[tuple[str, bytes | None]]) -> Self:
        """Return the block of these headers."""
        encoded = [encode_header(name, value) for name, value in headers]
        return cls(varint(len(encoded)) + b"".join(encoded))

    def __iter__(self) -> Iterator[tuple[str, bytes]]:
        data = self.encoded
        count, place = _read_varint(data, 0)
        for _ in range(count):
            length, place = _read_varint(data, place)
            name = data[place : place + length].decode()
            length, place = _read_varint(data, place + length)
            yield name, data[place : place + length]
            place += length

    def __len__(self) -> int:
        return _read_varint(self.encoded, 0)[0]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, HeaderBlock) and self.encoded == other.encoded

    def __hash__(self) -> int:
        return hash(self.encoded)

    def __repr__(self) -> str:
        return f"HeaderBlock({len(self)} headers)"  # a value may be personal


def encode_header(name: str, value: bytes | None) -> bytes:
    """Return one header as a :class:`HeaderBlock` contains it."""
    if value is None:
        return encode_name(name) + NULL
    return b"%b%b%b" % (encode_name(name), varint(len(value)), value)


def encode_name(name: str) -> bytes:
    """Return the part of a header that precedes its value."""
    data = name.encode()
    return varint(len(data)) + data


def varint(number: int) -> bytes:
    """Return a number in the variable length of Kafka's records, which is zigzag as in protobuf."""
    return _VARINTS[number] if 0 <= number < _SHORT else _long_varint(number)


def _long_varint(number: int) -> bytes:
    rest = number << 1 if number >= 0 else ~number << 1 | 1
    encoded = bytearray()
    while rest >= _MORE:
        encoded.append(rest & 0x7F | _MORE)
        rest >>= 7
    encoded.append(rest)
    return bytes(encoded)


def _read_varint(data: bytes, place: int) -> tuple[int, int]:
    """Return the length that begins at ``place``, and the place after it."""
    number = shift = 0
    while True:
        byte = data[place]
        place += 1
        number |= (byte & 0x7F) << shift
        if byte < _MORE:
            return number >> 1, place
        shift += 7


_VARINTS = tuple(_long_varint(number) for number in range(_SHORT))
NULL = _long_varint(-1)
"""The length of a missing key or value."""
