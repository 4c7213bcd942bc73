"""Give each event an id of its own, so that a reader can drop an event that it has seen.

The gateway processes a raw record again after a crash, and then repeats the ids of its events. Any
other event has another id, even if its content was published before. See docs/decisions/0073.
"""

from __future__ import annotations

import os
from hashlib import sha256

from gateway.pseudonym_keys import derive_key

EVENT_ID_LENGTH = 32
"""The number of characters of an id of :class:`EventIds`."""


def new_event_id() -> str:
    """Return a random id. It cannot be guessed from other ids."""
    return os.urandom(16).hex()


def event_id(key: bytes, raw_event_id: str, content_id: str) -> str:
    """Return the id of an event with the key of its topic."""
    # Half of a SHA-256 after a secret key: nobody can extend it, because half is missing.
    hashed = sha256(key + f"{content_id}{raw_event_id}".encode())
    return hashed.hexdigest()[:EVENT_ID_LENGTH]


class EventIds:
    """The ids of the events on published topics.

    An id depends on the raw record, the topic and the content. It is a keyed hash, with a key for
    each topic. Without the key, readers of two topics cannot find the events of one raw record.
    """

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self._keys: dict[str, bytes] = {}

    def __call__(self, topic: str, raw_event_id: str, content_id: str) -> str:
        """Return the id of an event. ``content_id`` covers its topic, key and value."""
        return event_id(self.key(topic), raw_event_id, content_id)

    def key(self, topic: str) -> bytes:
        """Return the key of the ids on a topic."""
        key = self._keys.get(topic)
        if key is None:
            key = self._keys[topic] = derive_key(self._secret, f"event ids {topic}")
        return key
