"""Generate the records of the comparison, each of about 1.2 KB.

There are two sets. In ``few``, records share a few hundred days and amounts, as a catalogue of
programmes does. In ``any``, each record has a day of its own in ten years, and any amount of
credits, hours and months, as awards have. Two of a hundred records are invalid. The same number
always gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import date, timedelta
from math import ceil

import orjson

SUBJECTS = (
    ("Datorzinātnes", "Computer science", "0613"),
    ("Ūdens apsaimniekošana", "Water management", "0521"),
    ("Elektronika un automātika", "Electronics and automation", "0714"),
    ("Grāmatvedība un nodokļi", "Accounting and taxation", "0411"),
    ("Māszinības", "Nursing and midwifery", "0913"),
    ("Mežzinātne", "Forestry", "0821"),
    ("Skolotāju izglītība", "Teacher training", "0113"),
)
BODIES = (
    ("Jūrmalas Tehniskā universitāte", "jtu.example", "999970001"),
    ("Daugavas Lietišķo zinātņu augstskola", "dlza.example", "999970002"),
    ("Ventas koledža", "venta.example", "999970003"),
)
YEARS = {"5": 2, "6": 4, "7": 2, "8": 4}
OUTCOMES = (
    "Explains the principles of the field and judges where they end",
    "Designs, documents and defends a solution together with others",
    "Works by the law, the safety rules and the ethics of the profession",
)
INVALID_DAY = 13
"""The records of each hundred with this number have a day that does not exist."""
FIRST_DAY = date(2012, 1, 1)
DAYS = 3_653
SPACE = 7 * 3 * 4 * 3 * 25
"""The number of records after which the combinations repeat with other identifiers."""


def record(number: int) -> dict[str, object]:
    """Return one record as a registry would serve it."""
    national, english, field = SUBJECTS[number % 7]
    name, schac, pic = BODIES[number // 7 % 3]
    level = "5678"[number // 21 % 4]
    old = number // 84 % 3 != 0
    amount = YEARS[level] * (40 if old else 60)
    made = {
        "programmeId": f"P-{number:09d}",
        "code": f"4{number % 10_000:04d}",
        "title": {
            "lv": f"{national}, {number % 97}. programma",
            "en": f"{english}, programme {number % 97}",
        },
        "summary": f"A programme in {english.lower()} for people who want to understand the field "
        "and to shape it.",
        "level": {"scheme": "LKI", "value": level, "label": f"{level}. LKI līmenis"},
        "credits": {
            "value": amount,
            "unit": "KP" if old else "ECTS",
            "hours": amount * (40 if old else 27),
        },
        "months": YEARS[level] * 12,
        "fields": [field],
        "language": ("lav", "eng", "deu")[number // 5 % 3],
        "form": ("full", "remote", "mixed")[number // 3 % 3],
        "outcomes": [{"nr": place, "text": text} for place, text in enumerate(OUTCOMES, 1)],
        "link": f"https://{schac}/programmes/{number}",
        "body": {
            "name": name,
            "country": "LV",
            "schac": schac,
            "pic": pic,
            "city": "Jūrmala",
            "founded": 1958,
            "kind": "HEI",
        },
        "begins": f"{number % 27 + 1:02d}.09.{2012 + number % 10 if old else 2025}",
        "changed": f"2026-{number % 12 + 1:02d}-{number % 28 + 1:02d}"
        f"T{number % 24:02d}:{number % 60:02d}:00+02:00",
        "status": {"code": "ACTIVE", "since": "2020-01-01", "by": "registrar"},
        "places": {"funded": number % 90, "paid": number % 60, "campus": "Main"},
    }
    if number % 100 == INVALID_DAY:
        made["begins"] = "31.02.2021"
    elif number % 100 == 57:
        del made["title"]
    return made


def any_record(number: int) -> dict[str, object]:
    """Return the record of this number with any day and any amount."""
    made = record(number)
    old = number // 84 % 3 != 0
    day = FIRST_DAY + timedelta(days=number * 7_919 % DAYS)
    amount = 20 + number * 6_271 % 160 + (0.5 if number % 10 == 0 else 0)
    points = amount * 1.5 if old else amount
    made["credits"] = {
        "value": amount,
        "unit": "KP" if old else "ECTS",
        "hours": int(points * (2_600 + number * 4_447 % 300) / 100),
    }
    made["months"] = 12 * ceil(points / 60) + number % 7
    if number % 100 != INVALID_DAY:
        made["begins"] = f"{day:%d.%m.%Y}"
    return made


RECORDS: dict[str, Callable[[int], dict[str, object]]] = {"few": record, "any": any_record}
"""The sets of records by name."""


def bodies(count: int, start: int = 0, kind: str = "few") -> Iterator[tuple[str, bytes]]:
    """Yield native ids with their records of one set."""
    make = RECORDS[kind]
    for number in range(start, start + count):
        made = make(number)
        yield str(made["programmeId"]), orjson.dumps(made)
