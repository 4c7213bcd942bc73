"""Read the topics as a subscriber that does not use any code of the gateway."""

from __future__ import annotations

import json
import urllib.request

import pytest

from tests.end_to_end.conftest import HARMONISED, Site
from tests.support.operator_commands import until, wait_until_settled

pytestmark = pytest.mark.kafka
REQUIRED = {
    "ce_specversion",
    "ce_id",
    "ce_contentid",
    "ce_source",
    "ce_type",
    "ce_dataschema",
    "content-type",
}


def metric(site: Site, name: str) -> dict[tuple[tuple[str, str], ...], float]:
    """Read one metric of the running worker over HTTP."""
    address = json.loads(
        next(line for line in site.log().splitlines() if '"health port open"' in line)
    )["url"]
    with urllib.request.urlopen(f"{address}/metrics") as reply:
        lines = reply.read().decode().splitlines()
    found = {}
    for line in lines:
        if line.startswith(name + "{"):
            labels, value = line[len(name) + 1 :].rsplit("} ", 1)
            found[tuple(sorted(tuple(item.split("=", 1)) for item in labels.split(",")))] = float(
                value
            )
    return found


def balanced(site: Site) -> bool:
    """Say whether as many records ended as were received, and some of them as unchanged."""
    received = sum(metric(site, "gateway_records_received_total").values())
    ended = metric(site, "gateway_records_total")
    return received == sum(ended.values()) > 600 and any(
        '"unchanged"' in dict(labels)["outcome"] for labels in ended
    )


@pytest.mark.timeout(400)
@pytest.mark.parametrize("site", [300], indirect=True)
def test_subscriber_sees_json_values_and_cloudevents_headers(site: Site):
    site.run()
    records = wait_until_settled(site)
    assert records
    for record in records:
        headers = dict(record.headers)
        assert headers.keys() >= REQUIRED
        assert headers["ce_specversion"] == b"1.0"
        assert headers["content-type"] == b"application/json"
        assert headers["ce_source"].startswith(b"/connectors/demo-")
        if record.value is not None:
            assert isinstance(json.loads(record.value), dict)
        if record.topic in HARMONISED and record.value is not None:
            provenance = json.loads(headers["provenance"])
            assert provenance["config_digest"]
    assert len({dict(record.headers)["ce_id"] for record in records}) == len(records)

    rejection = json.loads(
        next(record for record in records if record.topic == "gateway.rejections.v1").value
    )
    assert {"stage", "field", "reason", "raw"} <= rejection.keys()
    assert "body" not in rejection

    # between the two readings a poll may count; soon the scan has gone round once more
    until(lambda: balanced(site), what=lambda: metric(site, "gateway_records_total"))


@pytest.mark.timeout(400)
@pytest.mark.parametrize("site", [100], indirect=True)
def test_subscriber_sees_tombstones_and_replacements(site: Site):
    site.run()
    wait_until_settled(site)
    assert not [one for one in site.read("europass.learning-opportunities.v1") if one.value is None]
    (gone,) = site.control("demo-rest", "delete", stream="courses", count=1)
    (changed,) = site.control("demo-rest", "change", stream="programmes", count=1)

    def raw() -> list:
        return [
            record
            for record in site.read("gateway.raw.v1")
            if record.key.decode() in {f"demo-rest|{gone}", f"demo-rest|{changed}"}
        ]

    until(lambda: len(raw()) >= 4, what=raw)
    assert [record.value is None for record in raw() if record.key.decode().endswith(gone)] == [
        False,
        True,
    ]
    until(
        lambda: any(
            record.value is None for record in site.read("europass.learning-opportunities.v1")
        ),
        what="no tombstone",
    )
