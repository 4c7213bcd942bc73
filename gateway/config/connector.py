"""Describe a connector file: the registry, its protocol and its streams.

The texts in ``description`` are the only documentation of the connector language. The gateway
builds the JSON Schema, the README of the connectors and messages of ``gateway check`` from them.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, PrivateAttr

from gateway.config.achievement import Achievements
from gateway.config.addresses import validate_iri
from gateway.config.change_times import AnyChangeTime
from gateway.config.connection import (
    Addressing,
    AnyHost,
    Auth,
    Limits,
    PushResponse,
    ReplyRule,
    Security,
    Signature,
    Tls,
    UrlsByEnvironment,
    When,
    XRoad,
)
from gateway.config.deletions import DeletionLimit, Deletions
from gateway.config.inline_tests import InlineTest
from gateway.config.paging import AnyPaging, Paging
from gateway.config.requests import AnyCursor, Decode, Export, Request
from gateway.config.rules import LocalTable, RecordKind, RecordType, Rules
from gateway.config.second_lists import Expand, Join, LoopConfig
from gateway.config.types import (
    ConfigModel,
    CountryCode,
    Duration,
    Expression,
    FileName,
    Identifier,
    MisplacedError,
    Name,
    OneOrMore,
    Secret,
    Words,
    Zone,
    text_matching,
)

_ERRORS_DESCRIPTION = (
    "by_status: the registry reports every error by HTTP status or SOAP fault, "
    "never inside an ordinary reply; without it, `replies` say how such an error looks"
)
SchemaCheckMode = Literal["strict", "warn", "off"]


class RegistryOwner(ConfigModel, title="Owner"):
    """The organisation that runs the registry, and how to reach it."""

    name: str = Field(description="Name of the organisation")
    contact: str = Field(description="Mail address or web page of the people who run the registry")


class SchemaCheck(ConfigModel):
    """A schema for replies, next to the connector file. The gateway fetches no schema."""

    xsd: FileName | None = Field(
        None, description="XML Schema file; the gateway looks for its imports next to it"
    )
    json_schema: FileName | None = Field(None, description="JSON Schema file")
    mode: SchemaCheckMode = Field(
        "warn",
        description="strict refuses the reply, warn counts it, off checks nothing; "
        "registries break their own schemas",
    )


class Protocol(ConfigModel):
    """Options that all protocols for calling a registry share."""

    url: UrlsByEnvironment = Field(description="Base address per stage")
    auth: Auth | None = Field(None, description="Credentials")
    tls: Tls | None = Field(None, description="Client certificate and trusted authorities")
    headers: dict[str, str | Secret] = Field(
        {}, description="Headers of every request, such as Accept with a media type version"
    )
    variables: dict[Identifier, str | Secret] = Field(
        {}, description="Placeholders of this connector; a secret one is never logged"
    )
    namespaces: dict[str, str] = Field({}, description="XML prefixes that expressions may use")
    namespace_versions: dict[str, OneOrMore[str]] = Field(
        {},
        description="Further namespaces of a prefix, for other versions of the same format; "
        "the gateway reads their elements as those of the prefix",
    )
    xroad: XRoad | None = Field(None, description="X-Road headers")
    limits: Limits = Field(default_factory=Limits, description="Limits on requests to the registry")
    replies: OneOrMore[ReplyRule] = Field(
        (),
        description="Meanings of replies, the first that fits; "
        "else the HTTP status decides (429 and 5xx: retry, 401 and 403: denied)",
    )
    errors: Literal["by_status"] | None = Field(None, description=_ERRORS_DESCRIPTION)
    hosts: OneOrMore[AnyHost] = Field(
        (),
        description="Further hosts that links in replies may lead to; "
        "a host gets credentials only as {host: files.example, credentials: true}",
    )


class Rest(Protocol):
    """HTTP with JSON or XML."""


class Soap(Protocol):
    """SOAP, with a WSDL next to the connector file or with XML templates."""

    wsdl: FileName | None = Field(
        None,
        description="WSDL file next to the connector file; "
        "the gateway builds requests from it and checks them against it, offline",
    )
    service: str | None = Field(None, description="Service of the WSDL, when it has several")
    port: str | None = Field(None, description="Port of the WSDL, when it has several")
    version: Literal["1.1", "1.2"] = Field("1.1", description="SOAP version")
    action: str = Field("", description='soapAction of every request; empty is sent as ""')
    security: Security | None = Field(None, description="WS-Security")
    addressing: Addressing | None = Field(None, description="WS-Addressing headers")


class File(Protocol):
    """Files that the gateway downloads over HTTP: ZIP, CSV, XML or JSON."""


class Push(ConfigModel):
    """The registry calls the gateway over HTTP or SOAP, and gets its answer in its own form."""

    path: Annotated[
        str,
        text_matching(
            r"^/[\w./-]*$", "a path begins with / and is letters, digits and . - _ /: /awards"
        ),
    ] = Field(description="Path below the gateway's receive address")
    protocol: Literal["http", "soap"] = Field("http", description="Plain HTTP, or SOAP")
    fields: OneOrMore[str] = Field(
        (), description="Form fields to read; decode starts at the first"
    )
    auth: Auth | None = Field(None, description="Credentials the caller must show")
    client_certificate: Secret | None = Field(
        None,
        description="Authorities that must have signed the caller's certificate; "
        "the push port needs TLS",
    )
    security: Signature | None = Field(
        None, description="WS-Security signature the caller must have made"
    )
    namespaces: dict[str, str] = Field({}, description="XML prefixes that expressions may use")
    namespace_versions: dict[str, OneOrMore[str]] = Field(
        {},
        description="Further namespaces of a prefix, for other versions of the same format; "
        "the gateway reads their elements as those of the prefix",
    )
    variables: dict[Identifier, str | Secret] = Field(
        {}, description="Placeholders of this connector"
    )
    limits: Limits = Field(
        default_factory=Limits, description="Largest message and most messages at once"
    )
    replies: OneOrMore[ReplyRule] = Field(
        (), description="Meanings of messages that hold no record"
    )
    errors: Literal["by_status"] | None = Field(None, description=_ERRORS_DESCRIPTION)
    accepted: PushResponse = Field(
        default_factory=PushResponse, description="Answer once the records are durable"
    )
    nothing: PushResponse = Field(
        default_factory=PushResponse,
        description="Answer to a message without records, as `replies` declare it",
    )
    refused: PushResponse = Field(
        default_factory=lambda: PushResponse(status=400),
        description="Answer to a message that cannot be read",
    )
    busy: PushResponse = Field(
        default_factory=lambda: PushResponse(status=503),
        description="Answer when records cannot be made durable now",
    )


class Stream(ConfigModel):
    """One list of records of the registry, and how they become harmonised records."""

    emits: RecordType = Field(description="Type of the harmonised records")
    every: Duration = Field(
        timedelta(minutes=15), description="Time between two polls of the registry"
    )
    mode: Literal["live", "shadow"] = Field(
        "live", description="shadow harmonises and counts, but publishes only rejections"
    )
    for_each: dict[Identifier, LoopConfig] = Field(
        {}, description="Outer loops, outermost first: institutions, subjects in batches"
    )
    request: Request | None = Field(
        None, description="Request for the records; a push stream has none"
    )
    export: Export | None = Field(None, description="Asynchronous export instead of a request")
    paging: AnyPaging = Field(
        default_factory=lambda: Paging(none=True),
        description="Paging of the replies",
    )
    cursor: AnyCursor | None = Field(
        None, description="Method for finding changes; scan when left out"
    )
    decode: Decode = Field(
        (),
        description="Steps from the reply's bytes to the values that expressions read; "
        "by media type when left out",
    )
    records: Expression | OneOrMore[Expression] = Field(
        description="The records in the reply; a sequence selects step by step"
    )
    list_: Expression | None = Field(
        None,
        alias="list",
        description="The place that holds the list and is in every reply, when `records` does not "
        "name it; a reply without this place is an error and not an empty list",
    )
    keep: dict[Identifier, Expression] = Field(
        {},
        description="Values around a record, for rules as $name; XPath starts at the record, "
        "JMESPath at the item of the outermost step; $root is the reply",
    )
    id: Words = Field(description="Native id, from one or several parts joined by /")
    id_key: Secret | None = Field(
        None,
        description="Secret for a native id that names a person: the gateway publishes a keyed "
        "hash of the id under this secret, so that no topic key holds the id itself",
    )
    version: Expression | None = Field(None, description="Version of the record")
    change_time: AnyChangeTime | None = Field(
        None,
        alias="changed_at",
        description="Time of the last change in the registry; the stream's watermark",
    )
    deleted: When | None = Field(None, description="Condition that a deleted record fits")
    deletions: Deletions = Field(
        DeletionLimit(),
        description="Number of records that a poll may delete without a person; "
        "10% and 10 records when left out",
    )
    achieved: Achievements = Field(
        (),
        description="For credentials: the condition that an award fits, or several that it fits "
        "together. The gateway withholds every other record and removes its earlier version",
    )
    kind: Expression | None = Field(
        None,
        description="Kind of the record; the element's local name for XML when left out",
    )
    kinds: dict[str, RecordKind] = Field(
        {}, description="Rules for each kind, the first that fits; * as a wildcard"
    )
    children: Expression | None = Field(
        None,
        description="Records of the same shape inside a record; "
        "each becomes a record of its own, with $parent",
    )
    expand: Expand | None = Field(None, description="A second request for each record")
    join: OneOrMore[Join] = Field((), description="Second lists, joined to the records by a key")
    schema_: SchemaCheck | None = Field(
        None, alias="schema", description="Check of replies against a schema"
    )
    record_country: Expression | None = Field(
        None,
        description="For a source that holds records of several countries: the country of each "
        "record, whose tables in mappings/ apply instead of those of the connector's `country`",
    )
    iri: (
        Annotated[
            str,
            text_matching(
                r"^https?://[^\s{}]*\{id\}[^\s{}]*$",
                "write an address with {id} once: https://registry.example/awards/{id}",
            ),
            AfterValidator(validate_iri),
        ]
        | None
    ) = Field(
        None, description="Persistent IRI of a record, with {id}; a name-based UUID when left out"
    )
    null_values: OneOrMore[str] = Field(
        (),
        description="Texts that mean no value, such as - or 9999; a blank text always does",
    )
    incomplete_entries: Literal["publish", "reject"] = Field(
        "publish",
        description="Catalogue entries without a field that the registry does not hold and LOQ "
        "requires: publish writes them to catalogue.incomplete-entries.v1",
    )
    zone: Zone = Field("UTC", description="Zone of times without a zone")
    map: Rules = Field({}, description="One rule for each target")
    tests: Annotated[OneOrMore[InlineTest], Field(min_length=1)] = Field(
        description="At least one test; a stream without a test does not load"
    )

    @property
    def changed_at(self) -> str | None:
        """The expression of the time of the last change."""
        return self.change_time.from_ if self.change_time else None


class Connector(ConfigModel):
    """One registry, as one connector file describes it."""

    language: Literal[1] = Field(description="Version of the connector language")
    connector: Name = Field(
        description="Name, the same as the file's; it labels every metric, log line and event"
    )
    country: CountryCode = Field(
        description="ISO 3166-1 country, or country and part, whose tables in mappings/ apply"
    )
    title: str = Field(description="Title of the registry, for people")
    owner: RegistryOwner = Field(description="Organisation that runs the registry")
    rest: Rest | None = Field(None, description="HTTP with JSON or XML")
    soap: Soap | None = Field(None, description="SOAP")
    file: File | None = Field(None, description="Files over HTTP")
    push: Push | None = Field(None, description="The registry calls the gateway")
    tables: dict[Name, LocalTable] = Field({}, description="Code tables of this registry alone")
    streams: Annotated[dict[Name, Stream], Field(min_length=1)] = Field(
        description="The registry's lists"
    )

    _digest: str = PrivateAttr("")
    _folder: str = PrivateAttr(".")

    @property
    def digest(self) -> str:
        """Sixteen hexadecimal digits that change with the file."""
        return self._digest

    @property
    def folder(self) -> str:
        """The folder of the file, which also holds its WSDL and schema files."""
        return self._folder

    @property
    def has_several_countries(self) -> bool:
        """Whether a stream names the country of each record, so that all tables may apply."""
        return any(stream.record_country for stream in self.streams.values())

    def with_source(self, *, digest: str, folder: str) -> Self:
        """Return a copy that knows the digest and the folder of its file."""
        copy = self.model_copy()
        copy._digest, copy._folder = digest, folder  # noqa: SLF001 - a method of the same class
        return copy

    def with_streams(self, streams: Mapping[str, Stream]) -> Self:
        """Return a copy with other streams, of the same file."""
        return self.model_copy(update={"streams": dict(streams)})

    @property
    def protocol(self) -> Rest | Soap | File | Push:
        """The one protocol block of the connector."""
        return next(
            block for block in (self.rest, self.soap, self.file, self.push) if block is not None
        )

    def model_post_init(self, _context: object, /) -> None:
        """Refuse a connector without exactly one protocol, or a stream with the wrong source."""
        given = [
            name for name in ("rest", "soap", "file", "push") if getattr(self, name) is not None
        ]
        if len(given) != 1:
            by_size = sorted(given, key=lambda name: len(getattr(self, name).model_fields_set))
            raise MisplacedError(
                "give exactly one of rest, soap, file, push; "
                f"found {' and '.join(given) or 'none'}",
                *by_size[:1],
            )
        for name, stream in self.streams.items():
            if self.push is None and (stream.request is None) == (stream.export is None):
                raise MisplacedError(
                    "a stream needs request or export, and not both",
                    "streams",
                    name,
                    *(["export"] if stream.export else []),
                )
            if self.push is not None and (stream.request or stream.export):
                raise MisplacedError(
                    "a push connector sends no requests; leave request and export out",
                    "streams",
                    name,
                    "request" if stream.request else "export",
                )


def payload_format(connector: Connector, stream: Stream) -> Literal["xml", "json", "csv"]:
    """Return the format that the stream's expressions read.

    The last step of ``decode`` decides. Without one, the protocol does.
    """
    for chain in (
        stream.expand.decode if stream.expand and not stream.expand.into else (),
        stream.decode,
    ):
        for step in reversed(chain):
            name = step if isinstance(step, str) else step.kind.rstrip("_")
            if name in {"xml", "atom", "signed"}:
                return "xml"
            if name == "json":
                return "json"
            if name == "csv":
                return "csv"
    if connector.soap is not None or (
        connector.push is not None and connector.push.protocol == "soap"
    ):
        return "xml"
    return "json"
