"""Log in to a registry that exchanges credentials for a token in its own format."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from urllib.parse import urlencode

from gateway.errors import RetryLater, StreamHalted
from gateway.fetch.fault_text import fault_text_of, quote_fault_text
from gateway.fetch.http.auth import AuthFlow, SecretText, with_header
from gateway.fetch.http.request_reply import RegistryReply, RegistryRequest

_UNAUTHORISED = 401
_STATUS_TOO_MANY_REQUESTS = 429
_STATUS_SERVER_ERROR = 500


@dataclass(slots=True)
class LoginAuth:
    """A login that posts credentials and receives a token.

    Every request carries the token. The gateway logs in again when ``lifetime`` has passed or
    when a request receives the status 401.
    """

    url: str
    fields: Mapping[str, SecretText]
    select_token: Callable[[object], str]
    """Return the token from the JSON of the reply, or an empty string when it has none."""
    header: str
    prefix: str
    as_form: bool = False
    lifetime: timedelta | None = None
    _token: str = field(default="", repr=False)
    _expires_at: datetime | None = None

    def flow(self, call: RegistryRequest, now: datetime) -> AuthFlow:
        """Yield a login request if needed, then ``call``.

        After a reply with status 401, log in again and send ``call`` a second time.
        Raise ``RetryLater`` (``TOKEN_ENDPOINT``) when the login is busy or fails, and
        ``StreamHalted`` (``TOKEN_REFUSED``) when the reply has no token.
        """
        fresh = not self._token or (self._expires_at is not None and now >= self._expires_at)
        if fresh:
            yield from self._log_in(now)
        reply = yield with_header(call, self.header, self.prefix + self._token)
        if reply.status == _UNAUTHORISED and not fresh:
            yield from self._log_in(now)
            yield with_header(call, self.header, self.prefix + self._token)

    def _log_in(self, now: datetime) -> AuthFlow:
        self._token = ""
        reply = yield self._request()
        if reply.status >= _STATUS_SERVER_ERROR or reply.status == _STATUS_TOO_MANY_REQUESTS:
            raise RetryLater("TOKEN_ENDPOINT", f"the login answered {reply.status}{_words(reply)}")
        self._token = self._token_in(reply)
        if not self._token:
            raise StreamHalted(
                "TOKEN_REFUSED",
                f"the login answered {reply.status} without a token where `token` points; "
                f"check the credentials, and `token`{_words(reply)}",
            )
        self._expires_at = now + self.lifetime if self.lifetime else None

    def _token_in(self, reply: RegistryReply) -> str:
        if reply.status >= 400:  # noqa: PLR2004
            return ""
        try:
            return self.select_token(json.loads(reply.body.read()[:1_000_000]))
        except ValueError:
            return ""

    def _request(self) -> RegistryRequest:
        values = {name: value() for name, value in self.fields.items()}
        content = urlencode(values) if self.as_form else json.dumps(values)
        media_type = "application/x-www-form-urlencoded" if self.as_form else "application/json"
        return RegistryRequest(
            "POST",
            self.url,
            {"Content-Type": media_type, "Accept": "application/json"},
            content.encode(),
            label="login",
        )


def _words(reply: RegistryReply) -> str:
    return quote_fault_text(fault_text_of(reply))
