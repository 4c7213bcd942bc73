"""Describe the tests inside a connector file. A test is data, not code."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from gateway.config.types import ConfigModel, Moment, OneOrMore


class ExpectRejected(ConfigModel):
    """The rejection that a test expects."""

    field: str | None = Field(None, description="Target that causes the rejection")
    reason: str = Field(description="Reason code, such as unmapped, missing, ambiguous")
    stage: str | None = Field(
        None, description="Stage of the rejection: decode, map, table or rule"
    )


class Response(ConfigModel):
    """The registry's answer to one request of an exchange."""

    status: Annotated[int, Field(ge=100, le=599)] = Field(200, description="HTTP status")
    headers: dict[str, str] = Field({}, description="Response headers")
    json_: Any = Field(None, alias="json", description="JSON body")
    text: str | None = Field(None, description="Body as text, such as XML or CSV")
    base64: str | None = Field(None, description="Body as base64, such as a ZIP")


class ExchangeStep(ConfigModel, title="Step"):
    """One request that the stream must send, and its answer."""

    request: str = Field(
        description="METHOD, path below url, and query, such as GET /awards?page=2"
    )
    body_contains: OneOrMore[str] = Field(
        (), description="Texts that the request's body must contain"
    )
    response: Response = Field(description="The registry's answer")


class InlineTest(ConfigModel, title="Example"):
    """One test of a stream.

    It has a payload and the expected record or rejection, or an exchange and the expected ids or
    number of records.
    """

    name: str = Field(description="Purpose of the test")
    given: Any = Field(None, description="One record: JSON as YAML, XML as text")
    kind: str = Field("", description="Kind of the record, where the stream has kinds")
    context: dict[str, str] = Field(
        {}, description="Values kept around the record, which rules read as $name"
    )
    native_id: str | None = Field(None, description="Native id; read from the record when left out")
    expect: dict[str, Any] | None = Field(
        None, description="The whole expected record; personal values as pseudonym(value)"
    )
    expect_some: dict[str, Any] | None = Field(None, description="Part of the expected record")
    expect_rejected: ExpectRejected | None = Field(None, description="The expected rejection")
    expect_withheld: str | None = Field(
        None, description="Reason for publishing nothing: deleted, not_achieved or no_agreement"
    )
    since: Moment | None = Field(None, description="Exchange: the value of {since}")
    until: Moment | None = Field(None, description="Exchange: the value of {until}")
    now: Moment | None = Field(None, description="Exchange: the value of {now}")
    subjects: dict[str, OneOrMore[str]] = Field(
        {}, description="Exchange: values of outer loops, by name"
    )
    exchange: OneOrMore[ExchangeStep] | None = Field(
        None, description="Requests in order, with their answers"
    )
    expect_records: Annotated[int, Field(ge=0)] | None = Field(
        None, description="Exchange: number of records that arrive"
    )
    expect_ids: OneOrMore[str] | None = Field(
        None, description="Exchange: the native ids that arrive, in order"
    )

    def model_post_init(self, _context: Any, /) -> None:
        """Refuse a test that checks nothing, or that mixes its two forms."""
        outcomes = [self.expect, self.expect_some, self.expect_rejected, self.expect_withheld]
        if self.exchange is not None:
            if self.given is not None or any(outcome is not None for outcome in outcomes):
                raise ValueError("a test is either an exchange or a given record")
            if self.expect_records is None and self.expect_ids is None:
                raise ValueError("an exchange needs expect_records or expect_ids")
            return
        if self.given is None:
            raise ValueError("a test needs given (a record) or exchange (requests and answers)")
        if sum(outcome is not None for outcome in outcomes) != 1:
            raise ValueError(
                "give exactly one of expect, expect_some, expect_rejected, expect_withheld"
            )
