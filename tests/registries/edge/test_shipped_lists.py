"""Shipped connectors read the lists of their registries to the end."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest

from gateway.check.scripted_registry import without_credentials
from gateway.config.loading import load_connector
from gateway.errors import RetryLater, StreamError, StreamHalted
from gateway.fetch import RecordPage, TimeWindow, read_pages
from gateway.fetch.offline_client import OfflineClient, Request, make_response

CONNECTORS = Path(__file__).parents[3] / "connectors"
WINDOW = TimeWindow(None, datetime(2026, 3, 1, tzinfo=UTC))


def read(name: str, stream: str, route: Callable[[Request, dict[str, str]], Any]) -> Any:
    """Return the pages that a shipped connector reads from a registry."""
    connector = without_credentials(load_connector(CONNECTORS / f"{name}.yaml"))

    def answer(request: Request) -> Any:
        query = dict(parse_qsl(request.url.query.decode()))
        body = json.dumps(route(request, query)).encode()
        return make_response(200, {"content-type": "application/json"}, body)

    async def run() -> list[RecordPage]:
        client = OfflineClient(connector, lambda _name: b"secret", "production")
        client.answer = answer
        async with client:
            return [page async for page in read_pages(connector, stream, WINDOW, client)]

    return asyncio.run(run())


def test_deqar_institution_has_the_reports_of_all_pages() -> None:
    reports = [{"id": number, "institutions": [{"id": 7}]} for number in range(11)]

    def route(request: Request, query: dict[str, str]) -> Any:
        if request.url.path.endswith("/institutions/"):
            return {"count": 1, "next": None, "results": [{"id": 7}]}
        if request.url.path.endswith("/institutions/7/"):
            return {"id": 7, "name_primary": "Example University"}
        if "/programme/" in request.url.path:
            return {"count": 0, "next": None, "results": []}
        start = int(query.get("offset", 0))
        return {"count": 11, "next": "…", "results": reports[start : start + 10]}

    pages = read("eu-deqar", "institutions", route)
    (record,) = [raw for page in pages for raw in page.records]
    assert [report["id"] for report in json.loads(record.body or b"")["institutional_reports"]] == [
        *range(11)
    ]
    assert pages[-1].complete


COLLECTION = {"pageSize": 250, "hasPreviousPage": False, "hasNextPage": False, "items": []}


@pytest.mark.parametrize("stream", ["education-specifications", "programs", "courses"])
def test_ooapi_asks_for_the_bare_reply(stream: str) -> None:
    asked: list[str | None] = []

    def route(request: Request, _query: dict[str, str]) -> Any:
        asked.append(request.headers.get("x-envelope-response"))
        return COLLECTION

    assert read("nl-ooapi", stream, route)[-1].complete
    assert asked == ["false"]


def in_envelope(status: int, inner: Any) -> dict[str, Any]:
    """Wrap a reply as the EduHub gateway does, which drops replies that are not 200."""
    return {
        "gateway": {"endpoints": {"demo.example": {"responseCode": status}}},
        "responses": {"demo.example": inner} if status == 200 else {},
    }


@pytest.mark.parametrize("connector", ["nl-ooapi", "nl-oeapi"])
@pytest.mark.parametrize("items", [[{"courseId": "c1"}], []])
def test_reply_in_an_envelope_is_read(connector: str, items: list[Any]) -> None:
    envelope = in_envelope(200, {**COLLECTION, "items": items})
    [page] = read(connector, "courses", lambda *_: envelope)
    assert [raw.native_id for raw in page.records] == [item["courseId"] for item in items]
    assert page.complete


@pytest.mark.parametrize("connector", ["nl-ooapi", "nl-oeapi"])
def test_envelope_says_whether_there_is_another_page(connector: str) -> None:
    def route(_request: Request, query: dict[str, str]) -> Any:
        number = int(query["pageNumber"])
        items = [{"courseId": f"c{number}"}]
        return in_envelope(200, {**COLLECTION, "items": items, "hasNextPage": number < 3})

    pages = read(connector, "courses", route)
    assert [raw.native_id for page in pages for raw in page.records] == ["c1", "c2", "c3"]
    assert pages[-1].complete


@pytest.mark.parametrize("connector", ["nl-ooapi", "nl-oeapi"])
@pytest.mark.parametrize(
    ("status", "error", "reason"),
    [
        (503, RetryLater, "INSTITUTION_FAILS"),
        (0, RetryLater, "INSTITUTION_FAILS"),
        (401, StreamError, "DENIED"),
        (403, StreamError, "DENIED"),
        (404, StreamError, "DENIED"),
    ],
)
def test_envelope_without_the_reply_of_the_institution_deletes_nothing(
    connector: str, status: int, error: type[StreamError], reason: str
) -> None:
    with pytest.raises(error) as caught:
        read(connector, "courses", lambda *_: in_envelope(status, {}))
    assert caught.value.reason == reason


@pytest.mark.parametrize("connector", ["nl-ooapi", "nl-oeapi"])
def test_envelope_without_a_list_is_no_empty_list(connector: str) -> None:
    with pytest.raises(StreamHalted) as caught:
        read(connector, "courses", lambda *_: in_envelope(200, {"courses": []}))
    assert caught.value.reason == "LIST_MISSING"
