"""Describe how a stream reads the further pages of a reply."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field

from gateway.config.requests import Request
from gateway.config.types import ConfigModel, Expression, OneOf


class PageNumber(ConfigModel):
    """Pages by number, in ``{page}``.

    The last page is the one that ``more``, ``pages`` or ``total`` names, one shorter than
    ``size``, or an empty one.
    """

    start: Annotated[int, Field(ge=0)] = Field(1, description="Number of the first page: 0 or 1")
    size: Annotated[int, Field(ge=1, le=100_000)] | None = Field(
        None, description="Records on a full page, in {size}; a shorter one is the last"
    )
    more: Expression | None = Field(None, description="True while there is another page")
    pages: Expression | None = Field(None, description="Number of pages")
    total: Expression | None = Field(None, description="Number of records")
    gaps: bool = Field(
        False,
        description="True when a page may be empty although more follow; "
        "else the gateway treats that as an error and tries again",
    )


class Offset(ConfigModel):
    """Pages by offset, in ``{offset}``."""

    start: Annotated[int, Field(ge=0)] = Field(0, description="First offset")
    size: Annotated[int, Field(ge=1, le=100_000)] = Field(
        description="Records on a full page, in {size}"
    )
    total: Expression | None = Field(None, description="Number of records")


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


class LinkHeader(ConfigModel):
    """The address of the next page is in the Link header."""

    rel: str = Field("next", description="Relation of the link")


class NextUrl(ConfigModel):
    """The address of the next page is in the body."""

    from_: Expression = Field(
        alias="from", description="Address of the next page, whole or relative"
    )


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
