"""Answer the requests of a preview with saved replies."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.check.push_preview import sample_media_type
from gateway.check.scripted_registry import without_credentials
from gateway.config.connector import Connector, Stream
from gateway.config.requests import Request as RequestConfig
from gateway.config.second_lists import Join
from gateway.errors import StorageError
from gateway.fetch.offline_client import OfflineClient, Request, Response, make_response
from gateway.fetch.registry_client import RegistryClient

_PLACEHOLDER = re.compile(r"\{[^{}]*\}")
_FIRST_ELEMENT = re.compile(r"<(?:[\w.-]+:)?([\w.-]+)")


@dataclass(frozen=True, slots=True)
class Samples:
    """Saved replies of a stream.

    ``joined`` holds those that belong to a join, by its name. The others answer the requests in
    order.
    """

    ordered: tuple[Path, ...]
    joined: dict[str, Path]
    has_more: bool
    """Whether replies remain for joins, after one for each loop, for the list and its details."""

    @classmethod
    def of(cls, stream: Stream, files: Sequence[Path]) -> Samples:
        """Read the files, of which ``NAME=FILE`` belongs to the join ``NAME``."""
        names = {join.into for join in stream.join if join.request is not None}
        joined = {
            name: Path(file)
            for name, is_named, file in (str(path).partition("=") for path in files)
            if is_named and name in names
        }
        ordered = [path for path in files if str(path).partition("=")[0] not in joined]
        loops = sum(each.in_.request is not None for each in stream.for_each.values())
        needed = loops + 1 + (stream.expand is not None)
        return cls(tuple(ordered), joined, len(ordered) > needed)

    def lacks(self, join: Join) -> bool:
        """Return whether no saved reply can answer the request of a join."""
        return join.request is not None and not self.has_more and join.into not in self.joined


class SampleReplies:
    """A demo registry that answers with saved replies in order and repeats the last one.

    The request of a join whose reply has a name gets this reply.
    """

    def __init__(self, samples: Samples, joins: Sequence[Join]) -> None:
        files = samples.ordered or tuple(samples.joined.values())
        self._ordered = [_load(file) for file in files]
        self._joined = [
            (join.request, _load(samples.joined[join.into]))
            for join in joins
            if join.request is not None and join.into in samples.joined
        ]
        self._next = 0

    def __call__(self, request: Request) -> Response:
        """Return the saved reply of the join, or the next saved reply."""
        for asked, reply in self._joined:
            if _answers(asked, request):
                return _response(*reply)
        reply = self._ordered[min(self._next, len(self._ordered) - 1)]
        self._next += 1
        return _response(*reply)


def sample_client(
    connector: Connector, name: str, files: Sequence[Path]
) -> tuple[Connector, RegistryClient, tuple[str, ...]]:
    """Return a connector without credentials, a client that answers from files, and names.

    The names are the joins for which there is no saved reply. They join nothing.
    """
    stream = connector.streams[name]
    samples = Samples.of(stream, files)
    without = tuple(join.into for join in stream.join if samples.lacks(join))
    joins = tuple(join for join in stream.join if join.into not in without)
    opened = without_credentials(connector, ids_as_written=False)
    changes: dict[str, Any] = {"join": joins}
    if stream.paging.page_number and not samples.has_more:
        # A saved reply is often that of a second request, which does not count pages.
        number = stream.paging.page_number.model_copy(update={"pages": None})
        changes["paging"] = stream.paging.model_copy(update={"page_number": number})
    streams = {**opened.streams, name: opened.streams[name].model_copy(update=changes)}
    opened = opened.model_copy(update={"streams": streams})
    client = OfflineClient(opened, lambda secret: f"secret {secret}".encode(), "production")
    client.answer = SampleReplies(samples, joins)
    return opened, client, without


def _load(file: Path) -> tuple[bytes, str]:
    try:
        body = file.read_bytes()
    except OSError as error:
        raise StorageError(f"{file}: cannot be read: {error.strerror}") from None
    return body, sample_media_type(file, body)


def _response(body: bytes, media_type: str) -> Response:
    return make_response(200, {"content-type": media_type} if media_type else {}, body)


def _answers(asked: RequestConfig, request: Request) -> bool:
    """Return whether a request was made from the request of a connector."""
    if path := asked.get or asked.post:
        parts = _PLACEHOLDER.split(path.partition("?")[0])
        pattern = "[^/]*".join(map(re.escape, parts))
        return re.search(f"{pattern}$", request.url.path) is not None
    if asked.action:
        headers = request.headers
        return asked.action in headers.get("soapaction", "") + headers.get("content-type", "")
    name = asked.operation or _first_name(asked.envelope or "")
    return name.encode() in request.content


def _first_name(envelope: str) -> str:
    found = _FIRST_ELEMENT.search(envelope)
    return found[1] if found else ""
