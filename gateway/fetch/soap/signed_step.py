"""The decode step ``signed``: verify a document that is signed as a whole."""

from __future__ import annotations

from datetime import datetime

from gateway.config.requests import Decoder
from gateway.fetch.secrets import Secrets
from gateway.fetch.soap import xml_signature
from gateway.fetch.soap.signing_keys import certificates


def verify_document(
    data: bytes, options: Decoder | None, secrets: Secrets, now: datetime, where: str
) -> bytes:
    """Return what is signed in a document, without its signature.

    Raise :class:`~gateway.errors.StreamError` when the enveloped signature is not valid.
    """
    rule = options.signed if options else None
    trust = (
        certificates(secrets(rule.trust.secret), repr(rule.trust.secret))
        if rule and rule.trust
        else []
    )
    return xml_signature.signed_content(data, trust, now, where)
