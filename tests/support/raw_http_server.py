"""A loopback HTTP server that writes raw bytes, so that tests can make it misbehave."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Self


@dataclass
class ReceivedRequest:
    method: str
    target: str
    headers: dict[str, str]
    body: bytes


Answer = Callable[[ReceivedRequest, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Server:
    """A server that calls ``answer`` for each request. The answer may write any bytes."""

    answer: Answer
    tls: ssl.SSLContext | None = None
    host: str = "127.0.0.1"
    asked: list[ReceivedRequest] = field(default_factory=list)
    url: str = ""

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, self.host, 0, ssl=self.tls)
        port = self._server.sockets[0].getsockname()[1]
        self.url = (
            f"{'https' if self.tls else 'http'}://localhost:{port}"
            if self.tls
            else f"http://127.0.0.1:{port}"
        )
        self._tasks: set[asyncio.Task] = set()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._tasks.add(asyncio.current_task())
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
                method, target, _ = head[0].split(" ")
                headers = {
                    k.lower(): v.strip()
                    for k, _, v in (line.partition(":") for line in head[1:] if line)
                }
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                asked = ReceivedRequest(method, target, headers, body)
                self.asked.append(asked)
                await self.answer(asked, writer)
                await writer.drain()
                if writer.is_closing():
                    break
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()
            self._tasks.discard(asyncio.current_task())


def reply(
    writer: asyncio.StreamWriter, body: bytes = b"", status: int = 200, **headers: str
) -> None:
    """Write one well-formed reply. ``content_type='…'`` becomes a header."""
    lines = [
        f"HTTP/1.1 {status} X",
        f"Content-Length: {len(body)}",
        *(f"{k.replace('_', '-')}: {v}" for k, v in headers.items()),
    ]
    writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)


def always(body: bytes = b"", status: int = 200, **headers: str) -> Answer:
    async def answer(_: ReceivedRequest, writer: asyncio.StreamWriter) -> None:
        reply(writer, body, status, **headers)

    return answer


def raw(*pieces: bytes, pause: float = 0, close: bool = True) -> Answer:
    async def answer(_: ReceivedRequest, writer: asyncio.StreamWriter) -> None:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            if pause:
                await asyncio.sleep(pause)
        if close:
            writer.close()

    return answer


def in_turn(*answers: Answer) -> Answer:
    left = list(answers)

    async def answer(asked: ReceivedRequest, writer: asyncio.StreamWriter) -> None:
        await (left.pop(0) if len(left) > 1 else left[0])(asked, writer)

    return answer
