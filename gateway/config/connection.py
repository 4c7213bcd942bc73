"""Describe how the gateway calls a registry: address, credentials, TLS, limits and reply rules."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from gateway.config.types import (
    ConfigModel,
    Day,
    Duration,
    Expression,
    HttpUrl,
    LinkHost,
    OneOf,
    OneOrMore,
    Quiet,
    Rate,
    Secret,
    Size,
    TextOrSecret,
    TimeLimit,
    Words,
    text_matching,
)


class UrlsByEnvironment(ConfigModel, title="Url"):
    """Base addresses of the registry, one for each stage."""

    production: HttpUrl = Field(
        description="Base address that is called when GATEWAY_STAGE is production"
    )
    acceptance: HttpUrl | None = Field(
        None, description="Base address of the registry's test system, when it has one"
    )

    def for_environment(self, stage: str) -> str | None:
        """Return the address for a stage, or ``None`` when the registry has none."""
        return self.production if stage == "production" else self.acceptance


class FurtherHost(ConfigModel):
    """A further host to which a link in a reply may lead."""

    host: LinkHost = Field(description="Name of the host, or its scheme, host and port")
    credentials: bool = Field(
        False,
        description="True when the host may receive the credentials, the secrets and the cookies "
        "of the registry; a request to any other host has none",
    )


def _expand_host_shorthand(value: object) -> object:
    return {"host": value} if isinstance(value, str) else value


AnyHost = Annotated[FurtherHost, BeforeValidator(_expand_host_shorthand)]
"""A further host. A bare text is a host without credentials."""


class Basic(ConfigModel):
    """HTTP Basic authentication."""

    username: TextOrSecret = Field(description="User name, as text or as a secret")
    password: Secret = Field(description="Password")


class ApiKey(ConfigModel):
    """An API key in a header or a query parameter."""

    header: str | None = Field(None, description="Header that carries the key")
    query: str | None = Field(None, description="Query parameter that carries the key")
    value: Secret = Field(description="The key")

    def model_post_init(self, _context: Any, /) -> None:
        """Refuse a key without exactly one place to send it."""
        if (self.header is None) == (self.query is None):
            raise ValueError("give exactly one of header, query: where the key is sent")


class Bearer(ConfigModel):
    """A fixed bearer token."""

    token: Secret = Field(description="The token")


class OAuth2(ConfigModel):
    """OAuth 2 client credentials.

    The client authenticates with its secret or with an assertion that its key signs.
    """

    token_url: HttpUrl | UrlsByEnvironment = Field(
        description="Token endpoint, one for all stages or one per stage"
    )
    client_id: TextOrSecret = Field(description="Client id")
    client_secret: Secret | None = Field(
        None, description="Client secret; leave out for private_key_jwt or mutual TLS"
    )
    private_key: Secret | None = Field(
        None, description="PEM key that signs the client assertion (private_key_jwt)"
    )
    key_id: str | None = Field(None, description="Key id (kid) of the assertion")
    algorithm: Literal["RS256", "PS256", "ES256"] = Field(
        "RS256", description="Signature algorithm of the assertion"
    )
    audience: str | None = Field(
        None, description="Audience (aud) of the assertion; the token endpoint when left out"
    )
    scope: Words = Field((), description="Scopes to request")
    parameters: dict[str, str] = Field(
        {}, description="Further form fields of the token request, such as resource or audience"
    )
    credentials_in: Literal["header", "body"] = Field(
        "header", description="Place of the client secret in the token request"
    )
    tls: Tls | None = Field(None, description="Client certificate for the token endpoint alone")


class Login(ConfigModel):
    """A registry's own login, which answers with a token in JSON."""

    url: HttpUrl | UrlsByEnvironment = Field(
        description="Address that receives the credentials, one for all stages or one per stage"
    )
    fields: dict[str, TextOrSecret] = Field(
        min_length=1, description="Fields to post, such as a user name and a password"
    )
    as_: Literal["json", "form"] = Field(
        "json", alias="as", description="Format of the posted fields"
    )
    token: Expression = Field(description="The token in the reply")
    header: str = Field("Authorization", description="Header that carries the token")
    prefix: str = Field("Bearer ", description="Text before the token in the header")
    lifetime: Duration | None = Field(
        None,
        description="Lifetime of a token; until a call answers 401 when left out",
    )


class Auth(OneOf):
    """Credentials that the gateway shows to the registry. The key names their kind."""

    basic: Basic | None = Field(None, description="HTTP Basic")
    api_key: ApiKey | None = Field(None, description="Key in a named header or query parameter")
    bearer: Bearer | None = Field(None, description="Fixed bearer token")
    oauth2_client_credentials: OAuth2 | None = Field(None, description="OAuth 2 client credentials")
    login: Login | None = Field(
        None, description="A registry's own login, which answers with a token"
    )


class Tls(ConfigModel):
    """The gateway's own certificate, and the authorities that it trusts."""

    certificate: Secret | None = Field(
        None, description="The gateway's certificate with its chain, PEM"
    )
    key: Secret | None = Field(None, description="Key of the certificate, PEM")
    pkcs12: Secret | None = Field(None, description="Certificate and key in one PKCS#12 file")
    password: Secret | None = Field(None, description="Password of the key or of the PKCS#12 file")
    authorities: Secret | None = Field(
        None,
        description="PEM of the authorities that sign the registry's certificate, "
        "instead of the public ones",
    )

    def model_post_init(self, _context: Any, /) -> None:
        """Refuse a certificate without its key, and a key without its certificate."""
        if self.pkcs12 and (self.certificate or self.key):
            raise ValueError("give either pkcs12, or certificate and key")
        if bool(self.certificate) != bool(self.key):
            raise ValueError("certificate and key belong together: give both")


OAuth2.model_rebuild()


class Timestamp(ConfigModel):
    """The ``wsu:Timestamp`` of a message."""

    ttl: Duration = Field(description="Time for which a message is valid")


class UsernameToken(ConfigModel):
    """A ``wsse:UsernameToken``."""

    username: TextOrSecret = Field(description="User name")
    password: Secret = Field(description="Password")
    digest: bool = Field(
        False, description="Send a digest with nonce and time of creation instead of the password"
    )


SignedPart = Literal["body", "timestamp", "to", "from", "action", "message_id", "token", "xroad"]


class Signature(ConfigModel):
    """An X.509 signature over named parts: RSA-SHA256 with exclusive canonicalisation."""

    key: Secret = Field(description="The gateway's signing key, PEM")
    certificate: Secret = Field(
        description="The gateway's signing certificate, PEM, sent as BinarySecurityToken"
    )
    trust: Secret = Field(
        description="The registry's certificate or its authorities, PEM; "
        "the gateway verifies replies with it"
    )
    sign: OneOrMore[SignedPart] = Field(
        ("body", "timestamp"), description="Parts of the request that the gateway signs"
    )
    require: OneOrMore[SignedPart] = Field(
        ("body", "timestamp"), description="Parts of the reply that must be signed"
    )
    digest: Literal["sha256", "sha512"] = Field("sha256", description="Digest algorithm")
    inclusive_prefixes: OneOrMore[str] = Field(
        (), description="Prefix list of the exclusive canonicalisation"
    )
    replay_window: Duration | None = Field(
        None,
        description="Shortest time for which the gateway recognises a repeated message: a reply is "
        "refused, and a pushed message gets its first answer; 10m when left out",
    )


class Security(ConfigModel):
    """WS-Security that each request carries and each reply must have."""

    timestamp: Timestamp | None = Field(None, description="Add a Timestamp to each request")
    username_token: UsernameToken | None = Field(None, description="Add a UsernameToken")
    signature: Signature | None = Field(None, description="Sign the request and verify the reply")
    must_understand: bool = Field(True, description="mustUnderstand of the Security header")


class Addressing(ConfigModel):
    """WS-Addressing headers. The gateway makes a new MessageID for each request."""

    to: str | None = Field(None, description="wsa:To; the request's address when left out")
    action: str | None = Field(None, description="wsa:Action; the soapAction when left out")
    from_: str | None = Field(None, alias="from", description="wsa:From address")
    reply_to: str | None = Field(None, description="wsa:ReplyTo address")
    check_relates_to: bool = Field(
        True, description="Refuse a reply whose RelatesTo is not the request's MessageID"
    )


class XRoadMember(ConfigModel, title="Member"):
    """A subsystem or service on X-Road."""

    instance: str = Field(description="X-Road instance")
    member_class: str = Field(description="Member class, such as GOV")
    member: str = Field(description="Member code")
    subsystem: str | None = Field(None, description="Subsystem code")
    service: str | None = Field(None, description="Service code")
    version: str | None = Field(None, description="Service version")


class XRoad(ConfigModel):
    """X-Road message protocol 4.0, in SOAP headers or, for REST, in HTTP headers and path."""

    client: XRoadMember = Field(description="The gateway's own subsystem, which sends the request")
    service: XRoadMember = Field(description="The service that receives the request")
    user_id: str | None = Field(None, description="userId: the person or system behind the request")
    issue: str | None = Field(None, description="Reference of the case")
    represented_party: str | None = Field(
        None, description="Class and code of the represented party, as CLASS/CODE"
    )
    protocol_version: str = Field("4.0", description="protocolVersion of the SOAP header")


class Limits(ConfigModel):
    """Limits on requests to the registry. All its streams and all workers share them."""

    rate: Rate | None = Field(None, description="Highest rate of requests")
    concurrency: Annotated[int, Field(ge=1, le=64)] = Field(
        2, description="Most requests at the same time"
    )
    timeout: TimeLimit = Field(
        timedelta(seconds=60), description="Longest time for one whole reply"
    )
    max_response: Size = Field(
        50_000_000, description="Largest reply; a larger one stops the stream"
    )
    max_decoded: Size = Field(
        500_000_000,
        description="Largest reply after decompression or unpacking, "
        "and the memory that its values may take",
    )
    max_records: Annotated[int, Field(ge=1)] = Field(
        1_000_000, description="Most records in one reply"
    )
    quiet: Quiet | None = Field(
        None, description="Hours in which the gateway does not call the registry"
    )
    attempts: Annotated[int, Field(ge=1, le=20)] = Field(
        5, description="Most attempts for one request"
    )
    patience: TimeLimit = Field(
        timedelta(seconds=120), description="Longest time spent on repeating one request"
    )


class Condition(ConfigModel):
    """A test of a reply or a record. ``is`` and ``not`` take ``*`` as a wildcard."""

    status: int | Literal["2xx", "3xx", "4xx", "5xx"] | None = Field(
        None, description="HTTP status"
    )
    fault: str | None = Field(
        None, description="SOAP fault code or text; a code or subcode may lack its prefix"
    )
    header: str | None = Field(None, description="Response header to test, with is")
    path: Expression | None = Field(
        None, description="Expression to test, with is, not, over, since or exists"
    )
    is_: Words = Field((), alias="is", description="Values that fit, * as a wildcard")
    not_: Words = Field((), alias="not", description="Values that do not fit")
    over: int | None = Field(None, description="Fits when the number is larger than this")
    since: Day | None = Field(
        None,
        description="Fits when the day is this one or later; "
        "for example, a level counts only since its framework is in force",
    )
    exists: bool | None = Field(
        None, description="Fits when the path finds something (true) or nothing (false)"
    )

    def model_post_init(self, _context: Any, /) -> None:
        """Refuse a condition without exactly one subject, and a test where none belongs."""
        given = [
            name
            for name in ("status", "fault", "header", "path")
            if getattr(self, name) is not None
        ]
        if len(given) != 1:
            raise ValueError(
                "give exactly one of status, fault, header, path; "
                f"found {' and '.join(given) or 'none'}"
            )
        tested = bool(self.is_ or self.not_) or any(
            test is not None for test in (self.over, self.since, self.exists)
        )
        if (self.status is not None or self.fault is not None) and tested:
            raise ValueError(
                "is, not, over, since and exists belong to path and header; "
                "status and fault need none"
            )


def _expand_condition_shorthand(value: object) -> object:
    return {"path": value} if isinstance(value, str) else value


When = Annotated[Condition, BeforeValidator(_expand_condition_shorthand)]
"""A condition.

A bare expression fits when it finds a value that is not false, 0 or empty.
"""


class ReplyRule(ConfigModel, title="Answer"):
    """A kind of reply, and what the gateway does when it arrives."""

    when: When = Field(description="Condition that the reply fits")
    then: Literal["ok", "empty", "retry", "denied", "stop", "halve_window", "restart_window"] = (
        Field(
            description="In order: continue; no records; try again; access refused; "
            "a person must act; request a smaller window; start the window again"
        )
    )
    reason: (
        Annotated[
            str,
            text_matching(
                r"^[A-Z][A-Z0-9_]*$", "a reason is capital letters, digits and _: QUOTA_USED"
            ),
        ]
        | None
    ) = Field(None, description="Reason code in logs and metrics")
    after: Duration | None = Field(
        None, description="Delay before a retry, when the reply does not name one"
    )
    complete: bool = Field(
        False,
        description="With then: empty, true when a status of 400 or more, or a fault, proves that "
        "there are no records; otherwise the gateway deletes none because of such a reply",
    )

    def model_post_init(self, _context: Any, /) -> None:
        """Refuse ``complete`` without ``then: empty``."""
        if self.complete and self.then != "empty":
            raise ValueError(f"complete belongs to then: empty; found then: {self.then}")


class PushResponse(ConfigModel, title="Acknowledgement"):
    """The answer to a caller that pushes records to the gateway.

    ``{name}`` reads a value that the stream keeps.
    """

    status: Annotated[int, Field(ge=200, le=599)] = Field(200, description="HTTP status")
    media_type: str = Field("application/json", description="Content-Type")
    headers: dict[str, str] = Field({}, description="Further headers")
    body: str = Field(
        "",
        description="Body; placeholders are {now:…}, {uuid}, {reason}, {count} and keep's names",
    )
