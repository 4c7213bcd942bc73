"""Entries move between the topics of the catalogue when a connector file changes."""

from __future__ import annotations

import asyncio
import signal

import pytest

from tests.end_to_end.conftest import Site
from tests.end_to_end.test_verify import report, take_away, write_again
from tests.support.operator_commands import gateway, until, wait_until_settled

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(500)]
COMPLETE, INCOMPLETE = "europass.qualifications.v1", "catalogue.incomplete-entries.v1"
RULE, RULE_WITHOUT_VALUE = "        each: learningOutcomes\n", "        each: skills\n"


def standing(site: Site, topic: str) -> dict[bytes, dict[str, bytes]]:
    """Return the headers of the documents that exist on a topic, by key."""
    found = {}
    for record in site.read(topic):
        found.pop(record.key, None)
        if record.value is not None:
            found[record.key] = dict(record.headers)
    return found


def restart_and_renormalise(site: Site, old: str, new: str) -> None:
    site.running[-1].send_signal(signal.SIGTERM)
    site.running[-1].wait(60)
    file = site.folder / "connectors" / "demo-rest.yaml"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))
    number = len(site.running)
    site.run()
    until(lambda: '"started"' in site.log(number), what=lambda: site.log(number))
    assert gateway(site, "renormalise", "NL").returncode == 0
    until(lambda: site.log(number).count('"renormalised"') >= 2, what=lambda: site.log(number))
    wait_until_settled(site)


@pytest.mark.slow
@pytest.mark.parametrize("site", [60], indirect=True)
def test_changed_rule_moves_entries_there_and_back(site: Site) -> None:
    site.run()
    wait_until_settled(site)
    entries = standing(site, COMPLETE)
    assert len(entries) > 10
    assert standing(site, INCOMPLETE) == {}
    document = next(one for one in site.read(COMPLETE) if one.value is not None)

    restart_and_renormalise(site, RULE, RULE_WITHOUT_VALUE)
    assert standing(site, COMPLETE) == {}
    moved = standing(site, INCOMPLETE)
    assert moved.keys() == entries.keys()
    for key, headers in moved.items():
        assert headers["ce_missingfields"] == b"learning_outcomes"
        assert headers["ce_recordtype"] == b"qualification"
        assert headers["ce_correctionof"] == entries[key]["ce_id"]
    checked = gateway(site, "validate", INCOMPLETE)
    assert checked.returncode == 0, checked.stdout
    complete, streams = report(site, "demo-rest")
    assert complete
    assert streams["programmes"].published == len(entries)

    asyncio.run(write_again(site, document))
    complete, streams = report(site, "demo-rest")
    assert not complete
    assert [(one.topic, one.why) for one in streams["programmes"].unexpected] == [
        (COMPLETE, "is published on this topic as well")
    ]
    asyncio.run(take_away(site, COMPLETE, document.key))

    restart_and_renormalise(site, RULE_WITHOUT_VALUE, RULE)
    assert standing(site, INCOMPLETE) == {}
    assert standing(site, COMPLETE).keys() == entries.keys()
    assert len([one for one in site.read(INCOMPLETE) if one.value is None]) == len(entries)
    assert report(site, "demo-rest")[0]

    (erased,) = [
        one.key.decode().partition("|")[2]
        for one in site.read("gateway.raw.v1")
        if dict(one.headers)["ce_source"].endswith(b"demo-rest/programmes")
    ][:1]
    done = gateway(site, "erase", "demo-rest", "-", "--yes", "--reason", "case 1", given=erased)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(standing(site, COMPLETE)) == len(entries) - 1
    assert standing(site, INCOMPLETE) == {}
