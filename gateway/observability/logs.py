"""Logs: structured, and never a payload, a secret or a person's data.

Everything that is logged, by the gateway or by a library, passes one processor, :func:`redact`. It masks by the name of a field, by
the shape of a text, and by the exact secrets it was told of. A library's exception text may quote what it was given, so only the
texts of exceptions that are known to be safe are shown.
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
from gateway.settings import Settings

HIDDEN = "***"
MAX_TEXT_LENGTH = 2_000
"""A longer text is cut: whatever it is, it is not a log line."""
MAX_DEPTH = 4
"""Nested fields below this depth are not shown."""

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
_SENSITIVE_PATTERNS = (
    (
        re.compile(r"\b(bearer|basic|digest|negotiate)\s+[\w.~+/=-]{6,}", re.IGNORECASE),
        r"\1 " + HIDDEN,
    ),
    (re.compile(r"://[^/\s@:]+:[^/\s@]+@"), f"://{HIDDEN}@"),
    (re.compile(r"(https?://[^\s?\"'<>]+)\?[^\s\"'<>]+", re.IGNORECASE), r"\1?" + HIDDEN),
    (re.compile(r"\burn:schac:personalUniqueCode:\S+", re.IGNORECASE), HIDDEN),
    (re.compile(r"-----BEGIN [A-Z ]+-----.*?(-----END [A-Z ]+-----|\Z)", re.DOTALL), HIDDEN),
    (
        re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]"),
        "\N{REPLACEMENT CHARACTER}",
    ),
)
_MIN_LEVELS = {
    **dict.fromkeys(("faust", "mode"), logging.WARNING),  # a page of lines for every start and stop
    **dict.fromkeys(
        ("zeep", "httpx2", "httpcore2", "httpx", "httpcore"), logging.WARNING
    ),  # at INFO they log whole URLs, at DEBUG bodies
    **dict.fromkeys(
        ("aiokafka", "kafka", "aiohttp", "asyncio"), logging.INFO
    ),  # who joined which group, and was given what
    **dict.fromkeys(  # a line for every topic that is read, by every stream
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
    """Mask these exact texts wherever they appear in a log from now on. Texts under six characters are ignored."""
    _secrets.update(secret for secret in secrets if len(secret) >= 6)  # noqa: PLR2004 - shorter ones would mask ordinary words


def configure(settings: Settings, stream: TextIO | None = None) -> None:
    """Send every log, ours and the libraries', to ``stream`` (standard error) in the form that ``settings`` asks for.

    ``auto`` is the console form on a terminal and JSON, one object a line, anywhere else. May be called again.
    """
    out = stream or sys.stderr
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
    """Mask what must not be logged: the one processor that every log passes."""
    for name in list(event):
        if not name.startswith("_"):
            event[name] = _redact_field(name, event[name], 0)
    return event


def _redact_field(name: str, value: Any, depth: int) -> Any:
    """Return what may be shown of a field: nothing when its name says so, else its value made safe."""
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
    for shape, instead in _SENSITIVE_PATTERNS:
        value = shape.sub(instead, value)
    return (
        value
        if len(value) <= MAX_TEXT_LENGTH
        else f"{value[:MAX_TEXT_LENGTH]}… ({len(value)} characters)"
    )


def _rename_retry_fields(_logger: Any, _method: str, event: Event) -> Event:
    """Say that a request is tried again in our words: the library names a block of code, and hides what it was called with."""
    if event.get("event") == "stamina.retry_scheduled":
        said = {ours: event.pop(name) for name, ours in _RETRY.items() if name in event}
        for name in ("callable", "args", "kwargs", "waited_so_far"):
            event.pop(name, None)
        event.update(said, event="request tried again")
    return event


def _format_exceptions(_logger: Any, _method: str, event: Event) -> Event:
    """Replace ``exc_info`` by ``exception``: types, places and safe texts, no local variables."""
    info = event.pop("exc_info", None)
    error = sys.exc_info()[1] if info is True else info[1] if isinstance(info, tuple) else info
    if isinstance(error, BaseException):
        event["exception"] = [line for one in _error_chain(error) for line in _describe_error(one)]
    event.pop("stack_info", None)
    return event


def _error_chain(error: BaseException) -> Iterator[BaseException]:
    """Yield the error, what caused it, and the members of groups; the newest first, at most 20."""
    waiting, seen = [error], set[int]()
    while waiting and len(seen) < 20:  # noqa: PLR2004 - enough to find a cause, not enough to flood a log
        one = waiting.pop(0)
        if id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        waiting += [
            *getattr(one, "exceptions", ()),
            *filter(
                None, (one.__cause__ or (None if one.__suppress_context__ else one.__context__),)
            ),
        ]


def _describe_error(error: BaseException) -> list[str]:
    return [
        f"{type(error).__module__}.{type(error).__qualname__}: {_safe_text(error)}",
        *_frames(error.__traceback__),
    ]


def _frames(trace: TracebackType | None) -> list[str]:
    found = []
    while trace:
        code = trace.tb_frame.f_code
        found.append(f"  {code.co_filename}:{trace.tb_lineno} in {code.co_qualname}")
        trace = trace.tb_next
    return found[-12:]


def _safe_text(error: BaseException) -> str:
    known = isinstance(error, _SAFE_ERRORS) or type(error).__module__.partition(".")[0] in {
        "aiokafka",
        "kafka",
    }
    return _text(str(error)) if known else "(text withheld: it may quote a payload)"


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
