"""Any combination of remembered blocks has the result of the ordinary way.

Each block of a document was remembered for another record. The rules read values of several
blocks, such as the level, the sector and the day of credits.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pytest

from tests.support.equality import Comparison, World, fetched
from tests.support.every_kind import FORMATS, Format, accepted, every_kind, raw_of

pytestmark = pytest.mark.slow
"""``make equality`` runs these tests."""

RECORDS = 1_000
USUAL = 0.9
"""How often a value is a usual one, so that enough records are accepted."""
LEVELS: dict[str, tuple[tuple[str | None, str | None], ...]] = {
    "IE": (("NFQ", "8"), ("NFQ", "7"), ("NFQ", "10"), ("NFQ", "11"), (None, "8")),
    "FR": (("CNCP", "5"), ("CNCP", "3"), ("RNCP-1969", "III"), ("RNCP-1969", "I"), (None, "3")),
    "ES": (("MECES", "1"), ("MECES", "2"), ("MECU", "5"), ("CNCP", "3"), (None, "3")),
    "LV": (("LKI", "6"), ("PKL-OLD", "3"), ("PKL", "3"), ("LKI", "5"), (None, "4")),
    "FI": (("FiNQF", "6"), ("FiNQF", "8"), ("FiNQF", "9"), ("nqf", "6"), (None, "6")),
    "NL": (("NLQF", "4+"), ("NLQF", "4"), ("NLQF", "6"), ("NLQF", "entry"), (None, "5")),
    "UA": (("NRK", "6"), ("NRK-2011", "7"), ("NRK-2017", "8"), (None, "7")),
}
UNITS = {
    "IE": ("ECTS", "FET credit"),
    "FR": ("ECTS", "UV"),
    "ES": ("ECTS", "crédito"),
    "LV": ("KP", "ECTS", "KP-40"),
    "FI": ("op", "osp", "opintopiste", "ov"),
    "NL": ("studiepunt", "ECTS", "SBU"),
    "UA": ("ECTS", "кредит"),
}
POOLS: dict[str, tuple[Any, ...]] = {
    "months": (None, 12, 36, 48, -1, "P3Y", "36"),
    "fields": (["0712"], ["0712", "0521"], [], ["0999"], "0712", None, ["071"], ["0712", "0712"]),
    "language": (["eng"], "eng", ["eng", "lav"], [], None, ["lv", "en"], ["xx"], "ENG"),
    "form": ("full", "remote", "mixed", None, "other", "FULL"),
    "link": ("https://university.example/1", None, "not an address", "http://a.example/ü"),
    "status": ("active", "inactive", None, "other"),
    "micro": (False, True, None),
    "partial": (False, True, None),
    "begins": ("01.09.2019", "31.07.2022", "01.08.2022", "09.01.2019", "10.01.2019", None),
    "ends": ("2030-08-31", "2022-07-31", "2019-01-09", "2004-12-31", None, "2018-01-01"),
    "awarded": ("2023-06-15", "2022-07-31", "2019-01-09", "2010-06-01", "2005-06-01"),
    "title": ({"en": "One"}, {"lv": "Ūdens"}, {"en": "JÅ«ras"}, {"en": ""}, None),
    "summary": ("Text", None, "JÅ«ras", " ", "a\u200bb"),
    "changed": ("2026-03-01T14:00:00+02:00", None, "2026-03-01T00:30:00+02:00"),
    "outcomes": ([{"text": "One"}], [], [{"text": "One"}, {"text": "Two", "kind": "skill"}], None),
    "town": ("Example Town", None),
    "land": ("IE", None, "FI", "zz"),
    "starts": ("2026-09-01", None, "2019-01-01"),
    "finishes": ("2027-06-30", None, "2019-01-01"),
    "leads": ("Q-1", None),
    "type": ("D", "C", "T", "M", None, "x"),
    "consent": (True, False, None),
}
CYCLES = (None, "short", "first", "second", "third", "other")
EQF = (None, "6", "5", "7", 6, 9, "x")
SECTORS = ("HE", "HE", "VET", "GEN", None, "he")
AMOUNTS = (180, 60, 60.5, 5, 0, None, "180", "180.0", "180.50", 300, 1_000_001, 240)
HOURS = (None, 4500, 1500, 1, 9_000, 4_800.5, "4500", -1)
BODIES = (
    {"name": "Jūras University", "country": "IE", "schac": "university.example", "pic": "900000001"},
    {"name": "Jūras University", "country": "IE"},
    {"name": "Jūras University", "country": "FI", "pic": "900000001"},
    {"name": "Other", "country": "IE", "pic": "900000002", "link": "https://other.example/"},
    {"name": "Other"},
    {"country": "IE", "pic": "900000001"},
    {},
    None,
)  # fmt: skip


def _usual_or_any(pool: Sequence[Any], dice: random.Random) -> Any:
    return pool[0] if dice.random() < USUAL else dice.choice(pool)


def _payload(kind: str, country: str, dice: random.Random) -> dict[str, Any]:
    payload = accepted(kind)
    for name, pool in POOLS.items():
        if name in payload:
            payload[name] = _usual_or_any(pool, dice)
    scheme, value = dice.choice(LEVELS[country][:2] if dice.random() < USUAL else LEVELS[country])
    cycle, eqf = dice.choice(CYCLES), _usual_or_any(EQF, dice)
    payload["level"] = {"scheme": scheme, "value": value, "eqf": eqf, "cycle": cycle}
    payload["credits"] = {
        "value": dice.choice(AMOUNTS[:3] if dice.random() < USUAL else AMOUNTS),
        "unit": dice.choice(UNITS[country]),
        "sector": dice.choice(SECTORS),
        "hours": dice.choice(HOURS[:2] if dice.random() < USUAL else HOURS),
    }
    for name in ("body", "provider"):
        if name in payload:
            payload[name] = dice.choice(BODIES[:4] if dice.random() < USUAL else BODIES)
    return payload


@pytest.mark.parametrize("country", LEVELS)
@pytest.mark.parametrize("kind", ["programmes", "courses", "awards", "credentials"])
def test_combinations(kind: str, country: str):
    """Values of small pools in any combination, so that nearly all blocks are known."""
    dice = random.Random(f"{kind} {country}")
    form: Format = FORMATS[len(country + kind) % 2] if kind == "credentials" else "json"
    records = [fetched(raw_of(kind, _payload(kind, country, dice), form)) for _ in range(RECORDS)]
    comparison = Comparison(World({"every-kind": every_kind(form, country)}))
    comparison.assert_equal(records, passes=2)
