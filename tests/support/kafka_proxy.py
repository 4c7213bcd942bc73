"""A TCP proxy in front of a broker that can disturb one kind of Kafka request.

A request begins with its length, its API key, its version and its correlation id. A reply begins
with its length and the same correlation id. The proxy reads nothing else.
"""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import Callable

END_TXN = 26
LOST_REPLY, LOST_REQUEST, LATE, CUT, SLOW = "lost reply", "lost request", "late", "cut", "slow"


class Proxy:
    """A proxy that forwards everything until a test calls :meth:`harm`."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.address = ""
        self.struck = 0
        self.late_seconds = 5.0
        self._broker = 0
        self._harm = ""
        self._skip = 0
        self._times = 0
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self, broker: int) -> None:
        self._broker = broker
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self.address = f"127.0.0.1:{self.port}"

    async def close(self) -> None:
        if self._server:
            self._server.close()
        for task in self._tasks:
            task.cancel()

    def harm(self, kind: str, skip: int = 0, times: int = 1) -> None:
        """Skip ``skip`` EndTxn requests, then apply the fault to the next ``times`` requests."""
        self._harm, self._skip, self._times, self.struck = kind, skip, times, 0

    def _strikes(self, key: int) -> bool:
        if key != END_TXN or not self._harm or self.struck >= self._times:
            return False
        if self._skip:
            self._skip -= 1
            return False
        self.struck += 1
        return True

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            upstream, downstream = await asyncio.open_connection("127.0.0.1", self._broker)
        except OSError:
            writer.close()
            return
        muted: set[int] = set()

        def end() -> None:
            writer.close()
            downstream.close()

        for work in (
            self._requests(reader, downstream, muted, end),
            self._replies(upstream, writer, muted, end),
        ):
            task = asyncio.ensure_future(work)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _requests(
        self,
        reader: asyncio.StreamReader,
        broker: asyncio.StreamWriter,
        muted: set[int],
        end: Callable[[], None],
    ) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                frame = await _frame(reader)
                key, _, correlation = struct.unpack_from(">hhi", frame, 4)
                if self._strikes(key):
                    if self._harm == CUT:
                        broker.write(frame[: len(frame) // 2])
                        await broker.drain()
                        break
                    if self._harm == LOST_REQUEST:
                        break
                    if self._harm == LOST_REPLY:
                        muted.add(correlation)
                    if self._harm == LATE:
                        self._later(frame, end)
                        return
                broker.write(frame)
                await broker.drain()
        end()

    def _later(self, frame: bytes, end: Callable[[], None]) -> None:
        """Close the client's connection and deliver its request later on another connection.

        This simulates a packet that the network delayed.
        """

        async def deliver() -> None:
            end()
            await asyncio.sleep(self.late_seconds)
            _, broker = await asyncio.open_connection("127.0.0.1", self._broker)
            broker.write(frame)
            await broker.drain()
            await asyncio.sleep(2)
            broker.close()

        task = asyncio.ensure_future(deliver())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _replies(
        self,
        broker: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        muted: set[int],
        end: Callable[[], None],
    ) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                frame = await _frame(broker)
                if struct.unpack_from(">i", frame, 4)[0] in muted:
                    break
                writer.write(frame)
                await writer.drain()
        end()


async def _frame(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readexactly(4)
    return head + await reader.readexactly(struct.unpack(">i", head)[0])
