"""The fast path gives the results of the ordinary way for every record of every connector."""

from __future__ import annotations

import pytest

from gateway.harmonise.providers import Providers
from tests.support.equality import (
    Comparison,
    RuleByRule,
    World,
    assert_equal_way,
    facts,
    fetched,
    outcomes,
)
from tests.support.equality_records import (
    BENCH_SETS,
    CONNECTORS,
    JOB,
    bench_records,
    demo_records,
    inline_records,
    saved_cases,
    saved_records,
    variations,
)
from tests.support.saved_providers import saved_providers
from tests.support.saved_replies import REFERENCE, REGISTRIES

pytestmark = pytest.mark.slow
"""``make equality`` runs these tests."""

MAX_SAVED = 400
"""The records of one saved reply that are compared: the first and the last ones."""

with_reference = [
    pytest.mark.reference,
    pytest.mark.skipif(
        not REGISTRIES.is_dir(),
        reason=f"no reference material at {REFERENCE}; set GATEWAY_REFERENCE",
    ),
]


def _reference(test):
    for mark in with_reference:
        test = mark(test)
    return test


@_reference
@pytest.mark.parametrize("name", [name for name in CONNECTORS if saved_cases(name)])
def test_saved_replies(name):
    """Every saved reply of a registry, with providers whose quality assurance is known."""
    compared = 0
    for case in saved_cases(name):
        connector, raws = saved_records(case)
        world = World({name: connector}, providers=saved_providers())
        records = [fetched(raw) for raw in (*raws[: MAX_SAVED // 2], *raws[-MAX_SAVED // 2 :])]
        Comparison(world).assert_equal(records)
        compared += len(records)
    assert compared


@pytest.mark.parametrize("name", CONNECTORS)
def test_inline_tests_with_every_header(name):
    """Every inline test, with every header that a raw record may have."""
    records = [record for raw in inline_records(name) for record in variations(raw)]
    assert records
    Comparison(World({name: CONNECTORS[name]})).assert_equal(records)


SETTINGS = {
    "LOQ 3.3": lambda world: World(world.connectors, loq_version="3.3"),
    "a previous pseudonym key": lambda world: World(world.connectors, has_previous_key=True),
    "shadow mode": lambda world: world.with_streams(mode="shadow"),
    "no incomplete entries": lambda world: world.with_streams(incomplete_entries="reject"),
    "incomplete entries": lambda world: world.with_streams(incomplete_entries="publish"),
    "own addresses": lambda world: world.with_streams(iri="https://registry.example/{id}"),
    "no known providers": lambda world: World(world.connectors, providers=Providers(())),
    "several countries": lambda world: world.with_streams(
        record_country='country || body.country || organization.countryCode || `"NO"`'
    ),
}
JSON_ONLY = {"several countries": ("demo-rest", "nl-oeapi", "nl-ooapi", "demo-file")}


@pytest.mark.parametrize("setting", SETTINGS)
def test_inline_tests_with_every_setting(setting):
    """Every inline test under the settings of a worker and of a stream."""
    names = JSON_ONLY.get(setting, tuple(CONNECTORS))
    world = SETTINGS[setting](World({name: CONNECTORS[name] for name in names}))
    raws = [raw for name in names for raw in inline_records(name)]
    records = [record for raw in raws for record in list(variations(raw))[::4]]
    Comparison(world).assert_equal(records, passes=2)


@pytest.mark.parametrize("kind", BENCH_SETS)
def test_records_of_the_benchmark(kind):
    """Both sets of records, of which two of a hundred are rejected."""
    records = [fetched(raw) for raw in bench_records(kind, 1_500)]
    comparison = Comparison(World({JOB.connector: JOB}))
    assert outcomes(comparison.assert_equal(records)) == {"accepted": 1_470, "rejected": 30}
    assert comparison.fast_share > 0.85  # the first record of each amount goes both ways


def test_records_of_the_demo_registries():
    """Records of the three demo registries, through one processor."""
    names = ("demo-rest", "demo-soap", "demo-file")
    records = [fetched(raw) for raw in demo_records()]
    results = Comparison(World({name: CONNECTORS[name] for name in names})).assert_equal(records)
    assert outcomes(results)["accepted"] > 0.8 * len(records)


def test_all_connectors_in_one_processor():
    """The inline tests of all connectors in one processor, in shuffled orders."""
    records = [fetched(raw) for name in CONNECTORS for raw in inline_records(name)]
    Comparison(World(CONNECTORS)).assert_equal(records, passes=4)


def test_rules_that_run_one_by_one():
    """The rules as functions, without any generated code, are the meaning of both ways."""
    world = World(CONNECTORS)
    by_rules = world.processor(fast=False, harmoniser=RuleByRule)
    fast = world.processor(fast=True)
    for name in CONNECTORS:
        for raw in inline_records(name):
            record = fetched(raw)
            expected = facts(by_rules, record)
            for turn in range(3):
                assert_equal_way(fast, expected, record, turn)
