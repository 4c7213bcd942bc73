"""Bound the bodies that the push port reads at once: their number, their bytes and their time.

One :class:`PushAdmission` serves all push connectors of a process. Callers whose credential is in
the body have a share of their own, so that strangers cannot use up the share of the others.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp
from aiohttp import StreamReader, web

from gateway.errors import StreamHalted
from gateway.fetch.http.body import Decompressor

TRUSTED_BYTES = 128_000_000
"""For callers that showed a credential in the head. One larger message alone is still read."""
STRANGER_BYTES = 96_000_000
MIN_BYTES_PER_SECOND = 1_000
GRACE_SECONDS = 5.0
"""The time before a slow body can be refused."""
SLOT_WAIT_SECONDS = 1.0


class Busy(Exception):
    """There is no room for the message now. The caller must send it again."""


@dataclass(eq=False, slots=True)
class _Reading:
    """A body that is being read."""

    scope: asyncio.Timeout
    started: float
    must_give_way: bool = False


@dataclass(slots=True)
class BodyBudget:
    """The bytes of bodies that may be in memory at once."""

    max_bytes: int
    used_bytes: int = 0

    def reserve(self, count: int, held: int) -> None:
        """Reserve ``count`` bytes for a body of which ``held`` bytes are read.

        Raises :class:`Busy` if other bodies need the room.
        """
        if self.used_bytes + count > self.max_bytes and self.used_bytes > held:
            raise Busy
        self.used_bytes += count


@dataclass(slots=True)
class PushAdmission:
    """The shares of one process."""

    trusted: BodyBudget = field(default_factory=lambda: BodyBudget(TRUSTED_BYTES))
    strangers: BodyBudget = field(default_factory=lambda: BodyBudget(STRANGER_BYTES))
    decoding: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while a body is decoded, which may take much more memory than the body."""


@dataclass(slots=True)
class BodyReader:
    """Read the bodies of one connector.

    At most ``concurrency`` bodies are held at once. If strangers may call and no place is free, the
    oldest body that is still incomplete gives way, so that slow strangers block no other caller.
    """

    budget: BodyBudget
    concurrency: int
    max_bytes: int
    timeout_seconds: float
    strangers_call: bool
    connector: str
    _slots: asyncio.Semaphore = field(init=False)
    _waiting: int = 0
    _readings: list[_Reading] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        """Create the places."""
        self._slots = asyncio.Semaphore(self.concurrency)

    @asynccontextmanager
    async def body(self, request: web.Request) -> AsyncIterator[bytes]:
        """Hold the whole body of a call.

        Raises :class:`Busy` without room, and :class:`~gateway.errors.StreamHalted` for a body that
        is too large, too slow or incomplete.
        """
        inflater = self._inflater(request)
        await self._acquire_slot()
        data = bytearray()
        try:
            await self._read_into(data, request.content, inflater)
            yield bytes(data)
        finally:
            self.budget.used_bytes -= len(data)
            self._slots.release()

    async def _acquire_slot(self) -> None:
        if self._slots.locked() and self.strangers_call:
            self._let_oldest_give_way()
        if self._waiting >= self.concurrency:
            raise Busy  # A flood must not fill the port with waiting calls.
        self._waiting += 1
        try:
            async with asyncio.timeout(SLOT_WAIT_SECONDS):
                await self._slots.acquire()
        except TimeoutError:
            raise Busy from None
        finally:
            self._waiting -= 1

    def _let_oldest_give_way(self) -> None:
        now = asyncio.get_running_loop().time()
        for reading in self._readings:
            if not reading.must_give_way and now - reading.started > GRACE_SECONDS:
                reading.must_give_way = True
                reading.scope.reschedule(now)
                return

    def _inflater(self, request: web.Request) -> Decompressor | None:
        # aiohttp would accept a compressed body without its end, and so lose records.
        coding = ",".join(request.headers.getall("Content-Encoding", [])).strip().lower()
        if coding in {"", "identity"}:
            return None
        if coding in {"gzip", "x-gzip", "deflate"}:
            return Decompressor(coding.removeprefix("x-"))
        raise StreamHalted(
            "ENCODING",
            f"{self.connector}: a message is compressed with {coding[:40]!r}; "
            "the caller must use gzip, deflate or no compression",
        )

    async def _read_into(
        self, data: bytearray, content: StreamReader, inflater: Decompressor | None
    ) -> None:
        loop = asyncio.get_running_loop()
        started = loop.time()
        scope = asyncio.timeout(min(GRACE_SECONDS, self.timeout_seconds))
        reading = _Reading(scope, started)
        self._readings.append(reading)
        try:
            async with scope:
                while piece := await content.readany():
                    for part in inflater.feed(piece) if inflater else (piece,):
                        self._reserve(len(part), len(data))
                        data += part
                    if not reading.must_give_way:
                        allowed = GRACE_SECONDS + len(data) / MIN_BYTES_PER_SECOND
                        scope.reschedule(started + min(allowed, self.timeout_seconds))
        except TimeoutError:
            if reading.must_give_way:
                raise Busy from None
            raise StreamHalted(
                "BODY_TOO_SLOW",
                f"{self.connector}: a message arrived too slowly; the caller must send "
                f"{MIN_BYTES_PER_SECOND} bytes per second or more, within limits.timeout",
            ) from None
        except (ConnectionError, aiohttp.ClientError, web.RequestPayloadError):
            raise StreamHalted(
                "INCOMPLETE_BODY",
                f"{self.connector}: a message has broken framing, or its caller closed the "
                "connection; the caller must send it again",
            ) from None
        finally:
            self._readings.remove(reading)
        if inflater is not None and not inflater.complete:
            raise StreamHalted(
                "INCOMPLETE_BODY",
                f"{self.connector}: a compressed message lacks its end; "
                "the caller must send it again",
            )

    def _reserve(self, count: int, held: int) -> None:
        if held + count > self.max_bytes:
            raise StreamHalted(
                "LIMIT_BYTES",
                f"{self.connector}: a message is larger than {self.max_bytes} bytes; "
                "raise limits.max_response",
            )
        self.budget.reserve(count, held)
