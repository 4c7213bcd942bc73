"""A fuzz target: the headers of a registry's reply, and its coded body."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import zlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

from gateway.errors import StreamError
from gateway.fetch.fault_text import fault_text_of
from gateway.fetch.http.body import ReplyBody, read_body
from gateway.fetch.http.request_reply import (
    MAX_CLOCK_SKEW,
    RegistryReply,
    classify_by_status,
    clock_ahead_of,
    retry_after,
)
from gateway.fetch.paging.links import link
from tests.support.fuzz_budget import within_budget

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
LIMIT = 1_000_000
LONGEST_WAIT = 3600.0


@within_budget
def headers(data: bytes) -> None:
    """Read a head of lines ``name: value``, a blank line and a body, as the gateway reads a reply.

    The first byte chooses the status.
    """
    head, _, body = data[1:].partition(b"\n\n")
    lines = [line.partition(b": ") for line in head.split(b"\n")]
    fields = {
        name.decode("latin-1").lower(): value.decode("latin-1") for name, _, value in lines if name
    }
    status = 200 + 5 * (data[0] if data else 0)
    reply = RegistryReply(status, fields, ReplyBody.from_bytes(body), "https://a.example/")
    wait = retry_after(fields, NOW, LONGEST_WAIT)
    assert wait is None or 0 <= wait <= LONGEST_WAIT
    assert timedelta(0) <= clock_ahead_of(fields, NOW) <= MAX_CLOCK_SKEW
    assert len(reply.media_type.split()) <= 1
    assert reply.charset is None or reply.charset.isascii()
    assert len(classify_by_status(reply).reason) < 40
    assert link([fields.get("link", "")], "next") is None or "link" in fields
    with contextlib.suppress(StreamError):
        fault_text_of(reply)
        whole = asyncio.run(_read(body, fields.get("content-encoding", "")))
        assert whole.size <= LIMIT
        whole.close()


async def _read(body: bytes, coding: str) -> ReplyBody:
    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(body), 100):
            yield body[start : start + 100]

    return await read_body(
        pieces(),
        encoding=coding,
        length_is_known=True,
        max_bytes=LIMIT,
        max_decoded=LIMIT,
        where="x",
    )


def _reply(body: bytes = b"{}", **fields: str) -> bytes:
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in fields.items()]
    return b"\0" + "\n".join(lines).encode() + b"\n\n" + body


SEEDS = [
    _reply(date="Sun, 01 Mar 2026 11:59:50 GMT", retry_after="120"),
    _reply(
        date="Sunday, 01-Mar-26 11:59:50 GMT", retry_after="Sun, 01 Mar 2026 12:01:00 GMT", age="3"
    ),
    _reply(date="2026-03-01T11:00:00+02:00", retry_after="1.5"),
    _reply(content_type='multipart/related; boundary="b c"; start="<r>"; type=text/xml'),
    _reply(content_type="text/xml; charset*=utf-8''iso%2D8859%2D1"),
    _reply(
        gzip.compress(b'{"error": "no"}', mtime=0),
        content_encoding="gzip",
        content_type="application/json",
    ),
    _reply(zlib.compress(b"a" * 90), content_encoding="deflate"),
    _reply(zlib.compress(b"a" * 90)[2:-4], content_encoding="identity, deflate"),
    _reply(
        link='<https://a.example/?p=2>; rel="next last"; title=x, </1>; rel=first', etag='W/"a"'
    ),
    _reply(b"<html><h1>Error 503</h1></html>", content_type="text/html"),
]
WORDS = [
    *(
        "retry-after: ",
        "date: ",
        "content-type: ",
        "content-encoding: ",
        "link: ",
        "gzip",
        "deflate",
    ),
    *(
        "GMT",
        "charset=",
        "boundary=",
        "; rel=",
        "br",
        "-0000",
        "+9999",
        "Feb 30",
        "99999999999999999999",
    ),
]
