"""Describe how a stream reads the further pages of a reply."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from gateway.config.requests import Request
from gateway.config.types import ConfigModel, Expression, OneOf

AfterLast = Annotated[
    Literal["empty", "repeated", "refused"],
    Field(
        description="How the registry answers a request for a page after the last: with an empty "
        "page, with the last page again, or with a refusal (status 400, 404, 416 or 422)"
    ),
]
Keep = Annotated[
    Literal["query", "path"] | None,
    Field(
        description="Part of a link to follow at the address of the registry when links name an "
        "inner host: its query, or its path and query; the whole link when left out"
    ),
]
LastPageRepeats = Annotated[
    Literal["repeated"] | None,
    Field(description="repeated when the registry ends its pages by serving the last page again"),
]
Total = Annotated[
    Expression | None,
    Field(description="Number of records on all pages; fewer than that is an error"),
]


class PageNumber(ConfigModel):
    """Pages by number, in ``{page}``.

    The last page is the one that ``more``, ``pages`` or ``total`` names. Without them, the gateway
    requests pages until an empty one, because a registry may serve smaller pages than ``size``.
    """

    start: Annotated[int, Field(ge=0)] = Field(1, description="Number of the first page: 0 or 1")
    size: Annotated[int, Field(ge=1, le=100_000)] | None = Field(
        None, description="Records on a full page, in {size}; the registry may serve fewer"
    )
    more: Expression | None = Field(None, description="True while there is another page")
    pages: Expression | None = Field(None, description="Number of pages")
    total: Total = None
    after_last: AfterLast = "empty"
    gaps: bool = Field(
        False,
        description="True when a page may be empty although more follow; "
        "else the gateway treats that as an error and tries again",
    )


class Offset(ConfigModel):
    """Pages by offset, in ``{offset}``: the number of records that arrived.

    The gateway requests pages up to ``total``, or until an empty one.
    """

    start: Annotated[int, Field(ge=0)] = Field(0, description="First offset")
    size: Annotated[int, Field(ge=1, le=100_000)] = Field(
        description="Records on a full page, in {size}; the registry may serve fewer"
    )
    total: Total = None
    after_last: AfterLast = "empty"


class CursorPaging(ConfigModel, title="Token"):
    """Pages by a token from the reply, in ``{cursor}``, until it is missing or repeats itself."""

    from_: Expression = Field(alias="from", description="The token of the next page")
    more: Expression | None = Field(None, description="True while there is another page")
    first: str | None = Field(
        None, description="{cursor} of the first request; without it the parameter is left out"
    )
    request: Request | None = Field(
        None,
        description="Request for the pages after the first, "
        "when it differs from the first in more than {cursor}",
    )
    total: Total = None
    after_last: LastPageRepeats = None


class LinkHeader(ConfigModel):
    """The address of the next page is in the Link header."""

    rel: str = Field("next", description="Relation of the link")
    keep: Keep = None
    total: Total = None
    after_last: LastPageRepeats = None


class NextUrl(ConfigModel):
    """The address of the next page is in the body."""

    from_: Expression = Field(
        alias="from", description="Address of the next page, whole or relative"
    )
    keep: Keep = None
    total: Total = None
    after_last: LastPageRepeats = None


class Atom(ConfigModel):
    """An Atom archive.

    The gateway walks back to the last entry that it read, and then emits the oldest entry first.
    """

    previous: str = Field("prev-archive", description="Relation of the link to the older document")
    entry_id: Expression = Field(
        "atom:id", description="Id of an entry; the stream's position is the last id that it read"
    )
    max_documents: Annotated[int, Field(ge=1)] = Field(
        10_000, description="Most archive documents in one walk"
    )
    keep: Keep = None


class Paging(OneOf):
    """How the gateway finds the next page of a reply."""

    none: bool | None = Field(None, description="The reply has one page")
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
            f"there is no paging {value!r}; write none, link_header, page_number, atom, "
            "or one with options: {offset: {size: 100}}"
        )
    if isinstance(value, dict) and isinstance(value.get("next_url"), str):
        return {**value, "next_url": {"from": value["next_url"]}}
    return value


AnyPaging = Annotated[Paging, BeforeValidator(_expand_paging_shorthand)]
