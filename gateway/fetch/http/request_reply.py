"""Define requests, replies and the meaning of a reply."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.message import Message
from email.utils import parsedate_to_datetime
from typing import Literal

from gateway.fetch.http.body import ReplyBody

ReplyOutcome = Literal["ok", "empty", "retry", "denied", "stop", "halve_window", "restart_window"]
MIN_CLOCK_SKEW = timedelta(seconds=2)
"""A smaller difference between two clocks is ignored.

The date in a header has no fractions of a second, and the reply needs time to arrive.
"""
MAX_CLOCK_SKEW = timedelta(hours=26)
NOT_MODIFIED = 304
LAST_STATUS = 599
"""The highest status of HTTP (RFC 9110). A server may send a higher number."""
_CHARSET = re.compile(r"[a-z0-9][a-z0-9._:+-]*")
_YEARS = range(1900, 9000)
_MAX_DATE_LENGTH = 100
MAX_CONTENT_TYPE_LENGTH = 1_000
"""What follows in a longer ``Content-Type`` is left unread."""
_NO_CHARSET = {"none", "null", "unset", "undefined", "default", "binary"}
"""Words that servers write in place of a charset."""
_SECONDS = re.compile(r"\+?([0-9]+(\.[0-9]*)?|\.[0-9]+)")


@dataclass(frozen=True, slots=True)
class RegistryRequest:
    """One request to a registry.

    ``label`` names it in errors and logs, for example ``GET /awards`` or a SOAP operation. It
    never contains an identifier of a person.
    """

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    content: bytes | None = None
    label: str = ""
    query: tuple[tuple[str, str], ...] = ()
    authenticated: bool = True


@dataclass(slots=True)
class RegistryReply:
    """One complete reply. The names in ``headers`` are in lower case.

    ``is_text`` marks a body that was a text inside another message, and is now in UTF-8.
    """

    status: int
    headers: Mapping[str, str]
    body: ReplyBody
    url: str
    links: tuple[str, ...] = ()
    is_text: bool = False

    @property
    def media_type(self) -> str:
        """The media type in lower case, without parameters."""
        return media_type_of(self.content_type)

    @property
    def content_type(self) -> str:
        """The ``Content-Type`` header, or an empty text."""
        return self.headers.get("content-type", "")

    @property
    def charset(self) -> str | None:
        """The charset from the ``Content-Type`` header, or ``None``."""
        return charset_of(self.content_type)


def media_type_of(content_type: str) -> str:
    """Return the media type of a ``Content-Type`` in lower case, without parameters."""
    return re.split(r"[;,\s]", content_type.strip(), maxsplit=1)[0].lower()


def charset_of(content_type: str) -> str | None:
    """Return the charset of a ``Content-Type`` in lower case, or ``None``."""
    named = _CHARSET.search(content_type_parameter(content_type, "charset").lower())
    return named[0] if named and named[0] not in _NO_CHARSET else None


def content_type_parameter(content_type: str, name: str) -> str:
    """Return a parameter of a ``Content-Type`` without its quotes, or an empty text."""
    message = Message()
    content_type = content_type[:MAX_CONTENT_TYPE_LENGTH]
    message["content-type"] = content_type.replace("\r", " ").replace("\n", " ")
    value = message.get_param(name)
    return value.strip() if isinstance(value, str) else ""


@dataclass(frozen=True, slots=True)
class ReplyVerdict:
    """The meaning of a reply.

    ``reason`` is a code, and ``message`` explains it. ``after`` is the number of seconds to wait
    before a retry.
    """

    outcome: ReplyOutcome
    reason: str = ""
    message: str = ""
    after: float | None = None


ReplyClassifier = Callable[[RegistryReply], ReplyVerdict]


def classify_by_status(reply: RegistryReply) -> ReplyVerdict:
    """Return the meaning of a reply from its HTTP status alone.

    This rule applies to all replies that the ``replies`` of a connector do not mention.
    """
    status = reply.status
    if 200 <= status < 300:  # noqa: PLR2004
        return ReplyVerdict("ok")
    if status in {401, 403}:
        return ReplyVerdict(
            "denied",
            "DENIED",
            f"the registry answered {status}: it does not accept the credentials; "
            "check `auth`, the secrets and the rights at the registry",
        )
    if status in {408, 425, 429} or status >= 500:  # noqa: PLR2004
        return ReplyVerdict(
            "retry",
            "BUSY" if status in {429, 503} else _status_reason(status),
            f"the registry answered {status}; the gateway tries again",
        )
    if status == NOT_MODIFIED:
        return ReplyVerdict(
            "stop",
            f"HTTP_{status}",
            "the registry answered 304 (not modified) to a request without a condition; if your "
            "connector sends a condition itself, write `replies: [{when: {status: 304}, then: "
            "empty}]`",
        )
    if 300 <= status < 400:  # noqa: PLR2004
        return ReplyVerdict(
            "stop",
            "REDIRECT_REFUSED",
            "the registry answered with a redirect, which is not followed; change the url",
        )
    return ReplyVerdict(
        "stop",
        _status_reason(status),
        f"the registry answered {status}; correct the url or the request, "
        "or say under `replies` what such a reply means",
    )


def _status_reason(status: int) -> str:
    """Return the reason code of a status. It is a metric label, so that their number is limited."""
    return f"HTTP_{status}" if status <= LAST_STATUS else f"HTTP_{status // 100}XX"


def clock_ahead_of(headers: Mapping[str, str], now: datetime) -> timedelta:
    """Return by how much the gateway's clock is ahead of the registry's clock.

    The ``Date`` header of the reply gives the time of the registry. Return zero when the difference
    is small or unknown. The header of a cached reply, or a difference of more than
    :data:`MAX_CLOCK_SKEW`, does not show the clock of the registry.
    """
    moment = http_moment(headers.get("date", ""))
    if moment is None:
        return timedelta(0)
    skew = now - moment
    return skew if MIN_CLOCK_SKEW < skew < MAX_CLOCK_SKEW and "age" not in headers else timedelta(0)


def retry_after(headers: Mapping[str, str], now: datetime, longest: float = 3600.0) -> float | None:
    """Return the seconds from the ``Retry-After`` header, or ``None`` for the usual delay.

    The header may hold seconds, also with a fraction, or a date. A date counts from the ``Date``
    header of the reply, because the clocks may differ. The result is at most ``longest`` seconds.
    A negative or unreadable value is ignored.
    """
    value = headers.get("retry-after", "").partition(",")[0].strip("\"' \t")
    if _SECONDS.fullmatch(value):
        return min(float(value), longest)
    moment = http_moment(headers.get("retry-after", "").strip("\"' \t"))
    if moment is None:
        return None
    seconds = (moment - (http_moment(headers.get("date", "")) or now)).total_seconds()
    return min(seconds, longest) if seconds > 0 else None


def http_moment(text: str) -> datetime | None:
    """Return the moment of an HTTP date or an ISO 8601 time, or ``None``.

    A moment that a calculation could carry out of the calendar counts as unreadable.
    """
    for read in (parsedate_to_datetime, datetime.fromisoformat):
        try:
            moment = read(text[:_MAX_DATE_LENGTH])
        except (ValueError, TypeError, OverflowError, LookupError):
            continue
        if moment.year not in _YEARS:
            return None
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return None
