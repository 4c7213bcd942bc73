"""Commands that operators put on ``gateway.commands.v1``, keyed by connector, and the news that answers them.

Every command is idempotent and carries an id, so a repeated one does nothing more. Decoding is total: a message nobody
understands is news with a reason, never an exception.
"""

from __future__ import annotations

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


class Renormalise(msgspec.Struct, frozen=True, kw_only=True, tag="renormalise", tag_field="command"):
    """Read the raw records again with the files the worker runs with, and publish what differs."""

    connector: str
    stream: str = ""
    id: str = ""


Command = Poll | Pause | Resume | Renormalise

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
