"""Follow one trace from the poll to the published record, with real spans over OTLP."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from gateway.messages.topics import PERSONAL_DOCUMENT_TOPICS
from tests.end_to_end.conftest import HARMONISED, Site
from tests.support.operator_commands import processed, until

pytest.importorskip(
    "opentelemetry.sdk", reason="the extra otel is not installed: no spans were made"
)

SPANS: dict[str, dict] = {}


class Collector(BaseHTTPRequestHandler):
    """Takes OTLP over HTTP as a collector does."""

    def do_POST(self) -> None:
        import gzip

        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
            ExportTraceServiceRequest,
        )

        body = self.rfile.read(int(self.headers["Content-Length"]))
        asked = ExportTraceServiceRequest.FromString(
            gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body
        )
        for resource in asked.resource_spans:
            for scope in resource.scope_spans:
                for span in scope.spans:
                    attributes = {
                        one.key: one.value.string_value or one.value.int_value
                        for one in span.attributes
                    }
                    SPANS[span.span_id.hex()] = {
                        "name": span.name, "trace": span.trace_id.hex(), "parent": span.parent_span_id.hex(), "attributes": attributes,
                    }  # fmt: skip
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def collector() -> Iterator[str]:
    SPANS.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Collector)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1/traces"
    server.shutdown()


def traceparent(record) -> tuple[str, str]:
    found = dict(record.headers)["traceparent"].decode()
    version, trace, span, flags = found.split("-")
    assert version == "00"
    assert int(flags, 16) & 1, "sampled"
    return trace, span


@pytest.mark.kafka
@pytest.mark.parametrize("site", [60], indirect=True)
@pytest.mark.timeout(300)
def test_trace_links_a_record_to_its_poll(site: Site, collector: str):
    worker = site.run(GATEWAY_TRACES=collector)
    until(
        lambda: processed(site) >= 120,
        what=lambda: site.log()[-2000:],
    )
    worker.terminate()
    assert worker.wait(60) == 143
    raw = {record.key.decode(): traceparent(record) for record in site.read("gateway.raw.v1")}
    published = site.read(*HARMONISED, "gateway.rejections.v1")
    polls = {
        line["poll_id"]: line
        for line in map(
            json.loads, filter(lambda text: text.startswith("{"), site.log().splitlines())
        )
        if "poll_id" in line
    }
    traces = {trace for trace, _ in raw.values()}
    assert len(traces) >= 5, "one a stream, more where a poll had to be repeated"
    for record in published:
        if record.topic in PERSONAL_DOCUMENT_TOPICS:
            assert "traceparent" not in dict(record.headers), "a trace may join two platforms"
            continue
        trace, span = traceparent(record)
        harmonise = SPANS[span]
        assert (harmonise["name"], harmonise["trace"]) == ("harmonise", trace)
        poll = SPANS[harmonise["parent"]]
        assert poll["name"] == "poll"
        assert not poll["parent"], "the poll is the root"
        assert (
            f"/connectors/{poll['attributes']['gateway.connector']}/{poll['attributes']['gateway.stream']}"
            == dict(record.headers)["ce_source"].decode()
        )
        assert trace in traces
        assert polls[trace]["stream"] == poll["attributes"]["gateway.stream"], (
            "the log lines of the poll carry the trace's id"
        )
    for trace in traces:
        names = sorted(one["name"] for one in SPANS.values() if one["trace"] == trace)
        assert {"poll", "request", "write", "harmonise"} <= set(names)
    said = json.dumps(list(SPANS.values()))
    assert "?" not in said, "no query of a URL"
    assert "demo-token" not in said


def test_polls_have_ids_without_a_trace_collector():
    """What it costs where nobody traces: no import, no header, one context variable a page."""
    code = """
import sys
from gateway.settings import Settings
from gateway.observability import tracing
tracing.start(Settings())
import structlog
with tracing.poll_span("c", "s") as poll_id:
    assert len(poll_id) == 32 and structlog.contextvars.get_contextvars()["poll_id"] == poll_id
    with tracing.span("request"), tracing.batch_spans([], 0) as parents:
        assert parents is None
print(sorted(name for name in sys.modules if name.startswith("opentelemetry")))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "opentelemetry.sdk" not in done.stdout, done.stdout
