"""The record and the qualification as pydantic models, for the peer that checks both."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel, Field


class Level(BaseModel):
    """A national level."""

    scheme: str
    value: str


class Credits(BaseModel):
    """An amount of credits and its workload."""

    value: int | float
    unit: str
    hours: int


class Outcome(BaseModel):
    """A learning outcome of a record."""

    text: str


class Body(BaseModel):
    """The institution of a record."""

    name: str
    country: str
    schac: str
    pic: str


class Programme(BaseModel):
    """A record as the registry serves it."""

    programmeId: str  # noqa: N815 - the registry's name
    code: str
    title: dict[str, str] = {}
    summary: str
    level: Level
    credits: Credits
    months: int
    fields_: list[str] = Field(alias="fields", serialization_alias="fields")
    language: str
    form: str
    outcomes: list[Outcome]
    link: str
    body: Body
    begins: str
    changed: datetime


class Node(BaseModel):
    """Something with an IRI."""

    id: str
    type: str


class Concept(Node):
    """A concept of a vocabulary."""

    inScheme: Node  # noqa: N815 - names of the learning model, here and below


class LearningOutcome(Node):
    """A learning outcome."""

    title: dict[str, str]


class CreditPoint(Node):
    """Credits in ECTS."""

    framework: Concept
    point: str


class WebResource(Node):
    """A page."""

    contentUrl: str  # noqa: N815


class Identifier(Node):
    """An identifier."""

    notation: str


class NamedIdentifier(Identifier):
    """An identifier of a named scheme."""

    schemeName: str  # noqa: N815


class Address(Node):
    """An address."""

    countryCode: Concept  # noqa: N815


class Location(Node):
    """A location."""

    address: Address


class Organisation(Node):
    """The awarding body."""

    legalName: dict[str, str]  # noqa: N815
    identifier: list[NamedIdentifier]
    location: Location


class Period(Node):
    """A period without an end."""

    startDate: str  # noqa: N815


class Awarding(Node):
    """The awarding opportunity."""

    awardingBody: Organisation  # noqa: N815
    temporal: Period
    learningAchievementSpecification: str  # noqa: N815


class Note(Node):
    """A note."""

    noteLiteral: dict[str, str]  # noqa: N815


class Qualification(Node):
    """A qualification of the learning model."""

    context: list[Any] = Field(alias="@context")
    title: dict[str, str]
    description: dict[str, str]
    thematicArea: list[Concept]  # noqa: N815
    language: list[Concept]
    learningOutcome: list[LearningOutcome]  # noqa: N815
    creditPoint: CreditPoint  # noqa: N815
    volumeOfLearning: str  # noqa: N815
    maximumDuration: str  # noqa: N815
    homepage: WebResource
    mode: Concept
    learningSetting: Concept  # noqa: N815
    additionalNote: list[Note] | None = None  # noqa: N815
    eqfLevel: Concept  # noqa: N815
    nqfLevel: Concept  # noqa: N815
    identifier: Identifier
    awardingOpportunity: Awarding  # noqa: N815
    modified: str
