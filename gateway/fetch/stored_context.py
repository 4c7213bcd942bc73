"""Decide which values around a record are stored with it.

A loop may read a list of persons or of access tokens. A value that no rule reads must not be stored
next to the record.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec
from pydantic import BaseModel

from gateway.config.connector import Stream
from gateway.config.types import Secret
from gateway.fetch.http.auth import ApiKey
from gateway.fetch.loops import LoopIteration
from gateway.fetch.registry_client import RegistryClient
from gateway.fetch.request_builder import SecretValue
from gateway.fetch.secrets import text_secret
from gateway.records import RawRecord

_READ_AFTER_FETCH = ("map", "kinds", "achieved", "record_country", "iri")
"""The fields of a stream that read values around a record after the record is stored."""


def unread_names(stream: Stream) -> frozenset[str]:
    """Return the loops whose values the stream does not read after the fetch.

    Values of loops that the connector file itself contains do not count, because they are not
    personal. The others may name a person, or be a token that only requests read. The names under
    ``keep`` that copy such a value count, too.
    """
    names = {
        name
        for name, loop in stream.for_each.items()
        if loop.in_.secret or loop.in_.stream or loop.in_.request
    }
    for kept, text in stream.keep.items():
        if any(_reads(text, one) for one in names):
            names.add(kept)
    return _unread(stream, names)


def request_secrets(
    stream: Stream, iteration: LoopIteration, client: RegistryClient
) -> tuple[str, ...]:
    """Return the secrets that the address of a request may hold, so that a link may repeat them."""
    query = stream.request.query.values() if stream.request else ()
    block = client.protocol_config
    sources = [
        source for source in (*query, *block.variables.values()) if isinstance(source, Secret)
    ]
    texts = [text_secret(client.secrets, source.secret) for source in sources]
    for value in iteration.values.values():
        parts = value if isinstance(value, tuple) else (value,)
        texts += [str(part) for part in parts if isinstance(part, SecretValue)]
    auth = (iteration.connection or client.line).auth
    if isinstance(auth, ApiKey) and auth.parameter:
        texts.append(auth.value())
    return tuple(text for text in texts if text)


def equal_loop_names(stream: Stream) -> frozenset[str]:
    """Return the loops whose values do not make a record another one, as no rule reads them."""
    return _unread(stream, set(stream.for_each))


def _unread(stream: Stream, names: set[str]) -> frozenset[str]:
    if not names:
        return frozenset()
    text = "\n".join(text for field in _READ_AFTER_FETCH for text in _texts(getattr(stream, field)))
    return frozenset(name for name in names if not _reads(text, name))


def _reads(text: str, name: str) -> bool:
    return re.search(rf"[${{]\s*{re.escape(name)}\b", text) is not None


def without_values(records: Iterable[RawRecord], names: frozenset[str]) -> tuple[RawRecord, ...]:
    """Return records without the values of these names."""
    return tuple(
        msgspec.structs.replace(
            raw,
            context={name: value for name, value in raw.context.items() if name not in names},
        )
        for raw in records
    )


def _texts(value: Any) -> Iterator[str]:
    """Yield each text of a model that may read a value around the record."""
    if isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from _texts(getattr(value, name))
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _texts(inner)
    elif isinstance(value, str):
        yield value
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _texts(inner)
