"""No memory of the fast path is keyed by anything personal, and none holds anybody."""

from __future__ import annotations

import gc

import pytest

from gateway.config.target_fields import find_target, record_type
from tests.support.equality import World, facts, fast_count, fast_paths, fetched
from tests.support.every_kind import CARD, FORMATS, Format, accepted, every_kind, raw_of
from tests.support.living_texts import live_texts_with

PEOPLE = 4
ROUNDS = 3
PRESENCES = {"micro_rule"}
"""The memories that are keyed by which values a record has, and not by the values."""
STREAMS = {
    "credentials": "credential",
    "awards": "credential",
    "statuses": "student_status",
    "cards": "card",
}


def _process_people(process, form: Format) -> tuple[str, ...]:
    """Process records of several people, several times, and return what identifies them."""
    parts: list[str] = []
    for number in range(PEOPLE):
        person = {
            "number": f"vex-{number}-" + "73921",
            "esi": f"urn:schac:personalUniqueCode:int:esi:university.example:zq{number}" + "55501",
            "given": f"Vexolinde{number}" + "abc",
            "family": f"Brimthorpe{number}" + "def",
            "born": f"197{number}-" + "12-19",
            "email": f"vexolinde{number}@" + "student.university.example",
            "name": f"Vexolinde{number} " + "Brimthorpe",
        }
        grade = f"grade {number}" + "q7"
        card = f"4b17149{number}" + CARD[8:]
        for stream in STREAMS:
            payload = accepted(stream) | {"person": dict(person)}
            if stream == "cards":
                payload |= {"number": card}
            for name in ("exam", *(["modules"] if "modules" in payload else [])):
                for holder in payload.get(name, []) if name == "modules" else [payload.get(name)]:
                    if holder:
                        holder["grade"] = grade
            for turn in range(ROUNDS):
                raw = raw_of(stream, payload, form, native_id=f"{stream}-{number}-{turn}")
                assert facts(process, fetched(raw))["outcome"] == "accepted"
        parts += [*person.values(), grade, card]
    return tuple(parts)


@pytest.mark.parametrize("form", FORMATS)
def test_nobody_stays_in_a_memory(form: Format):
    """No living object holds a value of a person after the records are processed."""
    process = World({"every-kind": every_kind(form)}).processor(fast=True)
    parts = _process_people(process, form)
    assert fast_count(process) > 0
    gc.collect()
    assert live_texts_with(parts) == []


def _holds_only_presence(key) -> bool:
    """Return whether a key says only which values a record has."""
    return all(type(value) is bool for value in (key if type(key) is tuple else (key,)))


@pytest.mark.parametrize("form", FORMATS)
def test_no_key_reads_a_personal_field(form: Format):
    """Each memory names the target fields whose values its keys hold. None is personal."""
    process = World({"every-kind": every_kind(form)}).processor(fast=True)
    read = 0
    for stream, settings in every_kind(form).streams.items():
        known = set(map(id, fast_paths(process)))
        process(fetched(raw_of(stream, accepted(stream), form)))
        for path in fast_paths(process):
            if id(path) in known:
                continue
            for memory in path.memories:
                if memory.name in PRESENCES:
                    assert all(map(_holds_only_presence, memory.entries))
                    continue
                for field in memory.fields:
                    target = find_target(record_type(settings.emits), field)
                    assert not target.personal, (stream, memory.name, field)
                    assert not field.startswith("holder")
                    read += 1
    assert read > 0
