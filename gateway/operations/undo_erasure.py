"""Undo an erasure: publish the records of a request again when a registry sends them.

In one transaction of a stream, the command removes the suppression entries and writes a line of the
audit. It then acquires each stream for a moment, as an erasure does. The fenced owners read the
suppression entries again. See docs/decisions/0099.
"""

from __future__ import annotations

from collections.abc import Collection

import msgspec

from gateway.errors import UsageError
from gateway.kafka.topic_reader import read_topic
from gateway.messages.outgoing import OutgoingRecord
from gateway.messages.topics import AUDIT, SUPPRESSIONS
from gateway.operations.erase import (
    ErasureReceipt,
    affected_streams,
    audit_record,
    start_receipt,
    suppressed_ids_of,
    write_as_owner,
)
from gateway.operations.erasure_request import ErasureRequest
from gateway.pipeline.loaded_config import LoadedConfig
from gateway.settings import Settings


async def undo_erasure(
    settings: Settings, config: LoadedConfig, request: ErasureRequest, *, reason: str, by: str
) -> ErasureReceipt:
    """Remove the suppression entries of a request and return the receipt.

    What was erased stays erased: a record returns when its registry sends it again. Repeating it is
    harmless. Raises :class:`~gateway.errors.UsageError` if no erasure of this request is known.
    """
    started_receipt = start_receipt(request, "undone", reason, by)
    suppressed_ids = await suppressed_ids_of(settings, request)
    requested_ids = {id_ for group in request.suppression_ids for id_ in group}
    undoes, was_undone = await _read_audit(settings, requested_ids)
    if not suppressed_ids and not was_undone:
        raise UsageError(
            "no erasure with these ids is known, so there is nothing to undo; give the same "
            "connector and id, or the same lines of standard input, as for the erasure"
        )
    receipt = msgspec.structs.replace(
        started_receipt, suppressed=tuple(sorted(suppressed_ids)), undoes=undoes
    )
    extra_records = [
        OutgoingRecord(SUPPRESSIONS.name, id_.encode(), None, [], 0) for id_ in receipt.suppressed
    ]
    extra_records.append(audit_record(receipt))
    for name, stream in affected_streams(config, request):
        await write_as_owner(settings, name, stream, extra_records=extra_records)
        # The first transaction makes them durable. The other owners only have to be fenced.
        extra_records = []
    return receipt


async def _read_audit(settings: Settings, ids: Collection[str]) -> tuple[tuple[str, ...], bool]:
    """Return the receipts that suppress one of ``ids``, and whether one of them was undone."""
    erasures: dict[str, None] = {}
    was_undone = False
    decoder = msgspec.json.Decoder(ErasureReceipt)
    async for record in read_topic(settings, AUDIT.name):
        try:
            receipt = decoder.decode(record.value or b"")
        except (msgspec.MsgspecError, RecursionError):
            continue  # no gateway wrote this line
        if set(ids).isdisjoint(receipt.suppressed):
            continue
        if receipt.state == "undone":
            was_undone = True
            for earlier in receipt.undoes:
                erasures.pop(earlier, None)
        else:
            erasures[receipt.receipt] = None
    return tuple(erasures), was_undone
