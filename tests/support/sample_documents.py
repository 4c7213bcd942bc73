"""Europass documents of the sample records."""

from __future__ import annotations

from typing import Any

import orjson

from gateway.render.render import Rendered, render
from tests.support import samples


def document(name: str, **options: Any) -> dict[str, Any]:
    """Return the Europass document of a sample record."""
    found = render(
        samples.accepted(samples.RECORDS[name]),
        samples.keys(name),
        country="IE",
        at=samples.AT,
        **options,
    )
    assert isinstance(found, Rendered), found
    return orjson.loads(found.documents[0].value or b"null")
