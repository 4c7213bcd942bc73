"""Find two streams of a connector that may number their records alike."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from gateway.config.connector import Connector
from gateway.config.yaml.document import YamlDocument
from gateway.errors import Finding

_PREFIX = re.compile(r"([^\W\d_]+[-_.:/]?)\d")


def findings(
    connector: Connector, document: YamlDocument, name: str, ids: Mapping[str, Sequence[str]]
) -> Iterator[Finding]:
    """Yield a warning if a stream may number its records as an earlier one does.

    ``ids`` are the ids of the tests by stream, up to that of ``name``.
    """
    if other := _stream_with_same_numbering(connector, name, ids):
        (native_id,) = connector.streams[name].id
        yield document.make_finding(
            "shared-numbering",
            ("streams", name, "id"),
            f"the stream {other} reads its ids from the same field; all streams of a connector "
            "share one space of ids, so if both lists number alike, the gateway rejects one of "
            f"two records with the same id; write id: [\"'{name}'\", {native_id}]",
            severity="warning",
        )


def _stream_with_same_numbering(
    connector: Connector, name: str, ids: Mapping[str, Sequence[str]]
) -> str:
    """Return an earlier stream that reads its id from the same field, or an empty text.

    Ids that begin with other letters in each stream, such as ``D-1`` and ``C-1``, are not shared.
    """
    stream = connector.streams[name]
    if len(stream.id) > 1 or any("'" in part or "$" in part for part in stream.id):
        return ""
    for other, known in ids.items():
        if other != name and connector.streams[other].id == stream.id:
            prefixes, other_prefixes = _prefixes(ids[name]), _prefixes(known)
            if not prefixes or not other_prefixes or prefixes & other_prefixes:
                return other
    return ""


def _prefixes(ids: Sequence[str]) -> set[str]:
    """Return the letters with which the ids begin; none if one of them begins with a digit."""
    matches = [_PREFIX.match(native_id) for native_id in ids]
    found = {match[1] for match in matches if match}
    return found if all(matches) else set()
