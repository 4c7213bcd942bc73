"""Provoke the alerts about records and mapping tables, and follow their runbooks."""

from __future__ import annotations

import itertools
import json
import time
from datetime import date, timedelta

from tests.end_to_end.conftest import live_alert
from tests.support.alert_site import AlertSite, courses
from tests.support.command_site import wait_for

pytestmark = live_alert
UNNAMED = "the registry renames the field of the title in {} of 100 records, and changes all often"
LEVEL_8 = '          - {level: "8", eqf: 8,'


def rename_again_and_again(site: AlertSite, count: int, renamed: int) -> None:
    """Show ``count`` records in a new version at each poll, some with a renamed title.

    So the rejections continue until the cure.
    """
    versions = itertools.count()

    def answer(*_: object) -> tuple[int, dict[str, str], bytes]:
        items = courses(count, version=str(next(versions)))
        for one in items[:renamed]:
            one["label"] = one.pop("name")
        return 200, {}, json.dumps({"items": items}).encode()

    site.routes["/courses"] = answer


def read_both_names(site: AlertSite) -> str:
    return site.replace("title.en: name", "title.en: name || label")


def test_many_records_are_rejected(alert_site: AlertSite):
    site = alert_site
    rename_again_and_again(site, 100, 20)
    site.start_worker()
    began = time.monotonic()
    site.start_prometheus(30)
    site.wait_until_fires("RejectionRatioHigh", began)
    site.edit_next(read_both_names(site))
    said = site.cure(
        "RejectionRatioHigh", UNNAMED.format(20), "One reason dominates", CODE="missing"
    )
    assert "title" in said


def test_rejections_grow(alert_site: AlertSite):
    site = alert_site
    rename_again_and_again(site, 100, 40)
    site.start_worker()
    began = time.monotonic()
    site.start_prometheus(30)
    site.wait_until_fires("RejectionsGrowing", began)
    site.edit_next(read_both_names(site))
    site.cure(
        "RejectionsGrowing", UNNAMED.format(40), "One reason grows", seconds=200, CODE="missing"
    )


def test_value_is_not_in_the_table(alert_site: AlertSite):
    site = alert_site
    site.items[0]["level"] = "8+"
    site.start_worker()
    began = time.monotonic()
    site.start_prometheus(30)
    site.wait_until_fires("UnmappedValuesNew", began)
    table = (site.tables / "fi.yaml").read_text()
    row = '          - {level: "8+", eqf: 8, note: "A level of the drill."}\n'
    before, eighth, after = table.partition(LEVEL_8)
    line, _, rest = after.partition("\n")
    site.edit_next(f"{before}{eighth}{line}\n{row}{rest}")
    said = site.cure(
        "UnmappedValuesNew",
        "a record has a level that the table does not contain",
        "The value is new",
        seconds=200,
        COUNTRY="fi",
    )
    assert "8+" in said


def test_mapped_fields_are_lost(alert_site: AlertSite):
    site = alert_site
    good = site.file.read_text()
    site.start_worker()
    site.start_prometheus(720)
    site.wait_until_read()
    day = "min(gateway_mapping_coverage_ratio offset 120s) > 0"
    wait_for(lambda: site.number(day) > 0, 300, site.state)
    began = time.monotonic()
    site.file.write_text(
        site.replace("      languages: language\n", "", "      nqf_level: level\n", "")
    )
    site.wait_until_fires("CoverageDropped", began)
    site.edit_next(good)
    site.cure(
        "CoverageDropped",
        "a changed file fills two fields fewer than the day before",
        "You did not intend it",
    )


def test_table_ends(alert_site: AlertSite):
    site = alert_site
    last = date.today() + timedelta(days=20)
    file = site.tables / "fi.yaml"
    before, start, rest = file.read_text().partition("      - from: 2017-03-01\n")
    version, heading, after = rest.partition("\ncredits:\n")
    ending = f"{before}{start}        until: {last}\n{version}"
    file.write_text(f"{ending}{heading}{after}")
    site.start_worker()
    began = time.monotonic()
    site.start_prometheus()
    site.wait_until_fires("TableExpiring", began)
    follows = f"      - from: {last + timedelta(days=1)}\n{version}"
    site.edit_next(f"{ending}{follows}{heading}{after}")
    site.cure("TableExpiring", "the last version of a table ends in 20 days", COUNTRY="fi")
