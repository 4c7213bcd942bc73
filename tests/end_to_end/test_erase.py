"""Erase a record and a person while the gateway runs.

Erased records leave every topic, and no later event publishes them again.
"""

from __future__ import annotations

import json
import re
import urllib.request
from collections import Counter

import pytest

from gateway.messages.topics import TOPICS
from tests.end_to_end.conftest import HARMONISED, Site
from tests.support.operator_commands import gateway, until, wait_until_settled

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(400)]
EVERYTHING = tuple(
    topic.name
    for topic in TOPICS
    if topic.name not in {"gateway.commands.v1", "gateway.notifications.v1"}
)


def standing(site: Site, *names: str) -> dict[tuple[str, str], bytes]:
    """Give what a reader is left with: the last value of every key, without the deleted."""
    found: dict[tuple[str, str], bytes] = {}
    for record in site.read(*(names or EVERYTHING)):
        key = (record.topic, record.key.decode())
        found.pop(key, None)
        if record.value is not None:
            found[key] = record.value
    return found


def naming(left: dict[tuple[str, str], bytes], text: str) -> list[str]:
    return sorted(
        topic for (topic, key), value in left.items() if text in key or text.encode() in value
    )


def counts(site: Site, number: int = 0) -> tuple[Counter, Counter, Counter]:
    """Give what the worker counted: received, outcomes, suppressed; each by connector and stream."""
    url = json.loads(next(line for line in site.log(number).splitlines() if '"started"' in line))[
        "metrics"
    ]
    with urllib.request.urlopen(f"{url}/metrics") as reply:
        text = reply.read().decode()
    found = (Counter(), Counter(), Counter())
    names = (
        "gateway_records_received_total",
        "gateway_records_total",
        "gateway_records_suppressed_total",
    )
    for name, labels, value in re.findall(
        r"^(gateway_records\w*_total)\{(.*)\} (\S+)$", text, re.MULTILINE
    ):
        if name not in names:
            continue
        said = dict(re.findall(r'(\w+)="([^"]*)"', labels))
        found[names.index(name)][said["connector"], said["stream"]] += int(float(value))
    return found


def balanced(site: Site) -> Counter:
    """Wait until as many records ended as were received; give how many of them were suppressed."""
    found = counts(site)

    def even() -> bool:
        nonlocal found
        found = counts(site)
        return found[0] == found[1]

    until(even, what=lambda: found[:2])
    return found[2]


@pytest.mark.parametrize("site", [300], indirect=True)
def test_erased_records_are_removed_and_stay_removed(site: Site):
    site.run()
    wait_until_settled(site)
    before = standing(site)
    raw = {key: value for (topic, key), value in before.items() if topic == "gateway.raw.v1"}
    accepted = {
        json.loads(value)["id"]: value
        for (topic, _), value in before.items()
        if topic == "europass.credentials.v1"
    }
    # a person, by the ESI of a credential that stands on two platforms' topics
    esi = next(
        json.loads(value)["esi"]
        for (topic, key), value in before.items()
        if topic == "esc.credential-pointers.v1" and key in accepted
    )
    theirs = next(key for key, value in raw.items() if esi.encode() in value)
    # a record, by its native id, that was rejected
    rejected = next(
        key
        for (topic, key), _ in before.items()
        if topic == "gateway.rejections.v1" and key.startswith("demo-soap|")
    )
    native_id = rejected.partition("|")[2]
    assert {"gateway.raw.v1", "europass.credentials.v1", "esc.credential-pointers.v1"} <= set(
        naming(before, esi)
    )

    looked = gateway(site, "erase", "--person", "--verify", given=f"esi {esi}\n")
    assert (looked.returncode, "NOT ERASED" in looked.stdout, esi in looked.stdout) == (
        1,
        True,
        False,
    )
    refused = gateway(site, "erase", "--person", "--yes", given=f"esi {esi}\n")
    assert (refused.returncode, "--reason" in refused.stderr) == (2, True)
    telling = gateway(
        site, "erase", "--person", "--yes", "--reason", f"asked by {esi}", given=f"esi {esi}\n"
    )
    assert telling.returncode == 2
    assert naming(standing(site), esi) == naming(before, esi), "a refused erasure erases nothing"

    done = gateway(
        site,
        "erase",
        "--person",
        "--yes",
        "--reason",
        "case 1",
        "--by",
        "an officer",
        given=f"esi {esi}\n",
    )
    assert done.returncode == 0, done.stderr
    receipt = json.loads(done.stdout)
    assert (receipt["state"], receipt["records"], receipt["reason"], receipt["by"]) == (
        "erased",
        1,
        "case 1",
        "an officer",
    )
    assert {place["topic"] for place in receipt["tombstones"]} >= {
        "gateway.raw.v1",
        "gateway.digests.v1",
        "gateway.rejections.v1",
        "europass.credentials.v1",
        "esc.credential-pointers.v1",
    }
    second = gateway(
        site, "erase", "demo-soap", "-", "--yes", "--reason", "case 2", given=native_id
    )
    assert second.returncode == 0, second.stderr

    left = standing(site)
    assert naming(left, esi) == []
    assert not [key for key in left if key[1] in {theirs, rejected}]
    assert not [
        key
        for key in left
        if key[0] == "gateway.digests.v1" and key[1].rpartition("|")[2] == native_id
    ]
    others = {key for key in before if key[1] not in {theirs, rejected} and key[0] in HARMONISED}
    assert len(others - left.keys()) <= 2, "a neighbour was erased"
    for secret in (esi, native_id, theirs.partition("|")[2]):
        assert secret not in done.stdout + done.stderr + second.stdout + second.stderr + site.log()
    audit = [json.loads(record.value) for record in site.read("gateway.audit.v1")]
    assert [one["state"] for one in audit] == ["begun", "erased", "begun", "erased"]
    assert receipt in audit
    assert not [
        key
        for key in left
        if key[0] == "gateway.suppressions.v1" and (esi in key[1] or native_id in key[1])
    ]

    # the registry changes both; the tables are applied anew: neither comes back, and everything is counted
    site.control(
        "demo-soap",
        "change",
        stream="degrees" if native_id.startswith("D") else "credits",
        id=native_id,
    )
    their_id = theirs.partition("|")[2]
    site.control(
        "demo-soap",
        "change",
        stream={"D": "degrees", "C": "credits", "E": "enrolments"}[their_id[0]],
        id=their_id,
    )
    until(
        lambda: sum(balanced(site).values()) >= 2,
        what="neither of the changed records was suppressed",
    )
    assert gateway(site, "renormalise", "FI").returncode == 0
    wait_until_settled(site)
    assert naming(standing(site), esi) == []
    assert not [key for key in standing(site) if key[1] in {theirs, rejected}]
    balanced(site)

    looked = gateway(site, "erase", "--person", "--verify", given=f"esi {esi}\n")
    assert looked.returncode == 0, looked.stdout
    assert "europass.credentials.v1: readers still receive 0," in looked.stdout, (
        "the earlier versions can still be read until compaction"
    )
    again = gateway(site, "erase", "demo-soap", "X-000000", "--yes", "--reason", "case 3")
    assert again.returncode == 2
    assert json.loads(again.stdout)["state"] == "nothing found"
