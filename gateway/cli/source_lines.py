"""Print the sources of a table row: in short, or in full with their addresses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gateway.config.table_sources import Fact, Source

_NEXT_LINE = "\n" + " " * 15


def format_sources(sources: Sequence[Source], fact: Fact, *, in_full: bool) -> str:
    """Return the source that decides a fact, or all sources with what they state and where."""
    from gateway.config.table_sources import official_source

    if in_full:
        return _NEXT_LINE.join(_in_full(source) for source in sources)
    source = official_source(sources, fact) or next(iter(sources), None)
    return source.citation if source else ""


def sources_as_json(sources: Sequence[Source]) -> list[dict[str, Any]]:
    """Return the sources as JSON objects, without the keys that they leave out."""
    return [source.model_dump(mode="json", exclude_defaults=True) for source in sources]


def _in_full(source: Source) -> str:
    read = f"read on {source.read}" if source.read else "read by nobody"
    states = f"states {', '.join(source.states)}" if source.states else "states no fact"
    lines = (source.citation, f"{source.kind}; {read}; {states}", source.address, source.note)
    return _NEXT_LINE.join(filter(None, lines))
