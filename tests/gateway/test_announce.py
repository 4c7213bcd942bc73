"""What the configuration says about itself in metrics."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from gateway.config.loading import load_connector
from gateway.config.mapping_tables import Version
from gateway.harmonise.tables.compiled_tables import Tables
from gateway.observability import metrics
from gateway.observability.lookup_labels import missing, used
from gateway.pipeline.config_metrics import announce, coverage, last_day
from gateway.pipeline.processed_record import Result, count, kind
from gateway.records import Issue, Lookup

ROOT = Path(__file__).parents[2]
TODAY = date(2026, 11, 24)


def version(since: str | None, until: str | None) -> Version:
    return Version.model_validate(
        {
            "from": since,
            "until": until,
            "relation": "referenced",
            "confidence": "verified",
            "levels": ({"level": "1", "eqf": 1},),
        }
    )


@pytest.mark.parametrize(
    ("versions", "expected"),
    [
        ([(None, None)], None),
        ([("2020-01-01", "2026-12-31")], date(2026, 12, 31)),
        ([("2020-01-01", "2026-12-31"), ("2027-01-01", None)], None),
        ([("2020-01-01", "2026-12-31"), ("2027-01-01", "2030-12-31")], date(2030, 12, 31)),
        ([("2000-01-01", "2010-12-31")], None),
    ],
)
def test_a_table_ends_only_when_nothing_follows(versions, expected):
    assert last_day([version(*one) for one in versions], TODAY) == expected


def test_each_stream_says_which_share_of_its_target_it_maps_and_a_second_call_forgets_the_first():
    connector = load_connector(ROOT / "connectors/demo-rest.yaml")
    tables = Tables.load(ROOT / "mappings")
    metrics.CONFIG_INFO.labels("gone", "0", "1").set(1)
    announce([connector], tables, TODAY)
    samples = {tuple(sample.labels.values()): sample.value for family in metrics.COVERAGE.collect() for sample in family.samples}
    assert set(samples) == {(connector.connector, name) for name in connector.streams}
    assert all(0 < value <= 1 for value in samples.values())
    running = [sample.labels["connector"] for family in metrics.CONFIG_INFO.collect() for sample in family.samples]
    assert running == ["demo-rest"]
    assert coverage(connector.streams["programmes"]) > 0.5


def test_lookups_and_strangers_are_counted_once_committed():
    found = [Lookup(field="eqf_level", table="ZZ/ZZQF", version="2024", row="r", source="s")]
    strangers = [Issue(code="unmapped", field="mode")]
    result = Result([], "zz", "s", "accepted", used=used("ZZ", found), missing=missing("ZZ", found, strangers))
    count({kind(result): 3})
    assert metrics.TABLE_LOOKUPS.labels("ZZ", "ZZQF", "2024")._value.get() == 3
    assert metrics.UNMAPPED.labels("ZZ", "mode")._value.get() == 3
