"""Check that nothing about a person stays in a memory of the process after its record."""

from __future__ import annotations

import gc
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bench.harmonise import Fetched
from gateway.check.run_tests import raw_record_of_test
from gateway.config.loading import load_connector
from gateway.harmonise.harmoniser import Harmoniser
from gateway.harmonise.tables.compiled_tables import Tables
from gateway.messages.cloudevents import encode_raw_headers
from gateway.pipeline.record_processor import RecordProcessor
from tests.support.living_texts import live_texts_with

ROOT = Path(__file__).parents[3]
KEY = b"0123456789abcdef0123456789abcdef"
PERSONAL = ("010190-901A", "Aava", "Mallikas", "1990-01-01", "lakeland.example:d-1")
"""The values of the people in the samples, which are replaced by values that nothing else has."""


@pytest.fixture(scope="module")
def processor() -> RecordProcessor:
    connector = load_connector(ROOT / "connectors" / "demo-soap.yaml")
    harmoniser = Harmoniser(connector, Tables.load(ROOT / "mappings"), pseudonym_key=KEY)
    return RecordProcessor({connector.connector: harmoniser}.get, KEY)


def process_samples(processor: RecordProcessor, replaced: dict[str, str]) -> set[str]:
    """Process all samples with other people, and return the outcomes."""
    connector = processor._harmoniser("demo-soap").connector
    outcomes = set()
    for name, stream in connector.streams.items():
        for example in stream.tests:
            raw = raw_record_of_test(connector, name, example)
            body = raw.body.decode()
            for value, other in replaced.items():
                body = body.replace(value, other)
            record = Fetched(raw.key.encode(), body.encode(), tuple(encode_raw_headers(raw)))
            outcomes.add(processor(record).outcome)
    return outcomes


def test_nothing_about_a_person_stays_after_its_record(processor: RecordProcessor):
    others = {
        "010190-901A": "191287-9" + "73K",
        "Aava": "Quu" + "xella",
        "Mallikas": "Zyz" + "zogeton",
        "1990-01-01": "1987-" + "12-19",
        "lakeland.example:d-1": "lakeland.example:q-" + "73921",
    }
    assert set(others) == set(PERSONAL)
    assert "accepted" in process_samples(processor, others)
    parts = tuple(others.values())
    others.clear()
    gc.collect()
    assert live_texts_with(parts) == []


class Question(msgspec.Struct, frozen=True, gc=False):
    name: str


@lru_cache
def remembering(_name: str, _day: date) -> int:
    return 1


class Memory:
    __slots__ = ("known",)

    def __init__(self, known: dict[Any, Any]) -> None:
        self.known = known


def test_the_search_finds_each_form_of_a_memory():
    parts = tuple(f"xiph{ending}" for ending in ("ias",))
    memory = Memory({(1, *parts): 1, Question(*parts): 2, parts[0].encode(): 3})
    remembering("".join(parts), date(2020, 1, 1))
    assert len(live_texts_with(parts)) == len(memory.known) + 1
    memory.known.clear()
    remembering.cache_clear()
    assert live_texts_with(parts) == []
