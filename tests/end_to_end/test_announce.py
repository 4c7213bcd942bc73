"""Check the metrics that describe the loaded configuration."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from gateway.config.loading import load_connector
from gateway.config.mapping_tables import FrameworkVersion, Mapping
from gateway.harmonise.tables.compiled_tables import Tables
from gateway.observability import metrics
from gateway.observability.lookup_labels import unmapped_values, used_tables
from gateway.pipeline.config_metrics import (
    last_valid_day,
    mapped_field_ratio,
    publish_config_metrics,
)
from gateway.pipeline.processed_record import ProcessedRecord, count_key, count_results
from gateway.records import Issue, Lookup

ROOT = Path(__file__).parents[2]
TODAY = date(2026, 11, 24)


def version(since: str | None, until: str | None) -> FrameworkVersion:
    return FrameworkVersion.model_validate(
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
def test_table_expiry_ignores_versions_with_a_successor(versions, expected):
    assert last_valid_day([version(*one) for one in versions], TODAY) == expected


def test_tables_of_every_country_expire_for_a_source_of_several_countries():
    connector = load_connector(ROOT / "connectors/eu-emrex.yaml")
    framework = {"name": "F", "versions": [version(None, "2026-12-31").model_dump(by_alias=True)]}
    mapping = {"country": "XK", "name": "X", "frameworks": {"F": framework}}
    tables = Tables([Mapping.model_validate(mapping)], "0")
    publish_config_metrics([connector], tables, TODAY)
    expiry = [list(sample.labels.values()) for sample in samples_of(metrics.TABLE_EXPIRY)]
    assert expiry == [["XK", "F"]]
    stream = connector.streams["results"].model_copy(update={"record_country": None})
    publish_config_metrics([connector.with_streams({"results": stream})], tables, TODAY)
    assert not samples_of(metrics.TABLE_EXPIRY)


def samples_of(gauge):
    return [sample for family in gauge.collect() for sample in family.samples]


def test_coverage_metric_is_published_and_replaced():
    connector = load_connector(ROOT / "connectors/demo-rest.yaml")
    tables = Tables.load(ROOT / "mappings")
    metrics.CONFIG_INFO.labels("gone", "0", "1").set(1)
    publish_config_metrics([connector], tables, TODAY)
    samples = {
        tuple(sample.labels.values()): sample.value
        for family in metrics.COVERAGE.collect()
        for sample in family.samples
    }
    assert set(samples) == {(connector.connector, name) for name in connector.streams}
    assert all(0 < value <= 1 for value in samples.values())
    running = [
        sample.labels["connector"]
        for family in metrics.CONFIG_INFO.collect()
        for sample in family.samples
    ]
    assert running == ["demo-rest"]
    assert mapped_field_ratio(connector.streams["programmes"]) > 0.5


def test_lookups_and_unmapped_values_are_counted_after_commit():
    found = [Lookup(field="eqf_level", table="ZZ/ZZQF", version="2024", row="r", source="s")]
    strangers = [Issue(code="unmapped", field="mode")]
    result = ProcessedRecord(
        [],
        "zz",
        "s",
        "accepted",
        table_versions=used_tables("ZZ", found),
        unmapped_values=unmapped_values("ZZ", found, strangers),
    )
    count_results({count_key(result): 3})
    assert metrics.TABLE_LOOKUPS.labels("ZZ", "ZZQF", "2024")._value.get() == 3
    assert metrics.UNMAPPED.labels("ZZ", "mode")._value.get() == 3
