"""Rewrite a correct reply into one that looks like a success but is not the requested list."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

UNREADABLE_TIME = "01.09.2024 10:00"
FUTURE_TIME = "2062-07-02T10:00:00Z"
_XML_RECORD = re.compile(rb"(</?t:)(degree|credit|enrolment)(?=[ >])")
_XML_CHANGED = re.compile(rb'(?<= changed=")[^"]+')
_XML_ID = re.compile(rb' id="[^"]+"')
_XML_BODY = re.compile(rb"(<s:Body>).*(</s:Body>)", re.DOTALL)


def rewrite(kind: str, body: bytes) -> bytes:
    """Return the wrong reply of this kind in place of ``body``, which is JSON or SOAP.

    The JSON registry states no times of change, so their kinds change nothing there.
    """
    if body.lstrip().startswith(b"<"):
        return _XML[kind](body)
    change = _JSON.get(kind)
    return json.dumps(change(json.loads(body)), ensure_ascii=False).encode() if change else body


def _without_first_id(document: dict[str, Any]) -> dict[str, Any]:
    for record in document["items"][:1]:
        record.pop("programmeId", None)
        record.pop("courseId", None)
    return document


_JSON: dict[str, Callable[[dict[str, Any]], Any]] = {
    "renamed_list": lambda document: {
        ("elements" if name == "items" else name): value for name, value in document.items()
    },
    "null_list": lambda document: {**document, "items": None},
    "other_version": lambda document: {"version": 2, "data": document},
    "unknown_error": lambda _: {"errors": [{"code": "E17", "message": "The search has failed"}]},
    "processing": lambda _: {"state": "processing"},
    "record_without_id": _without_first_id,
}
_XML: dict[str, Callable[[bytes], bytes]] = {
    "renamed_list": lambda body: _XML_RECORD.sub(rb"\1\2Record", body),
    "null_list": lambda body: _XML_BODY.sub(rb"\1\2", body),
    "other_version": lambda body: body.replace(b"student-records:1", b"student-records:2"),
    "unknown_error": lambda body: _XML_BODY.sub(
        rb"\1<t:response xmlns:t='urn:example:student-records:1'><faultCode>E17</faultCode>"
        rb"<faultString>The search has failed</faultString></t:response>\2",
        body,
    ),
    "processing": lambda body: _XML_BODY.sub(rb"\1<state>processing</state>\2", body),
    "record_without_id": lambda body: _XML_ID.sub(b"", body, count=1),
    "future_change": lambda body: _XML_CHANGED.sub(FUTURE_TIME.encode(), body, count=1),
    "unreadable_change": lambda body: _XML_CHANGED.sub(UNREADABLE_TIME.encode(), body),
}
REWRITTEN: tuple[str, ...] = tuple(_XML)
