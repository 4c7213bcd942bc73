"""Define every metric of the gateway.

Names start with ``gateway_`` and use base units; counters end in ``_total``. Labels come from
configuration files and from closed lists of codes, never from payloads, so their number is bounded.
A test compares this file with all rules and dashboards in ``deploy/``.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics

# Nothing reads the series of creation times, and they were a fifth of all samples.
disable_created_metrics()  # type: ignore[no-untyped-call]

REGISTRY = CollectorRegistry(auto_describe=True)
"""The registry of the gateway. Tests can read it without the process-wide default registry."""

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)


def _counter(name: str, text: str, *labels: str) -> Counter:
    return Counter(f"gateway_{name}", text, labels, registry=REGISTRY)


def _gauge(name: str, text: str, *labels: str) -> Gauge:
    return Gauge(f"gateway_{name}", text, labels, registry=REGISTRY)


def _histogram(name: str, text: str, *labels: str) -> Histogram:
    return Histogram(f"gateway_{name}", text, labels, registry=REGISTRY, buckets=_SECONDS)


# --- polling a registry
POLLS = _counter(
    "polls",
    "Polls of a stream by outcome: ok, retry, halt, fenced",
    "connector",
    "stream",
    "outcome",
)
POLL_DURATION = _histogram(
    "poll_duration_seconds", "One poll, from cursor to the last commit", "connector", "stream"
)
RECEIVED = _counter("records_received", "Records a registry served", "connector", "stream")
RECORDS = _counter(
    "records",
    "How records ended: accepted, rejected, unchanged, deleted; their sum equals received",
    "connector",
    "stream",
    "outcome",
)
RECORDS_SKIPPED = _counter(
    "records_skipped",
    "Listed records whose own request was refused or failed, by reason; their documents stay",
    "connector",
    "stream",
    "reason",
)
RAW_WRITTEN = _counter(
    "raw_records_written",
    "Records committed to gateway.raw.v1 for the harmonise stage",
    "connector",
    "stream",
)
REPEATED_IDS = _counter(
    "repeated_ids",
    "Records whose id stood on an earlier page of the same scan with another content",
    "connector",
    "stream",
)
SUPPRESSED = _counter(
    "records_suppressed",
    "Records that were served and not kept, because they were erased; counted as deleted too",
    "connector",
    "stream",
)
WITHHELD = _counter(
    "records_withheld",
    "Valid records that may not be published, by reason, such as not_achieved and no_agreement; "
    "counted as deleted too",
    "connector",
    "stream",
    "reason",
)
CURSOR_TIMESTAMP = _gauge(
    "cursor_timestamp_seconds",
    "How far a stream has been read, as Unix time; lag = time() - it",
    "connector",
    "stream",
)
LAST_SUCCESS = _gauge(
    "last_success_timestamp_seconds",
    "When a poll last ended well, as Unix time",
    "connector",
    "stream",
)
POLL_INTERVAL = _gauge(
    "poll_interval_seconds", "The stream's configured 'every'", "connector", "stream"
)
HALTED = _gauge(
    "halted_state",
    "1 from the first poll that needs a person until the next poll that ends well",
    "connector",
    "stream",
)
PAUSED = _gauge("paused_state", "1 while an operator has paused a stream", "connector", "stream")
PAUSED_SINCE = _gauge(
    "paused_since_timestamp_seconds",
    "When an operator paused a stream, as Unix time; absent while it is not paused",
    "connector",
    "stream",
)

BACKFILL_RATIO = _gauge(
    "backfill_progress_ratio", "How much of a stream's backfill is done, 0-1", "connector", "stream"
)
BACKFILL_RECORDS = _counter(
    "backfill_records",
    "Records that a backfill read; they count as received too",
    "connector",
    "stream",
)

# --- talking to a registry
REQUESTS = _counter(
    "registry_requests",
    "Requests by status class: 2xx 3xx 4xx 5xx error",
    "connector",
    "status_class",
)
REQUEST_DURATION = _histogram(
    "registry_request_duration_seconds", "One request with its whole reply", "connector"
)
RETRIES = _counter("retries", "Requests tried again, by cause", "connector", "cause")
RATE_LIMIT_WAIT = _counter(
    "rate_limit_wait_seconds",
    "Seconds spent waiting for a registry's rate limit or quiet hours",
    "connector",
)
BREAKER_STATE = _gauge(
    "breaker_state",
    "Circuit breaker of a registry or of one institution: 0 closed, 1 half-open, 2 open",
    "connector",
    "institution",
)
LOOP_VALUES_SKIPPED = _gauge(
    "loop_values_skipped",
    "Values of a stream's loops that its last poll skipped, because their requests failed",
    "connector",
    "stream",
)
CERTIFICATE_EXPIRY = _gauge(
    "certificate_expiry_timestamp_seconds",
    "When a certificate in use expires, as Unix time; "
    "certificate is a secret, a file or the host that showed it",
    "connector",
    "use",
    "certificate",
)
CERTIFICATE_NOT_RENEWED = _gauge(
    "certificate_not_renewed_state",
    "1 while a changed certificate or key cannot be used, so that the earlier one stays in use",
    "connector",
    "use",
    "certificate",
)

# --- harmonising
HARMONISED = _counter(
    "raw_records_harmonised",
    "Records of gateway.raw.v1 whose outcome is committed; in each process, received plus these "
    "equals written plus all outcomes",
    "connector",
    "stream",
)
REJECTIONS = _counter(
    "rejections",
    "Rejected records by reason and target field",
    "connector",
    "stream",
    "reason",
    "field",
)
ALL_REJECTED = _gauge(
    "all_rejected_state",
    "1 while a stream is stopped because its records are all rejected",
    "connector",
    "stream",
)
DELETIONS_WITHHELD = _gauge(
    "deletions_withheld",
    "Deletions that wait for a person, because a poll would delete too many records",
    "connector",
    "stream",
)
UNPROVEN_SCANS = _counter(
    "unproven_scans",
    "Complete readings that delete nothing, by cause: unreadable_id, incomplete",
    "connector",
    "stream",
    "cause",
)
ISSUES = _counter(
    "issues", "Accepted records that carry an issue, by its code", "connector", "stream", "code"
)
INCOMPLETE_ENTRIES = _counter(
    "incomplete_entries",
    "Accepted catalogue entries without a field that LOQ requires, by field; "
    "they are on catalogue.incomplete-entries.v1",
    "connector",
    "stream",
    "field",
)
TABLE_LOOKUPS = _counter(
    "table_lookups", "Lookups in mapping tables", "country", "table", "version"
)
UNMAPPED = _counter(
    "unmapped_values",
    "Values a table does not know; `gateway rejections list` and `gateway explain` say which",
    "country",
    "table",
)
COVERAGE = _gauge(
    "mapping_coverage_ratio",
    "Share of target fields that a stream maps, 0-1",
    "connector",
    "stream",
)
BATCH_DURATION = _histogram(
    "batch_duration_seconds", "One harmonised batch, from fetch to commit", "partition"
)
TABLE_EXPIRY = _gauge(
    "table_expiry_timestamp_seconds",
    "When the table version in force ends, as Unix time",
    "country",
    "table",
)

# --- Kafka
PUBLISH_BLOCKED = _gauge(
    "publish_blocked_seconds", "For how long nothing could be committed; 0 when healthy", "role"
)
LAST_COMMIT = _gauge(
    "last_commit_timestamp_seconds",
    "When a role last committed a transaction, as Unix time",
    "role",
)
PRODUCERS_REPLACED = _counter(
    "producers_replaced",
    "Transactional producers discarded and restarted, by cause",
    "role",
    "cause",
)
FENCED = _counter("fenced", "Times another instance had taken over", "role")
CONSUMER_LAG = _gauge("consumer_lag_records", "Raw records waiting to be harmonised", "partition")

# --- the process
CONFIG_INFO = _gauge(
    "config_info", "Always 1; says which configuration runs", "connector", "digest", "language"
)
CONFIG_ERROR_STATE = _gauge(
    "config_error_state",
    "Connectors whose file is not valid: 1 an earlier version runs, 2 the connector does not run",
    "connector",
)
CONFIG_RELOADS = _counter("config_reloads", "Hot reloads by outcome: ok, refused", "outcome")
CONFIG_REFUSED = _gauge(
    "config_refused_state", "1 while a changed file is refused and an earlier version runs"
)
CONNECTORS_OWNED = _gauge("connectors_owned", "Connectors this worker polls")
WORKER_RESTARTS = _counter(
    "worker_restarts",
    "Worker processes that ended and were started again by their parent",
    "process",
)
CONNECTIONS_DROPPED = _counter(
    "connections_dropped",
    "Connections that a port closed before their call ended, by port (health, push) and reason: "
    "full, slow",
    "port",
    "reason",
)
BUILD_INFO = _gauge("build_info", "Always 1; says which release runs", "version")


def start_stream(connector: str, stream: str) -> None:
    """Create the counters of a stream with 0.

    Prometheus sees no increase in a counter that appears with its first event. Alerts and the
    balance of records need every series from the start.
    """
    for counter in (RECEIVED, RAW_WRITTEN, HARMONISED):
        counter.labels(connector, stream)
    for outcome in ("accepted", "rejected", "unchanged", "deleted"):
        RECORDS.labels(connector, stream, outcome)
    for outcome in ("ok", "retry", "halt", "fenced"):
        POLLS.labels(connector, stream, outcome)


def drop_connector(connector: str) -> None:
    """Remove the gauges of a connector that another worker now polls.

    Counters stay.
    """
    for gauge in (
        CURSOR_TIMESTAMP,
        LAST_SUCCESS,
        POLL_INTERVAL,
        HALTED,
        PAUSED,
        PAUSED_SINCE,
        BACKFILL_RATIO,
        ALL_REJECTED,
        DELETIONS_WITHHELD,
        BREAKER_STATE,
        LOOP_VALUES_SKIPPED,
        CERTIFICATE_EXPIRY,
        CERTIFICATE_NOT_RENEWED,
    ):
        gauge.remove_by_labels({"connector": connector})
