"""Check the cache of levels and credits.

Cached results equal fresh results, and the cache holds no personal data.
"""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.config.mapping_tables import load_mappings
from gateway.harmonise.record_rules import apply_record_rules
from gateway.harmonise.tables import rule_outcome_cache
from gateway.harmonise.tables.compiled_tables import Tables
from gateway.records import Rejected

MAPPINGS = load_mappings(Path(__file__).parents[3] / "mappings")
REMEMBERING = Tables(MAPPINGS.values(), "t")


def maybe(*values: Any) -> st.SearchStrategy[Any]:
    return st.sampled_from((None, *values))


LEARNING = st.fixed_dictionaries(
    {
        "nqf_level": maybe("6", "4", "4+", "VI", "", "5B", "\u0410"),
        "nqf_framework": maybe("LKI", "FiNQF", "NFQ", "nothing"),
        "eqf_declared": maybe(0, 4, 6, 9),
        "cycle": maybe("first", "second"),
        "valid_from": maybe(date(2012, 9, 1), date(2024, 1, 1)),
        "valid_until": maybe(date(2011, 1, 1), date(2030, 1, 1)),
        "awarded_on": maybe(date(2009, 6, 1), date(2023, 6, 1)),
        "credit_amount": maybe(
            *map(Decimal, ("60", "60.0", "240", "0", "1E+7", "NaN", "Infinity"))
        ),
        "credit_unit": maybe("ECTS", "KP", "op", "nothing"),
        "credit_sector": maybe("HE", "VET"),
        "workload_hours": maybe(Decimal(1600), Decimal(6400), Decimal("0.5"), Decimal("Infinity")),
        "duration_months": maybe(12, 48, -1),
        "assessment": maybe({"kind": "attendance"}, {"kind": "written"}),
    }
).map(lambda values: {name: value for name, value in values.items() if value is not None})


@settings(max_examples=300, deadline=None)
@given(
    LEARNING,
    LEARNING,
    st.sampled_from(["LV", "FI", "IE", "XX"]),
    st.sampled_from(["qualification", "credential"]),
)
def test_cached_rule_outcome_equals_fresh_outcome(
    values: dict[str, Any], part: dict[str, Any], country: str, emits: str
):
    record = {"id": "1", **values, **({"parts": (part, part)} if emits == "credential" else {})}
    fresh = apply_record_rules(record, country=country, emits=emits, tables=anew())
    assert repr(
        apply_record_rules(record, country=country, emits=emits, tables=REMEMBERING)
    ) == repr(fresh)
    assert repr(
        apply_record_rules(record, country=country, emits=emits, tables=REMEMBERING)
    ) == repr(fresh)


def anew() -> Tables:
    """Return the same tables without a memory."""
    found = object.__new__(Tables)
    for name in Tables.__slots__:
        setattr(found, name, getattr(REMEMBERING, name))
    found.judgements = rule_outcome_cache.RuleOutcomeCache(
        REMEMBERING._levels, REMEMBERING._credits
    )
    return found


def test_rule_cache_is_bounded_and_holds_no_personal_data(monkeypatch):
    monkeypatch.setattr(rule_outcome_cache, "_CACHE_SIZE", 5)
    tables = anew()
    for day in range(1, 29):
        record = {
            "id": "canary-id",
            "title": {"en": "Canary title"},
            "holder": {"family_name": "Canary", "esi": "urn:canary"},
            "nqf_level": "6",
            "nqf_framework": "FiNQF",
            "awarded_on": date(2023, 6, day),
            "credit_amount": Decimal(150 + day),
            "credit_unit": "op",
            "credit_sector": "HE",
            "workload_hours": Decimal(39 * (150 + day)),
        }
        assert not isinstance(
            apply_record_rules(record, country="FI", emits="credential", tables=tables), Rejected
        )
        judgements = tables.judgements
        known = (judgements._known_levels, judgements._known_credits, judgements._known_efforts)
        assert all(1 <= len(one) <= 5 for one in known)
        assert "canary" not in repr(known).lower()
