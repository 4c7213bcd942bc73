"""Test the HTTP client against a loopback server that misbehaves as registries do."""

from __future__ import annotations

import asyncio
import gzip
import json
import time
import zlib
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from gateway.errors import RetryLater, StreamHalted
from gateway.fetch.http import redaction
from gateway.fetch.http.auth import ApiKey, Basic, OAuth2
from gateway.fetch.http.circuit_breaker import BreakerScope, CircuitBreaker, CircuitBreakers
from gateway.fetch.http.rate_limiter import QuietHours
from gateway.fetch.registry_client import (
    Connection,
    RegistryLimits,
    RegistryRequest,
    Transport,
    origin,
)
from gateway.observability import metrics
from tests.support.raw_http_server import ReceivedRequest, Server, always, in_turn, raw, reply

QUICK = {"timeout": 1.0, "attempts": 1, "wait_initial": 0.01}


def transport(server: Server, line: Connection | None = None, **limits: object) -> Transport:
    return Transport(
        "test", RegistryLimits(**{**QUICK, **limits}), line or Connection(), {origin(server.url)}
    )


def get(answer, path: str = "/", *, line: Connection | None = None, **limits: object):
    """Send one GET; return (body bytes, verdict, server) or raise what the client raised."""

    async def run():
        async with Server(answer) as server, transport(server, line, **limits) as client:
            reply, verdict = await client.send(
                RegistryRequest("GET", server.url + path, label="GET /x")
            )
            with_body = reply.body.read(), reply.body.is_complete
            reply.body.close()
            return with_body, verdict, server

    return asyncio.run(run())


def refused(answer, kind: type[Exception], reason: str, **limits: object) -> Exception:
    with pytest.raises(kind) as caught:
        get(answer, **limits)
    assert caught.value.reason == reason
    assert "CANARY" not in str(caught.value)
    return caught.value


def test_plain_reply_arrives_complete():
    (body, proved), verdict, server = get(always(b'{"a":1}', content_type="application/json"))
    assert (body, proved, verdict.outcome) == (b'{"a":1}', True, "ok")
    assert server.asked[0].headers["accept-encoding"] == "gzip, deflate"


@pytest.mark.parametrize(
    ("encode", "encoding"),
    [
        (gzip.compress, "gzip"),
        (zlib.compress, "deflate"),
        (lambda b: zlib.compressobj(wbits=-15).compress(b) + b"", None),
        (lambda b: gzip.compress(b[:5]) + gzip.compress(b[5:]), "gzip"),
    ],
)
def test_compressed_replies_are_read(encode, encoding):
    data = b"0123456789" * 30_000
    if encoding is None:
        raw_deflate = zlib.compressobj(wbits=-15)
        body, encoding = raw_deflate.compress(data) + raw_deflate.flush(), "deflate"
    else:
        body = encode(data)
    (got, proved), _, _ = get(always(body, content_encoding=encoding))
    assert got == data
    assert proved


GZ = gzip.compress(b"CANARY" * 5000)
TRUNCATED = {
    "content-length": raw(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nCANARY"),
    "chunked": raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nCANARY\r\n"),
    "gzip without its end": always(GZ[: len(GZ) // 2], content_encoding="gzip"),
    "gzip without its checksum": always(GZ[:-8], content_encoding="gzip"),
    "gzip with a wrong checksum": always(GZ[:-8] + b"\0" * 8, content_encoding="gzip"),
}


@pytest.mark.parametrize("how", TRUNCATED)
def test_truncated_body_is_never_complete(how):
    refused(TRUNCATED[how], RetryLater, "INCOMPLETE_BODY")


def test_body_ended_by_the_connection_is_unproved():
    (body, proved), _, _ = get(raw(b"HTTP/1.1 200 OK\r\n\r\n[1,2"))
    assert (body, proved) == (b"[1,2", False)


def test_size_limits_apply_before_and_after_decompression():
    refused(always(b"x" * 2000), StreamHalted, "LIMIT_BYTES", max_response=1000)
    bomb = gzip.compress(b"\0" * 30_000_000)
    refused(
        always(bomb, content_encoding="gzip"), StreamHalted, "LIMIT_DECODED", max_decoded=1_000_000
    )
    refused(always(b"x", content_encoding="br"), StreamHalted, "ENCODING")


def test_slow_reply_ends_at_the_deadline():
    started = time.monotonic()
    refused(
        raw(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n", *[b"x"] * 99, pause=0.1),
        RetryLater,
        "TIMEOUT",
        timeout=0.5,
    )
    refused(raw(*[b"H"] * 99, pause=0.1), RetryLater, "TIMEOUT", timeout=0.5)
    assert time.monotonic() - started < 9, "ten seconds and more is what the registry takes"


def test_redirect_is_refused_and_names_only_the_host():
    error = refused(
        always(status=302, location="https://elsewhere.example/?id=CANARY"),
        StreamHalted,
        "REDIRECT_REFUSED",
    )
    assert "elsewhere.example" in str(error)


def test_foreign_host_is_never_called():
    async def run():
        async with (
            Server(always(b"x")) as server,
            Server(always(b"y")) as other,
            transport(server) as client,
        ):
            with pytest.raises(StreamHalted) as caught:
                await client.send(RegistryRequest("GET", other.url + "/CANARY-12345678"))
            assert caught.value.reason == "CURSOR_FOREIGN"
            assert "12345678" not in str(caught.value)
            assert other.asked == []

    asyncio.run(run())


def test_transient_failures_are_retried_and_counted():
    before = metrics.RETRIES.labels("test", "HTTP_500")._value.get()
    (body, _), _, server = get(
        in_turn(always(status=500), always(status=500), always(b"good")), attempts=4
    )
    assert body == b"good"
    assert len(server.asked) == 3
    assert metrics.RETRIES.labels("test", "HTTP_500")._value.get() == before + 2


def test_retry_after_is_honoured():
    started = time.monotonic()
    (body, _), _, _ = get(in_turn(always(status=429, retry_after="1"), always(b"good")), attempts=2)
    assert body == b"good"
    assert time.monotonic() - started >= 1.0


def test_long_retry_after_is_returned_to_the_caller():
    error = refused(always(status=503, retry_after="1800"), RetryLater, "BUSY", attempts=5)
    assert error.retry_after == 1800


@pytest.mark.parametrize(
    ("status", "reason"),
    [(401, "DENIED"), (403, "DENIED"), (404, "HTTP_404"), (410, "HTTP_410"), (400, "HTTP_400")],
)
def test_permanent_failures_are_not_retried(status, reason):
    asked = []

    async def answer(request: ReceivedRequest, writer: asyncio.StreamWriter) -> None:
        asked.append(request)
        reply(writer, b"CANARY", status)

    refused(answer, StreamHalted, reason, attempts=5)
    assert len(asked) == 1


def test_refused_connection_is_reported():
    async def run():
        client = Transport(
            "test",
            RegistryLimits(**QUICK),
            Connection(),
            {"http://127.0.0.1:1", "http://no-such-host.invalid:80"},
        )
        async with client:
            for url, reason in (
                ("http://127.0.0.1:1/", "CONNECT_FAILED"),
                ("http://no-such-host.invalid/", "DNS_FAILED"),
            ):
                with pytest.raises(RetryLater) as caught:
                    await client.send(RegistryRequest("GET", url))
                assert caught.value.reason == reason

    asyncio.run(run())


def test_breaker_opens_probes_and_closes():
    breaker = CircuitBreaker("test", threshold=2, pause=10)
    breaker.record_failure(0, "TIMEOUT")
    breaker.check(0)
    breaker.record_failure(0, "CONNECT_FAILED")
    with pytest.raises(
        RetryLater, match="not called for 9 s after repeated failures; the last was CONNECT_FAILED"
    ):
        breaker.check(1)
    assert breaker.state == 2
    breaker.check(11)
    assert breaker.state == 1
    with pytest.raises(RetryLater):
        breaker.check(11)  # one probe at a time
    breaker.record_failure(11, "BUSY")
    with pytest.raises(RetryLater, match="20 s"):
        breaker.check(11)
    breaker.check(40)
    breaker.record_success()
    breaker.check(40)
    assert breaker.state == 0


def test_person_may_probe_an_open_breaker_at_once():
    breakers, down = CircuitBreakers("test"), BreakerScope("down")
    breakers.allow_probes()  # nothing is open yet
    fail(breakers, down)
    guard = breakers.guard(down, "https://a")
    with pytest.raises(RetryLater, match="29 s"):
        guard.check(1)
    breakers.allow_probes()
    guard.check(1)
    with pytest.raises(RetryLater, match="1 s"):
        guard.check(1)  # one probe at a time
    guard.record_failure(1, "BUSY")
    with pytest.raises(RetryLater, match="60 s"):
        guard.check(1)
    for _ in range(3):  # a probe that fails because a person was impatient makes no pause longer
        breakers.allow_probes()
        guard.check(2)
        guard.record_failure(2, "BUSY")
    with pytest.raises(RetryLater, match="60 s"):
        guard.check(2)
    breakers.allow_probes()
    guard.check(3)
    guard.record_success()
    guard.check(3)


def test_others_wait_only_while_a_probe_has_no_reply():
    async def scenario() -> None:
        breakers, down = CircuitBreakers("test"), BreakerScope("down")
        fail(breakers, down)
        await asyncio.wait_for(breakers.wait_for_probes(), 0.01)  # open, but nobody probes
        breakers.allow_probes()
        guard = breakers.guard(down, "https://a")
        guard.check(1)
        waiting = asyncio.create_task(breakers.wait_for_probes())
        await asyncio.sleep(0.1)
        assert not waiting.done()
        guard.record_failure(1, "BUSY")
        await asyncio.wait_for(waiting, 1)

    asyncio.run(scenario())


def breaker_state(institution: str = "") -> float:
    return metrics.BREAKER_STATE.labels("test", institution)._value.get()


def fail(breakers: CircuitBreakers, scope: BreakerScope, times: int = 8) -> None:
    for _ in range(times):
        breakers.guard(scope, "https://a").record_failure(0, "BUSY")


def test_breaker_of_one_institution_stops_no_other() -> None:
    breakers, down, well = CircuitBreakers("test"), BreakerScope("down"), BreakerScope("well")
    fail(breakers, down)
    with pytest.raises(RetryLater, match="test: down is not called for 30 s"):
        breakers.guard(down, "https://a").check(0)
    breakers.guard(well, "https://a").check(0)
    breakers.guard(BreakerScope(), "https://a").check(0)
    assert (breaker_state("down"), breaker_state("well"), breaker_state()) == (2, 0, 0)
    breakers.guard(down, "https://a").check(31)
    breakers.guard(down, "https://a").record_success()
    assert breaker_state("down") == 0


def test_breaker_of_one_origin_stops_no_other() -> None:
    breakers = CircuitBreakers("test")
    fail(breakers, BreakerScope())
    breakers.guard(BreakerScope(), "https://other").check(0)
    assert breaker_state() == 2, "the metric shows the worst state"


def test_breaker_of_one_loop_value_stops_no_other() -> None:
    breakers = CircuitBreakers("test")
    for name in ("p1", "p2", "p3"):
        fail(breakers, BreakerScope(value=name))
        with pytest.raises(RetryLater, match="one value of the loop is not called") as caught:
            breakers.guard(BreakerScope(value=name), "https://a").check(0)
        assert name not in str(caught.value), "a value may name a person"
    breakers.guard(BreakerScope(value="p4"), "https://a").check(0)
    assert breaker_state() == 0


def test_breaker_of_the_registry_opens_when_many_loop_values_begin_to_fail() -> None:
    breakers = CircuitBreakers("test")
    for number in range(8):
        breakers.guard(BreakerScope(value=str(number)), "https://a").record_failure(0, "TIMEOUT")
    with pytest.raises(RetryLater, match="test: the registry is not called"):
        breakers.guard(BreakerScope(value="9"), "https://a").check(0)
    probe = breakers.guard(BreakerScope(value="9"), "https://a")
    probe.check(31)
    probe.record_failure(31, "TIMEOUT")
    with pytest.raises(RetryLater, match="for 60 s"):
        breakers.guard(BreakerScope(value="10"), "https://a").check(31)


def test_probe_of_the_registry_is_free_again_when_the_value_is_blocked() -> None:
    breakers, broken = CircuitBreakers("test"), BreakerScope(value="p1")
    fail(breakers, broken)
    fail(breakers, BreakerScope())
    with pytest.raises(RetryLater):
        breakers.guard(broken, "https://a").check(10)
    breakers.guard(BreakerScope(value="p2"), "https://a").check(31)


def test_retry_after_of_one_institution_delays_no_other() -> None:
    async def run() -> float:
        async with Server(always(status=503, retry_after="20")) as server:
            async with transport(server) as client:
                for name in ("down", "other"):
                    line = Connection(scope=BreakerScope(name))
                    started = time.monotonic()
                    with pytest.raises(RetryLater):
                        await client.send(RegistryRequest("GET", server.url), line=line)
            return time.monotonic() - started

    assert asyncio.run(run()) < 5


def test_rate_and_concurrency_are_shared():
    running = peak = 0

    async def answer(_: ReceivedRequest, writer: asyncio.StreamWriter) -> None:
        nonlocal running, peak
        running += 1
        peak = max(peak, running)
        await asyncio.sleep(0.05)
        running -= 1
        reply(writer, b"x")

    async def run():
        async with Server(answer) as server, transport(server, rate=20.0, concurrency=2) as client:
            started = time.monotonic()
            await asyncio.gather(
                *(client.send(RegistryRequest("GET", server.url)) for _ in range(10))
            )
            assert time.monotonic() - started >= 9 / 20
            assert peak <= 2

    asyncio.run(run())


def test_quiet_hours_over_midnight_and_by_zone():
    zone = ZoneInfo("Europe/Amsterdam")
    day = QuietHours(datetime(2026, 1, 1, 7).time(), datetime(2026, 1, 1, 19).time(), zone)
    assert day.seconds_until_open(datetime(2026, 1, 5, 5, 30, tzinfo=UTC)) == 0
    assert day.seconds_until_open(datetime(2026, 1, 5, 17, 30, tzinfo=UTC)) == 1800
    night = QuietHours(datetime(2026, 1, 1, 22).time(), datetime(2026, 1, 1, 6).time(), zone)
    assert night.seconds_until_open(datetime(2026, 1, 5, 21, 30, tzinfo=UTC)) == 7.5 * 3600
    assert night.seconds_until_open(datetime(2026, 1, 5, 4, 0, tzinfo=UTC)) == 3600
    assert night.seconds_until_open(datetime(2026, 1, 5, 12, 0, tzinfo=UTC)) == 0


def test_basic_auth_and_api_key_are_sent():
    _, _, server = get(always(b"x"), line=Connection(Basic(lambda: "u", lambda: "p:ä")))
    assert server.asked[0].headers["authorization"] == "Basic dTpwOsOk"
    _, _, server = get(
        always(b"x"), "/a?b=1", line=Connection(ApiKey(lambda: "k y", parameter="key"))
    )
    assert server.asked[0].target == "/a?b=1&key=k+y"


def oauth(server: Server) -> OAuth2:
    return OAuth2(server.url + "/token", lambda: "id", lambda: "sec", scope=("a", "b"))


def test_oauth2_token_is_fetched_cached_and_renewed():
    tokens = iter(["one", "two", "three"])
    good = "one"

    async def answer(asked: ReceivedRequest, writer: asyncio.StreamWriter) -> None:
        if asked.target == "/token":
            assert asked.headers["authorization"] == "Basic aWQ6c2Vj"
            assert asked.body == b"grant_type=client_credentials&scope=a+b"
            reply(writer, json.dumps({"access_token": next(tokens), "expires_in": 3600}).encode())
        elif asked.headers["authorization"] == f"Bearer {good}":
            reply(writer, b"data")
        else:
            reply(writer, b"", 401)

    async def run():
        nonlocal good
        async with Server(answer) as server, transport(server) as client:
            client.line = Connection(oauth(server))
            for _ in range(2):
                got, _ = await client.send(RegistryRequest("GET", server.url + "/d"))
                assert got.body.read() == b"data"
            assert sum(a.target == "/token" for a in server.asked) == 1
            good = "two"
            await client.send(RegistryRequest("GET", server.url + "/d"))
            assert sum(a.target == "/token" for a in server.asked) == 2
            good = "none"
            with pytest.raises(StreamHalted) as caught:
                await client.send(RegistryRequest("GET", server.url + "/d"))
            assert caught.value.reason == "DENIED"
            assert sum(a.target == "/token" for a in server.asked) == 3

    asyncio.run(run())


@pytest.mark.parametrize("lifetime", ["²", "9" * 400, 10**30, -5, True, None, "3600", 0, "1e9"])
def test_odd_lifetime_of_a_token_stops_nothing(lifetime: object):
    async def answer(asked: ReceivedRequest, writer: asyncio.StreamWriter) -> None:
        token = json.dumps({"access_token": "one", "expires_in": lifetime}).encode()
        reply(writer, token if asked.target == "/token" else b"data")

    async def run():
        async with Server(answer) as server, transport(server) as client:
            client.line = Connection(oauth(server))
            for _ in range(2):
                got, _ = await client.send(RegistryRequest("GET", server.url + "/d"))
                assert got.body.read() == b"data"

    asyncio.run(run())


def test_refused_token_names_the_code_not_the_body():
    async def run():
        async with (
            Server(
                always(b'{"error":"invalid_client","error_description":"CANARY"}', 401)
            ) as server,
            transport(server) as client,
        ):
            client.line = Connection(oauth(server))
            with pytest.raises(StreamHalted, match="invalid_client") as caught:
                await client.send(RegistryRequest("GET", server.url))
            assert caught.value.reason == "TOKEN_REFUSED"
            assert "CANARY" not in str(caught.value)

    asyncio.run(run())


def test_redaction_keeps_structure_and_hides_values():
    shown = redaction.redact_url(
        "https://u:p@r.example/v2/students/199001019802?since=2026-01-01&apikey=abc&name=M%C3%BCller"
    )
    assert shown == "https://r.example/v2/students/***?since=2026-01-01&apikey=***&name=***"
    assert redaction.redact_headers(
        {"Authorization": "x", "X-API-Key": "k", "Accept": "a", "X-Own": "v"}, ["x-own"]
    ) == {
        "Authorization": "***",
        "X-API-Key": "***",
        "Accept": "a",
        "X-Own": "***",
    }
