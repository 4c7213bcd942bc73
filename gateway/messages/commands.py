"""Encode and decode the commands on ``gateway.commands.v1``, whose key is the connector.

Every command is idempotent and has an id, so a repeated command has no further effect.
Decoding never raises. A message that cannot be decoded becomes a finding, which the worker logs.
"""

from __future__ import annotations

from datetime import datetime

import msgspec

from gateway.errors import Finding


class Poll(msgspec.Struct, frozen=True, kw_only=True, tag="poll", tag_field="command"):
    """Poll now instead of at the next interval.

    An empty ``stream`` means every stream of the connector, in each command.
    """

    connector: str
    stream: str = ""
    id: str = ""


class Pause(msgspec.Struct, frozen=True, kw_only=True, tag="pause", tag_field="command"):
    """Stop polling until a :class:`Resume`. A page that is being read is still written.

    ``since`` is the Unix time at which the worker stored the pause. 0 means that it is not known.
    """

    connector: str
    stream: str = ""
    reason: str = ""
    id: str = ""
    since: float = 0.0


class Resume(msgspec.Struct, frozen=True, kw_only=True, tag="resume", tag_field="command"):
    """Poll again, from the stored cursor. With ``accept_deletions``, write withheld deletions."""

    connector: str
    stream: str = ""
    id: str = ""
    accept_deletions: bool = False


class Renormalise(
    msgspec.Struct, frozen=True, kw_only=True, tag="renormalise", tag_field="command"
):
    """Harmonise the raw records again with the loaded configuration, and publish differences."""

    connector: str
    stream: str = ""
    id: str = ""


class Backfill(msgspec.Struct, frozen=True, kw_only=True, tag="backfill", tag_field="command"):
    """Read the time from ``begin`` to ``end`` again, while live polling continues.

    A repeated ``id`` starts no second backfill.
    """

    connector: str
    begin: datetime
    end: datetime
    stream: str = ""
    id: str = ""


class CancelBackfill(
    msgspec.Struct, frozen=True, kw_only=True, tag="cancel-backfill", tag_field="command"
):
    """Stop a backfill. The records that it has written remain."""

    connector: str
    stream: str = ""
    id: str = ""


class Replay(msgspec.Struct, frozen=True, kw_only=True, tag="replay", tag_field="command"):
    """Harmonise rejected records again with the loaded configuration.

    An empty ``reason`` selects every rejected record.
    """

    connector: str
    stream: str = ""
    reason: str = ""
    id: str = ""


Command = Poll | Pause | Resume | Renormalise | Backfill | CancelBackfill | Replay

_DECODER: msgspec.json.Decoder[Command] = msgspec.json.Decoder(Command)


def decode(value: bytes | None) -> Command | Finding:
    """Return the command in a message, or a finding that explains why it cannot be decoded."""
    try:
        return _DECODER.decode(value or b"")
    except (msgspec.DecodeError, RecursionError) as error:
        return Finding("gateway.commands.v1", 0, 0, "bad-command", "", str(error))


def encode(command: Command) -> bytes:
    """Return a command as the message that :func:`decode` reads."""
    return msgspec.json.encode(command)
