"""Check the page that says why streams do not run, and its address on the health port."""

from __future__ import annotations

import asyncio

import aiohttp
from lxml import html

from gateway.observability.diagnosis import Diagnosis
from gateway.observability.health_server import HealthServer
from gateway.observability.merged_metrics import encode_snapshot, merge_snapshots
from gateway.observability.page_snapshot import Snapshot
from gateway.observability.why_page import render_why, why_address, why_of
from gateway.settings import Settings

NOW = 1_800_000_000.0
HALTED = Diagnosis(
    connector="aa-awards",
    stream="awards",
    state="halted",
    code="LIST_MISSING",
    meaning="The reply does not contain its list of records.",
    is_bad=True,
    details="the reply has no list where `items` looks for it <b>",
    since=NOW - 7_200,
    replies_compared=True,
    fields_gone=("items[].title_en",),
    fields_new=("items[].label_en",),
    steps=("gateway preview connectors/aa-awards.yaml --stream awards --raw", "Correct the file."),
    loss="Nothing is lost.",
    owner="Agency, mailto:agency@example.org",
    runbook="ConnectorHalted",
)
WELL = Diagnosis(
    connector="aa-awards",
    stream="courses",
    state="running",
    code="HEALTHY",
    meaning="The stream is well.",
    is_bad=False,
)
DIAGNOSES = [WELL, HALTED]


def texts(page: str) -> str:
    return " ".join(html.fromstring(page).text_content().split())


def test_page_shows_the_same_text_as_the_command():
    page = render_why("aa-awards", "", DIAGNOSES, "/runbooks", NOW)
    text = texts(page)
    assert "aa-awards awards: halted since" in text
    assert "The reply does not contain its list of records. (LIST_MISSING)" in text
    assert "gone: items[].title_en" in text
    assert "looks for it <b>" in text
    assert "1 stream does not run as usual, and 1 stream is well." in text
    assert "<script" not in page
    tree = html.fromstring(page)
    assert tree.xpath("//dd/code/text()") == [HALTED.steps[0]]
    assert "/runbooks/ConnectorHalted.md" in tree.xpath("//dd/a/@href")


def test_page_of_a_connector_that_is_well_is_one_line():
    assert "aa-awards: 1 stream is well." in texts(render_why("aa-awards", "", [WELL], "", NOW))


def test_names_are_escaped_in_the_address():
    assert why_address("a&b", "c d") == "/why?connector=a%26b&stream=c+d"


def test_a_stream_that_is_split_by_institution_is_found_by_its_name():
    party = Diagnosis(
        connector="aa", stream="s@uni", state="halted", code="X", meaning="m", is_bad=True
    )
    assert why_of([party, WELL], "aa", "s") == [party]


def test_diagnoses_of_processes_reach_their_parent():
    part = encode_snapshot(Snapshot(diagnoses=lambda: DIAGNOSES))
    assert merge_snapshots([part, part]).diagnoses() == DIAGNOSES


def test_health_port_answers_for_known_streams_and_hosts_only():
    async def ask(host: str, query: str) -> tuple[int, str]:
        options = Settings(metrics_port=0)
        async with (
            HealthServer(options, snapshot=lambda: Snapshot(diagnoses=lambda: DIAGNOSES)) as server,
            aiohttp.ClientSession() as session,
            session.get(server.url + "/why?" + query, headers={"Host": host}) as reply,
        ):
            assert "Refresh" not in reply.headers
            return reply.status, await reply.text()

    status, page = asyncio.run(ask("localhost", "connector=aa-awards&stream=awards"))
    assert status == 200
    assert "LIST_MISSING" in page
    assert asyncio.run(ask("localhost", "connector=zz"))[0] == 404
    assert asyncio.run(ask("rebound.example", "connector=aa-awards"))[0] == 421
