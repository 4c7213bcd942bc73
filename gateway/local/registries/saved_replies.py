"""A stand-in that replays saved replies, byte for byte, over HTTP: the first reply whose request fits is sent."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from aiohttp import web

from gateway.local.registries.record_store import StoredEntry
from gateway.local.registries.server import Registry


@dataclass(frozen=True, slots=True)
class SavedReply:
    """One reply and the requests it answers: a method, a pattern for path and query, a text the body holds.

    With ``once`` it is sent a single time; later requests go on to the next reply that fits.
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
        """Say whether this reply answers a request."""
        return (
            method == self.method
            and re.fullmatch(self.target, target) is not None
            and self.body_contains in body
        )


class SavedReplyRegistry(Registry):
    """Replays ``saved``; ``asked`` holds what came in."""

    def __init__(self, saved: Sequence[SavedReply]) -> None:
        super().__init__({})
        self._saved = list(saved)
        self.asked: list[tuple[str, str, str]] = []

    def content(self, stream: str, entry: StoredEntry) -> bytes:
        """Refuse: a replay holds replies, not records."""
        raise KeyError(f"{stream} {entry.number}: a replay holds no records")

    def routes(self) -> list[web.RouteDef]:
        """Every address."""
        return [web.route("*", "/{path:(?!_control).*}", self._answer)]

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        body = (await request.read()).decode("utf-8", "replace")
        self.asked.append((request.method, request.path_qs, body))
        found = next(
            (
                saved
                for saved in self._saved
                if saved.matches(request.method, request.path_qs, body)
            ),
            None,
        )
        if found is None:
            return web.Response(status=404, text="nothing was saved for this request")
        if found.once:
            self._saved.remove(found)
        good = web.Response(
            body=found.body,
            status=found.status,
            headers={"Content-Type": found.media_type, **found.headers},
        )
        return await self.reply(request, self.next_misbehaviour("replay"), good)
