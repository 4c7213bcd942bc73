"""Read a saved message of a push connector, as the gateway would when it arrives."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import parse_qsl

from gateway.config.connector import Connector, Push
from gateway.config.requests import Decode
from gateway.errors import StorageError, UsageError
from gateway.fetch.decode.containers import decode_base64, gunzip
from gateway.fetch.http.body import ReplyBody
from gateway.fetch.push_receiver import PushReceiver
from gateway.records import RawRecord

_MEDIA_TYPES = {
    ".json": "application/json",
    ".xml": "text/xml",
    ".csv": "text/csv",
    ".zip": "application/zip",
}
_BASE64 = re.compile(rb"[A-Za-z0-9+/_\s-]+=*\s*")
_GZIP = b"\x1f\x8b"
_BOUNDARY = re.compile(rb"--([^\s\"-][^\s\"]{0,69})[ \t]*\r?\n[A-Za-z-]+:")


def sample_media_type(file: Path, data: bytes) -> str:
    """Return the ``Content-Type`` of a saved reply, from its name or its first lines.

    It names no charset, because no header was saved. A message of several parts begins with its
    boundary.
    """
    if boundary := _BOUNDARY.match(data):
        return f'multipart/related; boundary="{boundary[1].decode("latin-1")}"'
    return _MEDIA_TYPES.get(file.suffix.lower(), "")


def read_messages(connector: Connector, push: Push, files: Sequence[Path]) -> list[RawRecord]:
    """Return the records of saved messages.

    A file holds the body of a message, or the document that a form field carries, in base64 and
    gzip or without them. Signatures and
    credentials are not checked, because a saved message has lost its sender. Raises
    :class:`~gateway.errors.StreamError` when the gateway would refuse the message.
    """
    if not files:
        raise UsageError(
            f"{connector.connector}: the registry sends its records to the gateway; "
            "save a message and add --sample FILE"
        )
    return [raw for file in files for raw in _read_message(connector, push, file)]


def _read_message(connector: Connector, push: Push, file: Path) -> list[RawRecord]:
    try:
        data = file.read_bytes()
    except OSError as error:
        raise StorageError(f"{file}: cannot be read: {error.strerror}") from None
    is_document = bool(push.fields) and not _is_form(data, push)
    block = {"security": None, "auth": None, "client_certificate": None}
    if is_document:
        block["fields"] = ()  # type: ignore[assignment]
    streams = {
        name: stream.model_copy(update={"decode": _unsigned(stream.decode, is_document)})
        for name, stream in connector.streams.items()
    }
    trusting = connector.model_copy(update={"push": push.model_copy(update=block)})
    receiver = PushReceiver(trusting.with_streams(streams), _no_secret, _store_nothing)
    if is_document:
        data = _unwrapped(data, push.limits.max_decoded, connector.connector)
    headers = {"content-type": sample_media_type(file, data)}
    return receiver.read_records(data, headers, push.path)


def _unwrapped(data: bytes, limit: int, where: str) -> bytes:
    """Return the document in base64 or gzip, as a form field carries it, or the data itself."""
    if _BASE64.fullmatch(data):
        data = decode_base64(ReplyBody.from_bytes(data), limit, where).read()
    if data.startswith(_GZIP):
        data = gunzip(ReplyBody.from_bytes(data), limit, where).read()
    return data


def _is_form(data: bytes, push: Push) -> bool:
    names = {name for name, _ in parse_qsl(data.decode("utf-8", "replace"), keep_blank_values=True)}
    return bool(names & set(push.fields))


def _unsigned(steps: Decode, is_document: bool) -> Decode:
    """Return the steps without the check of a signature; only the last for a plain document."""
    kept = tuple(
        step for step in steps if step != "signed" and getattr(step, "signed", None) is None
    )
    return kept[-1:] if is_document else kept


def _no_secret(name: str) -> bytes:
    return f"secret {name}".encode()


async def _store_nothing(_raws: Sequence[RawRecord]) -> None:
    return None
