"""The ways a stand-in registry can misbehave, each of which some real registry has shown."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Literal, get_args

from aiohttp import web

Kind = Literal[
    "error", "too_many", "timeout", "truncated", "repeated_page", "empty_page", "loop", "wrong_charset", "error_inside", "html", "endless",
]  # fmt: skip
KINDS: tuple[str, ...] = get_args(Kind)
HANDLED_BY_SERVICE = frozenset({"repeated_page", "empty_page", "loop", "error_inside"})
"""Kinds that the service itself acts out, because they need to know its format; the others happen to any reply."""
SERVES_NOTHING = frozenset({"empty_page", "error_inside"})


@dataclass(slots=True)
class Misbehaviour:
    """One misbehaviour for the next ``times`` requests (``None``: until told otherwise), of one ``stream`` or of all.

    ``skip`` requests are answered well before it begins. ``seconds`` is the ``Retry-After`` of ``too_many`` and the silence of
    ``timeout``. ``status`` is that of ``error``.
    """

    kind: Kind
    times: int | None = 1
    stream: str | None = None
    skip: int = 0
    seconds: float = 1
    status: int = 500

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"no misbehaviour {self.kind!r}; expected one of {', '.join(KINDS)}")

    def applies_to(self, stream: str) -> bool:
        """Say whether this request is struck, and count it."""
        if self.stream not in (None, stream) or self.times == 0:
            return False
        if self.skip:
            self.skip -= 1
            return False
        if self.times is not None:
            self.times -= 1
        return True


async def respond(
    trouble: Misbehaviour, request: web.Request, good: web.Response
) -> web.StreamResponse:
    """Answer ``request`` in the troubled way; ``good`` is what would have been said."""
    body = good.body if isinstance(good.body, bytes) else b""
    match trouble.kind:
        case "error":
            return web.Response(status=trouble.status, text="the registry is out of order")
        case "too_many":
            return web.Response(
                status=429,
                headers={"Retry-After": f"{trouble.seconds:.0f}"},
                text="too many requests",
            )
        case "html":
            return web.Response(
                text="<!DOCTYPE html><html><body><h1>Maintenance</h1></body></html>",
                content_type="text/html",
            )
        case "wrong_charset":
            return web.Response(
                body=body.decode().encode("latin-1", "replace"),
                content_type=good.content_type,
                charset="utf-8",
            )
        case "timeout":
            await asyncio.sleep(trouble.seconds)
            return await _send_truncated(request, good, b"")
        case "truncated":
            return await _send_truncated(request, good, body[: len(body) // 2])
        case "endless":
            return await _endless(request, good)
        case _:
            return good


async def _send_truncated(
    request: web.Request, good: web.Response, part: bytes
) -> web.StreamResponse:
    """Promise the whole body, send a part, hang up."""
    reply = web.StreamResponse(headers={"Content-Type": good.headers["Content-Type"]})
    reply.content_length = len(good.body) if isinstance(good.body, bytes) else 1
    await reply.prepare(request)
    await reply.write(part)
    if request.transport is not None:
        request.transport.close()
    return reply


async def _endless(request: web.Request, good: web.Response) -> web.StreamResponse:
    """Send blanks until the other side has had enough."""
    reply = web.StreamResponse(headers={"Content-Type": good.headers["Content-Type"]})
    await reply.prepare(request)
    blanks = b" " * 65_536
    try:
        while True:
            await reply.write(blanks)
    except (ConnectionError, asyncio.CancelledError):
        return reply
