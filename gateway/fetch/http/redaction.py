"""Redact requests for logs and errors.

The remaining text suffices to find the request in the log of a registry. It contains no personal
data and no credentials.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from urllib.parse import parse_qsl, quote, urlsplit

HIDDEN = "***"
_NUMBER = r"\d{0,4}|\d{4}-\d\d-\d\d(T[0-9:.]+(Z|[+-]\d\d:?\d\d)?)?|true|false"
_SAFE_VALUE = re.compile(_NUMBER)
_SAFE_PATH_WORD = re.compile(rf"{_NUMBER}|[A-Za-z_.\-]{{0,40}}|v\d+")
_SECRET_HEADERS = {"authorization", "proxy-authorization", "cookie", "set-cookie"}
_SECRET_NAMES = re.compile(
    r"key|token|secret|password|passwd|assertion|code|user|session", re.IGNORECASE
)


def redact_url(value: str) -> str:
    """Return a URL without values that may be personal or secret.

    The host and plain words of the path remain. ``***`` replaces long numbers, identifiers and
    query values that may be personal. A text that is no address is hidden.
    """
    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError:
        return HIDDEN
    path = "/".join(
        piece if _SAFE_PATH_WORD.fullmatch(piece) else HIDDEN for piece in parts.path.split("/")
    )
    query = "&".join(
        f"{quote(name)}={text if _is_safe(name, text) else HIDDEN}"
        for name, text in parse_qsl(parts.query, keep_blank_values=True)
    )
    host = parts.hostname or ""
    address = f"{host}:{port}" if port else host
    return f"{parts.scheme}://{address}{path}" + (f"?{query}" if query else "")


def shown_host(url: str, otherwise: str) -> str:
    """Return the host of an address that a registry wrote, or ``otherwise`` if it shows none."""
    try:
        host = urlsplit(url).hostname or ""
    except ValueError:
        return "an address that is not valid"
    return host if host and host.isascii() and host.isprintable() else otherwise


def _is_safe(name: str, value: str) -> bool:
    return not _SECRET_NAMES.search(name) and _SAFE_VALUE.fullmatch(value) is not None


def redact_headers(values: Mapping[str, str], also: Iterable[str] = ()) -> dict[str, str]:
    """Return headers with ``***`` in place of credentials.

    ``also`` names further headers, for example those that a connector fills from secrets.
    """
    secret = _SECRET_HEADERS | {name.lower() for name in also}
    return {
        name: HIDDEN if name.lower() in secret or _SECRET_NAMES.search(name) else value
        for name, value in values.items()
    }
