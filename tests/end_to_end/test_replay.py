"""Fix a connector's table and replay the records that it had rejected.

The workers are killed meanwhile. No record is lost, duplicated, or both published and rejected.
"""

from __future__ import annotations

import random
import signal
import time

import pytest

from tests.end_to_end.conftest import HARMONISED, Site, versions
from tests.support.operator_commands import (
    answer,
    gateway,
    until,
    wait_for_all_records,
    wait_until_settled,
)

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(500)]
KILLS = 2
SEED = 20261124


def standing(site: Site) -> tuple[set[str], set[str]]:
    """Give the records that stand as documents, by native id, and those that stand rejected."""
    rejected: dict[bytes, object] = {}
    for record in site.read("gateway.rejections.v1"):
        rejected[record.key] = record.value
    raw = {record.key.decode() for record in site.read("gateway.raw.v1")}
    held = {key.decode() for key, value in rejected.items() if value is not None}
    return raw - held, held


def documents(site: Site) -> dict[tuple[str, bytes], bool]:
    """Give every key on the output topics, and whether a document stands there: else it is withheld, or its record rejected now."""
    return {
        (record.topic, record.key): record.value is not None for record in site.read(*HARMONISED)
    }


def there(found: dict[tuple[str, bytes], bool]) -> set[tuple[str, bytes]]:
    return {place for place, stands in found.items() if stands}


@pytest.mark.slow
@pytest.mark.parametrize("site", [200], indirect=True)
def test_replay_withdraws_rejections_after_a_table_fix(site: Site):
    table = site.folder / "connectors" / "demo-rest.yaml"
    text = table.read_text()
    table.write_text(text.replace(", hybrid: blended}", "}"))
    worker = site.run()
    wait_for_all_records(site)
    before, rejected_before = documents(site), standing(site)[1]
    groups = answer(site, "rejections", "list", "--connector", "demo-rest")
    (group,) = [
        one for one in groups if one["reason"] == "unmapped" and one["stream"] == "programmes"
    ]
    assert group["field"] == "mode"

    shown = gateway(site, "rejections", "show", "demo-rest", group["example"])
    assert all(word in shown.stdout for word in ("mode", "unmapped", "gateway.raw.v1-"))
    assert "modeOfDelivery" not in shown.stdout
    assert (
        '"modeOfDelivery":["hybrid"]'
        in gateway(site, "rejections", "show", "demo-rest", group["example"], "--payload").stdout
    )
    of_person = next(
        one
        for one in answer(site, "rejections", "list", "--connector", "demo-soap")
        if one["stream"] == "degrees"
    )
    refused = gateway(site, "rejections", "show", "demo-soap", of_person["example"], "--payload")
    assert (refused.returncode, refused.stdout) == (5, "")
    worker.send_signal(signal.SIGTERM)
    worker.wait(60)

    table.write_text(text)
    worker = site.run()
    tried = answer(
        site,
        "rejections",
        "replay",
        "--reason",
        "unmapped",
        "--connector",
        "demo-rest",
        "--dry-run",
    )
    mended = sum(one["now"].get("accepted", 0) for one in tried)
    assert mended >= group["records"]
    assert all(sum(one["now"].values()) == one["records"] for one in tried)
    dice = random.Random(SEED)
    for _ in range(KILLS):
        until(lambda: '"started"' in site.log(len(site.running) - 1))
        assert (
            gateway(
                site, "rejections", "replay", "--reason", "unmapped", "--connector", "demo-rest"
            ).returncode
            == 0
        )
        time.sleep(dice.uniform(0.0, 3.0))
        worker.send_signal(signal.SIGKILL)
        worker.wait()
        worker = site.run()
    gateway(site, "rejections", "replay", "--reason", "unmapped")
    until(
        lambda: (
            not [
                one
                for one in answer(site, "rejections", "list", "--connector", "demo-rest")
                if one["reason"] == "unmapped"
            ]
        )
    )
    after = wait_until_settled(site)

    assert all(
        count == 1 for count in versions([one for one in after if one.topic in HARMONISED]).values()
    )
    now = documents(site)
    assert there(before) <= there(now)
    assert len(there(now) - there(before)) == mended
    accepted, rejected = standing(site)
    served = {f"{name}|{entry['id']}" for name in site.services for entry in site.ledger(name)}
    assert accepted | rejected == served
    assert rejected < rejected_before
    assert len(rejected_before - rejected) == mended

    done = site.log(len(site.running) - 1).count('"replayed"')
    gateway(site, "rejections", "replay", "--connector", "demo-rest")
    until(lambda: site.log(len(site.running) - 1).count('"replayed"') > done)
    wait_until_settled(site)
    assert there(documents(site)) == there(now)
    assert standing(site)[1] == rejected


def test_replay_of_everything_needs_confirmation(site: Site):
    said = gateway(site, "rejections", "replay")
    assert said.returncode == 2
    assert "--reason CODE, --connector NAME, or --all" in said.stderr
    assert gateway(site, "rejections", "list").stdout == "no rejections\n"
