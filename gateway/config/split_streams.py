"""Split a stream into one stream for each institution.

Each institution then has its own cursor, and one that does not answer delays no other.
"""

from __future__ import annotations

from collections.abc import Iterator

from gateway.config.connector import Connector, Stream
from gateway.config.second_lists import LoopConfig


def split_by_party(connector: Connector) -> Connector:
    """Return the connector with one stream ``STREAM@PARTY`` for each party.

    Only streams whose outermost loop lists parties change. A stream that supplies ids to another
    stream stays whole, unless both streams have the same parties.
    """
    needed_whole = {
        loop.in_.stream
        for stream in connector.streams.values()
        if not _institutions(stream)
        for loop in stream.for_each.values()
        if loop.in_.stream
    }
    streams: dict[str, Stream] = {}
    for name, stream in connector.streams.items():
        if name in needed_whole or not _institutions(stream):
            streams[name] = stream
        else:
            streams.update(_split(connector, name, stream))
    if streams.keys() == connector.streams.keys():
        return connector
    return connector.with_streams(streams)


def _institutions(stream: Stream) -> frozenset[str]:
    outermost = next(iter(stream.for_each.values()), None)
    return frozenset(outermost.in_.parties or ()) if outermost else frozenset()


def _split(connector: Connector, name: str, stream: Stream) -> Iterator[tuple[str, Stream]]:
    (outermost_name, outermost), *inner = stream.for_each.items()
    for party, institution in (outermost.in_.parties or {}).items():
        single_institution = outermost.model_copy(
            update={"in_": outermost.in_.model_copy(update={"parties": {party: institution}})}
        )
        loops = {
            outermost_name: single_institution,
            **{key: _for_institution(connector, loop, party) for key, loop in inner},
        }
        yield f"{name}@{party}", stream.model_copy(update={"for_each": loops})


def _for_institution(connector: Connector, loop: LoopConfig, party: str) -> LoopConfig:
    """Return a loop that reads the ids of another stream for one party only."""
    other = loop.in_.stream
    if other is None or party not in _institutions(connector.streams[other]):
        return loop
    return loop.model_copy(
        update={"in_": loop.in_.model_copy(update={"stream": f"{other}@{party}"})}
    )
