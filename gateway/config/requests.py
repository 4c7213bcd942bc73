"""How a stream asks: requests, paging, cursors, outer loops, second requests, asynchronous exports."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from gateway.config.connection import Auth, Tls, UrlsByEnvironment, When
from gateway.config.types import (
    ConfigModel,
    Duration,
    Expression,
    Identifier,
    Moment,
    Name,
    OneOf,
    OneOrMore,
    Secret,
    Words,
    Zone,
)

Query = dict[str, str | int | bool | Secret | OneOrMore[str]]


class Request(ConfigModel):
    """One request.

    Texts may hold ``{since} {until} {page} {offset} {cursor} {id} {ids} {now:…} {uuid}`` and the names of loops and variables.

    An entry of ``query``, ``headers``, ``form`` or ``json`` that is only a placeholder without a value now is left out.
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
        None, description="SOAP without a WSDL: XML that goes into the Body, or a whole Envelope"
    )
    action: str | None = Field(
        None, description='SOAP: soapAction of this request; empty is sent as ""'
    )

    def model_post_init(self, _context: Any, /) -> None:
        """Refuse a request that asks in two ways."""
        ways = [
            name
            for name in ("get", "post", "operation", "envelope")
            if getattr(self, name) is not None
        ]
        if len(ways) != 1:
            raise ValueError(
                f"give exactly one of get, post, operation, envelope; found {' and '.join(ways) or 'none'}"
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


class PageNumber(ConfigModel):
    """Pages by number, in ``{page}``. Stops on ``more``, ``pages``, ``total``, or a page shorter than ``size``, or an empty one."""

    start: Annotated[int, Field(ge=0)] = Field(1, description="Number of the first page: 0 or 1")
    size: Annotated[int, Field(ge=1, le=100_000)] | None = Field(
        None, description="Records on a full page, in {size}; a shorter one is the last"
    )
    more: Expression | None = Field(None, description="True while there is another page")
    pages: Expression | None = Field(None, description="Number of pages")
    total: Expression | None = Field(None, description="Number of records")
    gaps: bool = Field(
        False,
        description="True when a page may be empty although more follow; else that is an error and is asked again",
    )


class Offset(ConfigModel):
    """Pages by offset, in ``{offset}``."""

    start: Annotated[int, Field(ge=0)] = Field(0, description="First offset")
    size: Annotated[int, Field(ge=1, le=100_000)] = Field(
        description="Records on a full page, in {size}"
    )
    total: Expression | None = Field(None, description="Number of records")


class CursorPaging(ConfigModel, title="Token"):
    """Pages by a token from the reply, in ``{cursor}``; stops when there is none, or the same again."""

    from_: Expression = Field(alias="from", description="The token of the next page")
    more: Expression | None = Field(None, description="True while there is another page")
    first: str | None = Field(
        None, description="{cursor} of the first request; without it the parameter is left out"
    )
    request: Request | None = Field(
        None,
        description="What is asked for the pages after the first, where that is not the same with {cursor}",
    )


class LinkHeader(ConfigModel):
    """The next page is in the Link header."""

    rel: str = Field("next", description="Relation of the link")


class NextUrl(ConfigModel):
    """The next page's address is in the body."""

    from_: Expression = Field(
        alias="from", description="Address of the next page, whole or relative"
    )


class Atom(ConfigModel):
    """An Atom archive: walk back to the last entry seen, then emit oldest first."""

    previous: str = Field("prev-archive", description="Relation of the link to the older document")
    entry_id: Expression = Field(
        "atom:id", description="Id of an entry; the position of the stream is the last id seen"
    )
    max_documents: Annotated[int, Field(ge=1)] = Field(
        10_000, description="Most archive documents in one walk"
    )


class Paging(OneOf):
    """How a reply that does not fit on one page goes on."""

    none: bool | None = Field(None, description="One reply is all")
    link_header: LinkHeader | None = Field(None, description="Next page in the Link header")
    next_url: NextUrl | None = Field(None, description="Next page's address in the body")
    atom: Atom | None = Field(None, description="Atom archive feed")
    cursor: CursorPaging | None = Field(None, description="Token from the reply")
    page_number: PageNumber | None = Field(None, description="Page number")
    offset: Offset | None = Field(None, description="Offset")


def _expand_paging_shorthand(value: object) -> object:
    if value == "none":
        return {"none": True}
    if isinstance(value, str):
        if value in {"link_header", "page_number", "atom"}:
            return {value: {}}
        raise ValueError(
            f"there is no paging {value!r}; write none, link_header, page_number, atom, or one with options: {{offset: {{size: 100}}}}"
        )
    if isinstance(value, dict) and isinstance(value.get("next_url"), str):
        return {**value, "next_url": {"from": value["next_url"]}}
    return value


AnyPaging = Annotated[Paging, BeforeValidator(_expand_paging_shorthand)]


class Feed(ConfigModel):
    """A feed of changes with a position of its own."""

    position: Expression = Field(
        description="Position of a change inside the feed; the last one is where the next poll starts, in {cursor}"
    )
    first: str | None = Field(
        None, description="{cursor} of the first request; without it the parameter is left out"
    )
    operation: Expression | None = Field(None, description="What happened to the record")
    deleted: Words = Field((), description="Operations that mean the record is gone")


class Cursor(ConfigModel):
    """What is new: one of ``field`` (newest change seen), ``window`` (slices of time), ``scan`` (everything, compared), ``feed``."""

    field: Literal["changed_at"] | None = Field(
        None, description="The next poll asks since the newest changed_at that was seen"
    )
    window: Duration | None = Field(
        None, description="Time is cut into windows of this length, {since} to {until}"
    )
    scan: bool = Field(
        False,
        description="Every poll reads everything; unchanged records are recognised by their digest",
    )
    feed: Feed | None = Field(None, description="A change feed")
    complete: bool = Field(
        True, description="With scan: a record that a complete scan no longer shows is gone"
    )
    start: Moment | None = Field(
        None, description="Where the first poll starts; left out: at the beginning, without {since}"
    )
    overlap: Duration = Field(
        timedelta(0), description="How much is read again, for registries that enter changes late"
    )
    delay: Duration = Field(
        timedelta(0), description="How long the registry's data must settle before it is read"
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
        """The moment the first poll starts at."""
        return self.start

    def model_post_init(self, _context: Any, /) -> None:
        """Refuse two kinds at once."""
        kinds = [
            name for name in ("field", "window", "feed") if getattr(self, name) is not None
        ] + (["scan"] if self.scan else [])
        if len(kinds) != 1:
            raise ValueError(
                f"give exactly one of field, window, scan, feed; found {' and '.join(kinds) or 'none'}"
            )
        if self.window is not None and self.start is None:
            raise ValueError("window needs start: the first day that is read")
        if self.window is not None and self.window <= timedelta(0):
            raise ValueError("window must be longer than nothing")


def _expand_cursor_shorthand(value: object) -> object:
    if isinstance(value, str) and value != "scan":
        raise ValueError(
            f"there is no cursor {value!r}; write scan, {{field: changed_at}}, {{window: 30d, start: 2020-01-01}} or {{feed: …}}"
        )
    return {"scan": True} if value == "scan" else value


AnyCursor = Annotated[Cursor, BeforeValidator(_expand_cursor_shorthand)]


class Institution(ConfigModel, title="Party"):
    """One institution behind one connector: its own address, credentials and variables, and its own cursor."""

    url: UrlsByEnvironment | None = Field(None, description="Its base address")
    auth: Auth | None = Field(None, description="Its credentials")
    tls: Tls | None = Field(None, description="Its certificate")
    variables: dict[Identifier, str | Secret] = Field({}, description="Its values for placeholders")


class LoopSource(OneOf, title="Loop"):
    """Where the values of an outer loop come from: exactly one of these."""

    values: OneOrMore[str] | None = Field(None, description="Written here")
    parties: dict[str, Institution] | None = Field(
        None, description="Institutions, each with address, credentials and cursor of its own"
    )
    secret: str | None = Field(
        None, description="A secret file with one value a line: identifiers of persons belong there"
    )
    table: Name | None = Field(None, description="The keys of a table of this file")
    stream: Name | None = Field(
        None, description="The native ids another stream of this file has seen"
    )
    request: LoopRequest | None = Field(
        None, description="A request to the registry that lists them"
    )


class LoopRequest(ConfigModel):
    """A request whose reply lists the values of a loop."""

    request: Request = Field(description="What is asked")
    select: Expression = Field(description="The values in the reply")


LoopSource.model_rebuild()


class LoopConfig(ConfigModel, title="Each"):
    """One outer loop. Its name is a placeholder in requests and ``$name`` in rules."""

    in_: LoopSource = Field(alias="in", description="Where the values come from")
    batch: Annotated[int, Field(ge=1, le=10_000)] = Field(
        1, description="How many values go into one request; more than 1 is a list"
    )
    separator: str = Field(
        ",", description="Between the values of a batch where the placeholder stands inside a text"
    )


class Expand(ConfigModel):
    """A second request for each record, or for each batch of ids, of the first reply."""

    request: Request = Field(
        description="What is asked; {id} is the id, {ids} the batch, and all that keep names"
    )
    id: Expression = Field(description="The id in the listed record")
    batch: Annotated[int, Field(ge=1, le=10_000)] = Field(
        1, description="How many ids go into one request"
    )
    decode: Decode = Field(
        (), description="How the second reply is decoded; as the first when left out"
    )
    records: Expression | None = Field(
        None, description="The records in the second reply; the whole reply when left out"
    )
    key: Expression | None = Field(
        None,
        description="With batch or into: the id inside each fetched record, to know which one it is",
    )
    into: Identifier | None = Field(
        None,
        description="Add the fetched record to the listed one under this name; left out: it replaces it",
    )
    unless: When | None = Field(
        None, description="Do not ask for a listed record that fits: a deletion"
    )
    missing: Literal["deleted", "reject", "retry"] = Field(
        "retry", description="What it means when the second reply has no such record"
    )


class Join(ConfigModel):
    """Records of a second list that belong to a record by a key: another file of the ZIP, another list of the document, another request."""

    into: Identifier = Field(description="The record gets the joined ones under this name")
    decode: Decode = Field(
        (), description='Where the second list is, from the same reply: [zip, "*parts*.csv", csv]'
    )
    request: Request | None = Field(
        None,
        description="A request that gives the second list; with {id}, the record's own key, it is asked for each record",
    )
    records: Expression | None = Field(None, description="The second list inside what was decoded")
    key: Expression = Field(description="The key inside a record of the second list")
    to: Expression = Field(description="The key inside our record")
    many: bool = Field(True, description="False when there can be only one")


class Export(ConfigModel):
    """An export the registry prepares: start it, ask until it is done, download its files."""

    start: Request = Field(description="Starts the export")
    keep: dict[Identifier, Expression] = Field(
        description="Values of the first reply that later requests need"
    )
    status: Request = Field(description="Asks how far it is")
    state: Expression = Field(description="The state in the reply")
    pending: Words = Field(description="States that mean wait")
    done: Words = Field(description="States that mean the files are there")
    failed: Words = Field((), description="States that mean start again")
    every: Duration = Field(timedelta(seconds=10), description="How often to ask")
    within: Duration = Field(timedelta(hours=6), description="When to give up and start again")
    expires: Duration | None = Field(None, description="How long the registry keeps the files")
    files: Expression = Field(description="The addresses of the files in the last reply")
    hosts: OneOrMore[str] = Field((), description="Hosts a download may be redirected to")


class Csv(ConfigModel):
    """A table of text."""

    separator: Annotated[str, Field(min_length=1, max_length=1)] = Field(
        ",", description="Between columns"
    )
    quote: Annotated[str, Field(min_length=1, max_length=1)] = Field(
        '"', description="Around a value"
    )
    encoding: str = Field("utf-8", description="Character encoding")
    header: bool | OneOrMore[str] = Field(
        True, description="The first row names the columns; or the names, when it does not"
    )


class Text(ConfigModel):
    """Bytes that are text."""

    encoding: str = Field(
        "utf-8", description="Character encoding, when neither transport nor document says"
    )


class Json(ConfigModel):
    """JSON, or one JSON value a line."""

    encoding: str = Field("utf-8", description="Character encoding")
    comments: bool = Field(
        False, description="Allow lines with comments, as one registry stores them"
    )
    lines: bool = Field(False, description="One value a line")


class Archive(ConfigModel):
    """A ZIP archive."""

    encoding: str = Field(
        "cp437", description="Encoding of entry names that are not marked as UTF-8"
    )


class XmlSignature(ConfigModel):
    """An enveloped XML signature that is verified; the signed bytes are kept as ``$signed_original``."""

    trust: Secret | None = Field(
        None, description="Certificate or authorities, PEM, that must have signed"
    )


class Decoder(OneOf):
    """One step with options."""

    csv: Csv | None = Field(None, description="Table of text")
    json_: Json | None = Field(None, alias="json", description="JSON")
    xml: Text | None = Field(None, description="XML")
    zip: Archive | None = Field(None, description="ZIP")
    signed: XmlSignature | None = Field(None, description="Enveloped XML signature")


DECODERS = frozenset({"xml", "json", "csv", "base64", "gzip", "zip", "atom", "mime", "signed"})
"""Words that are steps by themselves. Any other text is an expression, a file name pattern (after ``zip``), or a content id (after
``mime``)."""

Decode = Annotated[
    tuple[str | Decoder, ...],
    BeforeValidator(lambda value: (value,) if isinstance(value, str | dict) else value),
    Field(strict=False),
]
Expand.model_rebuild()
Join.model_rebuild()
