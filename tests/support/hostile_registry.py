"""A registry on a loopback socket with the reply of one row, and the gateway's reaction to it."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from gateway.config.loading import load_connector
from gateway.errors import StreamError
from gateway.fetch import RecordPage, TimeWindow, read_pages
from gateway.fetch.registry_client import RegistryClient
from gateway.harmonise.harmoniser import Harmoniser
from gateway.harmonise.tables.compiled_tables import Tables
from gateway.pipeline.page_writer import select_changes
from gateway.records import Accepted, RawRecord, Rejected
from gateway.render.render import TopicKeys, render
from tests.support.forked_process import ROOT
from tests.support.raw_http_server import Answer, Server, reply

KEY = b"0123456789abcdef0123456789abcdef"
WINDOW = TimeWindow(datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC))
HEAD = """language: 1
connector: hostile
country: FR
title: A hostile registry
owner: {{name: Tests, contact: tests@example.org}}
{protocol}:
  url: {{production: "{url}"}}
  limits: {{timeout: 5s, attempts: 1, max_response: {size}, max_decoded: 25MB}}
{block}tables:
  kind: {{map: {{D: diploma, C: certificate}}}}
streams:
  awards:
    emits: credential
"""
JSON = """    request: {get: /awards}
    records: items
    id: id
    version: version
    changed_at: changed
    map:
      kind: {from: kind, table: kind, default: certificate}
      title.en: title
      awarded_on: day
      awarding_body.name.en: body
      awarding_body.country: {const: FR}
      holder.full_name: {from: name, basis: award document}
      holder.birth_date: {from: born, basis: award document}
      holder.pseudonym: {from: person, pseudonym: national-id}
      nqf_framework: framework
      nqf_level: level
      credit_amount: credits
      credit_unit: unit
      assessment.grade: {from: grade, basis: award document}
      assessment.grading_scale: scale
    tests: [{name: shape, given: {id: "1"}, expect_some: {}}]
"""
XML = """    request: {get: /awards}
    decode: xml
    records: //r
    id: "@id"
    map:
      title.en: t
      holder.pseudonym: {from: "@id", pseudonym: national-id}
    tests: [{name: shape, given: '<r id="1"><t>T</t></r>', expect_some: {}}]
"""
GOOD = {
    "id": "1",
    "body": "A school",
    "person": "010190-1234",
    "kind": "D",
    "title": "Diploma",
    "day": "2024-06-01",
    "changed": "2026-01-05T10:00:00Z",
}


@cache
def tables() -> Tables:
    return Tables.load(ROOT / "mappings")


def connector_at(
    url: str,
    stream: str = JSON,
    *,
    protocol: str = "rest",
    block: str = "",
    size: str = "2MB",
    folder: Any = None,
    emits: str = "credential",
) -> Any:
    head = HEAD.format(protocol=protocol, url=url, block=block, size=size)
    text = head.replace("emits: credential", f"emits: {emits}") + stream
    with tempfile.TemporaryDirectory() as own:
        path = Path(folder or own) / "hostile.yaml"
        path.write_text(text)
        return load_connector(path)


class PollOutcome:
    """The pages of one poll, and how the poll ended."""

    def __init__(self) -> None:
        self.pages: list[RecordPage] = []
        self.error: StreamError | None = None
        self.connector: Any = None
        self.asked: list[Any] = []

    @property
    def records(self) -> list[RawRecord]:
        return [raw for page in self.pages for raw in page.records]

    @property
    def ended(self) -> str:
        """Return the reason why the poll failed, or an empty text.

        A successful poll must end with a last page, and a failed poll must not.
        """
        if self.error is None:
            assert self.pages[-1].last
            return ""
        assert not any(page.last for page in self.pages)
        assert "CANARY" not in str(self.error)
        return f"{type(self.error).__name__} {self.error.reason}"

    def outcomes(self, raws: list[RawRecord] | None = None) -> list[Any]:
        harmonise = Harmoniser(self.connector, tables(), pseudonym_key=KEY)
        return [harmonise(raw) for raw in raws or self.records]


def poll(
    answer: Answer,
    stream: str = JSON,
    *,
    position: str | None = None,
    tls: Any = None,
    **words: Any,
) -> PollOutcome:
    """Read a stream of a registry once, over a real socket."""
    heard = PollOutcome()

    async def run() -> None:
        async with Server(answer, tls) as server:
            heard.connector = connector_at(server.url, stream, **words)
            async with RegistryClient(
                heard.connector, {"k": b"v"}.__getitem__, "production"
            ) as client:
                try:
                    async for page in read_pages(
                        heard.connector, "awards", WINDOW, client, position=position
                    ):
                        heard.pages.append(page)
                except StreamError as error:
                    heard.error = error
            heard.asked = server.asked

    asyncio.run(run())
    return heard


def page_of(
    body: bytes | str, content_type: str = "application/json", status: int = 200, **headers: str
) -> Answer:
    data = body.encode("utf-8", "surrogatepass") if isinstance(body, str) else body

    async def answer(_: Any, writer: asyncio.StreamWriter) -> None:
        reply(writer, data, status, content_type=content_type, **headers)

    return answer


def ended(
    body: bytes | str, content_type: str = "application/xml", stream: str = "", **headers: str
) -> str:
    """Return how a poll ends that receives this reply."""
    heard = poll(
        page_of(body, content_type, **headers), stream or (XML if "xml" in content_type else JSON)
    )
    return heard.ended or f"{len(heard.records)} records"


def judged(*records: dict[str, Any] | str, stream: str = JSON) -> str:
    """Return the outcomes of records that arrive on one page, after harmonising and rendering."""
    rows = [
        record if isinstance(record, str) else json.dumps({**GOOD, **record}) for record in records
    ]
    heard = poll(page_of('{"items": [' + ", ".join(rows) + "]}"), stream)
    if heard.ended:
        return heard.ended
    return "; ".join(dict.fromkeys(map(said, heard.outcomes(), heard.records)))


def said(outcome: Any, raw: RawRecord) -> str:
    if isinstance(outcome, Rejected):
        assert "CANARY" not in repr(outcome)
        return f"rejected: {outcome.field} {outcome.reason}".replace(":  ", ": ")
    assert isinstance(outcome, Accepted), outcome
    made = render(
        outcome,
        TopicKeys(raw, None, KEY),
        country="FR",
        at=datetime(2026, 1, 1, tzinfo=UTC),
    )
    if isinstance(made, Rejected):
        return f"rejected: {made.field} {made.reason}"
    codes = sorted(
        {issue.code for issue in outcome.provenance.issues} - {"eqf_declared_unsupported"}
    )
    return "accepted" + (f" with {', '.join(codes)}" if codes else "")


def written(raws: list[RawRecord]) -> tuple[int, int]:
    """Return how many of these records the poller would write, and how many are unchanged."""
    entries, unchanged = select_changes(raws, {})
    return len(entries), unchanged


Route = Callable[[str], Any]
