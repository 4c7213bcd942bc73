"""Replay saved replies over HTTP, byte for byte.

The registry sends the first saved reply that matches the request.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from aiohttp import web

from gateway.local.registries.record_store import StoredEntry
from gateway.local.registries.server import Registry


@dataclass(frozen=True, slots=True)
class SavedReply:
    """A saved reply and the requests that it answers.

    A request matches by its method, by the pattern ``target`` for its path and query, and by
    a text in its body. With ``once``, the reply is sent a single time. Later requests receive the
    next reply that matches.
    """

    body: bytes
    media_type: str = "application/json"
    method: str = "GET"
    target: str = ".*"
    body_contains: str = ""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    once: bool = False

    def matches(self, method: str, target: str, body: str) -> bool:
        """Return whether this reply answers a request."""
        return (
            method == self.method
            and re.fullmatch(self.target, target) is not None
            and self.body_contains in body
        )


class SavedReplyRegistry(Registry):
    """A registry that replays ``saved`` and records the requests in ``asked``."""

    def __init__(self, saved: Sequence[SavedReply]) -> None:
        super().__init__({})
        self._saved = list(saved)
        self.asked: list[tuple[str, str, str]] = []

    def content(self, stream: str, entry: StoredEntry) -> bytes:
        """Raise ``KeyError``, because a replay contains replies and no records."""
        raise KeyError(f"{stream} {entry.number}: a replay contains no records")

    def routes(self) -> list[web.RouteDef]:
        """Return a route for all paths except the controls."""
        return [web.route("*", "/{path:(?!_control).*}", self._answer)]

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        body = (await request.read()).decode("utf-8", "replace")
        self.asked.append((request.method, request.path_qs, body))
        matching = next(
            (
                saved
                for saved in self._saved
                if saved.matches(request.method, request.path_qs, body)
            ),
            None,
        )
        if matching is None:
            return web.Response(status=404, text="no saved reply matches this request")
        if matching.once:
            self._saved.remove(matching)
        good = web.Response(
            body=matching.body,
            status=matching.status,
            headers={"Content-Type": matching.media_type, **matching.headers},
        )
        return await self.reply(request, self.next_misbehaviour("replay"), good)
