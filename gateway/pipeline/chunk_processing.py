"""Process chunks of raw records. A record that raises an exception is rejected."""

from __future__ import annotations

import traceback
from collections.abc import Container, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from gateway.messages.rejection import encode_rejection
from gateway.pipeline.processed_record import ProcessedRecord, ProcessRecord
from gateway.records import RawRecord, Rejected

if TYPE_CHECKING:
    from aiokafka import ConsumerRecord

log = structlog.get_logger()


def process_chunk(
    chunk: Sequence[ConsumerRecord],
    process: ProcessRecord,
    reject_too_large: ProcessRecord,
    large: Container[int],
) -> list[ProcessedRecord]:
    """Return the result of each record in a chunk.

    ``large`` contains the offsets of records to reject because of their size. If a record
    raises an exception, the chunk is processed again, one record at a time.
    """
    try:
        return (
            [
                reject_too_large(record) if record.offset in large else process(record)
                for record in chunk
            ]
            if large
            else list(map(process, chunk))
        )
    except Exception:  # noqa: BLE001 - a record that raises is rejected, not retried for ever
        return [process_or_reject(record, process) for record in chunk]


def process_or_reject(record: ConsumerRecord, process: ProcessRecord) -> ProcessedRecord:
    """Return the result of ``process``, or a rejection if it raises an exception.

    The rejection and the log name the class of the exception. They never contain its
    message, which may quote the record.
    """
    try:
        return process(record)
    except Exception as error:  # noqa: BLE001 - see process_chunk
        key = (record.key or b"").decode(errors="replace")
        connector, _, native_id = key.partition("|")
        frame = traceback.extract_tb(error.__traceback__)[-1]
        log.error(  # noqa: TRY400 - a traceback would contain the message
            "record raised an unexpected exception",
            position=f"{record.topic}-{record.partition}@{record.offset}",
            error=type(error).__name__,
            where=f"{Path(frame.filename).name}:{frame.lineno}",
        )
        rejected = Rejected(
            stage="decode", field="", reason="internal_error", detail=type(error).__name__
        )
        raw = RawRecord(connector=connector, stream="", native_id=native_id, body=None)
        outgoing = encode_rejection(
            rejected, raw, topic=record.topic, partition=record.partition, offset=record.offset
        )
        return ProcessedRecord([outgoing], connector, "", "rejected", reason=rejected.reason)
