"""Suggest the name that a person probably meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return " (did you mean NAME?)" for the known name most like ``name``, or an empty text.

    Capitals do not matter, and neither does the difference between hyphens and underscores.
    """
    names = {_plain(one): one for one in known}
    near = difflib.get_close_matches(_plain(name), names, 1, 0.6)
    if not near:
        near = [one for one in names if _plain(name) and _plain(name) in one][:1]
    return f" (did you mean {names[near[0]]}?)" if near else ""


def unknown_stream(connector: str, stream: str, known: Iterable[str]) -> str:
    """Return the message that a connector has no such stream, and which ones it has."""
    names = list(known)
    near = did_you_mean(stream, names)
    return f"{connector} has no stream {stream}{near}; it has {', '.join(names)}"


def _plain(name: str) -> str:
    return name.strip().casefold().replace("_", "-").removesuffix(".yaml")
