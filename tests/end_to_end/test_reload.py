"""Change files while the gateway runs.

Valid files replace the running configuration, and invalid files are refused. Each batch uses one
version.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import urllib.request
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from gateway.observability import metrics
from gateway.pipeline.loaded_config import LoadedConfig, load_config
from gateway.settings import Settings
from gateway.worker import config_reloader
from gateway.worker.config_reloader import ConfigReloader
from tests.end_to_end.conftest import ROOT, Site
from tests.support.operator_commands import answer, raw, until, wait_for_all_records

PATIENCE = 60.0


class House:
    """A folder of files, a reloader that watches it, and what it has put in place."""

    def __init__(self, folder: Path) -> None:
        self.settings = Settings(
            connectors=folder / "connectors",
            mappings=folder / "mappings",
            pseudonym_key="a key for tests only, never for people",
        )
        self.placed: list[tuple[LoadedConfig, frozenset[str]]] = []
        self.reloader = ConfigReloader(
            self.settings, None, load_config(self.settings), self.place, has_poll_role=False
        )

    async def place(self, fleet: LoadedConfig, changed: frozenset[str]) -> None:
        self.placed.append((fleet, changed))

    @property
    def connector(self) -> Path:
        return self.settings.connectors / "demo-rest.yaml"

    async def placed_next(self) -> tuple[LoadedConfig, frozenset[str]]:
        count = len(self.placed)
        async with asyncio.timeout(PATIENCE):
            while len(self.placed) == count:
                await asyncio.sleep(0.02)
        return self.placed[-1]

    async def refused_next(self, refused: float) -> None:
        async with asyncio.timeout(PATIENCE):
            while outcome("refused") == refused:
                await asyncio.sleep(0.02)
        await asyncio.sleep(0.1)  # the count comes before the state

    def during(self, work: Callable[[], Awaitable[None]]) -> None:
        async def both() -> None:
            watching = asyncio.create_task(self.reloader.run())
            await asyncio.sleep(0.3)
            await work()
            watching.cancel()

        asyncio.run(both())


def outcome(name: str) -> float:
    return metrics.CONFIG_RELOADS.labels(name)._value.get()


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    monkeypatch.setattr(config_reloader, "CHECK_INTERVAL_SECONDS", 0.1)
    (tmp_path / "connectors").mkdir()
    (tmp_path / "mappings").mkdir()
    shutil.copy(ROOT / "connectors" / "demo-rest.yaml", tmp_path / "connectors")
    for name in ("nl", "eu", "ehea"):
        shutil.copy(ROOT / "mappings" / f"{name}.yaml", tmp_path / "mappings")
    return House(tmp_path)


def running() -> list[str]:
    return [
        sample.labels["digest"]
        for family in metrics.CONFIG_INFO.collect()
        for sample in family.samples
    ]


def test_atomic_rename_reloads_the_connector(house: House):
    async def work() -> None:
        replace(house.connector, house.connector.read_text().replace("every: 10s", "every: 11s"))
        fleet, changed = await house.placed_next()
        assert changed == {"demo-rest"}
        assert fleet.connectors["demo-rest"].streams["courses"].every.total_seconds() == 11
        async with asyncio.timeout(PATIENCE):
            while running() != [fleet.connectors["demo-rest"].digest]:
                await asyncio.sleep(0.05)

    ok = outcome("ok")
    house.during(work)
    assert outcome("ok") == ok + 1


def test_changed_content_with_the_old_mtime_is_reloaded(house: House):
    async def work() -> None:
        before = house.connector.stat()
        house.connector.write_text(house.connector.read_text().replace("every: 10s", "every: 12s"))
        os.utime(house.connector, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert house.connector.stat().st_mtime_ns == before.st_mtime_ns
        fleet, _ = await house.placed_next()
        assert fleet.connectors["demo-rest"].streams["courses"].every.total_seconds() == 12

    house.during(work)


def test_file_of_an_earlier_release_can_still_be_changed(house: House):
    """It lacks the statement about errors inside an ordinary reply, which a new file must have."""

    async def work() -> None:
        text = house.connector.read_text()
        start = text.index("  replies:")
        without = text[:start] + text[text.index("tables:", start) :]
        assert "errors:" not in without
        replace(house.connector, without.replace("every: 10s", "every: 13s"))
        fleet, _ = await house.placed_next()
        assert fleet.connectors["demo-rest"].streams["courses"].every.total_seconds() == 13

    house.during(work)


def test_half_written_file_is_not_loaded(house: House):
    async def work() -> None:
        whole = house.connector.read_text().replace("every: 10s", "every: 13s")
        refused = outcome("refused")
        house.connector.write_text(whole[: len(whole) // 2])
        await house.refused_next(refused)
        assert not house.placed
        assert outcome("refused") == refused + 1
        house.connector.write_text(whole)
        fleet, _ = await house.placed_next()
        assert fleet.connectors["demo-rest"].streams["courses"].every.total_seconds() == 13

    house.during(work)


def test_invalid_file_keeps_its_connector_and_delays_no_other(house: House):
    other = house.settings.connectors / "nl-rio.yaml"

    async def work() -> None:
        shutil.copy(ROOT / "connectors" / "nl-rio.yaml", other)
        fleet, _ = await house.placed_next()
        good = fleet.connectors["demo-rest"].digest
        valid = house.connector.read_text()
        replace(house.connector, valid.replace("country:", "land:"))
        async with asyncio.timeout(PATIENCE):
            while not house.reloader.not_loaded:
                await asyncio.sleep(0.02)
        assert len(house.placed) == 1, "nothing else changed"
        assert error_states() == {"demo-rest": 1}
        replace(other, other.read_text() + "# a remark\n")
        fleet, changed = await house.placed_next()
        assert changed == {"nl-rio"}
        assert fleet.connectors["demo-rest"].digest == good
        assert fleet.harmonisers.keys() == {"demo-rest", "nl-rio"}
        assert fleet.not_loaded.keys() == {"demo-rest"}
        replace(house.connector, valid)
        fleet, changed = await house.placed_next()
        assert changed == frozenset()
        assert not house.reloader.not_loaded
        assert error_states() == {}

    refused = outcome("refused")
    house.during(work)
    assert outcome("refused") == refused + 1


def test_file_that_goes_back_to_the_running_version_is_valid_again(house: House):
    async def work() -> None:
        valid, refused = house.connector.read_text(), outcome("refused")
        replace(house.connector, "language: [")
        await house.refused_next(refused)
        assert house.reloader.not_loaded.keys() == {"demo-rest"}
        replace(house.connector, valid)
        async with asyncio.timeout(PATIENCE):
            while house.reloader.not_loaded:
                await asyncio.sleep(0.02)
        assert not house.placed

    house.during(work)


def error_states() -> dict[str, float]:
    return {
        sample.labels["connector"]: sample.value
        for family in metrics.CONFIG_ERROR_STATE.collect()
        for sample in family.samples
    }


def test_invalid_file_is_refused_once_with_its_position(
    house: House, capsys: pytest.CaptureFixture[str]
):
    async def work() -> None:
        good = house.connector.read_text()
        for bad in (
            good.replace("emits: qualification", "emits: qualifikation"),
            good.replace("hybrid: blended", "hybrid: online"),
        ):
            assert bad != good
            refused = outcome("refused")
            house.connector.write_text(bad)
            await house.refused_next(refused)
            await asyncio.sleep(0.5)
            assert outcome("refused") == refused + 1, "told once, not at every look"
        assert not house.placed
        house.connector.write_text(good)  # as it runs: nothing to replace
        await asyncio.sleep(0.5)
        assert not house.placed

    house.during(work)
    said = capsys.readouterr().out
    assert re.search(r"configuration refused.*demo-rest\.yaml:\d+:\d+: ", said), said


def test_tables_and_connectors_can_be_added_and_removed(house: House):
    async def work() -> None:
        before = house.reloader.fleet
        table = house.settings.mappings / "nl.yaml"
        table.write_text(table.read_text() + "\n# a remark\n")
        fleet, changed = await house.placed_next()
        assert (changed, fleet.tables.digest != before.tables.digest) == (frozenset(), True)
        text = house.connector.read_text()
        house.connector.rename(house.connector.with_name("demo-other.yaml"))
        house.connector.with_name("demo-other.yaml").write_text(
            text.replace("connector: demo-rest", "connector: demo-other")
        )
        fleet, changed = await house.placed_next()
        assert changed == {"demo-rest", "demo-other"}
        assert set(fleet.connectors) == {"demo-other"}
        assert set(fleet.harmonisers) == {"demo-rest", "demo-other"}, (
            "what was polled is harmonised still"
        )

    house.during(work)


def replace(file: Path, text: str) -> None:
    """Put a text in place at once, as an operator's tools do: a worker sees the old file or the new one."""
    beside = file.with_suffix(".new")
    beside.write_text(text)
    beside.rename(file)


@pytest.mark.kafka
@pytest.mark.timeout(300)
@pytest.mark.parametrize("site", [60], indirect=True)
def test_records_name_the_configuration_that_produced_them(site: Site):
    mappings = site.folder / "mappings"
    shutil.copytree(ROOT / "mappings", mappings)
    site.environment["GATEWAY_MAPPINGS"] = str(mappings)
    site.run()
    wait_for_all_records(site)
    table = mappings / "nl.yaml"
    replace(table, table.read_text() + "\n# a remark\n")
    until(lambda: '"configuration replaced"' in site.log())
    said = next(
        json.loads(line) for line in site.log().splitlines() if '"configuration replaced"' in line
    )
    site.control("demo-rest", "add", stream="programmes", count=20)
    until(lambda: raw(site, "demo-rest") == 80)
    wait_for_all_records(site)

    file = site.folder / "connectors" / "demo-rest.yaml"
    good = file.read_text()
    replace(file, good.replace("records: items", "records: itemz["))
    until(lambda: "configuration refused" in site.log())
    assert re.search(r"connectors/demo-rest\.yaml:\d+:\d+: ", site.log())
    site.control("demo-rest", "add", stream="courses", count=5)
    until(lambda: raw(site, "demo-rest") == 85)  # what ran before runs on

    replace(file, good.replace("title: Demonstration", "title: Renewed demonstration"))
    until(lambda: site.log().count('"configuration replaced"') == 2)
    site.control("demo-rest", "add", stream="courses", count=5)
    until(lambda: raw(site, "demo-rest") == 90)
    wait_for_all_records(site)
    until(
        lambda: (
            {one["tables_digest"] for one in answer(site, "status")["workers"]} == {said["tables"]}
        )
    )

    url = re.search(r'"metrics": "(http[^"]+)"', site.log())[1]
    with urllib.request.urlopen(f"{url}/metrics") as reply:
        text = reply.read().decode()
    assert 'gateway_config_reloads_total{outcome="ok"} 2.0' in text
    assert 'gateway_config_reloads_total{outcome="refused"} 1.0' in text

    def known() -> set[str]:  # a worker says its state every few seconds
        return {
            one["config_digest"]
            for one in answer(site, "status")["streams"]
            if one["connector"] == "demo-rest"
        }

    until(
        lambda: (
            [
                f'gateway_config_info{{connector="demo-rest",digest="{one}"' in text
                for one in known()
            ]
            == [True]
        )
    )

    digests = [
        (record.timestamp, json.loads(dict(record.headers)["provenance"])["tables_digest"])
        for record in site.read("europass.qualifications.v1")
        if record.value
    ]
    assert {digest for _, digest in digests} == {said["tables_before"], said["tables"]}
    newest = max(when for when, digest in digests if digest == said["tables_before"])
    assert all(when >= newest for when, digest in digests if digest == said["tables"])
    news = [json.loads(record.value) for record in site.read("gateway.notifications.v1")]
    assert {"config_changed", "config_refused"} <= {one["kind"] for one in news}
