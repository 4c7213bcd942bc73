"""How a registry is reached and known: addresses, credentials, TLS, message security, limits, and what its replies mean."""

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
    """Where the registry answers, per stage."""

    production: HttpUrl = Field(
        description="Base address that is called when GATEWAY_STAGE is production"
    )
    acceptance: HttpUrl | None = Field(
        None, description="Base address of the registry's test system, when it has one"
    )

    def for_environment(self, stage: str) -> str | None:
        """Return the address for a stage, ``None`` when the registry has none."""
        return self.production if stage == "production" else self.acceptance


class Basic(ConfigModel):
    """HTTP Basic."""

    username: TextOrSecret = Field(description="User name, as text or as a secret")
    password: Secret = Field(description="Password")


class ApiKey(ConfigModel):
    """A key in a named header or query parameter."""

    header: str | None = Field(None, description="Header that carries the key")
    query: str | None = Field(None, description="Query parameter that carries the key")
    value: Secret = Field(description="The key")

    def model_post_init(self, _context: Any, /) -> None:
        """Refuse a key that would go nowhere or to two places."""
        if (self.header is None) == (self.query is None):
            raise ValueError("give exactly one of header, query: where the key is sent")


class Bearer(ConfigModel):
    """A fixed bearer token."""

    token: Secret = Field(description="The token")


class OAuth2(ConfigModel):
    """OAuth 2 client credentials; the client is known by its secret or by an assertion signed with its key."""

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
    key_id: str | None = Field(None, description="kid of the assertion")
    algorithm: Literal["RS256", "PS256", "ES256"] = Field(
        "RS256", description="How the assertion is signed"
    )
    audience: str | None = Field(
        None, description="aud of the assertion; the token endpoint when left out"
    )
    scope: Words = Field((), description="Scopes to ask for")
    parameters: dict[str, str] = Field(
        {}, description="Further form fields of the token request, such as resource or audience"
    )
    credentials_in: Literal["header", "body"] = Field(
        "header", description="Where the client secret is sent"
    )
    tls: Tls | None = Field(None, description="Client certificate for the token endpoint alone")


class Login(ConfigModel):
    """A login of the registry's own that answers with a token in JSON."""

    url: HttpUrl | UrlsByEnvironment = Field(
        description="Where the credentials are posted, one for all stages or one per stage"
    )
    fields: dict[str, TextOrSecret] = Field(
        min_length=1, description="What is posted, such as a user name and a password"
    )
    as_: Literal["json", "form"] = Field("json", alias="as", description="How it is posted")
    token: Expression = Field(description="The token in the reply")
    header: str = Field("Authorization", description="Header that carries the token")
    prefix: str = Field("Bearer ", description="What stands before the token in the header")
    lifetime: Duration | None = Field(
        None, description="How long a token is used; until a call answers 401 when left out"
    )


class Auth(OneOf):
    """How the registry knows the gateway; the key says which kind."""

    basic: Basic | None = Field(None, description="HTTP Basic")
    api_key: ApiKey | None = Field(None, description="Key in a named header or query parameter")
    bearer: Bearer | None = Field(None, description="Fixed bearer token")
    oauth2_client_credentials: OAuth2 | None = Field(None, description="OAuth 2 client credentials")
    login: Login | None = Field(
        None, description="A login of the registry's own that answers with a token"
    )


class Tls(ConfigModel):
    """Certificates: our own towards the registry, and whom we trust."""

    certificate: Secret | None = Field(None, description="Our certificate with its chain, PEM")
    key: Secret | None = Field(None, description="Key of the certificate, PEM")
    pkcs12: Secret | None = Field(None, description="Certificate and key in one PKCS#12 file")
    password: Secret | None = Field(None, description="Password of the key or of the PKCS#12 file")
    authorities: Secret | None = Field(
        None,
        description="PEM of the authorities that sign the registry's certificate, instead of the public ones",
    )

    def model_post_init(self, _context: Any, /) -> None:
        """Refuse half a pair."""
        if self.pkcs12 and (self.certificate or self.key):
            raise ValueError("give either pkcs12, or certificate and key")
        if bool(self.certificate) != bool(self.key):
            raise ValueError("certificate and key belong together: give both")


OAuth2.model_rebuild()


class Timestamp(ConfigModel):
    """A wsu:Timestamp."""

    ttl: Duration = Field(description="How long a message stays valid")


class UsernameToken(ConfigModel):
    """A wsse:UsernameToken."""

    username: TextOrSecret = Field(description="User name")
    password: Secret = Field(description="Password")
    digest: bool = Field(
        False, description="Send a digest with nonce and time of creation instead of the password"
    )


SignedPart = Literal["body", "timestamp", "to", "from", "action", "message_id", "token", "xroad"]


class Signature(ConfigModel):
    """An X.509 signature over named parts, exclusive canonicalisation, RSA-SHA256."""

    key: Secret = Field(description="Our signing key, PEM")
    certificate: Secret = Field(
        description="Our signing certificate, PEM, sent as BinarySecurityToken"
    )
    trust: Secret = Field(
        description="The other side's certificate or its authorities, PEM: replies are verified with it"
    )
    sign: OneOrMore[SignedPart] = Field(
        ("body", "timestamp"), description="Parts of the request that are signed"
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
        description="How long a seen message id or signature is refused; the timestamp's ttl when left out",
    )


class Security(ConfigModel):
    """WS-Security of each request, and what is demanded of each reply."""

    timestamp: Timestamp | None = Field(
        None, description="Add a Timestamp; refuse a reply that is expired"
    )
    username_token: UsernameToken | None = Field(None, description="Add a UsernameToken")
    signature: Signature | None = Field(None, description="Sign the request and verify the reply")
    must_understand: bool = Field(True, description="mustUnderstand of the Security header")


class Addressing(ConfigModel):
    """WS-Addressing headers; MessageID is made for each request."""

    to: str | None = Field(None, description="wsa:To; the address that is called when left out")
    action: str | None = Field(None, description="wsa:Action; the soapAction when left out")
    from_: str | None = Field(None, alias="from", description="wsa:From address")
    reply_to: str | None = Field(None, description="wsa:ReplyTo address")
    check_relates_to: bool = Field(
        True, description="Refuse a reply whose RelatesTo is not our MessageID"
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
    """X-Road message protocol 4.0: as a SOAP header block, or as HTTP headers and path for REST."""

    client: XRoadMember = Field(description="Who asks: our subsystem")
    service: XRoadMember = Field(description="Who is asked")
    user_id: str | None = Field(None, description="userId: who is behind the request")
    issue: str | None = Field(None, description="Reference of the case")
    represented_party: str | None = Field(
        None, description="Class and code of the represented party, as CLASS/CODE"
    )
    protocol_version: str = Field("4.0", description="protocolVersion of the SOAP header")


class Limits(ConfigModel):
    """How hard the registry may be asked: shared by all its streams and by all workers."""

    rate: Rate | None = Field(None, description="Requests per time")
    concurrency: Annotated[int, Field(ge=1, le=64)] = Field(2, description="Requests at once")
    timeout: TimeLimit = Field(
        timedelta(seconds=60), description="Longest time for one whole reply"
    )
    max_response: Size = Field(
        50_000_000, description="Largest reply; a larger one stops the stream"
    )
    max_decoded: Size = Field(
        500_000_000, description="Largest reply after decompression or unpacking"
    )
    max_records: Annotated[int, Field(ge=1)] = Field(
        1_000_000, description="Most records in one reply"
    )
    quiet: Quiet | None = Field(None, description="Hours in which the registry is not called")
    attempts: Annotated[int, Field(ge=1, le=20)] = Field(
        5, description="How often one request is tried"
    )
    patience: TimeLimit = Field(
        timedelta(seconds=120), description="Longest time spent on repeating one request"
    )


class Condition(ConfigModel):
    """Something to look at and what it has to be. ``is`` takes ``*`` as a wildcard."""

    status: int | Literal["2xx", "3xx", "4xx", "5xx"] | None = Field(
        None, description="HTTP status"
    )
    fault: str | None = Field(None, description="SOAP fault code or text")
    header: str | None = Field(None, description="Response header to look at, with is")
    path: Expression | None = Field(
        None, description="Expression to look at, with is, not, over, since or exists"
    )
    is_: Words = Field((), alias="is", description="Values that fit, * as a wildcard")
    not_: Words = Field((), alias="not", description="Values that do not fit")
    over: int | None = Field(None, description="Fits when the number is larger than this")
    since: Day | None = Field(
        None,
        description="Fits when the day is this one or later: a level is claimed only where its framework held",
    )
    exists: bool | None = Field(
        None, description="Fits when the path finds something (true) or nothing (false)"
    )

    def model_post_init(self, _context: Any, /) -> None:
        """Refuse a condition that looks at nothing, or tests nothing."""
        looked = [
            self.status is not None,
            self.fault is not None,
            self.header is not None,
            self.path is not None,
        ]
        if sum(looked) != 1:
            given = [
                name
                for name in ("status", "fault", "header", "path")
                if getattr(self, name) is not None
            ]
            raise ValueError(
                f"give exactly one of status, fault, header, path; found {' and '.join(given) or 'none'}"
            )
        tested = bool(self.is_ or self.not_) or any(
            test is not None for test in (self.over, self.since, self.exists)
        )
        if (self.status is not None or self.fault is not None) and tested:
            raise ValueError(
                "is, not, over, since and exists belong to path and header; status and fault need none"
            )


def _expand_condition_shorthand(value: object) -> object:
    return {"path": value} if isinstance(value, str) else value


When = Annotated[Condition, BeforeValidator(_expand_condition_shorthand)]
"""A condition; a bare expression fits when it finds something that is not false, 0 or empty."""


class ReplyRule(ConfigModel, title="Answer"):
    """What a reply means when it fits."""

    when: When = Field(description="What the reply looks like")
    then: Literal["ok", "empty", "retry", "denied", "stop", "halve_window", "restart_window"] = (
        Field(
            description="What it means: go on; no records; try again; refused; a person must act; ask for a smaller "
            "window; start the window again"
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
        None, description="How long to wait before a retry, when the reply does not say"
    )


class PushResponse(ConfigModel, title="Acknowledgement"):
    """What a caller that pushes records to us is answered, in its own form. ``{name}`` reads what the stream keeps."""

    status: Annotated[int, Field(ge=200, le=599)] = Field(200, description="HTTP status")
    media_type: str = Field("application/json", description="Content-Type")
    headers: dict[str, str] = Field({}, description="Further headers")
    body: str = Field(
        "",
        description="Body with placeholders: what keep names, {now:…}, {uuid}, {reason} and {count}",
    )
