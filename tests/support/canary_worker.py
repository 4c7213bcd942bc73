"""Run the gateway's command line with a defect and, on request, with planted leaks.

``CANARY_LEAKS=1`` plants one leak in every place that the test searches. This proves that the test
finds leaks.
"""

from __future__ import annotations

import os
import sys
import traceback

import msgspec
import structlog

from gateway.observability import metrics
from gateway.pipeline import chunk_processing, record_processor
from gateway.worker import stream_poller

BREAKS = "Breaks the gateway"
NAME = "Kanariana"


def break_one() -> None:
    """Make the rendering of one record fail with an exception that quotes the record."""
    render = record_processor.render.render

    def defective(accepted, keys, **words):
        if BREAKS in getattr(accepted.record, "title", {}).values():
            raise ValueError(f"cannot render {accepted.record!r}")
        return render(accepted, keys, **words)

    record_processor.render.render = defective


def plant() -> None:
    """Plant one leak in each place."""
    headers, rejection, broken, failed = (
        record_processor.encode_document_headers,
        record_processor.encode_rejection,
        chunk_processing.process_or_reject,
        stream_poller.StreamPoller._record_failure,
    )

    def told(document, raw, provenance, event_ids):
        metrics.ISSUES.labels(raw.connector, raw.stream, NAME).inc()
        structlog.get_logger().info("published", text=(raw.body or b"").decode())
        return [*headers(document, raw, provenance, event_ids), ("holder", NAME.encode())]

    def quoting(rejected, raw, **place):
        return rejection(
            msgspec.structs.replace(rejected, detail=(raw.body or b"").decode()), raw, **place
        )

    def shown(record, process):
        try:
            return process(record)
        except Exception:  # noqa: BLE001 - this is the leak
            traceback.print_exc()
            return broken(record, process)

    def explained(self, outcome, reason, text, delay, **more):
        return failed(self, outcome, reason, f"{text} {NAME}", delay, **more)

    (
        record_processor.encode_document_headers,
        record_processor.encode_rejection,
        chunk_processing.process_or_reject,
        stream_poller.StreamPoller._record_failure,
    ) = (
        told,
        quoting,
        shown,
        explained,
    )


if __name__ == "__main__":
    break_one()
    if os.environ.get("CANARY_LEAKS"):
        plant()
        sys.argv = [argument for argument in sys.argv if not argument.startswith("--note=")]
    from gateway.__main__ import main

    main()
