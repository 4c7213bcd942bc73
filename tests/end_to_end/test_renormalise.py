"""Change one row of a mapping table.

The gateway publishes exactly the affected records again, once, while live polling continues.
"""

from __future__ import annotations

import json
import shutil
import signal

import pytest

from tests.end_to_end.conftest import HARMONISED, ROOT, Site, versions
from tests.support.operator_commands import gateway, until, wait_until_settled

pytestmark = pytest.mark.kafka


def levels(records: list) -> dict[bytes, str]:
    """Give the EQF level concept of each qualification that stands now."""
    found = {}
    for record in records:
        if record.topic == "europass.qualifications.v1" and record.value:
            found[record.key] = json.loads(record.value).get("eqfLevel", {}).get("id", "")
    return found


@pytest.mark.timeout(400)
@pytest.mark.parametrize("site", [400], indirect=True)
def test_renormalise_republishes_only_affected_records(site: Site):
    mappings = site.folder / "mappings"
    shutil.copytree(ROOT / "mappings", mappings)
    site.environment["GATEWAY_MAPPINGS"] = str(mappings)
    first = site.run()
    before = wait_until_settled(site)
    affected = {key for key, level in levels(before).items() if level.endswith("/7")}
    assert affected
    first.send_signal(signal.SIGTERM)
    first.wait(60)

    table = mappings / "nl.yaml"
    text = table.read_text()
    row = next(line for line in text.splitlines() if '"7"' in line and "eqf: 7" in line)
    table.write_text(text.replace(row, row.replace("eqf: 7", "eqf: 6")))
    second = site.run()
    until(lambda: '"started"' in site.log(1), what=lambda: site.log(1))
    listed = gateway(site, "diff", "NL")
    assert listed.returncode == 1, listed.stderr
    site.control("demo-soap", "add", stream="degrees", count=200)
    assert gateway(site, "renormalise", "NL").returncode == 0
    until(lambda: site.log(1).count('"renormalised"') >= 2, what=lambda: site.log(1)[-3000:])
    after = wait_until_settled(site)

    corrections = [record for record in after if "ce_correctionof" in dict(record.headers)]
    again = {record.key for record in corrections if record.topic == "europass.qualifications.v1"}
    assert affected <= again
    assert len(corrections) == len({(record.topic, record.key) for record in corrections}), (
        "a record was published twice"
    )
    earlier = {(record.topic, record.key): dict(record.headers)["ce_id"] for record in before}
    assert all(
        dict(one.headers)["ce_correctionof"] == earlier[one.topic, one.key] for one in corrections
    )
    assert f"demo-rest: {len(corrections)} records" in listed.stdout
    assert all(count == 1 for count in versions(after).values())
    news = [
        one
        for one in after
        if one.topic in HARMONISED and one.key not in {two.key for two in before}
    ]
    assert len(news) > 150
    assert second.poll() is None
