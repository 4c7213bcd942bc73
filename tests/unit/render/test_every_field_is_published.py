"""Change every field of every kind of record, and look for the change in the documents.

A field that changes no document needs a reason in the list of deliberate omissions.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, get_args

import msgspec
import pytest
from msgspec.structs import fields, replace

from gateway.config.omissions import OMITTED, omission
from gateway.config.target_fields import find_target
from gateway.records import RECORD_TYPES
from gateway.render import elm_catalogue, elm_credential
from gateway.render.render import Rendered, render
from tests.support import samples

SPECIAL: dict[str, tuple[Any, Any]] = {
    "country": ("FI", "SE"),
    "location_country": ("FI", "SE"),
    "homepage": ("https://one.example/", "https://two.example/"),
    "report": ("https://one.example/", "https://two.example/"),
    "esco": ((samples.SKILL,), ()),
    "isced_f": (("0112",), ("0613",)),
    "languages": (("fi",), ("sv",)),
    "identifiers": (
        {"schac": "one.example", "pic": "900000001"},
        {"schac": "two.example", "pic": "900000001"},
    ),
    "nqf_uri": (f"{samples.LEARNING['nqf_uri']}", "http://data.europa.eu/snb/qdr/c_8a7da315"),
    "credit_framework": ("https://x.example/units/one", "https://x.example/units/two"),
    "esi": (samples.ESI, samples.ESI.replace("17", "18")),
    "eqf_level": (5, 6),
    "levels": ((6,), (7,)),
    "card_number": (
        "4b171400-b51e-103d-8abc-001900000001",
        "4b171400-b51e-103d-8abd-001900000001",
    ),
    "programmes": (("one",), ("two",)),
    "email": ("one@x.example", "two@x.example"),
    "signed_original": ("PHgvPg==", "PHkvPg=="),
}
"""Two valid values of the fields whose form matters."""


def documents(record: Any, sample: str) -> Any:
    found = render(samples.accepted(record), samples.keys(sample), country="IE", at=samples.AT)
    return found.documents if isinstance(found, Rendered) else None


def two_values(owner: type[Any], name: str, value: Any, annotation: Any) -> tuple[Any, Any]:
    """Return two different values of a field."""
    if name in SPECIAL:
        return SPECIAL[name]
    target = find_target(owner, name)
    if target.choices:
        return target.choices[0], target.choices[1]
    kinds = {*get_args(annotation), annotation}
    examples: tuple[tuple[type[Any], tuple[Any, Any]], ...] = (
        (bool, (True, False)),
        (datetime, (samples.CHANGED, samples.CHANGED + timedelta(days=1))),
        (date, (date(2026, 9, 3), date(2026, 9, 4))),
        (Decimal, (Decimal(81), Decimal(82))),
        (int, (11, 12)),
        (str, ("distinctive one", "distinctive two")),
    )
    for kind, pair in examples:
        if kind in kinds or isinstance(value, kind):
            return pair
    return {"en": "distinctive one"}, {"en": "distinctive two"}


def bare(annotation: Any) -> Any:
    """Return the annotation without its description."""
    while hasattr(annotation, "__metadata__"):
        annotation = annotation.__origin__
    return annotation


def variants(value: Any, path: str = "") -> Iterator[tuple[str, tuple[Any, ...]]]:
    """Yield each field below a struct, with two versions of the struct that differ in it."""
    for field in fields(type(value)):
        inner, place = getattr(value, field.name), f"{path}{field.name}"
        item = inner[0] if isinstance(inner, tuple) and inner else inner
        if isinstance(item, msgspec.Struct):
            for name, pair in variants(item, f"{place}."):
                yield (
                    name,
                    tuple(
                        replace(value, **{field.name: (one,) if isinstance(inner, tuple) else one})
                        for one in pair
                    ),
                )
            continue
        if find_target(type(value), field.name).value_type in {"struct", "structs"}:
            continue  # Another sample fills it.
        pair = two_values(type(value), field.name, inner, bare(field.type))
        yield place, tuple(replace(value, **{field.name: one}) for one in pair)


def unpublished(emits: str) -> set[str]:
    """Return the fields of a kind of record that change the documents of no sample."""
    published: set[str] = set()
    seen: set[str] = set()
    for sample, record in samples.RECORDS.items():
        if type(record) is not RECORD_TYPES[emits]:
            continue
        for path, (first, second) in variants(record):
            seen.add(path)
            one, other = documents(first, sample), documents(second, sample)
            if None not in (one, other) and one != other:
                published.add(path)
    return seen - published


@pytest.mark.parametrize("emits", RECORD_TYPES)
def test_every_field_is_published_or_has_a_reason(emits: str):
    assert {path for path in unpublished(emits) if not omission(emits, path)} == set()


@pytest.mark.parametrize("emits", RECORD_TYPES)
def test_the_omissions_are_true(emits: str):
    """A field that a document contains is no omission."""
    left = unpublished(emits)
    assert {path for path in OMITTED[emits] if path not in left} == set()


def test_a_dropped_field_is_found(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(elm_catalogue, "place", lambda *_: None)
    assert "location" in unpublished("learning_opportunity")
    assert not omission("learning_opportunity", "location")
    monkeypatch.setattr(elm_credential, "_original", lambda _: b"")
    assert "signed_original" in unpublished("credential")
    assert not omission("credential", "signed_original")
