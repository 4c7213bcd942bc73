"""The keys that personal identifiers are hidden with: one for each audience, all derived from one secret.

Two audiences never share a key, so what one is given cannot be joined with what the other is given. A key has a short id that may be
shown. The secret of before stays readable while ``GATEWAY_PSEUDONYM_KEY_PREVIOUS`` holds it: what was published under it is taken
away as its records are published anew.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass

from gateway.settings import Settings

ESC_AUDIENCE = "esc"
CREDENTIAL_ID_AUDIENCE = "ids"
"""The ids of credentials, which both platforms know: a pointer names the credential it points at."""
SUPPRESSION_AUDIENCE = "suppression"
_PERMANENT_AUDIENCES = (CREDENTIAL_ID_AUDIENCE, SUPPRESSION_AUDIENCE)


@dataclass(frozen=True, slots=True)
class PseudonymKeys:
    """The secrets that are known, the one in use first."""

    secrets: tuple[bytes, ...]
    permanent: tuple[bytes, ...]
    """Secrets of what must never change: one of their own when it is set, and all of the others."""

    def for_audience(self, audience: str) -> tuple[bytes, ...]:
        """Return the keys of an audience, the one in use first."""
        secrets = self.permanent if audience in _PERMANENT_AUDIENCES else self.secrets
        return tuple(derive_key(secret, audience) for secret in secrets)

    def previous_pairs(self) -> list[tuple[bytes, bytes]]:
        """Return pairs of keys, for the student card and for ids, that records may still stand under; none unless a secret is replaced."""
        ids = self.for_audience(CREDENTIAL_ID_AUDIENCE)
        ids_are_permanent = len(self.permanent) > len(self.secrets)
        return [
            (esc, ids[0] if ids_are_permanent else identity)
            for esc, identity in zip(self.for_audience(ESC_AUDIENCE), ids, strict=False)
        ][1:]


def derive_key(secret: bytes, audience: str) -> bytes:
    """Return the 32 bytes that belong to one audience; nothing is told about those of another."""
    return hmac.digest(secret, b"qualification-gateway\x00" + audience.encode(), "sha256")


def key_id(key: bytes) -> str:
    """Return eight characters that name a key and say nothing of it."""
    return hmac.digest(key, b"key id", "sha256").hex()[:8]


def load_keys(settings: Settings) -> PseudonymKeys:
    """Return the keys that the settings hold."""
    known = tuple(
        secret.encode()
        for secret in (
            settings.pseudonym_key.get_secret_value(),
            settings.pseudonym_key_previous.get_secret_value(),
        )
        if secret
    )
    permanent_secret = settings.permanent_key.get_secret_value()
    return PseudonymKeys(known, ((permanent_secret.encode(),) if permanent_secret else ()) + known)
