"""List the causes because of which a stream does not run, each with its remedy.

``gateway why`` and the status page read this one table. A cause is a reason code of a stream, or a
state that ``gateway why`` finds. See docs/decisions/0109.
"""

from __future__ import annotations

from dataclasses import dataclass

POLL = "gateway poll {connector} {stream} --wait"
"""The command that tries a stream again at once."""
_CHECK = "gateway check {file}"
_PREVIEW = "gateway preview {file} --stream {base} --raw"
_TELL = "Tell the operator of the registry."
_CORRECT = "Correct the connector file. The workers load it by themselves."


@dataclass(frozen=True, slots=True)
class Remedy:
    """What a person can do about several causes.

    ``steps`` are sentences and commands in their order. ``loss`` says what is lost meanwhile; if
    it is blank, it depends on how the stream is read. ``runbook`` is the name of a runbook.
    """

    steps: tuple[str, ...]
    runbook: str = "ConnectorHalted"
    loss: str = ""


@dataclass(frozen=True, slots=True)
class Cause:
    """One cause: what happened, in one sentence, and the remedy."""

    code: str
    meaning: str
    remedy: Remedy
    is_bad: bool = True
    """Whether a person should look at the stream."""


REPLY_CHANGED = Remedy((_PREVIEW, _CORRECT, _CHECK, POLL))
FILE_WRONG = Remedy((_CORRECT, _CHECK, POLL))
CREDENTIALS = Remedy(
    (
        "Write the new secret to its file in GATEWAY_SECRETS_DIR. It is read at the next try.",
        POLL,
    )
)
CERTIFICATES = Remedy(
    ("Write the new certificate and its key to their secrets, or correct `tls`.", _CHECK, POLL)
)
SIGNATURES = Remedy(
    (
        "Ask the operator of the registry whether its certificate or its software changed.",
        "Write a new certificate to the secret under `trust`. Keep `security`.",
        POLL,
    )
)
LIMITS = Remedy(
    (
        "Request smaller pages, or raise the limit that the message names.",
        _CHECK,
        POLL,
    )
)
REGISTRY_WRONG = Remedy((_PREVIEW, _TELL, POLL))
REGISTRY_DOWN = Remedy((_TELL, "When the registry answers again:", POLL), "ConnectorFailing")
WAIT = Remedy(("Wait. The gateway tries again by itself.", POLL), "ConnectorFailing")
KAFKA = Remedy(
    ("Check that the brokers run and that this network reaches them.", "gateway status"),
    "PublishBlocked",
    "Nothing is lost. The gateway confirms a record only after Kafka has it. "
    "Documents become older.",
)
PUSHED = Remedy((_TELL, _CHECK))
WORKER = Remedy(
    ("gateway run {connector}", "gateway status {connector}"),
    "ConnectorsUnowned",
)
TOPIC_DAMAGED = Remedy(
    (
        "Take the right to write to this topic from the other program.",
        "Write a tombstone for the key that the message names, with a Kafka client.",
        POLL,
    )
)
KEY = Remedy(
    (
        "Restore the secret of id_key.",
        POLL,
        "If the new key is right, start one worker once with this command:",
        "gateway run --accept-new-key",
    )
)
NOTHING = Remedy((), "")

_ROWS: tuple[tuple[Remedy, str], ...] = (
    (
        REPLY_CHANGED,
        """
        LIST_MISSING | The reply does not contain its list of records.
        EXPRESSION | An expression of the connector file cannot read the reply.
        SCHEMA | The reply breaks the schema that the connector file names.
        CHANGED_AT_UNREADABLE | No change time of the records can be read.
        CSV_HEADER | The first line of the table has not the columns that the file names.
        JOIN_KEY | No record of the second list has the key by which it joins.
        EXPAND_MISSING | The reply with the details does not contain the listed record.
        FEED_MALFORMED | An entry of the feed has no valid time.
        FEED_POSITION_MISSING | No entry of the feed has a position to continue from.
        EXPORT_STATE | The export is in a state that the connector file does not name.
        PAGING_MISSING | The reply is one page of a longer list, and the next page is not known.
        FORMAT_MIXED | A record would be XML and JSON at the same time.
        ENCODING | The reply is in another charset or compression than expected.
        ENCODING_CONFLICT | The reply names several charsets.
        COUNT_MISSING | The reply does not state the number of records.
        CURSOR_MISSING | The reply announces another page and has no token for it.
        DECODE_EMPTY | A decode step finds nothing in the reply.
        BASE64_MALFORMED | The content of the reply is not base64.
        CSV_MALFORMED | The table cannot be read with its separator and its quotes.
        ZIP_MALFORMED | The reply is no complete ZIP archive.
        FILE_MISSING | The archive does not contain the file that the connector file names.
        MIME | The parts of the reply cannot be read.
        LIST_REFUSED | The registry refused a second list, which does not prove an empty list.
        HTTP_ | The registry refuses the address or the request.
        SOAP_FAULT | The registry answered with a fault that no rule explains.
        REDIRECT_REFUSED | The registry answered with a redirect to another address.
        STOPPED | A rule under `replies` stops the stream after this reply.
        NO_RECORDS | No stream of the connector finds a record in the message.
        """,
    ),
    (
        FILE_WRONG,
        """
        DECODE_ORDER | The decode steps of the connector file are in a wrong order.
        EXPAND_KEY | `expand` with a batch needs a `key`.
        PLACEHOLDER_FORMAT | A placeholder of the connector file has no valid format.
        PROTOCOL | The connector file asks for something that its protocol cannot do.
        REQUEST_INVALID | The gateway cannot build the request from the connector file.
        HEADER_INVALID | A header has a value that no HTTP header can carry.
        URL_INVALID | The address of a request cannot be called.
        URL_MISSING | The connector has no address for this stage.
        VALUE_MISSING | A request needs a value that is not there.
        CREDENTIALS_WITHHELD | A secret would go to a host that may not receive it.
        WINDOW_TOO_SMALL | The registry has too many results even for the smallest period.
        SCHEMA_UNREADABLE | The schema that the connector file names cannot be read.
        CURSOR_INVALID | The stored position is from another release.
        PAGE_EMPTY | A page is empty but announces more pages.
        EXPORT_FAILED | The export of the registry failed.
        EXPORT_LATE | The export of the registry was not ready in time.
        """,
    ),
    (
        CREDENTIALS,
        """
        DENIED | The registry does not accept the credentials.
        TOKEN_REFUSED | The registry gives no token for these credentials.
        SECRET_MISSING | A secret that the connector file names is missing.
        SECRET_UNREADABLE | A secret cannot be read.
        """,
    ),
    (
        CERTIFICATES,
        """
        KEY_UNREADABLE | A private key or a certificate cannot be read.
        TLS_MATERIAL | The TLS certificate or the key of the gateway cannot be used.
        TLS_MISSING | The port for push messages has no TLS certificate.
        TLS_EXPIRED | The certificate of the registry has expired or is not valid yet.
        TLS_WRONG_HOST | The certificate of the registry is for another host.
        TLS_UNTRUSTED | No known authority signed the certificate of the registry.
        TLS_REFUSED | The registry refuses the TLS connection or the client certificate.
        TLS_ | The TLS connection to the registry fails.
        """,
    ),
    (SIGNATURES, "SIGNATURE_ | The reply is not signed, or its signature is not valid."),
    (
        LIMITS,
        """
        LIMIT_ | The reply is larger than a limit of the gateway.
        EXPRESSION_LIMIT | An expression is larger than a limit of the gateway.
        TIMEOUT | The registry gave no complete reply in time.
        """,
    ),
    (
        REGISTRY_WRONG,
        """
        CURSOR_FOREIGN | The registry links to a host that is not its own.
        CURSOR_LOOP | The pages of the registry do not end.
        PAGE_REPEATED | The registry serves the same page twice.
        COUNT_MISMATCH | The registry serves another number of records than it states.
        PAGES_MOVED | Records leave the list faster than it can be read.
        HOST_REFUSED | The host of the registry leads to an address that is no registry's.
        JSON_DUPLICATE_KEY | An object in the reply has the same name twice.
        JSON_NUMBER | The reply has a number that JSON does not allow.
        XML_FORBIDDEN_DTD | The reply has a DOCTYPE, which the gateway never reads.
        ZIP_ENCRYPTED | A file in the archive is encrypted.
        CURSOR_EXPIRED | The registry asks again and again to start the period anew.
        RELATES_TO | The reply belongs to another message.
        JSON_MALFORMED | The reply is not valid JSON.
        XML_MALFORMED | The reply is not well-formed XML.
        """,
    ),
    (
        REGISTRY_DOWN,
        """
        BREAKER_OPEN | The registry failed so often that the gateway pauses its requests.
        BUSY | The registry has too much to do, or refuses requests for a while.
        HTTP_5 | The registry fails to answer.
        CONNECT_FAILED | The registry accepts no connection.
        CONNECTION_LOST | The connection to the registry was lost.
        DNS_FAILED | The name of the host of the registry does not resolve.
        TOKEN_ENDPOINT | The login service of the registry fails.
        EMPTY_BODY | The reply has no content, which does not prove an empty list.
        INCOMPLETE_BODY | The reply stops before its end.
        NOT_A_REGISTRY_RESPONSE | The reply is a web page instead of data.
        EXPORT_EXPIRED | The files of the export expired before they were read.
        """,
    ),
    (
        WAIT,
        """
        QUIET_HOURS | The registry accepts no requests in its quiet hours.
        fenced | Another worker or an erasure has the stream at the moment.
        not_fenced | The worker acquires the stream again.
        taken_anew | The stream was acquired again while records were read.
        record_too_large | A record is larger than its topic allows, so it becomes a rejection.
        stage_behind | Raw records wait to be harmonised.
        """,
    ),
    (
        KAFKA,
        """
        kafka | A request to Kafka failed.
        offset_went_back | The broker has an older position than this worker committed.
        KAFKA_BLOCKED | The worker cannot commit, so nothing new is published.
        KAFKA_DOWN | Kafka does not answer, so no state can be read.
        denied | Kafka refuses the rights that the worker needs.
        """,
    ),
    (
        PUSHED,
        """
        BODY_TOO_SLOW | A message of the registry arrived too slowly.
        CONTENT_TYPE | A message of the registry has not the content type of a form.
        FIELD_MISSING | A form of the registry lacks a field.
        FIELD_REPEATED | A form of the registry has a field twice.
        """,
    ),
    (
        TOPIC_DAMAGED,
        """
        STATE_UNREADABLE | Another program wrote the position of the stream.
        integrity | To continue could lose or repeat records, so the gateway does not.
        """,
    ),
    (KEY, "KEY_CHANGED | The secret of id_key is another one than before."),
    (
        Remedy(
            (
                "gateway rejections list --connector {connector}",
                _PREVIEW,
                _CORRECT,
                POLL,
                "If the rejections are right:",
                "gateway resume {connector} {stream}",
            ),
            "AllRecordsRejected",
        ),
        "all_rejected | The gateway would reject nearly all new records, so it wrote none of them.",
    ),
    (
        Remedy(
            (
                _PREVIEW,
                "If the registry is wrong: wait until it shows the records again.",
                "If the deletions are right:",
                "gateway resume {connector} {stream} --accept-deletions",
            ),
            "DeletionsWithheld",
            "Nothing is lost. Records that the registry really deleted stay published.",
        ),
        "DELETIONS_WITHHELD | One poll would delete a large share of the records.",
    ),
    (
        Remedy(
            (
                "Read the log of the worker: it names the place of the failure.",
                "gateway status {connector}",
                POLL,
            )
        ),
        """
        UNEXPECTED | The gateway failed to process a reply.
        unexpected | The poll failed for a reason that the gateway does not know.
        START_FAILED | The connector cannot start.
        """,
    ),
    (
        WORKER,
        """
        NO_WORKER | No worker polls this connector now.
        UNOWNED | Workers run, but none of them reports this stream.
        OMITTED | No worker was started with this connector.
        """,
    ),
    (
        Remedy((_CHECK, _CORRECT), "ConnectorNotLoaded"),
        "NOT_LOADED | The connector file is not valid, so no worker runs it.",
    ),
    (
        Remedy(
            (_CHECK, _CORRECT),
            "ConfigRefused",
            "Nothing is lost. The earlier version of the file runs, and your change waits.",
        ),
        "CONFIG_REFUSED | The new connector file is not valid, so the earlier version runs.",
    ),
    (
        Remedy((POLL, "gateway verify {connector}"), "ConnectorStale"),
        "STALE | The stream is more than three of its intervals behind.",
    ),
    (
        Remedy(
            (_PREVIEW, _TELL),
            "LoopValuesSkipped",
            "Nothing is lost. What was published for the skipped values stays, and becomes older.",
        ),
        "LOOP_VALUES_SKIPPED | The registry refuses some values of a loop. The others are read.",
    ),
    (
        Remedy(
            (_PREVIEW, _TELL),
            "RecordsSkipped",
            "Nothing is lost. The published versions of the skipped records become older.",
        ),
        "RECORDS_SKIPPED | The registry lists records, and refuses requests for them.",
    ),
    (
        Remedy((_CHECK, "Compare the source under `for_each` with the registry."), ""),
        "EMPTY_LOOP | A loop of the stream has no value, so nothing is read.",
    ),
    (
        Remedy(
            (
                "gateway rejections list --connector {connector}",
                "gateway explain {connector} ID",
            ),
            "RejectionRatioHigh",
            "Nothing is lost. The raw records stay, so `gateway rejections replay` can use them.",
        ),
        "RECORDS_REJECTED | The gateway rejects more than one record in twenty.",
    ),
)
_PAUSED = Remedy(("gateway resume {connector} {stream}",), "ConnectorStale")
_NEVER_POLLED = "A worker has the stream, and its first poll has not ended."
_WAIT_FIRST = Remedy(("Wait for the first poll.", "gateway status {connector}"), "")
HEALTHY = Cause("HEALTHY", "The stream is well.", NOTHING, is_bad=False)


def _read_rows() -> dict[str, Cause]:
    causes = {
        "HEALTHY": HEALTHY,
        "PAUSED": Cause("PAUSED", "An operator paused the stream.", _PAUSED, is_bad=False),
        "NEVER_POLLED": Cause("NEVER_POLLED", _NEVER_POLLED, _WAIT_FIRST, is_bad=False),
        "paused": Cause("PAUSED", "An operator paused the stream.", _PAUSED, is_bad=False),
    }
    for remedy, text in _ROWS:
        for line in text.strip().splitlines():
            code, _, meaning = (part.strip() for part in line.partition("|"))
            causes[code] = Cause(code, meaning, remedy)
    return causes


CAUSES = _read_rows()
"""The causes by code. A code that ends in ``_`` or in a digit stands for all that begin so."""
_BEGINNINGS = sorted((code for code in CAUSES if code.endswith(("_", "_5"))), key=len, reverse=True)


def cause_of(code: str) -> Cause:
    """Return the cause of a reason code.

    A connector file may have codes of its own; they mean that its rule stopped the stream.
    """
    if code in CAUSES:
        return CAUSES[code]
    beginning = next((text for text in _BEGINNINGS if code.startswith(text)), "STOPPED")
    known = CAUSES[beginning]
    return Cause(code, known.meaning, known.remedy)
