"""A login of the registry's own: names and passwords in, a token out, as a flow without I/O."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from urllib.parse import urlencode

from gateway.errors import Halt, RetryLater
from gateway.fetch.http.auth import Flow, Text, with_header
from gateway.fetch.http.request_reply import Call, Reply

_UNAUTHORISED = 401
_TOO_MANY = 429
_SERVER = 500


@dataclass(slots=True)
class Login:
    """Credentials are posted once; the token in the reply goes with every call, and is fetched anew when it ends or a call answers 401."""

    url: str
    fields: Mapping[str, Text]
    look: Callable[[object], str]
    """Returns the token in the reply's JSON, empty when there is none."""
    header: str
    prefix: str
    as_form: bool = False
    lifetime: timedelta | None = None
    _token: str = field(default="", repr=False)
    _until: datetime | None = None

    def flow(self, call: Call, now: datetime) -> Flow:
        """Log in when there is no token, send the call, log in again once on 401."""
        fresh = not self._token or (self._until is not None and now >= self._until)
        if fresh:
            yield from self._enter(now)
        reply = yield with_header(call, self.header, self.prefix + self._token)
        if reply.status == _UNAUTHORISED and not fresh:
            yield from self._enter(now)
            yield with_header(call, self.header, self.prefix + self._token)

    def _enter(self, now: datetime) -> Flow:
        self._token = ""
        reply = yield self._request()
        if reply.status >= _SERVER or reply.status == _TOO_MANY:
            raise RetryLater("TOKEN_ENDPOINT", f"the login answered {reply.status}")
        self._token = self._found(reply)
        if not self._token:
            raise Halt("TOKEN_REFUSED", f"the login answered {reply.status} without a token where token looks; check the credentials")
        self._until = now + self.lifetime if self.lifetime else None

    def _found(self, reply: Reply) -> str:
        if reply.status >= 400:  # noqa: PLR2004
            return ""
        try:
            return self.look(json.loads(reply.body.read()[:1_000_000]))
        except ValueError:
            return ""

    def _request(self) -> Call:
        values = {name: value() for name, value in self.fields.items()}
        content = urlencode(values) if self.as_form else json.dumps(values)
        media_type = "application/x-www-form-urlencoded" if self.as_form else "application/json"
        return Call("POST", self.url, {"Content-Type": media_type, "Accept": "application/json"}, content.encode(), label="login")
