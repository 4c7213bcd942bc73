"""Build processors of raw records, and look at their fast paths."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from gateway.config.connector import Connector
from gateway.harmonise.harmoniser import Harmoniser
from gateway.pipeline.fast_path.fast_path import FastPath
from gateway.pipeline.record_processor import RecordProcessor
from gateway.pseudonym_keys import PseudonymKeys
from tests.support.equality import mapping_tables

KEY = b"a key for tests only, never for people"


def processor_of(
    connector: Connector, *, fast_path: bool = True, previous: bytes = b""
) -> RecordProcessor:
    """Return a processor of the records of one connector."""
    harmoniser = Harmoniser(connector, mapping_tables(), pseudonym_key=KEY)
    keys = PseudonymKeys((KEY, previous), (KEY, previous)) if previous else None
    return RecordProcessor(
        lambda name: harmoniser if name == connector.connector else None,
        KEY,
        keys=keys,
        fast_path=fast_path,
    )


def all_fast_paths(processor: RecordProcessor) -> Iterator[tuple[type[Any], FastPath]]:
    """Yield the fast paths that a processor has built, with their types of record."""
    if processor.fast_paths is None:
        return
    for built in processor.fast_paths._built.values():
        if built.path is not None:
            yield built.kind.record, built.path
