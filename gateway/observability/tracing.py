"""One trace from a poll to the published record, over the ``traceparent`` header of W3C Trace Context.

Every poll has an id, which stands in its log lines. Spans are made only where the extra ``otel`` is installed *and*
``GATEWAY_TRACES`` names a collector; then the id is the trace's, raw records carry ``traceparent`` from the poll, and documents carry
it on from the batch that harmonised them. Otherwise nothing here is done for a record: one call a poll, a request, a page and a batch.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any

import structlog

from gateway.errors import UsageError
from gateway.settings import Settings

HEADER = "traceparent"
_PARENT: ContextVar[bytes | None] = ContextVar("traceparent", default=None)
TraceParents = dict[bytes, bytes] | None
"""By the ``traceparent`` that came: the one to go on with."""
_NOTHING: AbstractContextManager[Any] = nullcontext()
_tracer: Any = None
_provider: Any = None


def start(settings: Settings) -> None:
    """Send spans to the collector that settings name; nothing happens where they name none.

    Raises :class:`~gateway.errors.UsageError` when the extra is missing. Sampling is what ``OTEL_TRACES_SAMPLER`` says.
    """
    global _tracer, _provider  # noqa: PLW0603 - one a process, as the logs are
    if not settings.traces_endpoint:
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        raise UsageError(
            "GATEWAY_TRACES needs the extra: pip install 'qualification-gateway[otel]', or leave it empty"
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
    """Send what is left. Blocks for a few seconds at most."""
    global _tracer, _provider  # noqa: PLW0603 - see above
    if _provider is not None:
        _provider.shutdown()
    _tracer = _provider = None


@contextmanager
def poll_span(connector: str, stream: str) -> Iterator[str]:
    """Give one poll its id, in logs and as the trace of all it does; yields the id."""
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
    """Return a step of the present poll; nothing when nobody traces or nothing is being polled."""
    parent = _PARENT.get()
    return _NOTHING if parent is None or _tracer is None else _active_span(name, parent, attributes)


def add_trace_header(records: Iterable[Any], topic: str) -> None:
    """Give what is written to ``topic`` now the trace of the present poll; nothing when nobody traces."""
    if parent := _PARENT.get():
        for record in records:
            if record.topic == topic:
                record.headers = [*record.headers, (HEADER, parent)]


def batch_spans(records: Sequence[Any], partition: int) -> AbstractContextManager[TraceParents]:
    """One step in each trace that has records in a batch; gives what :func:`carry_on` needs, ``None`` when nobody traces."""
    return (
        _NOTHING
        if _tracer is None
        else _harmonising(Counter(filter(None, map(_trace_parent_of, records))), partition)
    )


def copy_trace_headers(
    records: Iterable[Any], results: Iterable[Any], going: Mapping[bytes, bytes]
) -> None:
    """Give what was made of each record the trace it came with."""
    for record, result in zip(records, results, strict=True):
        if came := _trace_parent_of(record):
            for one in result.outgoing:
                one.headers = [*one.headers, (HEADER, going[came])]


def _trace_parent_of(record: Any) -> bytes | None:
    found: bytes | None = next((value for name, value in record.headers if name == HEADER), None)
    return found


@contextmanager
def _harmonising(parents: Mapping[bytes, int], partition: int) -> Iterator[dict[bytes, bytes]]:
    found: dict[bytes, bytes] = {}
    spans = []
    try:
        for one, count in parents.items():
            span = _start_span(
                "harmonise",
                one,
                {"gateway.records": count, "messaging.destination.partition.id": str(partition)},
            )
            spans.append(span)
            found[one] = _format_trace_parent(span)
        yield found
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
        span.set_attribute(
            "error.type", type(error).__name__
        )  # never its text: it may name what a record holds
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
