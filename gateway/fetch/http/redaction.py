"""What may be shown of a request: enough to find it in a registry's log, nothing of a person and no credential."""

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
    """Return a URL whose host and path words remain; long numbers, identifiers and query values that may be personal do not."""
    parts = urlsplit(value)
    path = "/".join(
        piece if _SAFE_PATH_WORD.fullmatch(piece) else HIDDEN for piece in parts.path.split("/")
    )
    query = "&".join(
        f"{quote(name)}={shown if not _SECRET_NAMES.search(name) and _SAFE_VALUE.fullmatch(shown) else HIDDEN}"
        for name, shown in parse_qsl(parts.query, keep_blank_values=True)
    )
    host = parts.hostname or ""
    where = f"{host}:{parts.port}" if parts.port else host
    return f"{parts.scheme}://{where}{path}" + (f"?{query}" if query else "")


def redact_headers(values: Mapping[str, str], also: Iterable[str] = ()) -> dict[str, str]:
    """Return headers with credentials masked; ``also`` names the headers that a connector fills from secrets."""
    secret = _SECRET_HEADERS | {name.lower() for name in also}
    return {
        name: HIDDEN if name.lower() in secret or _SECRET_NAMES.search(name) else value
        for name, value in values.items()
    }
