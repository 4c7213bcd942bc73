"""Check that lookups become bounded metric labels that never contain a registry's own words."""

from __future__ import annotations

from gateway.observability.lookup_labels import unmapped_values, used_tables
from gateway.records import Issue, Lookup, Rejected


def lookup(field="eqf_level", table="AA/AAQF", version="2024", reason=""):
    return Lookup(field=field, table=table, version=version, row="r", source="s", reason=reason)


def test_answering_table_is_named_with_its_version():
    assert used_tables("AA", [lookup(), lookup("credit_points", "AA/credits", "2025")]) == (
        ("AA", "AAQF", "2024"),
        ("AA", "credits", "2025"),
    )


def test_no_equivalent_counts_as_used():
    found = [lookup(reason="split_level")]
    assert used_tables("AA", found) == (("AA", "AAQF", "2024"),)
    assert unmapped_values("AA", found) == ()


def test_unmapped_value_is_counted_by_its_table():
    stranger = lookup(
        table="AA/whatever the registry wrote", version="", reason="framework_unknown"
    )
    assert used_tables("AA", [stranger]) == ()
    assert unmapped_values("AA", [stranger, lookup(reason="level_unknown")]) == (
        ("AA", "levels"),
        ("AA", "AAQF"),
    )


def test_flagged_and_rejected_values_count_too():
    assert unmapped_values(
        "AA", (), [Issue(code="unmapped", field="parts.mode"), Issue(code="other", field="x")]
    ) == (("AA", "mode"),)
    assert unmapped_values(
        "AA", (), (), Rejected(stage="table", field="nqf_level", reason="unmapped")
    ) == (("AA", "levels"),)
    assert (
        unmapped_values(
            "AA", (), (), Rejected(stage="table", field="nqf_level", reason="framework_required")
        )
        == ()
    )
    assert (
        unmapped_values("AA", (), (), Rejected(stage="cast", field="nqf_level", reason="unmapped"))
        == ()
    )
