"""Write structured logs without payloads, secrets or personal data.

All logs of the gateway and of its libraries pass one processor, :func:`redact`. It masks fields by
name, texts by their pattern, and the exact secrets that the gateway knows. A text stays on one
line, without control characters. The text of a library's exception may quote its input. Therefore
only the texts of safe exceptions are logged.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Iterator, Mapping, MutableMapping
from types import TracebackType
from typing import Any, TextIO, get_args, get_origin, get_type_hints

import structlog
from msgspec import Meta, Struct

from gateway import records
from gateway.errors import GatewayError
from gateway.printable import one_line, plain_stream
from gateway.settings import Settings

HIDDEN = "***"
MAX_TEXT_LENGTH = 2_000
"""Longer texts are cut."""
MAX_DEPTH = 4
"""Fields that are nested more deeply are not logged."""

_SECRET_NAME = re.compile(
    r"(^|_)(key|token|secret|password|passwd|passphrase|authorization|cookie|credential|credentials|assertion)s?($|_)",
    re.IGNORECASE,
)
_PAYLOAD_NAMES = {
    "body",
    "content",
    "payload",
    "raw",
    "record",
    "records",
    "document",
    "documents",
    "envelope",
    "request",
    "response",
    "reply",
    "value",
    "values",
    "context",
    "subject",
    "subjects",
    "native_id",
    "xml",
    "json",
    "html",
    "headers",
    "cookies",
    "input",
    "args",
    "kwargs",
    "row",
    "node",
    "element",
}


def _hide_query(url: re.Match[str]) -> str:
    address, _, query = url[0].partition("?")
    return f"{address}?{HIDDEN}" if query else url[0]


_SENSITIVE_PATTERNS = (
    (
        re.compile(r"\b(bearer|basic|digest|negotiate)\s+[\w.~+/=-]{6,}", re.IGNORECASE),
        r"\1 " + HIDDEN,
    ),
    (re.compile(r"://[^/\s@:]+:[^/\s@]+@"), f"://{HIDDEN}@"),
    (re.compile(r"https?://[^\s\"'<>]+", re.IGNORECASE), _hide_query),
    (re.compile(r"\burn:schac:personalUniqueCode:\S+", re.IGNORECASE), HIDDEN),
    (re.compile(r"-----BEGIN [A-Z ]+-----.*?(-----END [A-Z ]+-----|\Z)", re.DOTALL), HIDDEN),
)
_MIN_LEVELS = {
    # Faust logs a page of lines for each start and stop.
    **dict.fromkeys(("faust", "mode"), logging.WARNING),
    # HTTP clients log whole URLs at INFO and bodies at DEBUG.
    **dict.fromkeys(("zeep", "httpx2", "httpcore2", "httpx", "httpcore"), logging.WARNING),
    # At INFO, aiokafka logs group members and their partitions.
    **dict.fromkeys(("aiokafka", "kafka", "aiohttp", "asyncio"), logging.INFO),
    # At INFO, these loggers write a line for each topic that a stream reads.
    **dict.fromkeys(
        (
            "aiokafka.consumer.subscription_state",
            "aiokafka.consumer.consumer",
            "aiokafka.producer.sender",
        ),
        logging.WARNING,
    ),
}
_SAFE_ERRORS: tuple[type[BaseException], ...] = (
    GatewayError,
    OSError,
    TimeoutError,
    ImportError,
    MemoryError,
    RecursionError,
)
_RETRY = {"retry_num": "retry", "caused_by": "error", "wait_for": "next_try_seconds"}
_secrets: set[str] = set()

Event = MutableMapping[str, Any]


def mask_secrets(*secrets: str) -> None:
    """Mask these exact texts in all later logs.

    Texts with fewer than six characters are ignored, because they would mask ordinary words.
    """
    _secrets.update(secret for secret in secrets if len(secret) >= 6)  # noqa: PLR2004 - see the docstring


def configure(settings: Settings, stream: TextIO | None = None) -> None:
    """Write all logs, also those of libraries, to ``stream`` (by default standard error).

    The log format ``auto`` means console lines on a terminal, and otherwise one JSON object per
    line. May be called again.
    """
    out = stream or plain_stream(sys.stderr)
    named = (
        settings.kafka_password,
        settings.pseudonym_key,
        settings.pseudonym_key_previous,
        settings.permanent_key,
    )
    mask_secrets(*(secret.get_secret_value() for secret in named))
    as_json = settings.log_format == "json" or (settings.log_format == "auto" and not out.isatty())
    level = logging.getLevelNamesMapping()[settings.log_level]
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _rename_retry_fields,
        _format_exceptions,
        redact,
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    renderer: Any = (
        structlog.processors.JSONRenderer(sort_keys=False)
        if as_json
        else structlog.dev.ConsoleRenderer(colors=out.isatty())
    )
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    handler.addFilter(_meets_min_level)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name, floor in _MIN_LEVELS.items():
        logging.getLogger(name).setLevel(max(level, floor))
    logging.captureWarnings(capture=True)


def redact(_logger: Any, _method: str, event: Event) -> Event:
    """Mask everything that must not be logged. Every log passes this processor."""
    for name in list(event):
        if not name.startswith("_"):
            event[name] = _redact_field(name, event[name], 0)
    return event


def _redact_field(name: str, value: Any, depth: int) -> Any:
    """Return the loggable value of a field.

    The value is hidden because of its name, or else redacted.
    """
    lowered = name.lower()
    if lowered in PERSONAL_NAMES or _SECRET_NAME.search(lowered):
        return HIDDEN
    if value is None or isinstance(value, int | float):
        return value
    if lowered in _PAYLOAD_NAMES:
        return HIDDEN
    return _redact_value(value, depth)


def _redact_value(value: Any, depth: int) -> Any:
    match value:
        case bytes() | bytearray() | memoryview():
            safe: Any = f"<{len(value)} bytes>"
        case Mapping() if depth < MAX_DEPTH:
            safe = {
                _text(str(key)): _redact_field(str(key), inner, depth + 1)
                for key, inner in value.items()
            }
        case list() | tuple() | set() | frozenset() if depth < MAX_DEPTH:
            safe = [_redact_field("", inner, depth + 1) for inner in value]
        case BaseException():
            safe = f"{type(value).__name__}: {_safe_text(value)}"
        case Mapping() | list() | tuple() | set() | frozenset() | Struct():
            safe = f"<{type(value).__name__}>"
        case _:
            safe = _text(str(value))
    return safe


def _text(value: str) -> str:
    for secret in _secrets:
        value = value.replace(secret, HIDDEN)
    for pattern, replacement in _SENSITIVE_PATTERNS:
        value = pattern.sub(replacement, value)
    shown = one_line(value[:MAX_TEXT_LENGTH])
    return shown if len(value) <= MAX_TEXT_LENGTH else f"{shown}… ({len(value)} characters)"


def _rename_retry_fields(_logger: Any, _method: str, event: Event) -> Event:
    """Rename the event and the fields of a retry.

    The library logs the name of a code block and the arguments of the call. These are removed.
    """
    if event.get("event") == "stamina.retry_scheduled":
        renamed = {ours: event.pop(name) for name, ours in _RETRY.items() if name in event}
        for name in ("callable", "args", "kwargs", "waited_so_far"):
            event.pop(name, None)
        event.update(renamed, event="request tried again")
    return event


def _format_exceptions(_logger: Any, _method: str, event: Event) -> Event:
    """Replace ``exc_info`` by ``exception``: types, code positions and safe texts.

    Local variables are never logged.
    """
    info = event.pop("exc_info", None)
    error = sys.exc_info()[1] if info is True else info[1] if isinstance(info, tuple) else info
    if isinstance(error, BaseException):
        event["exception"] = [
            line for link in _error_chain(error) for line in _describe_error(link)
        ]
    event.pop("stack_info", None)
    return event


def _error_chain(error: BaseException) -> Iterator[BaseException]:
    """Yield the error, its causes and the members of groups, newest first, at most 20."""
    pending, visited = [error], set[int]()
    while pending and len(visited) < 20:  # noqa: PLR2004 - see the docstring
        current = pending.pop(0)
        if id(current) in visited:
            continue
        visited.add(id(current))
        yield current
        context = None if current.__suppress_context__ else current.__context__
        cause = current.__cause__ or context
        pending += [*getattr(current, "exceptions", ()), *([cause] if cause else [])]


def _describe_error(error: BaseException) -> list[str]:
    return [
        f"{type(error).__module__}.{type(error).__qualname__}: {_safe_text(error)}",
        *_frames(error.__traceback__),
    ]


def _frames(trace: TracebackType | None) -> list[str]:
    frames = []
    while trace:
        code = trace.tb_frame.f_code
        frames.append(f"  {code.co_filename}:{trace.tb_lineno} in {code.co_qualname}")
        trace = trace.tb_next
    return frames[-12:]


def _safe_text(error: BaseException) -> str:
    is_safe = isinstance(error, _SAFE_ERRORS) or type(error).__module__.partition(".")[0] in {
        "aiokafka",
        "kafka",
    }
    return _text(str(error)) if is_safe else "(text withheld: it may quote a payload)"


def _meets_min_level(record: logging.LogRecord) -> bool:
    return record.levelno >= _MIN_LEVELS.get(record.name.partition(".")[0], logging.NOTSET)


def _personal_names() -> frozenset[str]:
    """Return the names of the fields that ``records.py`` marks as personal."""
    names: set[str] = set()
    for value in vars(records).values():
        if isinstance(value, type) and issubclass(value, Struct):
            for name, hint in get_type_hints(value, include_extras=True).items():
                marks = (
                    [mark for mark in get_args(hint)[1:] if isinstance(mark, Meta)]
                    if get_origin(hint)
                    else []
                )
                if any((mark.extra or {}).get("personal") for mark in marks):
                    names.add(name)
    return frozenset(names)


PERSONAL_NAMES = _personal_names()
