"""Describe the further lists of a stream: values of loops, details of records and joined lists."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from gateway.config.connection import Auth, Tls, UrlsByEnvironment, When
from gateway.config.paging import AnyPaging
from gateway.config.requests import Decode, Request
from gateway.config.types import (
    ConfigModel,
    Expression,
    FileName,
    Identifier,
    Name,
    OneOf,
    OneOrMore,
    Secret,
    SecretFolder,
)

SecondPaging = Annotated[
    AnyPaging | None,
    Field(
        description="Paging of this request, as for the stream's own request; without it, a reply "
        "that says that there are more pages is an error"
    ),
]
SecondTotal = Annotated[
    Expression | None,
    Field(description="Number of records on all pages of this list; fewer than that is an error"),
]


class Institution(ConfigModel, title="Party"):
    """One institution of a connector, with its own address, credentials and cursor."""

    url: UrlsByEnvironment | None = Field(None, description="Base address of the institution")
    auth: Auth | None = Field(None, description="Credentials for the institution")
    tls: Tls | None = Field(None, description="Client certificate for the institution")
    variables: dict[Identifier, str | Secret] = Field({}, description="Values of its placeholders")


class LoopSource(OneOf, title="Loop"):
    """The source of the values of an outer loop. Give exactly one."""

    values: OneOrMore[str] | None = Field(None, description="Values written in this file")
    parties: dict[str, Institution] | None = Field(
        None, description="Institutions, each with address, credentials and cursor of its own"
    )
    secret: FileName | None = Field(
        None,
        description="Secret file with one value a line, for identifiers of persons; "
        "a value that no rule reads is not stored",
    )
    table: Name | None = Field(None, description="The keys of a table of this file")
    stream: Name | None = Field(
        None, description="Native ids that another stream of this file has read"
    )
    request: LoopRequest | None = Field(
        None, description="A request to the registry that lists them"
    )


class LoopRequest(ConfigModel):
    """A request whose reply lists the values of a loop."""

    request: Request = Field(description="Request that lists the values")
    select: Expression = Field(description="The values in the reply")
    paging: SecondPaging = None
    total: SecondTotal = None


LoopSource.model_rebuild()


class LoopConfig(ConfigModel, title="Each"):
    """One outer loop. Its name is a placeholder in requests and ``$name`` in rules."""

    in_: LoopSource = Field(alias="in", description="Source of the values")
    batch: Annotated[int, Field(ge=1, le=10_000)] = Field(
        1, description="Number of values in one request; more than 1 makes a list"
    )
    secrets: dict[Identifier, SecretFolder] = Field(
        {},
        description="Placeholders for a secret of each value, such as a token for each learner; "
        "each names a folder below the secrets directory, with one file named as each value",
    )
    separator: str = Field(
        ",", description="Text between the values of a batch, for a placeholder inside a text"
    )

    def model_post_init(self, _context: Any, /) -> None:
        """Refuse one secret for several values in one request."""
        if self.secrets and self.batch > 1:
            raise ValueError("secrets belong to single values; leave batch out")


class Expand(ConfigModel):
    """A second request for each record, or for each batch of ids, of the first reply."""

    request: Request = Field(
        description="Second request; it reads {id}, {ids} for a batch, and the names under keep"
    )
    id: Expression = Field(description="The id in the listed record")
    batch: Annotated[int, Field(ge=1, le=10_000)] = Field(
        1, description="Number of ids in one request"
    )
    decode: Decode = Field(
        (), description="How to decode the second reply; like the first when left out"
    )
    records: Expression | None = Field(
        None, description="The records in the second reply; the whole reply when left out"
    )
    paging: SecondPaging = None
    total: SecondTotal = None
    key: Expression | None = Field(
        None,
        description="With batch or into: the id inside each fetched record, to match it",
    )
    into: Identifier | None = Field(
        None,
        description="Name under which the fetched record joins the listed one; "
        "without it, the fetched record replaces the listed one",
    )
    unless: When | None = Field(
        None, description="Listed records that need no second request, such as deletions"
    )
    missing: Literal["deleted", "reject", "retry", "skip"] | None = Field(
        None,
        description="Meaning of a second reply without the record; skip keeps what is published, "
        "and lets the cursor pass the record. "
        "When left out, a record is skipped whose request is refused (401, 403, 404 or 410). A "
        "scan also skips it when the reply lacks it or the request fails; other cursors try again",
    )


class Join(ConfigModel):
    """A second list whose records belong to the stream's records by a key.

    The list is another file of the ZIP, another list of the document, or another request.
    """

    into: Identifier = Field(description="Name under which the record gets the joined ones")
    decode: Decode = Field(
        (), description='Steps to the second list in the same reply: [zip, "*parts*.csv", csv]'
    )
    request: Request | None = Field(
        None,
        description="Request for the second list; with {id}, the record's own key, "
        "the gateway sends it for each record",
    )
    records: Expression | None = Field(None, description="The second list inside the decoded reply")
    paging: SecondPaging = None
    total: SecondTotal = None
    key: Expression | None = Field(
        None,
        description="The key inside a record of the second list; without it, every record of the "
        "reply to a request with {id} belongs to the stream's record",
    )
    to: Expression = Field(
        description="The key inside the stream's record; with several keys, the records of each"
    )
    many: bool = Field(True, description="False when at most one record joins")
    missing: Literal["skip", "empty", "retry"] = Field(
        "skip",
        description="When the request for one record is refused (401, 403, 404 or 410): keep what "
        "is published and let the cursor pass the record, join nothing, or try again. When left "
        "out, it is skipped, and no cursor passes it",
    )

    @property
    def is_per_record(self) -> bool:
        """Whether the request contains the id of a record, so that each record has its own."""
        return self.request is not None and "id" in self.placeholders

    @property
    def placeholders(self) -> frozenset[str]:
        """The names of the placeholders in the request."""
        text = self.request.model_dump_json() if self.request else ""
        return frozenset(re.findall(r"\{(\w+)[:}]", text))

    @model_validator(mode="after")
    def _check_key(self) -> Self:
        if self.key is None and not self.is_per_record:
            raise ValueError(
                "key is missing; write the key inside a record of the second list, or write {id} "
                "in the request, which then returns the records of one record"
            )
        return self
