"""Download a file that a registry names, and follow one redirect to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from gateway.config.requests import Decode
from gateway.fetch import off_loop
from gateway.fetch.http.connection import Connection, Origins
from gateway.fetch.http.request_reply import (
    NOT_MODIFIED,
    RegistryReply,
    RegistryRequest,
    ReplyVerdict,
    classify_by_status,
)
from gateway.fetch.paging import join_link
from gateway.fetch.request_runner import RequestResult, RequestRunner
from gateway.fetch.safe_links import host_origin, safe_url

REDIRECT_CLASS = 3
"""The first digit of the HTTP status codes that redirect a request."""


async def download(
    runner: RequestRunner,
    url: str,
    decode_steps: Decode,
    *,
    hosts: Sequence[str] = (),
    line: Connection | None = None,
    base: str | None = None,
) -> RequestResult:
    """Download a file from a URL of the registry, and return the decoded file.

    The client follows one redirect to a host that the connector names, without credentials. The
    further ``hosts`` never receive credentials.
    """
    client, where = runner.client, runner.log_prefix
    base, line = base or client.base, line or client.line
    named = client.origins_of(line)
    files = frozenset(host_origin(host, base) for host in hosts)
    origins = Origins(named.own, named.further | files)
    line = replace(line, origins=origins)
    call = RegistryRequest("GET", safe_url(url, origins.all, base, where), label="download")
    redirected: list[str] = []

    def classify(reply: RegistryReply) -> ReplyVerdict:
        is_redirect = reply.status // 100 == REDIRECT_CLASS and reply.status != NOT_MODIFIED
        if is_redirect and not redirected:
            target = join_link(reply.url, reply.headers.get("location", ""))
            redirected.append(safe_url(target, origins.all, base, where))
            return ReplyVerdict("empty")
        return classify_by_status(reply)

    reply, verdict = await client.send(call, classify, line=line)
    if redirected:
        reply.body.close()
        reply, verdict = await client.send(
            RegistryRequest("GET", redirected[0], label="download", authenticated=False),
            classify,
            line=line,
        )
    is_large = off_loop.needs_thread(reply.body.size, decode_steps)
    return await off_loop.run(is_large, runner.build_result, reply, verdict, decode_steps)
