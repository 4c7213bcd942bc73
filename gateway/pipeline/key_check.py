"""Check that the pseudonym keys are those under which persons were published.

The gateway stores a fingerprint of each key next to the cursors. With another key, the gateway
would publish each person a second time under another pseudonym. A fingerprint is a keyed hash of a
constant, so it does not reveal the key. See docs/decisions/0076.
"""

from __future__ import annotations

import hmac

import msgspec

from gateway.config.connector import Stream
from gateway.errors import ConfigError, Finding, IntegrityStop, RetryLater, Unavailable
from gateway.fetch.secrets import Secrets
from gateway.kafka.cluster_check import store_next_to_cursors
from gateway.kafka.topic_reader import read_latest, retry_later
from gateway.messages.topics import CURSORS
from gateway.pseudonym_keys import PseudonymKeys, load_keys
from gateway.settings import Settings

KEY = b"|keys"
"""The key of the record. No cursor has it, because no connector has an empty name."""
_LENGTH = 32
ACCEPT = "`gateway run --accept-new-key`"


class KeyFingerprints(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The fingerprints of the keys in use.

    ``replaces`` is set while ``gateway run --accept-new-key`` replaces other keys.
    """

    pseudonym: str
    permanent: str
    replaces: KeyFingerprints | None = None

    @property
    def in_use(self) -> KeyFingerprints:
        """The same fingerprints without the replaced ones."""
        return msgspec.structs.replace(self, replaces=None)


def fingerprint(secret: bytes, purpose: str) -> str:
    """Return the fingerprint of a key: a keyed hash that reveals nothing about the key."""
    text = f"qualification-gateway fingerprint|{purpose}".encode()
    return hmac.digest(secret, text, "sha256").hex()[:_LENGTH]


def fingerprints_of(keys: PseudonymKeys) -> KeyFingerprints:
    """Return the fingerprints of the keys that a worker uses for new records."""
    return KeyFingerprints(
        pseudonym=fingerprint(keys.secrets[0], "pseudonym"),
        permanent=fingerprint(keys.permanent[0], "permanent"),
    )


def id_key_fingerprint(connector: str, name: str, stream: Stream, secrets: Secrets) -> bytes | None:
    """Return the fingerprint of a stream's ``id_key``, or ``None`` if it has none.

    Raises :class:`~gateway.errors.StreamHalted` if the secret is missing.
    """
    if stream.id_key is None:
        return None
    return fingerprint(secrets(stream.id_key.secret), f"id_key|{connector}|{name}").encode()


async def read_fingerprints(settings: Settings) -> KeyFingerprints | None:
    """Return the stored fingerprints, or ``None`` if this deployment has stored none yet."""
    record = await read_latest(settings, CURSORS.name, KEY)
    if record is None or record.value is None:
        return None
    return _decode(record.value)


def _decode(value: bytes) -> KeyFingerprints:
    try:
        return msgspec.json.decode(value, type=KeyFingerprints)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        raise IntegrityStop(
            f"{CURSORS.name}: the fingerprints of the keys cannot be read, so no gateway wrote "
            f"them; write a tombstone for the key {KEY.decode()}, and the next start stores them"
        ) from None


async def check_keys(settings: Settings) -> None:
    """Raise :class:`~gateway.errors.ConfigError` if other keys are in use than the stored ones.

    Nothing is stored, and a deployment without stored fingerprints passes.
    """
    stored, current = await read_fingerprints(settings), fingerprints_of(load_keys(settings))
    if stored is None or stored == current:
        return
    raise _refusal(stored, current)


async def check_keys_again(settings: Settings) -> None:
    """Do the same as :func:`check_keys` in a running stage.

    Raises :class:`~gateway.errors.RetryLater` if no broker answers.
    """
    with retry_later("reading the fingerprints of the keys"):
        await check_keys(settings)


async def check_or_store_keys(settings: Settings) -> None:
    """Do the same as :func:`check_keys`, and store the fingerprints if there are none.

    Raises :class:`~gateway.errors.Unavailable` if they cannot be stored.
    """
    await check_keys(settings)
    current = fingerprints_of(load_keys(settings))
    if await read_fingerprints(settings) is None:
        try:
            stored = await store_next_to_cursors(settings, KEY, msgspec.json.encode(current))
        except RetryLater as error:
            raise Unavailable(str(error)) from error
        if (known := _decode(stored)) != current:
            raise _refusal(known, current)


def _refusal(stored: KeyFingerprints, current: KeyFingerprints) -> ConfigError:
    if stored.in_use == current:
        text = (
            f"the replacement of the key has begun and is not complete; run {ACCEPT} again "
            "with the same settings"
        )
        return ConfigError([Finding("GATEWAY_PSEUDONYM_KEY", 0, 0, "key-changed", "", text)])
    name, known, given = (
        ("GATEWAY_PSEUDONYM_KEY", stored.pseudonym, current.pseudonym)
        if stored.pseudonym != current.pseudonym
        else ("GATEWAY_PERMANENT_KEY", stored.permanent, current.permanent)
    )
    text = (
        f"this is not the key under which persons were published (fingerprint {given[:8]}, "
        f"expected {known[:8]}), so each of them would be published twice; set the key that was in "
        "use; to replace it on purpose, set GATEWAY_PSEUDONYM_KEY_PREVIOUS to the key that was in "
        f"use and run {ACCEPT} once"
    )
    return ConfigError([Finding(name, 0, 0, "key-changed", "", text)])
