"""Check the values that no table contains: bounded, without persons, and behind the token."""

from __future__ import annotations

import asyncio
from pathlib import Path

import aiohttp
import pytest
from lxml import html
from prometheus_client import CollectorRegistry

from gateway.config.loading import load_connector
from gateway.harmonise.explanation import HIDDEN
from gateway.harmonise.explanation_values import source_text
from gateway.observability.health_server import HealthServer
from gateway.observability.merged_metrics import encode_snapshot, merge_snapshots
from gateway.observability.page_snapshot import Snapshot
from gateway.observability.status_page import render
from gateway.observability.unmapped_page import render_unmapped
from gateway.observability.unmapped_samples import (
    MAX_LOOKS_PER_SECOND,
    MAX_PLACES,
    MAX_VALUES,
    UnmappedPlace,
    UnmappedSamples,
)
from gateway.records import RawRecord
from gateway.settings import Settings

NOW = 1_800_000_000.0
PLACE = UnmappedPlace("aa-awards", "awards", "NL", "levels", "eqf_level")
TOKEN = "a token for tests only"
PERSONS = """language: 1
connector: aa-awards
country: NL
title: Awards
owner: {name: Fictional Agency, contact: "mailto:registry@agency.example"}
rest: {url: {production: "https://registry.example"}}
streams:
  awards:
    emits: credential
    request: {get: /r}
    records: items
    id: id
    map:
      title.en: title
      holder.family_name: {from: name, basis: "Act 1"}
      nqf_framework: {const: NLQF}
      nqf_level: LEVEL
    tests: [{name: shape, given: {id: "1", title: T}, expect_some: {}}]
"""


def samples(*values: tuple[str, bool]) -> UnmappedSamples:
    found = UnmappedSamples()
    for value, is_about_person in values:
        found.add(PLACE, value, is_about_person=is_about_person, now=NOW)
    return found


def test_the_looks_and_the_memory_are_bounded():
    found = UnmappedSamples()
    assert sum(found.wants(PLACE, NOW) for _ in range(1_000)) == MAX_LOOKS_PER_SECOND
    assert found.wants(PLACE, NOW + 1)
    for number in range(MAX_PLACES + 50):
        place = UnmappedPlace("c", str(number), "NL", "t", "f")
        if found.wants(place, NOW):
            for value in range(MAX_VALUES + 10):
                found.add(place, str(value), is_about_person=False, now=NOW)
    assert len(found.recent(NOW)) == MAX_PLACES * MAX_VALUES


def test_a_frequent_value_stays_and_an_old_one_goes():
    found = samples(*[("often", False)] * 5)
    for number in range(MAX_VALUES + 5):
        found.add(PLACE, f"rare {number}", is_about_person=False, now=NOW)
    (first, *others) = found.recent(NOW)
    assert (first.value, first.count, len(others)) == ("often", 5, MAX_VALUES - 1)
    assert not found.recent(NOW + 90_000)
    found.clear()
    assert not found.recent(NOW)


def source(tmp_path: Path, level: str, body: bytes, native_id: str = "4711889") -> tuple[str, bool]:
    file = tmp_path / "aa-awards.yaml"
    file.write_text(PERSONS.replace("LEVEL", level))
    raw = RawRecord(connector="aa-awards", stream="awards", native_id=native_id, body=body)
    return source_text(load_connector(file), raw, "eqf_level")


BODY = b'{"id": "4711889", "name": "Virtanen", "title": "T", "level": "8+"}'


def test_the_value_of_a_record_about_a_person_is_marked(tmp_path: Path):
    assert source(tmp_path, "level", BODY) == ("NLQF 8+", True)


@pytest.mark.parametrize("level", ["name", "id"])
def test_a_text_that_is_personal_elsewhere_is_hidden(tmp_path: Path, level: str):
    assert source(tmp_path, level, BODY) == (f"NLQF {HIDDEN}", True)


def page_of(found: UnmappedSamples, *, token: bool = True) -> str:
    snapshot = Snapshot(unmapped=lambda: found.recent(NOW), shows_values=token)
    page = render(CollectorRegistry(), snapshot, NOW)
    return " ".join(html.fromstring(page).text_content().split())


def test_status_page_hides_values_of_persons_and_says_how_to_read_them():
    found = samples(("NLQF 4X", False), ("NLQF 8+", True))
    text = page_of(found)
    assert "NLQF 4X" in text
    assert "NLQF 8+" not in text
    assert "Show them with the token" in text
    assert "Set GATEWAY_HEALTH_TOKEN" in page_of(found, token=False)
    assert "are hidden" not in page_of(samples(("NLQF 4X", False)))
    assert "NLQF 8+" in render_unmapped(found.recent(NOW), NOW)


def test_values_of_processes_reach_their_parent():
    found = samples(("x", True)).recent(NOW)
    part = encode_snapshot(Snapshot(unmapped=lambda: found))
    assert merge_snapshots([part]).unmapped() == found


def test_values_need_the_token():
    async def ask(**headers: str) -> tuple[int, str]:
        found = samples(("NLQF 8+", True)).recent(NOW)
        options = Settings(metrics_port=0, health_token=TOKEN)
        async with (
            HealthServer(options, snapshot=lambda: Snapshot(unmapped=lambda: found)) as server,
            aiohttp.ClientSession() as session,
            session.get(server.url + "/unmapped", headers=headers) as reply,
        ):
            return reply.status, await reply.text()

    status, text = asyncio.run(ask())
    assert (status, "8+" in text) == (401, False)
    status, text = asyncio.run(ask(Authorization=f"Bearer {TOKEN}"))
    assert (status, "8+" in text) == (200, True)
