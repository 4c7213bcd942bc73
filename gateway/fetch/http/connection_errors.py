"""Say in words why a request got no complete reply."""

from __future__ import annotations

import socket
from urllib.parse import urlsplit

import httpx2

from gateway.errors import RetryLater, StreamHalted
from gateway.fetch.http import tls
from gateway.fetch.http.network_guard import address_words, refused_kind


def translate_error(error: httpx2.HTTPError, where: str, url: str) -> RetryLater | StreamHalted:
    """Return the error of the gateway for a request to ``url`` that got no complete reply."""
    if kind := refused_kind(error):
        return StreamHalted(
            "HOST_REFUSED",
            f"{where}: {urlsplit(url).hostname} leads to an address that is no registry's, "
            f"because it is {address_words(kind)}; correct the host, or its entry in the DNS",
        )
    if tls_failure := tls.tls_failure_reason(error):
        return StreamHalted(tls_failure[0], f"{where}: {tls_failure[1]}")
    if isinstance(error, httpx2.UnsupportedProtocol | httpx2.LocalProtocolError):
        return StreamHalted(
            "URL_INVALID",
            f"{where}: the request cannot be sent ({type(error).__name__}); "
            "check the url and the headers",
        )
    reason, text = _describe_connection_error(error, secure=url.startswith("https:"))
    return RetryLater(reason, f"{where}: {text}")


def _describe_connection_error(error: httpx2.HTTPError, *, secure: bool) -> tuple[str, str]:
    """Return a reason code and a text for a connection that failed or was lost."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, OSError):
        cause = cause.__cause__ or cause.__context__
    if isinstance(cause, socket.gaierror):
        return "DNS_FAILED", "the registry's host name does not resolve"
    if isinstance(error, httpx2.ConnectError):
        return (
            "CONNECT_FAILED",
            f"no connection ({(isinstance(cause, OSError) and cause.strerror) or 'refused'})",
        )
    if isinstance(error, httpx2.RemoteProtocolError) and "without sending a response" in str(error):
        hint = "; if the registry wants a client certificate, check tls" if secure else ""
        return "CONNECTION_LOST", f"the registry closed the connection without an answer{hint}"
    if isinstance(error, httpx2.RemoteProtocolError | httpx2.DecodingError):
        return "INCOMPLETE_BODY", "the reply stops before its end or is not HTTP"
    return "CONNECTION_LOST", f"the connection was lost ({type(error).__name__})"
