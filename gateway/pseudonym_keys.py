"""The keys that personal identifiers are hidden with: one for each audience, all derived from one secret.

Two audiences never share a key, so what one is given cannot be joined with what the other is given. A key has a short id that may be
shown. The secret of before stays readable while ``GATEWAY_PSEUDONYM_KEY_PREVIOUS`` holds it: what was published under it is taken
away as its records are published anew.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass

from gateway.settings import Settings

ESC = "esc"
IDS = "ids"
"""The ids of credentials, which both platforms know: a pointer names the credential it points at."""
SUPPRESSION = "suppression"
_PERMANENT = (IDS, SUPPRESSION)


@dataclass(frozen=True, slots=True)
class Keys:
    """The secrets that are known, the one in use first."""

    secrets: tuple[bytes, ...]
    permanent: tuple[bytes, ...]
    """Secrets of what must never change: one of their own when it is set, and all of the others."""

    def of(self, audience: str) -> tuple[bytes, ...]:
        """Return the keys of an audience, the one in use first."""
        secrets = self.permanent if audience in _PERMANENT else self.secrets
        return tuple(derived(secret, audience) for secret in secrets)

    def before(self) -> list[tuple[bytes, bytes]]:
        """Return pairs of keys, for the student card and for ids, that records may still stand under; none unless a secret is replaced."""
        ids = self.of(IDS)
        stay = len(self.permanent) > len(self.secrets)
        return [(esc, ids[0] if stay else identity) for esc, identity in zip(self.of(ESC), ids, strict=False)][1:]


def derived(secret: bytes, audience: str) -> bytes:
    """Return the 32 bytes that belong to one audience; nothing is told about those of another."""
    return hmac.digest(secret, b"qualification-gateway\x00" + audience.encode(), "sha256")


def key_id(key: bytes) -> str:
    """Return eight characters that name a key and say nothing of it."""
    return hmac.digest(key, b"key id", "sha256").hex()[:8]


def keys_of(settings: Settings) -> Keys:
    """Return the keys that the settings hold."""
    known = tuple(
        secret.encode()
        for secret in (settings.pseudonym_key.get_secret_value(), settings.pseudonym_key_previous.get_secret_value())
        if secret
    )
    own = settings.permanent_key.get_secret_value()
    return Keys(known, ((own.encode(),) if own else ()) + known)
