"""What goes to a registry, what comes back, and what a reply means."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.message import Message
from email.utils import parsedate_to_datetime
from typing import Literal

from gateway.fetch.http.body import ReplyBody

ReplyOutcome = Literal["ok", "empty", "retry", "denied", "stop", "halve_window", "restart_window"]
MIN_CLOCK_SKEW = timedelta(seconds=2)
"""Clocks that differ by less agree: a date in a header has no fractions, and the reply took its time."""
MAX_CLOCK_SKEW = timedelta(hours=26)


@dataclass(frozen=True, slots=True)
class RegistryRequest:
    """One request. ``label`` names it in errors and logs (``GET /awards``, an operation): never an identifier of a person."""

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    content: bytes | None = None
    label: str = ""
    query: tuple[tuple[str, str], ...] = ()
    authenticated: bool = True


@dataclass(slots=True)
class RegistryReply:
    """One whole reply. ``headers`` has lower-case names."""

    status: int
    headers: Mapping[str, str]
    body: ReplyBody
    url: str
    links: tuple[str, ...] = ()

    @property
    def media_type(self) -> str:
        """The media type without parameters, lower case."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    @property
    def charset(self) -> str | None:
        """The charset the transport names, if it names one."""
        message = Message()
        message["content-type"] = self.headers.get("content-type", "")
        found = message.get_param("charset")
        return found.strip().lower() if isinstance(found, str) else None


@dataclass(frozen=True, slots=True)
class ReplyVerdict:
    """What a reply means: go on, nothing there, try again, refused, stop, or ask for less."""

    outcome: ReplyOutcome
    reason: str = ""
    message: str = ""
    after: float | None = None


ReplyClassifier = Callable[[RegistryReply], ReplyVerdict]


def classify_by_status(reply: RegistryReply) -> ReplyVerdict:
    """Judge by HTTP status alone: what holds when a connector's ``replies`` say nothing else."""
    status = reply.status
    if 200 <= status < 300:  # noqa: PLR2004
        return ReplyVerdict("ok")
    if status in {401, 403}:
        return ReplyVerdict(
            "denied",
            "DENIED",
            f"the registry answered {status}: it knows these credentials and refuses, or does not know them",
        )
    if status in {408, 425, 429} or status >= 500:  # noqa: PLR2004
        return ReplyVerdict(
            "retry",
            "BUSY" if status in {429, 503} else f"HTTP_{status}",
            f"the registry answered {status}",
        )
    if 300 <= status < 400:  # noqa: PLR2004
        return ReplyVerdict(
            "stop",
            "REDIRECT_REFUSED",
            "the registry answered with a redirect; they are not followed: change the url",
        )
    return ReplyVerdict("stop", f"HTTP_{status}", f"the registry answered {status}")


def clock_ahead_of(headers: Mapping[str, str], now: datetime) -> timedelta:
    """Return by how much our clock is ahead of the registry's, from the ``Date`` of a reply; zero when that is little or not to be known.

    A date of yesterday, or one from a cache, says nothing about the registry's clock.
    """
    try:
        moment = parsedate_to_datetime(headers.get("date", ""))
    except ValueError:
        return timedelta(0)
    found = now - (moment if moment.tzinfo else moment.replace(tzinfo=UTC))
    return (
        found if MIN_CLOCK_SKEW < found < MAX_CLOCK_SKEW and "age" not in headers else timedelta(0)
    )


def retry_after(headers: Mapping[str, str], now: datetime, longest: float = 3600.0) -> float | None:
    """Return the seconds a registry asks us to wait, in either form of ``Retry-After``; ``None`` when it does not ask."""
    value = headers.get("retry-after", "").strip()
    if not value:
        return None
    if value.isascii() and value.isdigit():
        return min(float(value[:9]), longest)
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return min(max(0.0, (moment - now).total_seconds()), longest)
