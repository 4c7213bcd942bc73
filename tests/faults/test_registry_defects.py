"""Faults of registries that have a planted defect, as registry.md lists them.

Each assertion holds without the defect and fails with it. ``poll_once`` is the real function and
uses a real socket. The test collects the records that it would write, because other rows cover
Kafka.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from gateway.config.deletions import DeletionLimit
from gateway.config.expressions.conditions import compile_record_condition
from gateway.errors import RetryLater, StreamHalted
from gateway.fetch import paging, record_selector, reply_classifier, xml_parser
from gateway.fetch import registry_client as client
from gateway.fetch.decode import formats
from gateway.fetch.http import body, circuit_breaker, tls, transport
from gateway.pipeline import deletion_guard, page_writer, poll
from gateway.pipeline.page_writer import PollResult
from gateway.pipeline.poll import StreamCursor
from tests.registries.edge.test_institutions import Institutions, parties
from tests.registries.edge.test_institutions import poll as poll_institutions
from tests.support.certificates import AUTHORITY, SERVER
from tests.support.memory_stream import MemoryStreamState, item, poll_route, stream
from tests.support.raw_http_server import ReceivedRequest, reply


def poison_page(_: pytest.MonkeyPatch) -> bool:
    """17: a page that cannot be read moves nothing; read whole later, nothing is missing."""
    kept, spoilt = MemoryStreamState(), [True]

    def route(_path: str, query: dict[str, str]) -> Any:
        page = int(query["page"])
        if page == 2 and spoilt:
            return b'{"items": [{"id": "3"'
        return {"items": [item(2 * page - 1), item(2 * page)], "pages": 3}

    text = stream(
        'page: "{page}"',
        "paging: {page_number: {pages: pages}}\ncursor: {window: 90d, start: 2026-01-01}",
    )
    poll_route(route, text, kept)
    spoilt.clear()
    poll_route(route, text, kept)
    return set(kept.bodies) == {"1", "2", "3", "4", "5", "6"}


def skips_bad_pages(patch: pytest.MonkeyPatch) -> None:
    real = formats.json_value

    def lenient(text: str, where: str, **more: Any) -> Any:
        try:
            return real(text, where, **more)
        except RetryLater:
            return {"items": [], "pages": 3}

    patch.setattr(formats, "json_value", lenient)
    patch.setattr(paging.loop_detector, "MAX_EMPTY", 99)
    patch.setattr(paging.PageNumber, "gaps", True)


def stranger(_: pytest.MonkeyPatch) -> bool:
    """20: a server whose certificate nobody we trust has signed is not believed."""
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    folder = Path(__file__).parent / "__pycache__"
    folder.mkdir(exist_ok=True)
    pem = folder / "server.pem"
    pem.write_bytes(SERVER.pem + SERVER.key_pem + AUTHORITY.pem)
    context.load_cert_chain(pem)
    pem.unlink()
    ended = poll_route(
        lambda *_: {"items": [item(1)]}, stream(), MemoryStreamState(), server_tls=context
    )
    return isinstance(ended, StreamHalted) and ended.reason.startswith("TLS_")


def verify_off(patch: pytest.MonkeyPatch) -> None:
    import ssl

    patch.setattr(tls, "client_context", lambda *_, **__: ssl._create_unverified_context())  # noqa: S323 - the defect


def cut_gzip(_: pytest.MonkeyPatch) -> bool:
    """22: a compressed page without its end is not a page."""
    import gzip

    lines = "\n".join(["id", *map(str, range(5000))]).encode()

    async def cut(_: ReceivedRequest, writer: asyncio.StreamWriter) -> None:
        reply(writer, gzip.compress(lines)[:-900], content_type="text/csv", content_encoding="gzip")

    kept = MemoryStreamState()
    ended = poll_route(
        lambda *_: cut, stream().replace("records: items", 'decode: csv\n    records: "@"'), kept
    )
    return isinstance(ended, RetryLater) and not kept.bodies and kept.cursor is None


def trusts_content(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(body.Decompressor, "complete", property(lambda _: True))


def empty_reply(_: pytest.MonkeyPatch) -> bool:
    """23: an empty body with status 200 is not the end of the data: a full scan would delete everything."""
    kept = MemoryStreamState()
    poll_route(lambda *_: {"items": [item(1)]}, stream(), kept)
    poll_route(lambda *_: b"", stream(), kept)
    return kept.bodies["1"] is not None


def empty_is_end(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(xml_parser, "reject_empty_or_html", lambda *_: None)
    real = formats.json_value
    patch.setattr(
        formats,
        "json_value",
        lambda text, where, **more: real(text, where, **more) if text.strip() else {"items": []},
    )


def served_twice(_: pytest.MonkeyPatch) -> bool:
    """27: what was written before a restart is not written again when it is served again."""
    kept = MemoryStreamState()
    for _ in range(3):
        poll_route(lambda *_: {"items": [item(1), item(2)]}, stream(), kept)
    return kept.writes == 2


def memory_dedupe(patch: pytest.MonkeyPatch) -> None:
    real = page_writer.select_changes
    patch.setattr(poll, "select_changes", lambda raws, _known, *rest: real(raws, {}, *rest))


def older_later(_: pytest.MonkeyPatch) -> bool:
    """33: an older version served after a newer one changes nothing."""
    kept = MemoryStreamState()
    for changed, title in (("2026-02-02T00:00:00Z", "new"), ("2026-02-01T00:00:00Z", "old")):
        poll_route(lambda *_, c=changed, t=title: {"items": [item(1, c, t=t)]}, stream(), kept)
    return b"new" in (kept.bodies["1"] or b"")


def last_write_wins(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(poll.RawEntry, "supersedes", lambda *_: True)


def moving_record(_: pytest.MonkeyPatch) -> bool:
    """28: a record inserted in front while pages are read pushes another over the edge: the overlap reads it at the next poll."""
    kept, stock = MemoryStreamState(), [item(n, f"2026-02-0{n}T00:00:00Z") for n in range(1, 7)]

    def route(_path: str, query: dict[str, str]) -> Any:
        since = query["since"][:19]
        found = [one for one in stock if str(one["changed"])[:19] >= since]
        offset = int(query["offset"])
        if offset == 2 and len(stock) == 6:
            stock[0]["changed"] = (
                "2026-02-08T00:00:00Z"  # the first record changes and moves to the end: all move up by one
            )
            found = [
                one
                for one in sorted(stock, key=lambda one: str(one["changed"]))
                if str(one["changed"])[:19] >= since
            ]
            stock.append(item(7, "2026-02-09T00:00:00Z"))
        return {"items": sorted(found, key=lambda one: str(one["changed"]))[offset : offset + 2]}

    text = stream(
        'since: "{since:iso}", offset: "{offset}"',
        "paging: {offset: {size: 2}}\ncursor: {field: changed_at, start: 2026-01-01, overlap: 14d}",
    )
    poll_route(route, text, kept)
    poll_route(route, text, kept)
    return set(kept.bodies) == {str(n) for n in range(1, 8)}


def no_overlap(patch: pytest.MonkeyPatch) -> None:
    real = poll.windows
    patch.setattr(
        poll,
        "windows",
        lambda rule, cursor, now: real(
            rule.model_copy(update={"overlap": timedelta(0)}), cursor, now
        ),
    )


def slow_clock(_: pytest.MonkeyPatch) -> bool:
    """31: a registry whose clock is two hours behind ours: what it changes after a poll is not older than where we go on."""
    kept, stock = MemoryStreamState(), [item(1, "2026-03-01T09:50:00Z")]

    def route(_path: str, query: dict[str, str]) -> Any:
        return {"items": [one for one in stock if str(one["changed"])[:19] >= query["since"][:19]]}

    text = stream('since: "{since:iso}"', "cursor: {field: changed_at, start: 2026-01-01}")
    poll_route(route, text, kept)
    stock.append(item(2, "2026-03-01T10:05:00Z"))
    poll_route(route, text, kept)
    return set(kept.bodies) == {"1", "2"}


def own_clock(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(
        poll,
        "advance_cursor",
        lambda _cursor, window, page, **_: StreamCursor(since=window.until, position=page.position),
    )


def dripping(patch: pytest.MonkeyPatch) -> bool:
    """21: one byte now and then, in head and body: the whole exchange has one deadline, however lively it looks."""
    real = client.limits_from_config
    patch.setattr(client, "limits_from_config", lambda limits: replace(real(limits), timeout=1.0))
    content = b'{"items": [{"id": "1", "changed": "2026-02-01T00:00:00Z", "t": "T"}]}'
    whole = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (
        len(content),
        content,
    )

    async def drip(_: ReceivedRequest, writer: asyncio.StreamWriter) -> None:
        for start in range(0, len(whole), 10):
            writer.write(whole[start : start + 10])
            await writer.drain()
            await asyncio.sleep(0.1)

    kept = MemoryStreamState()
    ended = poll_route(lambda *_: drip, stream(), kept)
    return isinstance(ended, RetryLater) and ended.reason == "TIMEOUT" and not kept.bodies


def limit_of_each_read(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(
        transport,
        "asyncio",
        SimpleNamespace(
            timeout=lambda _: asyncio.timeout(None), get_running_loop=asyncio.get_running_loop
        ),
    )
    real = transport.httpx2.Timeout
    patch.setattr(transport.httpx2, "Timeout", lambda *_, **__: real(60))


def forgotten_cursor(_: pytest.MonkeyPatch) -> bool:
    """30: a registry that has forgotten its cursor (410) is read from the start of the window; nothing behind it is passed over."""
    kept, gone = MemoryStreamState(), [True]

    def route(_path: str, query: dict[str, str]) -> Any:
        at = query.get("c", "1")
        if at == "2" and gone:
            gone.clear()

            async def refuse(_: ReceivedRequest, writer: asyncio.StreamWriter) -> None:
                reply(writer, b"{}", 410, content_type="application/json")

            return refuse
        return {"items": [item(at)], "next": {"1": "2", "2": "3", "3": None}[at]}

    text = stream('c: "{cursor}"', "paging: {cursor: {from: next}}")
    ended = poll_route(
        route, text, kept, block="  replies: [{when: {status: 410}, then: restart_window}]\n"
    )
    return (
        isinstance(ended, PollResult) and set(kept.bodies) == {"1", "2", "3"} and kept.writes == 3
    )


def forgotten_is_end(patch: pytest.MonkeyPatch) -> None:
    real = reply_classifier.ReplyVerdict
    patch.setattr(
        reply_classifier,
        "ReplyVerdict",
        lambda outcome, *more: real("empty" if outcome == "restart_window" else outcome, *more),
    )


SCAN = stream(more="cursor: scan\ndeleted: {path: gone, is: 'true'}")


def shrunk_list(_: pytest.MonkeyPatch) -> bool:
    """23a: an empty list after a long one deletes nothing until a person accepts it."""
    kept = MemoryStreamState()
    for count in (30, 0, 0):
        ended = poll_route(lambda *_, n=count: {"items": [item(i) for i in range(n)]}, SCAN, kept)
    return isinstance(ended, StreamHalted) and len(kept.published) == 30


def flipped_flag(_: pytest.MonkeyPatch) -> bool:
    """23b: a registry that marks every record as deleted deletes nothing until then."""
    kept = MemoryStreamState()
    for gone in (False, True):
        shown = [item(number, gone=gone) for number in range(30)]
        ended = poll_route(lambda *_, items=shown: {"items": items}, SCAN, kept)
    return isinstance(ended, StreamHalted) and len(kept.published) == 30


def no_limit(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(DeletionLimit, "allows", lambda *_: True)


def marks_are_not_counted(patch: pytest.MonkeyPatch) -> None:
    async def keep_all(_: object, entries: list[Any]) -> list[Any]:
        return entries

    patch.setattr(deletion_guard.DeletionGuard, "filter_page", keep_all)


def new_ids(_: pytest.MonkeyPatch) -> bool:
    """23c: a registry that renames every id shows many new records, which do not hide the loss."""
    kept = MemoryStreamState()
    for names in (range(30), range(1000, 1500)):
        shown = [item(name) for name in names]
        for _ in range(2):
            ended = poll_route(lambda *_, items=shown: {"items": items}, SCAN, kept)
    return isinstance(ended, StreamHalted) and len(kept.published) == 530


def counts_new_records(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(deletion_guard.DeletionGuard, "known_before", lambda _, live: live)
    patch.setattr(deletion_guard, "read_note", lambda *_: deletion_guard.DeletionNote())


def not_found(_: pytest.MonkeyPatch) -> bool:
    """23d: a 404 that a connector reads as empty deletes nothing."""
    kept = MemoryStreamState()
    block = "  replies: [{when: {status: 404}, then: empty}]\n"
    for answer in ({"items": [item(1)]}, (404, {})):
        poll_route(lambda *_, found=answer: found, SCAN, kept, block=block)
    return kept.published == {"1"}


def refusals_prove_emptiness(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(reply_classifier, "FIRST_ERROR_STATUS", 1000)


def renamed_state(_: pytest.MonkeyPatch) -> bool:
    """23e: a registry that renames the state of its records has deleted none of them."""
    kept = MemoryStreamState()
    text = stream("", "cursor: scan\ndeleted: {path: status, not: active}")
    for name in ("status", "state"):
        shown = [item(number, **{name: "active"}) for number in range(3)]
        poll_route(lambda *_, items=shown: {"items": items}, text, kept)
    return len(kept.published) == 3


def absent_state_deletes(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(record_selector, "compile_deletion_condition", compile_record_condition)


def shifted_pages(_: pytest.MonkeyPatch) -> bool:
    """28a: a record that moves to a page that was read is not deleted by the scan that misses it."""
    kept, missed = MemoryStreamState(), [False]

    def route(_path: str, query: dict[str, str]) -> Any:
        shown = [item(number) for number in range(9) if number != 4 or not missed[-1]]
        start = 3 * (int(query["page"]) - 1)
        return {"items": shown[start : start + 3]}

    text = stream('page: "{page}"', "cursor: scan\npaging: {page_number: {size: 3}}")
    poll_route(route, text, kept)
    missed.append(True)
    poll_route(route, text, kept)
    return len(kept.published) == 9


def one_look(patch: pytest.MonkeyPatch) -> None:
    real = poll.deletions_after_scan
    patch.setattr(
        poll,
        "deletions_after_scan",
        lambda guard, seen, **more: real(guard, seen, **{**more, "several_pages": False}),
    )


def institutions_down(_: pytest.MonkeyPatch) -> bool:
    """18a: eight institutions answer 503 before the ninth one is read."""
    registry = Institutions()
    names = [f"uni-{number}" for number in range(9)]
    registry.down = dict.fromkeys(names[:8], 503)
    return isinstance(poll_institutions(registry, parties(names), 1)["awards@uni-8"], PollResult)


def one_breaker(patch: pytest.MonkeyPatch) -> None:
    real = circuit_breaker.CircuitBreakers.guard
    patch.setattr(
        circuit_breaker.CircuitBreakers,
        "guard",
        lambda self, _scope, origin: real(self, circuit_breaker.WHOLE_REGISTRY, origin),
    )


ROWS: dict[str, tuple[Callable[..., bool], Callable[[pytest.MonkeyPatch], None]]] = {
    "17 page to the rejections and on": (poison_page, skips_bad_pages),
    "18a one circuit breaker for all institutions": (institutions_down, one_breaker),
    "20 verification off": (stranger, verify_off),
    "21 a limit for each read only": (dripping, limit_of_each_read),
    "22 content taken for whole": (cut_gzip, trusts_content),
    "23 empty taken for the end": (empty_reply, empty_is_end),
    "23a no limit": (shrunk_list, no_limit),
    "23b marks are not counted": (flipped_flag, marks_are_not_counted),
    "23c new records count as known": (new_ids, counts_new_records),
    "23d a refusal proves an empty list": (not_found, refusals_prove_emptiness),
    "23e an absent state deletes": (renamed_state, absent_state_deletes),
    "27 deduplication in memory": (served_twice, memory_dedupe),
    "28 no overlap": (moving_record, no_overlap),
    "28a deleted at the first look": (shifted_pages, one_look),
    "30 forgotten taken for the end": (forgotten_cursor, forgotten_is_end),
    "31 our own clock": (slow_clock, own_clock),
    "33 last write wins": (older_later, last_write_wins),
}


@pytest.mark.parametrize("row", ROWS)
def test_registry_fault_loses_nothing(row: str, monkeypatch: pytest.MonkeyPatch):
    assert ROWS[row][0](monkeypatch)


@pytest.mark.parametrize("row", ROWS)
def test_planted_registry_defect_is_detected(row: str, monkeypatch: pytest.MonkeyPatch):
    holds, plant = ROWS[row]
    plant(monkeypatch)
    assert not holds(monkeypatch)
