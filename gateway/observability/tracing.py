"""Trace each record from its poll to its publication, in the W3C header ``traceparent``.

Each poll has an id, which its log lines contain. The gateway creates spans only if the extra
``otel`` is installed *and* ``GATEWAY_TRACES`` names a collector. The id is then the id of the
trace. Raw records carry the ``traceparent`` of the poll, and documents carry that of their batch.
Documents about persons carry none, because one trace may cover all records of a person.
Without tracing, the cost is one call for each poll, request, page and batch, and none for a record.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any

import structlog

from gateway.errors import UsageError
from gateway.settings import Settings

HEADER = "traceparent"
_PARENT: ContextVar[bytes | None] = ContextVar("traceparent", default=None)
TraceParents = dict[bytes, bytes] | None
"""The ``traceparent`` of the harmonise span, by the ``traceparent`` of the raw records."""
_NO_SPAN: AbstractContextManager[Any] = nullcontext()
_tracer: Any = None
_provider: Any = None


def start(settings: Settings) -> None:
    """Send spans to the collector in the settings; do nothing without a collector.

    The variable ``OTEL_TRACES_SAMPLER`` controls sampling. Raises
    :class:`~gateway.errors.UsageError` if the extra is missing.
    """
    global _tracer, _provider  # noqa: PLW0603 - one tracer for each process
    if not settings.traces_endpoint:
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        raise UsageError(
            "GATEWAY_TRACES needs the extra 'otel'; "
            "run pip install 'qualification-gateway[otel]', or leave the variable empty"
        ) from None
    _provider = TracerProvider(
        resource=Resource.create(
            {"service.name": "qualification-gateway", "service.instance.id": settings.instance}
        )
    )
    _provider.add_span_processor(
        BatchSpanProcessor(OTLPSpanExporter(endpoint=settings.traces_endpoint, timeout=5))
    )
    _tracer = _provider.get_tracer("gateway")


def stop() -> None:
    """Send the remaining spans. Blocks for a few seconds at most."""
    global _tracer, _provider  # noqa: PLW0603 - see above
    if _provider is not None:
        _provider.shutdown()
    _tracer = _provider = None


@contextmanager
def poll_span(connector: str, stream: str) -> Iterator[str]:
    """Start the trace of a poll, and yield its id, which is also bound to all log lines."""
    if _tracer is None:
        poll_id = os.urandom(16).hex()
        with structlog.contextvars.bound_contextvars(poll_id=poll_id):
            yield poll_id
        return
    with _active_span(
        "poll", None, {"gateway.connector": connector, "gateway.stream": stream}
    ) as span:
        poll_id = f"{span.get_span_context().trace_id:032x}"
        with structlog.contextvars.bound_contextvars(poll_id=poll_id):
            yield poll_id


def span(name: str, **attributes: str | int) -> AbstractContextManager[Any]:
    """Return a span of the current poll, or a context that does nothing without tracing."""
    parent = _PARENT.get()
    return _NO_SPAN if parent is None or _tracer is None else _active_span(name, parent, attributes)


def add_trace_header(records: Iterable[Any], topic: str) -> None:
    """Add the trace of the current poll to the records for ``topic``.

    Do nothing without tracing.
    """
    if parent := _PARENT.get():
        for record in records:
            if record.topic == topic:
                record.headers = [*record.headers, (HEADER, parent)]


def batch_spans(records: Sequence[Any], partition: int) -> AbstractContextManager[TraceParents]:
    """Return a context with one span for each trace in a batch.

    It yields the mapping that :func:`copy_trace_headers` needs, or ``None`` without tracing.
    """
    return (
        _NO_SPAN
        if _tracer is None
        else _harmonise_spans(Counter(filter(None, map(_trace_parent_of, records))), partition)
    )


def copy_trace_headers(
    records: Iterable[Any],
    results: Iterable[Any],
    span_parents: Mapping[bytes, bytes],
    untraced_topics: Container[str] = (),
) -> None:
    """Add the trace of each raw record to the messages that were made from it.

    Messages on ``untraced_topics`` get none.
    """
    for record, result in zip(records, results, strict=True):
        if parent := _trace_parent_of(record):
            for message in result.outgoing:
                if message.topic in untraced_topics:
                    continue
                message.headers = [*message.headers, (HEADER, span_parents[parent])]


def _trace_parent_of(record: Any) -> bytes | None:
    parent: bytes | None = next((value for name, value in record.headers if name == HEADER), None)
    return parent


@contextmanager
def _harmonise_spans(parents: Mapping[bytes, int], partition: int) -> Iterator[dict[bytes, bytes]]:
    span_parents: dict[bytes, bytes] = {}
    spans = []
    try:
        for parent, count in parents.items():
            span = _start_span(
                "harmonise",
                parent,
                {"gateway.records": count, "messaging.destination.partition.id": str(partition)},
            )
            spans.append(span)
            span_parents[parent] = _format_trace_parent(span)
        yield span_parents
    finally:
        for span in spans:
            span.end()


@contextmanager
def _active_span(name: str, parent: bytes | None, attributes: Mapping[str, Any]) -> Iterator[Any]:
    span = _start_span(name, parent, attributes)
    token = _PARENT.set(_format_trace_parent(span))
    try:
        yield span
    except BaseException as error:
        # Only the type, because the text may quote a record.
        span.set_attribute("error.type", type(error).__name__)
        raise
    finally:
        _PARENT.reset(token)
        span.end()


def _start_span(name: str, parent: bytes | None, attributes: Mapping[str, Any]) -> Any:
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    context = TraceContextTextMapPropagator().extract({HEADER: parent.decode()}) if parent else None
    return _tracer.start_span(name, context=context, attributes=dict(attributes))


def _format_trace_parent(span: Any) -> bytes:
    context = span.get_span_context()
    return (
        f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}".encode()
    )
