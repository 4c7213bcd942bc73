"""The memories of the fast path hold few and short entries, and nothing about a person."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from bench.peers.records import bodies
from gateway.config.target_fields import find_target
from gateway.messages.cloudevents import decode_raw
from gateway.pipeline.fast_path import memory
from gateway.pipeline.fast_path.memory import Memory, NotFastError, Trials
from gateway.pipeline.record_processor import RecordProcessor
from gateway.records import RawRecord
from tests.support.equality import fetched
from tests.support.equality_records import CONNECTORS, JOB, inline_records
from tests.support.fast_paths import all_fast_paths, processor_of


def a_memory(trials: Trials | None = None) -> Memory:
    def make(value: object) -> tuple[object, ...]:
        if value == "refused":
            raise ValueError
        return (value,)

    return Memory("level", ("nqf_level",), make, trials if trials is not None else [])


def test_values_that_are_equal_in_python_have_different_keys():
    keys = [memory.key_of_value(value) for value in (1, 1.0, True)]
    assert len(set(keys)) == 3
    assert memory.key_of_list(["6"]) != memory.key_of_list("6")


@pytest.mark.parametrize("value", [None, {}, [], "text"])
def test_other_values_have_no_key(value: object):
    with pytest.raises(NotFastError):
        memory.key_of_value(value)


@pytest.mark.parametrize("value", [["6", 7], ["6", None], {"a": "6"}, 6])
def test_a_list_of_anything_but_texts_has_no_key(value: object):
    with pytest.raises((NotFastError, TypeError)):
        memory.key_of_list(value)


def test_a_refused_value_is_remembered_and_not_made_again():
    known = a_memory()
    with pytest.raises(NotFastError):
        known.learn("refused", "refused")
    assert known.entries == {"refused": ()}
    with pytest.raises(NotFastError):
        known.learn("refused", "6")


def test_a_long_text_is_not_remembered():
    known = a_memory()
    with pytest.raises(NotFastError):
        known.learn("x" * memory.MAX_KEY_CHARACTERS, "6")
    assert known.entries == {}


def test_a_full_memory_begins_again():
    known = a_memory()
    for number in range(memory.MAX_ENTRIES + 1):
        known.learn(number, number)
    assert len(known.entries) == 1


@pytest.mark.parametrize("name", CONNECTORS)
def test_no_key_of_any_connector_reads_a_personal_field(name: str):
    processor = processor_of(CONNECTORS[name])
    for raw in inline_records(name):
        processor(fetched(raw))
    for record_type, path in all_fast_paths(processor):
        for known in path.memories:
            for field in known.fields:
                if "." in field or field in record_type.__struct_fields__:
                    assert not find_target(record_type, field).personal, (name, known.name)


def job_records(count: int) -> list[RawRecord]:
    return [
        RawRecord(connector=JOB.connector, stream="programmes", native_id=native_id, body=body)
        for native_id, body in bodies(count)
    ]


def test_a_wrong_entry_is_found_by_its_first_record_and_ends_the_fast_path(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    records = [fetched(raw) for raw in job_records(12)]
    expected = processor_of(JOB, fast_path=False)
    processor = processor_of(JOB)
    for record in records[:3]:
        processor(record)
    [(_, path)] = all_fast_paths(processor)
    level = next(known for known in path.memories if known.name == "level")
    level.entries.clear()
    make = level._make
    monkeypatch.setattr(
        level,
        "_make",
        lambda *arguments: tuple(
            part + b" " if isinstance(part, bytes) else part for part in make(*arguments)
        ),
    )
    for record in records:
        assert processor(record).outgoing[0].value == expected(record).outgoing[0].value
    assert path.differences == 1
    assert level.entries == {}
    shown = capsys.readouterr()
    assert "Computer science" not in shown.out + shown.err


def test_a_kind_of_which_most_records_are_not_fast_is_not_tried_for_a_while():
    processor = processor_of(JOB)
    good, *_ = [fetched(raw) for raw in job_records(1)]
    processor(good)
    [(_, path)] = all_fast_paths(processor)
    tried = 0

    def never(_raw: RawRecord, *_rest: object) -> None:
        nonlocal tried
        tried += 1

    path._run = never
    raw = decode_raw(good.key, good.value, good.headers)
    for _ in range(5_000):
        assert path.process(raw, good.timestamp) is None
    assert tried < 1_100


def test_the_ordinary_way_is_used_while_old_pseudonym_keys_are_configured():
    processor: RecordProcessor = processor_of(JOB, previous=b"an older key, for tests only")
    assert processor.fast_paths is None


def test_a_kind_of_which_most_records_have_new_values_is_not_tried_for_a_while():
    processor = processor_of(JOB)
    records = []
    for raw in job_records(3_000):
        body = (raw.body or b"").replace(b'"schac":"', b'"schac":"n' + raw.native_id.encode())
        records.append(fetched(replace(raw, body=body)))
    for record in records:
        processor(record)
    [(_, path)] = all_fast_paths(processor)
    bodies_known = next(known for known in path.memories if known.name == "bodies")
    assert len(bodies_known.entries) <= 1_000
    assert path.differences == 0
