"""Ask a registry only whether a list has changed since the last reply (RFC 9110, section 13).

A reply with an ``ETag`` or a ``Last-Modified`` is kept in memory. The next request for the same
list sends it back. When the registry answers 304, the kept reply takes the place of the empty one.
The caller therefore reads the same bytes as before, and nothing depends on what was kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from gateway.fetch.http.body import ReplyBody
from gateway.fetch.http.request_reply import (
    NOT_MODIFIED,
    RegistryReply,
    RegistryRequest,
    http_moment,
)

HTTP_OK = 200
MAX_KEPT_BYTES = 8_000_000
MAX_AGE = timedelta(hours=24)
"""The age at which a list is requested in full again, because a registry's ETag may be wrong."""
_MIN_AGE_OF_CHANGE = timedelta(seconds=60)
"""A younger ``Last-Modified`` does not prove anything, because it has whole seconds."""
_OWN_CONDITIONS = {"if-none-match", "if-modified-since", "if-match", "cache-control"}


@dataclass(frozen=True, slots=True)
class _KeptReply:
    request: RegistryRequest
    headers: Mapping[str, str]
    links: tuple[str, ...]
    data: bytes
    condition: tuple[str, str]
    received_at: datetime


class KeptReplies:
    """The last reply of each list of a registry, by stream."""

    def __init__(self) -> None:
        self._replies: dict[str, _KeptReply] = {}

    def revalidation(self, stream: str) -> Revalidation:
        """Return the revalidation for one request of a list; without a stream it does nothing."""
        return Revalidation(self._replies, stream)


class Revalidation:
    """One request for a list, and the kept reply that its registry may confirm."""

    def __init__(self, replies: dict[str, _KeptReply], stream: str) -> None:
        self._replies = replies
        self._stream = stream
        self._request: RegistryRequest | None = None
        self._offered: _KeptReply | None = None
        self._is_confirmed = False

    def with_condition(self, request: RegistryRequest, now: datetime) -> RegistryRequest:
        """Return the request with the condition of the last reply to the same request."""
        self._request, self._offered = request, None
        kept = self._replies.get(self._stream)
        if kept is None or kept.request != request or now - kept.received_at > MAX_AGE:
            return request
        self._offered = kept
        name, value = kept.condition
        return replace(request, headers={**request.headers, name: value})

    def restore(self, reply: RegistryReply) -> None:
        """Put the kept reply in the place of a reply 304 to the condition."""
        kept = self._offered
        self._is_confirmed = kept is not None and reply.status == NOT_MODIFIED
        if kept is not None and self._is_confirmed:
            reply.body.close()
            reply.status, reply.headers, reply.links = HTTP_OK, kept.headers, kept.links
            reply.body = ReplyBody.from_bytes(kept.data)

    def keep(self, reply: RegistryReply, now: datetime) -> None:
        """Keep a reply that the registry can recognise again, and forget the last one."""
        if self._is_confirmed or not self._stream or self._request is None:
            return
        self._replies.pop(self._stream, None)
        own = _OWN_CONDITIONS & {name.lower() for name in self._request.headers}
        condition = _condition(reply)
        if condition is not None and not own and self._request.method == "GET":
            self._replies[self._stream] = _KeptReply(
                self._request, reply.headers, reply.links, reply.body.read(), condition, now
            )


def _condition(reply: RegistryReply) -> tuple[str, str] | None:
    """Return the request header that asks whether a reply has changed, or ``None``."""
    headers, body = reply.headers, reply.body
    if reply.status != HTTP_OK or not body.is_complete or body.size > MAX_KEPT_BYTES:
        return None
    if "no-store" in headers.get("cache-control", "").lower() or headers.get("vary") == "*":
        return None
    if etag := headers.get("etag", "").strip():
        return "If-None-Match", etag
    changed, sent = (
        http_moment(headers.get("last-modified", "")),
        http_moment(headers.get("date", "")),
    )
    if changed is None or sent is None or sent - changed < _MIN_AGE_OF_CHANGE:
        return None
    return "If-Modified-Since", headers["last-modified"]
