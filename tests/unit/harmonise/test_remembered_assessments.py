"""An assessment that is remembered for a period equals the one of each day in it."""

from __future__ import annotations

from datetime import date, timedelta

from hypothesis import given
from hypothesis import strategies as st

from gateway.harmonise.providers import Providers
from gateway.records import Credential, Organisation, Provider, QualityReport

FIRST = date(2020, 1, 1)
DAYS = st.integers(0, 40).map(lambda number: FIRST + timedelta(days=number))
OPTIONAL_DAYS = st.none() | DAYS
BODY = Organisation(country="FI", identifiers={"pic": "999990001"})
TITLES = st.sampled_from(["Forestry", "FORESTRY", "Baking", "Sailing"])

REPORTS = st.builds(
    QualityReport,
    id=st.sampled_from(["1", "2", "3"]),
    kind=st.sampled_from(["institutional", "programme"]),
    obligatory=st.booleans(),
    positive=st.booleans(),
    valid_from=OPTIONAL_DAYS,
    valid_until=OPTIONAL_DAYS,
    programmes=st.lists(TITLES, max_size=2).map(tuple),
    levels=st.lists(st.integers(5, 8), max_size=2).map(tuple),
)
PROVIDERS = st.builds(
    Provider,
    id=st.sampled_from(["a", "b"]),
    organisation=st.just(BODY),
    reports=st.lists(REPORTS, max_size=3).map(tuple),
    closed_on=OPTIONAL_DAYS,
    eche=st.booleans(),
    eche_from=OPTIONAL_DAYS,
    eche_until=OPTIONAL_DAYS,
    eche_list_from=OPTIONAL_DAYS,
)


@given(
    st.lists(PROVIDERS, max_size=2),
    st.lists(st.tuples(DAYS, st.none() | st.integers(5, 8), TITLES), min_size=1, max_size=12),
)
def test_remembered_assessment_is_that_of_the_day(providers, awards):
    remembering = Providers(providers)
    for day, level, title in awards:
        record = Credential(
            id="1", title={"en": title}, awarding_body=BODY, awarded_on=day, eqf_level=level
        )
        fresh = Providers(providers).assess_award(
            BODY, awarded_on=day, eqf_level=level, programme=[title]
        )
        assert remembering.assess_record(record).facts == fresh.to_provenance()


def test_awards_of_one_period_are_assessed_once():
    reports = (QualityReport(id="1", valid_from=FIRST, valid_until=date(2024, 12, 31)),)
    providers = Providers([Provider(id="a", organisation=BODY, reports=reports)])
    facts = {
        id(
            providers.assess_record(
                Credential(
                    id="1",
                    title={"en": f"Programme {number}"},
                    awarding_body=BODY,
                    awarded_on=FIRST + timedelta(days=number),
                )
            ).facts
        )
        for number in range(1_000)
    }
    assert len(facts) == 1
