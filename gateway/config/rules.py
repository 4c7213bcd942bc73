"""What stands under ``map``: one rule a target. Fixed order inside a rule: from → as → table → default."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal

import re2
from pydantic import BeforeValidator, Field

from gateway.config.connection import When
from gateway.config.types import (
    ConfigModel,
    CountryCode,
    Expression,
    Identifier,
    Name,
    OneOf,
    OneOrMore,
    Words,
    Zone,
)

RecordType = Literal[
    "qualification", "learning_opportunity", "credential", "student_status", "card", "provider"
]
PickOne = Literal["first", "last"]
_MONTH_AND_DAY = re.compile(r"(0[1-9]|1[0-2])(-(0[1-9]|[12][0-9]|3[01]))?")


class SplitDate(ConfigModel, title="Split"):
    """A date in three fields; month and day may be missing."""

    year: Expression = Field(description="Where the year is")
    month: Expression | None = Field(None, description="Where the month is")
    day: Expression | None = Field(None, description="Where the day is")


class DateTime(ConfigModel):
    """A date and time."""

    format: Words = Field((), description="strptime formats; ISO 8601 when left out")
    zone: Zone | None = Field(None, description="Zone of times that name none")


class Boolean(ConfigModel):
    """Words that mean yes and no."""

    true: Words = Field(description="Words that mean true")
    false: Words = Field(description="Words that mean false")


class Html(ConfigModel):
    """Markup to text."""

    paragraphs: bool = Field(True, description="Keep paragraphs as line breaks")


SIMPLE_CASTS = frozenset(
    {
        "text", "trim", "collapse", "html", "date", "datetime", "epoch", "epoch_ms", "epoch_date", "epoch_ms_date", "integer", "decimal",
        "boolean", "language", "country", "duration", "upper", "lower", "base64",
    }
)  # fmt: skip
"""Casts that need no options, written ``as: name``."""


class Cast(OneOf):
    """A conversion with options; without options write its name alone."""

    simple: str | None = Field(None, description="The name of a cast without options")
    date: Words | None = Field(None, description='strptime formats, tried in order: "%d.%m.%Y"')
    partial: PickOne | None = Field(
        None, description="A date of which month or day may be missing: first or last day is taken"
    )
    datetime: DateTime | None = Field(None, description="Date and time with formats and a zone")
    decimal: Literal[",", "."] | None = Field(
        None, description='The decimal mark: "," reads 7,5 and 1.234,5'
    )
    boolean: Boolean | None = Field(None, description="Words of the registry for yes and no")
    period: dict[str, str] | None = Field(
        None,
        description="Period codes: a year and a suffix, each suffix with its month and day: {K: 06-01, S: 12-01}",
    )
    split: SplitDate | None = Field(None, description="A date in three fields below from")
    html: Html | None = Field(None, description="Markup to text")
    match: str | None = Field(
        None,
        description="Regular expression (RE2) that must match the whole text; its one group is the value",
    )

    def model_post_init(self, context: Any, /) -> None:
        """Refuse unknown words."""
        super().model_post_init(context)
        if self.simple is not None and self.simple not in SIMPLE_CASTS:
            raise ValueError(
                f"there is no cast {self.simple!r}; there are {', '.join(sorted(SIMPLE_CASTS))}"
            )
        for form in (*(self.date or ()), *(self.datetime.format if self.datetime else ())):
            if "%" not in form:
                raise ValueError(
                    f'{form!r} holds no part of a date; write %d for the day, %m for the month, %Y for the year: "%d.%m.%Y"'
                )
        for suffix, day in (self.period or {}).items():
            if not _MONTH_AND_DAY.fullmatch(day):
                raise ValueError(
                    f"{suffix} stands for a month and a day, such as 06-01, not for {day!r}"
                )
        if self.match is not None:
            _validate_re2_pattern(self.match)


def _validate_re2_pattern(pattern: str) -> None:
    """Refuse what RE2 does not read: it takes time that grows with the text alone, whatever the pattern is."""
    quiet = re2.Options()
    quiet.log_errors = False
    try:
        re2.compile(pattern, quiet)
    except re2.error:
        raise ValueError(
            "not a regular expression of RE2; check brackets, and write it without (?=, (?! and back references"
        ) from None


def _expand_cast_shorthand(value: object) -> object:
    return {"simple": value} if isinstance(value, str) else value


AnyCast = Annotated[Cast, BeforeValidator(_expand_cast_shorthand)]


class Languages(ConfigModel):
    """A text in several languages, from any shape a registry has. Language names become BCP 47 (swe → sv)."""

    each: Expression | None = Field(
        None, description="Repeated elements or objects, with language and text seen from each"
    )
    language: Expression | None = Field(
        None,
        description="With each: where the language is (@xml:lang). With text: $name that was kept, or a tag in quotes",
    )
    text: Expression | None = Field(
        None, description="With each: where the text is. Alone: the one text"
    )
    object: Expression | None = Field(None, description="An object whose keys are the languages")
    fields: dict[str, Expression] = Field(
        {}, description="One expression a language: {fi: nameFi, sv: nameSv}"
    )
    otherwise: str | None = Field(
        None,
        description="Language of texts that name none; without it they are left out with an issue",
    )

    def model_post_init(self, _context: Any, /) -> None:
        """Refuse a shape that is none."""
        shapes = [
            bool(self.each),
            bool(self.object),
            bool(self.fields),
            bool(self.text) and not self.each,
        ]
        if sum(shapes) != 1:
            raise ValueError("give exactly one of each, object, fields, text")


def _expand_languages_shorthand(value: object) -> object:
    """Take ``{fi: EXPR, sv: EXPR}`` for ``{fields: {…}}``."""
    if isinstance(value, dict) and value and not value.keys() & Languages.model_fields.keys():
        return {"fields": value}
    return value


AnyLanguages = Annotated[Languages, BeforeValidator(_expand_languages_shorthand)]


class MappingRule(ConfigModel, title="Rule"):
    """How one target is filled. A bare text is ``{from: text}``."""

    from_: Expression | None = Field(
        None,
        alias="from",
        description="Where the value is; $name reads what was kept around the record",
    )
    const: str | int | bool | OneOrMore[str] | None = Field(
        None, description="The same value for every record"
    )
    first_of: OneOrMore[AnyRule] | None = Field(
        None, description="The first of these rules that gives a value"
    )
    when: When | None = Field(None, description="The rule applies only to records that fit")
    each: Expression | None = Field(
        None, description="A list: one item for each of these, filled by map"
    )
    map: dict[str, AnyRule] | None = Field(
        None, description="With each: targets of one item, expressions seen from the item"
    )
    join: OneOrMore[Expression] | dict[Identifier, Expression] | None = Field(
        None, description="Several texts in one"
    )
    with_: str = Field(" ", alias="with", description="Between joined texts")
    text: str | None = Field(
        None,
        description='With join of names: how they are put together, "{a}, {b}"; nothing when one is missing',
    )
    languages: AnyLanguages | None = Field(None, description="A text in several languages")
    as_: AnyCast | None = Field(
        None, alias="as", description="Conversion; what the target's type needs when left out"
    )
    table: Name | None = Field(
        None, description="Code table of this file or of mappings/<country>.yaml"
    )
    at: str | None = Field(
        None,
        description="Target whose date the table is read at; the record's award date when left out",
    )
    default: Any = Field(
        None,
        description="Value when nothing was found; not when something was found that cannot be read",
    )
    pick: PickOne | None = Field(
        None,
        description="first or last: which of several values is meant; without it several are ambiguous",
    )
    framework: str | None = Field(
        None,
        description="For nqf_level: the framework it belongs to, a key of mappings/<country>.yaml",
    )
    pseudonym: str | None = Field(
        None,
        description="The value leaves only as a keyed pseudonym; names the kind of identifier, so that equal ones agree",
    )
    basis: str | None = Field(
        None, description="Legal basis on which a personal value leaves as it is"
    )
    invalid: Literal["reject", "drop"] = Field(
        "reject",
        description="reject the record, or drop the value with an issue, when the value cannot be read",
    )

    def model_post_init(self, _context: Any, /) -> None:
        """Refuse a rule with two sources or none."""
        ways = {
            "from": self.from_,
            "const": self.const,
            "first_of": self.first_of,
            "each": self.each,
            "join": self.join,
            "languages": self.languages,
        }
        given = [name for name, value in ways.items() if value is not None]
        split = self.as_ is not None and self.as_.split is not None
        if len(given) != 1 and not (split and not given):
            raise ValueError(
                f"give exactly one of {', '.join(ways)}; found {' and '.join(given) or 'none'}"
            )
        if (self.each is None) != (self.map is None):
            raise ValueError("each and map belong together")
        if self.text is not None and not isinstance(self.join, dict):
            raise ValueError("text needs join with names: {a: EXPR, b: EXPR}")
        if self.pseudonym is not None and self.basis is not None:
            raise ValueError(
                "give either pseudonym or basis: the value leaves as a pseudonym or as it is"
            )


def _expand_rule_shorthand(value: object) -> object:
    return {"from": value} if isinstance(value, str) else value


AnyRule = Annotated[MappingRule, BeforeValidator(_expand_rule_shorthand)]
MappingRule.model_rebuild()

Rules = dict[str, AnyRule]


def pseudonym_kinds(rule: MappingRule) -> Iterator[str]:
    """Give the kinds of identifier a rule makes pseudonyms of."""
    if rule.pseudonym:
        yield rule.pseudonym
    for inner in rule.first_of or ():
        yield from pseudonym_kinds(inner)


class LocalTable(ConfigModel):
    """A code table of this file alone."""

    map: dict[str, str | int | bool | None] = Field(
        description="Registry's code to harmonised value; codes are always text"
    )
    unmapped: Annotated[
        Literal["reject", "null", "flag"],
        BeforeValidator(lambda value: "null" if value is None else value),
    ] = Field("reject", description="What happens to a code that is not in the table")
    country: CountryCode | None = Field(None, description="Country, when not the connector's")


class RecordKind(ConfigModel, title="Kind"):
    """One kind of record of a stream that serves several."""

    map: Rules = Field({}, description="Rules for this kind; added to the stream's, and stronger")
    emits: RecordType | None = Field(
        None, description="What this kind becomes, when not what the stream emits"
    )
    skip: str | None = Field(
        None,
        description="Why records of this kind are not wanted; they end as rejections with this reason",
    )

    def model_post_init(self, _context: Any, /) -> None:
        """Refuse a kind that is mapped and skipped."""
        if self.skip and self.map:
            raise ValueError("give either skip or map")
