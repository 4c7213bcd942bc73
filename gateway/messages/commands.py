"""Commands that operators put on ``gateway.commands.v1``, keyed by connector, and the news that answers them.

Every command is idempotent and carries an id, so a repeated one does nothing more. Decoding is total: a message nobody
understands is news with a reason, never an exception.
"""

from __future__ import annotations

from datetime import datetime

import msgspec

from gateway.errors import Finding


class Poll(msgspec.Struct, frozen=True, kw_only=True, tag="poll", tag_field="command"):
    """Poll now instead of at the next interval; ``stream`` empty means all of them."""

    connector: str
    stream: str = ""
    id: str = ""


class Pause(msgspec.Struct, frozen=True, kw_only=True, tag="pause", tag_field="command"):
    """Stop polling until resumed; what is in flight is finished."""

    connector: str
    stream: str = ""
    reason: str = ""
    id: str = ""


class Resume(msgspec.Struct, frozen=True, kw_only=True, tag="resume", tag_field="command"):
    """Poll again, from where the cursor stands."""

    connector: str
    stream: str = ""
    id: str = ""


class Renormalise(
    msgspec.Struct, frozen=True, kw_only=True, tag="renormalise", tag_field="command"
):
    """Read the raw records again with the files the worker runs with, and publish what differs."""

    connector: str
    stream: str = ""
    id: str = ""


class Backfill(msgspec.Struct, frozen=True, kw_only=True, tag="backfill", tag_field="command"):
    """Read ``begin`` to ``end`` once more beside live polling; an ``id`` that is known already begins nothing."""

    connector: str
    begin: datetime
    end: datetime
    stream: str = ""
    id: str = ""


class CancelBackfill(
    msgspec.Struct, frozen=True, kw_only=True, tag="cancel-backfill", tag_field="command"
):
    """End a backfill where it stands; what it wrote stays."""

    connector: str
    stream: str = ""
    id: str = ""


class Replay(msgspec.Struct, frozen=True, kw_only=True, tag="replay", tag_field="command"):
    """Harmonise rejected records again with the files the worker runs with; ``reason`` empty means whatever the reason."""

    connector: str
    stream: str = ""
    reason: str = ""
    id: str = ""


Command = Poll | Pause | Resume | Renormalise | Backfill | CancelBackfill | Replay

_DECODER: msgspec.json.Decoder[Command] = msgspec.json.Decoder(Command)


def decode(value: bytes | None) -> Command | Finding:
    """Return the command a message holds, or a finding that says why it holds none."""
    try:
        return _DECODER.decode(value or b"")
    except msgspec.DecodeError as error:
        return Finding("gateway.commands.v1", 0, 0, "bad-command", "", str(error))


def encode(command: Command) -> bytes:
    """Return the message that :func:`decode` reads."""
    return msgspec.json.encode(command)
