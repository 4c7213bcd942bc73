"""Define how a local registry can misbehave. Real registries have shown each of these faults."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Literal, get_args

from aiohttp import web

from gateway.local.registries.wrong_replies import REWRITTEN, rewrite

Kind = Literal[
    "error",
    "too_many",
    "timeout",
    "truncated",
    "repeated_page",
    "empty_page",
    "loop",
    "wrong_charset",
    "error_inside",
    "html",
    "endless",
    "renamed_list",
    "null_list",
    "other_version",
    "unknown_error",
    "processing",
    "not_found",
    "refused",
    "record_without_id",
    "future_change",
    "unreadable_change",
    "shrunk_list",
    "capped_page",
    "last_page_again",
]
KINDS: tuple[str, ...] = get_args(Kind)
WHOLE_POLL = frozenset(
    {
        "record_without_id",
        "future_change",
        "unreadable_change",
        "shrunk_list",
        "capped_page",
        "last_page_again",
    }
)
"""The kinds that concern a whole poll, so that one wrong reply says little."""
HANDLED_BY_SERVICE = frozenset(
    {
        "repeated_page",
        "empty_page",
        "loop",
        "error_inside",
        "shrunk_list",
        "capped_page",
        "last_page_again",
    }
)
"""The kinds that :meth:`Registry.serve_page` or the service itself implements.

:func:`respond` applies the other kinds to any reply.
"""
SERVES_NOTHING = frozenset({"empty_page", "error_inside"})
"""The kinds whose replies contain no records."""


@dataclass(slots=True)
class Misbehaviour:
    """A misbehaviour for the next ``times`` requests of one ``stream``, or of all streams.

    With ``times=None``, it lasts until ``Registry.stop_misbehaving``. The registry answers
    ``skip`` requests correctly before it begins. ``seconds`` is the ``Retry-After`` of
    ``too_many`` and the delay of ``timeout``. ``status`` is the HTTP status of ``error``.
    Raise ``ValueError`` for an unknown ``kind``.
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
        """Return whether the misbehaviour applies to this request, and count the request."""
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
    """Return the faulty reply to ``request``. ``good`` is the correct reply."""
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
        case "not_found" | "refused":
            status = 404 if trouble.kind == "not_found" else 403
            return web.json_response({"status": status}, status=status)
        case kind if kind in REWRITTEN:
            return web.Response(
                body=rewrite(kind, body),
                status=202 if kind == "processing" else good.status,
                headers={"Content-Type": good.headers["Content-Type"]},
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
    """Announce the length of the whole body, send a part of it, and close the connection."""
    reply = web.StreamResponse(headers={"Content-Type": good.headers["Content-Type"]})
    reply.content_length = len(good.body) if isinstance(good.body, bytes) else 1
    await reply.prepare(request)
    await reply.write(part)
    if request.transport is not None:
        request.transport.close()
    return reply


async def _endless(request: web.Request, good: web.Response) -> web.StreamResponse:
    """Send spaces until the client closes the connection."""
    reply = web.StreamResponse(headers={"Content-Type": good.headers["Content-Type"]})
    await reply.prepare(request)
    blanks = b" " * 65_536
    try:
        while True:
            await reply.write(blanks)
    except (ConnectionError, asyncio.CancelledError):
        return reply
