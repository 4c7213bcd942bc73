"""Suggest the name that a person meant."""

from __future__ import annotations

import pytest

from gateway.similar_name import did_you_mean

NAMES = ("demo-soap", "demo-rest", "fi-virta", "europass.credentials.v1")


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("demo-sop", "demo-soap"),
        ("DEMO-REST", "demo-rest"),
        ("demo_soap", "demo-soap"),
        ("fi-virta.yaml", "fi-virta"),
        ("virta", "fi-virta"),
        ("europass.credential.v1", "europass.credentials.v1"),
        ("credentials", "europass.credentials.v1"),
    ],
)
def test_suggests_the_most_similar_name(typed: str, meant: str):
    assert did_you_mean(typed, NAMES) == f" (did you mean {meant}?)"


@pytest.mark.parametrize("typed", ["", " ", "xyz", "42"])
def test_suggests_nothing_for_other_texts(typed: str):
    assert not did_you_mean(typed, NAMES)
