"""The records of one message of a push registry, with the signature by which it is recognised."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import sha256

from gateway.fetch.soap.ws_security import SignedMessage
from gateway.records import RawRecord


class PushedRecords(list[RawRecord]):
    """The records of one message, and the message as its signatures name it.

    ``message`` is ``None`` for a connector without ``security``.
    """

    def __init__(self, raws: Iterable[RawRecord], messages: Sequence[SignedMessage] = ()) -> None:
        super().__init__(raws)
        self.message = _combine(messages)


def _combine(messages: Sequence[SignedMessage]) -> SignedMessage | None:
    """Return one name for all signed documents of a message, for example of an archive."""
    if len(messages) < 2:  # noqa: PLR2004
        return messages[0] if messages else None
    digests = b"".join(sorted(message.digest for message in messages))
    valid_until = max(message.valid_until for message in messages)
    return SignedMessage(sha256(digests).digest(), valid_until)
