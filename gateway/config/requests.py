"""Describe how a stream reads a registry: requests, cursors, exports and decoding steps."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from gateway.config.types import (
    ConfigModel,
    Duration,
    Expression,
    Identifier,
    LinkHost,
    Moment,
    OneOf,
    OneOrMore,
    Secret,
    Words,
    Zone,
)

Query = dict[str, str | int | bool | Secret | OneOrMore[str]]


class Request(ConfigModel):
    """One request.

    Texts may hold ``{since} {until} {page} {offset} {cursor} {id} {ids} {now:…} {uuid}`` and the
    names of loops and variables.

    The gateway leaves out an entry of ``query``, ``headers``, ``form`` or ``json`` that is only a
    placeholder without a value.
    """

    get: str | None = Field(None, description="GET this path below url, or this whole address")
    post: str | None = Field(None, description="POST to this path below url, or this whole address")
    query: Query = Field({}, description="Query parameters; a sequence repeats the parameter")
    headers: dict[str, str | Secret] = Field(
        {}, description="Request headers, such as Accept with a media type version"
    )
    json_: Any = Field(
        None, alias="json", description="JSON body; GraphQL is a JSON body with query and variables"
    )
    form: Query = Field({}, description="Form body")
    xml: str | None = Field(None, description="XML body")
    operation: str | None = Field(None, description="SOAP: operation of the WSDL")
    body: dict[str, Any] | None = Field(
        None, description="SOAP: parameters of the operation, checked against the WSDL"
    )
    envelope: str | None = Field(
        None, description="SOAP without a WSDL: XML for the Body, or a whole Envelope"
    )
    action: str | None = Field(
        None, description='SOAP: soapAction of this request; empty is sent as ""'
    )

    def model_post_init(self, _context: Any, /) -> None:
        """Refuse a request without exactly one method, and a body that the method cannot send."""
        ways = [
            name
            for name in ("get", "post", "operation", "envelope")
            if getattr(self, name) is not None
        ]
        if len(ways) != 1:
            raise ValueError(
                "give exactly one of get, post, operation, envelope; "
                f"found {' and '.join(ways) or 'none'}"
            )
        bodies = [
            name
            for name, given in (
                ("json", self.json_ is not None),
                ("form", bool(self.form)),
                ("xml", self.xml is not None),
            )
            if given
        ]
        if len(bodies) > 1:
            raise ValueError(f"give one body, not {' and '.join(bodies)}")
        if bodies and self.post is None:
            raise ValueError(f"{bodies[0]} needs post")
        if self.body is not None and self.operation is None:
            raise ValueError("body needs operation")


class Feed(ConfigModel):
    """A feed of changes that has its own positions."""

    position: Expression = Field(
        description="Position of a change in the feed; the next poll starts at the last one, "
        "in {cursor}"
    )
    first: str | None = Field(
        None, description="{cursor} of the first request; without it the parameter is left out"
    )
    operation: Expression | None = Field(None, description="Operation that changed the record")
    deleted: Words = Field((), description="Operations that delete the record")


class Cursor(ConfigModel):
    """How the gateway finds new and changed records.

    Give one of ``field`` (since the newest change), ``window`` (slices of time), ``scan``
    (everything, compared) and ``feed``.
    """

    field: Literal["changed_at"] | None = Field(
        None, description="The next poll starts at the newest changed_at"
    )
    window: Duration | None = Field(
        None, description="The gateway reads windows of this length, from {since} to {until}"
    )
    scan: bool = Field(
        False,
        description="Every poll reads everything; "
        "the gateway recognises unchanged records by their digest",
    )
    feed: Feed | None = Field(None, description="A change feed")
    complete: bool = Field(
        True, description="With scan: a record that a complete scan no longer shows is deleted"
    )
    start: Moment | None = Field(
        None, description="Start of the first poll; without it, the beginning and no {since}"
    )
    overlap: Duration = Field(
        timedelta(0), description="Time to read again, for registries that record changes late"
    )
    delay: Duration = Field(
        timedelta(0), description="Age that data must have before the gateway reads it"
    )
    inclusive: bool = Field(
        True, description="False when the registry's since excludes the moment itself"
    )
    zone: Zone = Field("UTC", description="Zone in which {since} and {until} are written")
    smallest: Duration = Field(
        timedelta(minutes=1), description="Smallest window that halve_window may ask for"
    )

    @property
    def start_at(self) -> datetime | None:
        """The moment at which the first poll starts."""
        return self.start

    def model_post_init(self, _context: Any, /) -> None:
        """Refuse a cursor without exactly one kind, and a window without a start or a length."""
        kinds = [
            name for name in ("field", "window", "feed") if getattr(self, name) is not None
        ] + (["scan"] if self.scan else [])
        if len(kinds) != 1:
            raise ValueError(
                "give exactly one of field, window, scan, feed; "
                f"found {' and '.join(kinds) or 'none'}"
            )
        if self.window is not None and self.start is None:
            raise ValueError("window needs start: the first day that is read")
        if self.window is not None and self.window <= timedelta(0):
            raise ValueError("window must be longer than nothing")


def _expand_cursor_shorthand(value: object) -> object:
    if isinstance(value, str) and value != "scan":
        raise ValueError(
            f"there is no cursor {value!r}; write scan, {{field: changed_at}}, "
            "{window: 30d, start: 2020-01-01} or {feed: …}"
        )
    return {"scan": True} if value == "scan" else value


AnyCursor = Annotated[Cursor, BeforeValidator(_expand_cursor_shorthand)]


class Export(ConfigModel):
    """An asynchronous export: the gateway starts it, polls its state and downloads its files."""

    start: Request = Field(description="Request that starts the export")
    keep: dict[Identifier, Expression] = Field(
        description="Values of the first reply that later requests need"
    )
    status: Request = Field(description="Request for the state of the export")
    state: Expression = Field(description="The state in the reply")
    pending: Words = Field(description="States of an unfinished export")
    done: Words = Field(description="States of a finished export")
    failed: Words = Field(
        (), description="States of a failed export, which the gateway starts again"
    )
    every: Duration = Field(
        timedelta(seconds=10), description="Time between two requests for the state"
    )
    within: Duration = Field(
        timedelta(hours=6), description="Time after which the gateway starts the export again"
    )
    expires: Duration | None = Field(
        None, description="Time for which the registry keeps the files"
    )
    files: Expression = Field(description="The addresses of the files in the last reply")
    hosts: OneOrMore[LinkHost] = Field((), description="Hosts a download may be redirected to")


class Csv(ConfigModel):
    """A table in text form."""

    separator: Annotated[str, Field(min_length=1, max_length=1)] = Field(
        ",", description="Character between columns"
    )
    quote: Annotated[str, Field(min_length=1, max_length=1)] = Field(
        '"', description="Character around a value"
    )
    encoding: str = Field(
        "utf-8",
        description="Character encoding; when left out, the transport's for bytes that are not "
        "UTF-8",
    )
    header: bool | OneOrMore[str] = Field(
        True, description="True when the first row names the columns; else their names"
    )


class Text(ConfigModel):
    """Text in a character encoding."""

    encoding: str = Field(
        "utf-8",
        description="Character encoding; when left out, the one that the document or the "
        "transport names",
    )


class Json(ConfigModel):
    """JSON, or one JSON value on each line."""

    encoding: str = Field(
        "utf-8", description="Character encoding; the transport's charset has no meaning for JSON"
    )
    comments: bool = Field(False, description="Allow lines with comments")
    lines: bool = Field(False, description="One value on each line")


class Archive(ConfigModel):
    """A ZIP archive."""

    encoding: str = Field(
        "cp437", description="Encoding of entry names that are not marked as UTF-8"
    )


class XmlSignature(ConfigModel):
    """An enveloped XML signature, which the gateway verifies.

    The next step reads the document without its signature. Rules read the received bytes as
    ``$signed_original``.
    """

    trust: Secret | None = Field(
        None, description="Certificate of the signer or its authorities, PEM"
    )


class Decoder(OneOf):
    """One decoding step with options."""

    csv: Csv | None = Field(None, description="Table of text")
    json_: Json | None = Field(None, alias="json", description="JSON")
    xml: Text | None = Field(None, description="XML")
    zip: Archive | None = Field(None, description="ZIP")
    signed: XmlSignature | None = Field(None, description="Enveloped XML signature")


DECODERS = frozenset({"xml", "json", "csv", "base64", "gzip", "zip", "atom", "mime", "signed"})
"""Words that are decoding steps.

Any other text is an expression, a file name pattern after ``zip``, or a content id after ``mime``.
"""

Decode = Annotated[
    tuple[str | Decoder, ...],
    BeforeValidator(lambda value: (value,) if isinstance(value, str | dict) else value),
    Field(strict=False),
]
