"""Send requests to a registry and read the replies.

All requests to registries use this client. It follows no redirects, ignores proxies and ``.netrc``
from the environment, and always verifies TLS certificates. One deadline applies to each request and
its reply. The client limits bodies before and after decompression, and detects incomplete ones.

All streams of a registry share its rate limit and its concurrency. Each institution has a circuit
breaker of its own, and pauses of its own after ``Retry-After``. The client retries only when a
retry can help. Errors and log lines contain no header, query or body.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from collections.abc import AsyncIterator, Callable, Collection
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

import httpx2
import stamina

from gateway.config.requests import Decode
from gateway.errors import RetryLater, StreamHalted
from gateway.fetch import off_loop
from gateway.fetch.http import tls
from gateway.fetch.http.auth import NoAuth
from gateway.fetch.http.body import ReplyBody, read_body
from gateway.fetch.http.circuit_breaker import CircuitBreakers
from gateway.fetch.http.client_pool import ClientPool, no_cookies
from gateway.fetch.http.connection import Connection, Origins, origin
from gateway.fetch.http.connection_errors import translate_error
from gateway.fetch.http.lease import Lease
from gateway.fetch.http.network_guard import guarded_transport
from gateway.fetch.http.rate_limiter import QuietHours, RateLimiter, SentRequest
from gateway.fetch.http.redaction import redact_url as redacted
from gateway.fetch.http.redaction import shown_host
from gateway.fetch.http.request_reply import (
    RegistryReply,
    RegistryRequest,
    ReplyClassifier,
    ReplyVerdict,
    classify_by_status,
    clock_ahead_of,
    retry_after,
)
from gateway.observability import metrics, tracing

for _name in ("httpx2", "httpcore2", "zeep"):
    # At lower levels, these libraries log full URLs, headers and bodies.
    logging.getLogger(_name).setLevel(logging.WARNING)

CONNECT_TIMEOUT = 10.0
_USER_AGENT = "qualification-gateway/1"


@dataclass(frozen=True, slots=True)
class RegistryLimits:
    """The limits of one registry, which all its streams share.

    ``rate`` is in requests per second, ``timeout`` in seconds, and ``max_response`` and
    ``max_decoded`` are in bytes.
    """

    rate: float | None = None
    concurrency: int = 2
    timeout: float = 60.0
    max_response: int = 50_000_000
    max_decoded: int = 500_000_000
    quiet: QuietHours | None = None
    attempts: int = 5
    retry_timeout: float = 120.0
    """The maximum number of seconds for all attempts of one request.

    The caller receives a longer ``Retry-After`` in the error.
    """
    wait_initial: float = 0.5


class Transport:
    """An HTTP client for one registry.

    It is an asynchronous context manager, and safe for concurrent use within one event loop.
    """

    def __init__(
        self,
        connector: str,
        allowance: RegistryLimits,
        line: Connection,
        hosts: Collection[str],
        *,
        now: Callable[[], datetime] | None = None,
    ) -> None:
        self.connector = connector
        self.allowance = allowance
        self.origins = Origins(frozenset(hosts))
        """The origins of a connection that names none of its own."""
        self.now = now or _now
        self.line = line
        self._rate_limiter = RateLimiter(
            connector,
            rate=allowance.rate,
            concurrency=allowance.concurrency,
            quiet=allowance.quiet,
            now=self.now,
        )
        self.breakers = CircuitBreakers(connector)
        self._paused_until: dict[tuple[str, str], float] = {}
        """By institution and origin: when the next request may be sent, after ``Retry-After``."""
        self._clients = ClientPool(self._open_client)
        self.on_exchange: Callable[[RegistryRequest, RegistryReply, float], None] | None = None
        """The function that receives each request, its reply and its duration in seconds."""
        self.on_verdict: Callable[[ReplyVerdict], None] | None = None
        """The function that receives the meaning of each reply that has one."""
        self._clocks: dict[str, timedelta] = {}

    def allow_probes(self) -> None:
        """Send the next request also while a circuit breaker is open.

        A wait that the registry demanded with ``Retry-After`` still holds.
        """
        self.breakers.allow_probes()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._clients.aclose()

    def set_lease(self, lease: Lease) -> None:
        """Send requests only while ``lease`` is valid.

        Other processes may call the registry before and after this one.
        """
        self._rate_limiter.set_lease(lease)

    async def wait_for_lease(self) -> None:
        """Wait until this process may call the registry."""
        await self._rate_limiter.wait_for_lease()

    def clock_ahead_of(self, institutions: Collection[str] = ("",)) -> timedelta:
        """Return by how much the gateway's clock is ahead of that of a party, at the latest reply.

        The largest difference counts for several institutions. The empty name means the registry
        as a whole.
        """
        zero = timedelta(0)
        return max((self._clocks.get(name, zero) for name in institutions), default=zero)

    def origins_of(self, line: Connection | None) -> Origins:
        """Return the origins to which the requests of a connection may go."""
        return self.origins if line is None or line.origins is None else line.origins

    async def send(
        self,
        call: RegistryRequest | Callable[[], RegistryRequest],
        classify: ReplyClassifier = classify_by_status,
        *,
        line: Connection | None = None,
        decode_steps: Decode = (),
    ) -> tuple[RegistryReply, ReplyVerdict]:
        """Send a request, repeat it as needed, and return the reply with its verdict.

        The outcome of the verdict is ``ok``, ``empty``, ``halve_window`` or ``restart_window``.
        ``classify`` returns the verdict of a reply, in a thread when ``decode_steps`` may take
        long. Pass a function as ``call`` when each attempt
        needs a new request, for example because a signed message contains its time of creation.
        The caller closes ``reply.body``.

        Raise :class:`~gateway.errors.RetryLater` when the failure remains temporary after all
        attempts. Raise :class:`~gateway.errors.StreamHalted` when a person must fix the cause.
        """
        limit = self.allowance
        async for attempt in stamina.retry_context(
            on=self._should_retry,
            attempts=limit.attempts,
            timeout=limit.retry_timeout,
            wait_initial=limit.wait_initial,
            wait_max=30.0,
            wait_jitter=limit.wait_initial,
        ):
            with attempt:
                request = call if isinstance(call, RegistryRequest) else call()
                return await self._attempt(request, classify, line or self.line, decode_steps)
        raise AssertionError  # pragma: no cover - retry_context returns or raises

    def _should_retry(self, error: Exception) -> bool | float:
        if not isinstance(error, RetryLater) or error.reason in {"QUIET_HOURS", "BREAKER_OPEN"}:
            return False
        if error.retry_after is not None and error.retry_after > self.allowance.retry_timeout:
            return False
        metrics.RETRIES.labels(self.connector, error.reason).inc()
        return True if error.retry_after is None else max(error.retry_after, 0.05)

    async def _attempt(
        self,
        call: RegistryRequest,
        classify: ReplyClassifier,
        line: Connection,
        decode_steps: Decode,
    ) -> tuple[RegistryReply, ReplyVerdict]:
        where = f"{self.connector}: {call.label or call.method}"
        call_origin = origin(call.url)
        pause_key = (line.scope.institution, call_origin)
        await self._wait_for_pause(pause_key)
        async with self._rate_limiter.concurrency_slot():
            clock = asyncio.get_running_loop().time
            breakers = self.breakers.guard(line.scope, call_origin)
            breakers.check(clock())
            try:
                reply = await self._send_authenticated(call, line, where)
            except RetryLater as error:
                breakers.record_failure(clock(), error.reason)
                raise
            except BaseException:
                breakers.cancel_probe()
                raise
            try:
                is_large = off_loop.needs_thread(reply.body.size, decode_steps)
                verdict = await off_loop.run(is_large, classify, reply)
            except BaseException:
                reply.body.close()
                breakers.record_success()
                raise
            if self.on_verdict is not None:
                self.on_verdict(verdict)
            if verdict.outcome == "retry":
                breakers.record_failure(clock(), verdict.reason or "BUSY")
            else:
                breakers.record_success()
        if verdict.outcome not in {"retry", "denied", "stop"}:
            return reply, verdict
        reply.body.close()
        text = f"{where}: {verdict.message or verdict.reason}"
        text += self._withheld_credentials(call, line) if verdict.outcome == "denied" else ""
        if verdict.outcome == "retry":
            after = retry_after(reply.headers, self.now())
            after = verdict.after if after is None else after
            if after is not None:
                self._paused_until[pause_key] = clock() + min(after, self.allowance.retry_timeout)
            raise RetryLater(verdict.reason or "BUSY", text, after=after)
        if 300 <= reply.status < 400 and (target := reply.headers.get("location")):  # noqa: PLR2004
            text += f" (towards {shown_host(target, 'the same host')})"
        raise StreamHalted(verdict.reason or "STOPPED", text)

    def _withheld_credentials(self, call: RegistryRequest, line: Connection) -> str:
        """Return the words for a refusal by a host that received no credentials."""
        is_own = self.origins_of(line).receive_credentials(call.url)
        if is_own or isinstance(line.auth, NoAuth):
            return ""
        return (
            "; the gateway sent it no credentials, because it is not the host of `url`; "
            "if it may have them, write `{host: …, credentials: true}` under `hosts`"
        )

    async def _wait_for_pause(self, key: tuple[str, str]) -> None:
        """Wait as long as an institution asked for with ``Retry-After``."""
        wait = self._paused_until.get(key, 0.0) - asyncio.get_running_loop().time()
        await asyncio.sleep(max(0.0, wait))

    async def _send_authenticated(
        self, call: RegistryRequest, line: Connection, where: str
    ) -> RegistryReply:
        origins = self.origins_of(line)
        if call.url not in origins:
            raise StreamHalted(
                "CURSOR_FOREIGN",
                f"{where}: {urlsplit(call.url).hostname} is not one of this connector's hosts, "
                "so it is not called; see `hosts`",
            )
        if not call.authenticated or not origins.receive_credentials(call.url):
            stranger = Connection(tls=line.plain_tls, scope=line.scope)
            return await self._send_rate_limited(call, stranger, where)
        flow = line.auth.flow(call, self.now())
        step = next(flow)
        while True:
            party = replace(line, tls=tls_for_step(line, step, call))
            reply = await self._send_rate_limited(step, party, where)
            try:
                step = flow.send(reply)
            except StopIteration:
                return reply
            reply.body.close()

    async def _send_rate_limited(
        self, call: RegistryRequest, line: Connection, where: str
    ) -> RegistryReply:
        # Token requests and repeated requests count against the rate, too.
        async with self._rate_limiter.request_slot() as sent_request:
            with tracing.span(
                "request",
                **{
                    "http.request.method": call.method,
                    "server.address": urlsplit(call.url).hostname or "",
                },
            ):
                return await self._send_http(call, line, where, sent_request)

    async def _send_http(
        self,
        call: RegistryRequest,
        line: Connection,
        where: str,
        sent_request: SentRequest,
    ) -> RegistryReply:
        async def step(name: str, _: object) -> None:
            if name.endswith(".send_request_body.complete"):
                sent_request.mark_sent(asyncio.get_running_loop().time())

        started = time.perf_counter()
        status = "error"
        try:
            async with (
                asyncio.timeout(self.allowance.timeout),
                self._clients.client((line.tls, line.scope.institution)) as client,
            ):
                request = _build_request(client, call, step)
                if any(line.cookies):
                    httpx2.Cookies(line.cookies).set_cookie_header(request)
                response = await client.send(request, stream=True, auth=None)
                try:
                    status = f"{response.status_code // 100}xx"
                    if "set-cookie" in response.headers:
                        httpx2.Cookies(line.cookies).extract_cookies(response)
                    reply = await self._read_reply(response, where)
                    self._clocks[line.scope.institution] = clock_ahead_of(reply.headers, self.now())
                    if self.on_exchange is not None:
                        self.on_exchange(call, reply, time.perf_counter() - started)
                    return reply
                finally:
                    await response.aclose()
        except (TimeoutError, httpx2.TimeoutException):
            raise RetryLater(
                "TIMEOUT",
                f"{where}: no complete reply within {self.allowance.timeout:g} s; "
                "raise limits.timeout, "
                "or request less in one reply",
            ) from None
        except httpx2.HTTPError as error:
            raise translate_error(error, where, call.url) from None
        except (httpx2.InvalidURL, UnicodeError):
            raise StreamHalted(
                "URL_INVALID",
                f"{where}: {redacted(call.url)} is not a URL that can be called; "
                "expected https://host/path",
            ) from None
        finally:
            metrics.REQUESTS.labels(self.connector, status).inc()
            metrics.REQUEST_DURATION.labels(self.connector).observe(time.perf_counter() - started)

    async def _read_reply(self, response: httpx2.Response, where: str) -> RegistryReply:
        headers = {name.lower(): value for name, value in response.headers.items()}
        has_no_body = response.status_code in {204, 304}
        length_is_known = (
            has_no_body
            or "content-length" in headers
            or "chunked" in headers.get("transfer-encoding", "").lower()
        )
        body: ReplyBody = await read_body(
            _raw_chunks(response),
            encoding=headers.get("content-encoding", "").strip().lower(),
            length_is_known=length_is_known,
            max_bytes=self.allowance.max_response,
            max_decoded=self.allowance.max_decoded,
            where=where,
        )
        return RegistryReply(
            response.status_code,
            headers,
            body,
            str(response.url),
            tuple(response.headers.get_list("link")),
        )

    @cached_property
    def _public_tls(self) -> ssl.SSLContext:
        """The context that trusts the public authorities. It takes long to create."""
        return tls.client_context(self.connector)

    def _open_client(self, context: ssl.SSLContext | None) -> httpx2.AsyncClient:
        transport = guarded_transport(
            verify=context or self._public_tls,
            trust_env=False,
            http2=False,
            limits=httpx2.Limits(
                max_connections=self.allowance.concurrency + 2,
                max_keepalive_connections=self.allowance.concurrency,
            ),
        )
        return httpx2.AsyncClient(
            transport=transport,
            cookies=no_cookies(),
            follow_redirects=False,
            trust_env=False,
            timeout=httpx2.Timeout(
                self.allowance.timeout, connect=min(CONNECT_TIMEOUT, self.allowance.timeout)
            ),
        )


def _build_request(
    client: httpx2.AsyncClient, call: RegistryRequest, on_step: Callable[[str, object], object]
) -> httpx2.Request:
    """Return the HTTP request, or raise ``InvalidURL`` when its host is read in two ways."""
    request = client.build_request(
        call.method,
        httpx2.URL(call.url).copy_merge_params(call.query) if call.query else call.url,
        headers={
            "Accept-Encoding": "gzip, deflate",
            "User-Agent": _USER_AGENT,
            **call.headers,
        },
        content=call.content,
        extensions={"trace": on_step},
    )
    # The origin was checked as one parser reads it, and the client connects as another one does.
    if origin(str(request.url)) != origin(call.url) or request.url.userinfo:
        raise httpx2.InvalidURL("the host of the address is ambiguous")
    return request


def tls_for_step(
    line: Connection, step: RegistryRequest, call: RegistryRequest
) -> ssl.SSLContext | None:
    """Return the TLS context for one step of an authentication flow.

    A token endpoint may have its own context.
    """
    return line.tls if step.url == call.url else (getattr(line.auth, "tls", None) or line.tls)


async def _raw_chunks(response: httpx2.Response) -> AsyncIterator[bytes]:
    async for piece in response.aiter_raw():
        yield piece


def _now() -> datetime:
    return datetime.now(UTC)
