"""Use a renewed certificate without a restart, and never a key that belongs to another one.

Some programs write the key and the certificate one after the other. Until both match, the earlier
pair stays in use, and a log line and a metric report it.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable
from typing import Any, Generic, TypeVar
from weakref import WeakSet

import structlog

from gateway.certificates.expiry import CertificateLabel
from gateway.errors import GatewayError
from gateway.observability import metrics

log = structlog.get_logger()

RENEW_INTERVAL_SECONDS = 5.0
"""How often unused certificates are read again, and how often an unusable one is tried again."""
Value = TypeVar("Value")


class Renewed(Generic[Value]):
    """A value made of files, which is made again when their content changes.

    ``read`` returns the content, and ``make`` the value. The first errors of both leave the
    constructor. Later ones are reported, and the earlier value stays in use.
    """

    def __init__(
        self, label: CertificateLabel, read: Callable[[], Any], make: Callable[[Any], Value]
    ) -> None:
        self.label = label
        self._read, self._make = read, make
        self._content = read()
        self._value = make(self._content)
        self._refused_content: Any = None
        self._is_refused = False
        self._next_try = 0.0
        self._report("")
        _watched.add(self)

    def current(self) -> Value:
        """Return the value for the present files, or the earlier one if they cannot be used."""
        try:
            content = self._read()
            if content != self._content:
                self._renew(content)
            elif self._is_refused:
                self._report("")
        except GatewayError as error:
            self._report(str(error))
        return self._value

    def _renew(self, content: Any) -> None:
        now = time.monotonic()
        if content == self._refused_content and now < self._next_try:
            return
        # A certificate that is valid from a later time can be used then, so it is tried again.
        self._refused_content, self._next_try = content, now + RENEW_INTERVAL_SECONDS
        self._value = self._make(content)
        self._content, self._refused_content = content, None
        self._report("")
        log.info("certificate renewed", **self.label._asdict())

    def _report(self, reason: str) -> None:
        self._is_refused = bool(reason)
        _report_refusal(self.label, reason)


class RenewedContext(ssl.SSLContext):
    """A TLS context that uses renewed certificates for each new connection."""

    def __new__(cls, _renewed: Renewed[ssl.SSLContext]) -> RenewedContext:  # noqa: PYI034
        """Create the context, which has no settings of its own."""
        return super().__new__(cls, ssl.PROTOCOL_TLS_CLIENT)

    def __init__(self, renewed: Renewed[ssl.SSLContext]) -> None:
        self._renewed = renewed
        self.minimum_version = ssl.TLSVersion.TLSv1_2

    def current(self) -> ssl.SSLContext:
        """Return the context for a connection that is opened now."""
        return self._renewed.current()

    def wrap_bio(self, *arguments: Any, **options: Any) -> ssl.SSLObject:
        """Begin a connection with the present certificates."""
        return self.current().wrap_bio(*arguments, **options)


def current_context(context: ssl.SSLContext | None) -> ssl.SSLContext | None:
    """Return the context for a connection that is opened now."""
    return context.current() if isinstance(context, RenewedContext) else context


async def renew_certificates() -> None:
    """Read changed files also while no connection is opened, until cancelled."""
    while True:
        await asyncio.sleep(RENEW_INTERVAL_SECONDS)
        for renewed in list(_watched):
            renewed.current()


def forget_connector(connector: str) -> None:
    """Read the files of a connector no longer, because another worker polls it."""
    for renewed in [one for one in _watched if one.label.connector == connector]:
        _watched.discard(renewed)
    for label in [label for label in _reported if label.connector == connector]:
        del _reported[label]


def _report_refusal(label: CertificateLabel, reason: str) -> None:
    """Report changed files that cannot be used: each reason once for all users of the files."""
    metrics.CERTIFICATE_NOT_RENEWED.labels(*label).set(bool(reason))
    if not reason:
        _reported.pop(label, None)
    elif reason != _reported.get(label):
        _reported[label] = reason
        log.warning(
            "certificate not renewed, the earlier one stays in use",
            **label._asdict(),
            reason=reason,
        )


_watched: WeakSet[Renewed[Any]] = WeakSet()
_reported: dict[CertificateLabel, str] = {}
