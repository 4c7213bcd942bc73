"""Leave out records that no gateway wrote, and say how many.

Anybody with the right to write can put a record on a topic that does not follow its contract. One
such record must not stop a command or a worker.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import msgspec
import structlog

if TYPE_CHECKING:
    from aiokafka import ConsumerRecord

log = structlog.get_logger()

DECODING_ERRORS = (
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    RecursionError,
    msgspec.MsgspecError,
)
"""Errors of decoding a key, a header or a value that is not what its topic promises."""
MAX_POSITIONS = 10_000
_skipped: defaultdict[str, set[tuple[int, int]]] = defaultdict(set)
"""Partition and offset of the records that this process has left out, by topic."""


def skip(record: ConsumerRecord) -> None:
    """Count a record that is left out. A worker also logs it, once."""
    positions, position = _skipped[record.topic], (record.partition, record.offset)
    if position in positions or len(positions) >= MAX_POSITIONS:
        return
    positions.add(position)
    # Commands do not configure the log. They print the summary instead.
    if structlog.is_configured():
        log.warning(
            "record cannot be read and is left out",
            position=f"{record.topic}-{record.partition}@{record.offset}",
        )


@contextmanager
def skip_unreadable(record: ConsumerRecord) -> Iterator[None]:
    """Leave the record out if the block fails to decode it."""
    try:
        yield
    except DECODING_ERRORS:
        skip(record)


def is_well_formed(record: ConsumerRecord) -> bool:
    """Return whether the key and the headers of a record are text, as in all of the gateway's."""
    try:
        record.key.decode()
        for _, value in record.headers:
            value.decode()
    except (UnicodeDecodeError, AttributeError):
        return False
    return True


def summary() -> list[str]:
    """Return a line for each topic of which this process has left records out."""
    return [
        f"{len(positions):,} record{'s' if len(positions) > 1 else ''} of {topic} cannot be read "
        f"and {'are' if len(positions) > 1 else 'is'} left out, such as "
        "{}-{}@{}".format(topic, *min(positions))
        for topic, positions in sorted(_skipped.items())
    ]
