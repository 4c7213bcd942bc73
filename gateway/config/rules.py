"""Describe the rules under ``map``, one for each target.

The gateway evaluates the parts of a rule in a fixed order: from, as, table, default.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal

import re2
from pydantic import BeforeValidator, Field

from gateway.config.achievement import Achievements
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
PERSONAL_TYPES = frozenset[RecordType]({"credential", "student_status", "card"})
"""The types of records about persons. A registry may use national numbers as their ids."""
PickOne = Literal["first", "last"]
_MONTH_AND_DAY = re.compile(r"(0[1-9]|1[0-2])(-(0[1-9]|[12][0-9]|3[01]))?")


class SplitDate(ConfigModel, title="Split"):
    """A date in three fields. Month and day may be missing."""

    year: Expression = Field(description="The year")
    month: Expression | None = Field(None, description="The month")
    day: Expression | None = Field(None, description="The day")


class DateTime(ConfigModel):
    """A date and time."""

    format: Words = Field((), description="strptime formats; ISO 8601 when left out")
    zone: Zone | None = Field(None, description="Zone of times that name none")


class Boolean(ConfigModel):
    """The words of a registry for true and false."""

    true: Words = Field(description="Words that mean true")
    false: Words = Field(description="Words that mean false")


class Html(ConfigModel):
    """A conversion of markup to text."""

    paragraphs: bool = Field(True, description="Keep paragraphs as line breaks")


_PERIOD_PLACEHOLDERS = re.compile(r"\{([^{}]*)\}")


class Period(ConfigModel):
    """The month and the day of each code of a period. All other keys are codes."""

    form: Words = Field(
        ("{year}{suffix}",),
        description="Forms of the text with {suffix} and {year}, tried in order; "
        "{yy} is a year of two digits from 1969 to 2068, and {next} the year after",
    )
    suffixes: dict[str, str] = Field(
        description="Month and day of each code; you may also write the codes next to form"
    )

    def model_post_init(self, _context: Any, /) -> None:
        """Refuse a wrong day, and a form without its code and its year."""
        for suffix, day in self.suffixes.items():
            if not _MONTH_AND_DAY.fullmatch(day):
                raise ValueError(
                    f"{suffix} must name a month, or a month and a day, such as 06-01, not {day!r}"
                )
        for form in self.form:
            names = sorted(_PERIOD_PLACEHOLDERS.findall(form))
            if names not in _PERIOD_FORMS:
                raise ValueError(
                    f"{form!r} is no form of a period; "
                    "write {suffix} once, {year} or {yy} once, and {next} at most once"
                )


_PERIOD_FORMS = [
    sorted(["suffix", year, *following]) for year in ("year", "yy") for following in ([], ["next"])
]


def _collect_suffixes(value: object) -> object:
    """Return ``{suffixes: {…}}`` for a period whose codes are next to ``form``."""
    if not isinstance(value, dict) or isinstance(value.get("suffixes"), dict):
        return value
    suffixes = {suffix: day for suffix, day in value.items() if suffix != "form"}
    return {"suffixes": suffixes} | ({"form": value["form"]} if "form" in value else {})


AnyPeriod = Annotated[
    Period,
    BeforeValidator(
        _collect_suffixes,
        json_schema_input_type=dict[str, str | list[str]],
    ),
]


class WebAddress(ConfigModel):
    """An address of the web."""

    scheme: Literal["https", "http"] = Field(
        "https", description="Scheme of an address that has none, such as www.office.example"
    )


SIMPLE_CASTS = frozenset(
    {
        "text", "trim", "collapse", "html", "upper", "lower", "base64", "integer", "decimal",
        "date", "datetime", "epoch", "epoch_ms", "epoch_date", "epoch_ms_date",
        "duration", "boolean", "language", "country", "isced_f", "url",
    }
)  # fmt: skip
"""Casts without options, written ``as: name``."""


class Cast(OneOf):
    """A conversion with options. For a conversion without options, write its name alone."""

    simple: str | None = Field(None, description="The name of a cast without options")
    date: Words | None = Field(None, description='strptime formats, tried in order: "%d.%m.%Y"')
    partial: PickOne | None = Field(
        None, description="A date without its month or day: the first or the last possible day"
    )
    datetime: DateTime | None = Field(None, description="Date and time with formats and a zone")
    decimal: Literal[",", "."] | None = Field(
        None, description='The decimal mark: "," reads 7,5 and 1.234,5'
    )
    boolean: Boolean | None = Field(None, description="Words of the registry for yes and no")
    period: AnyPeriod | None = Field(
        None,
        description="A year and the code of a term: month and day of each code, "
        "such as {K: 06-01, S: 12-01}",
    )
    url: WebAddress | None = Field(None, description="An address whose scheme may be missing")
    split: SplitDate | None = Field(None, description="A date in three fields below from")
    html: Html | None = Field(None, description="Markup to text")
    match: str | None = Field(
        None,
        description="Regular expression (RE2) that must match the whole text; "
        "its one group is the value",
    )

    def model_post_init(self, context: Any, /) -> None:
        """Refuse an unknown cast, a format without a date, a wrong period and a bad pattern."""
        super().model_post_init(context)
        if self.simple is not None and self.simple not in SIMPLE_CASTS:
            raise ValueError(
                f"there is no cast {self.simple!r}; there are {', '.join(sorted(SIMPLE_CASTS))}"
            )
        for form in (*(self.date or ()), *(self.datetime.format if self.datetime else ())):
            if "%" not in form:
                raise ValueError(
                    f"{form!r} holds no part of a date; "
                    'write %d for the day, %m for the month, %Y for the year: "%d.%m.%Y"'
                )
        if self.match is not None:
            _validate_re2_pattern(self.match)


def _validate_re2_pattern(pattern: str) -> None:
    """Refuse a pattern that RE2 cannot compile.

    RE2 protects the gateway from slow patterns, because its time grows only with the text.
    """
    quiet = re2.Options()
    quiet.log_errors = False
    try:
        re2.compile(pattern, quiet)
    except re2.error:
        raise ValueError(
            "not a regular expression of RE2; check brackets, "
            "and write it without (?=, (?! and back references"
        ) from None


def _expand_cast_shorthand(value: object) -> object:
    return {"simple": value} if isinstance(value, str) else value


AnyCast = Annotated[Cast, BeforeValidator(_expand_cast_shorthand)]
Casts = Annotated[
    tuple[AnyCast, ...],
    BeforeValidator(
        lambda value: value if isinstance(value, list | tuple) else (value,),
        json_schema_input_type=AnyCast | list[AnyCast],
    ),
    Field(strict=False, min_length=1),
]
"""One cast, or several that follow one another."""


class Languages(ConfigModel):
    """A text in several languages, in any of the shapes that registries use.

    The gateway converts language codes to BCP 47, for example ``swe`` to ``sv``.
    """

    each: Expression | None = Field(
        None, description="Repeated elements or objects; language and text start at each of them"
    )
    language: Expression | None = Field(
        None,
        description="With each: the language, such as @xml:lang. "
        "With text: $name of a kept value, or a tag in quotes",
    )
    text: Expression | None = Field(None, description="With each: the text. Alone: the only text")
    object: Expression | None = Field(None, description="An object whose keys are the languages")
    fields: dict[str, Expression] = Field(
        {}, description="One expression for each language: {fi: nameFi, sv: nameSv}"
    )
    otherwise: str | None = Field(
        None,
        description="Language of texts without a language; "
        "without it, the gateway leaves such texts out with an issue",
    )

    def model_post_init(self, _context: Any, /) -> None:
        """Refuse a text without exactly one shape."""
        shapes = [
            bool(self.each),
            bool(self.object),
            bool(self.fields),
            bool(self.text) and not self.each,
        ]
        if sum(shapes) != 1:
            raise ValueError("give exactly one of each, object, fields, text")


def _expand_languages_shorthand(value: object) -> object:
    """Return ``{fields: {…}}`` for the short form ``{fi: EXPR, sv: EXPR}``."""
    if isinstance(value, dict) and value and not value.keys() & Languages.model_fields.keys():
        return {"fields": value}
    return value


AnyLanguages = Annotated[Languages, BeforeValidator(_expand_languages_shorthand)]


class MappingRule(ConfigModel, title="Rule"):
    """The rule that fills one target. A bare text means ``{from: text}``."""

    from_: Expression | None = Field(
        None,
        alias="from",
        description="The value; $name reads a value that the stream keeps around the record",
    )
    const: str | int | bool | OneOrMore[str] | None = Field(
        None, description="The same value for every record"
    )
    first_of: OneOrMore[AnyRule] | None = Field(
        None, description="The first of these rules that gives a value"
    )
    ordinal: Literal[True] | None = Field(
        None,
        description="For the id of parts without an id: the position of the part in its list",
    )
    when: When | None = Field(None, description="The rule applies only to records that fit")
    each: Expression | None = Field(
        None, description="A list with one item for each of these, which map fills"
    )
    map: dict[str, AnyRule] | None = Field(
        None,
        description="With each: rules for the targets of one item; expressions start at the item",
    )
    achieved: Achievements = Field(
        (),
        description="For parts: the condition that an achieved part fits; "
        "the gateway leaves other parts out with an issue",
    )
    join: OneOrMore[Expression] | dict[Identifier, Expression] | None = Field(
        None, description="Several texts, joined into one"
    )
    with_: str = Field(" ", alias="with", description="Text between joined texts")
    text: str | None = Field(
        None,
        description='With join of names: the pattern of the text, such as "{a}, {b}"; '
        "without one of the names there is no value",
    )
    languages: AnyLanguages | None = Field(None, description="A text in several languages")
    as_: Casts | None = Field(
        None,
        alias="as",
        description="Conversion, or a list of conversions, of which each one reads the result "
        "of the one before; the one for the target's type when left out",
    )
    table: Name | None = Field(
        None, description="Code table of this file or of mappings/<country>.yaml"
    )
    at: str | None = Field(
        None,
        description="Target with the date that selects the version of the table; "
        "the record's award date when left out",
    )
    default: Any = Field(
        None,
        description="Value for a missing value; "
        "the gateway does not use it for a value that it cannot read",
    )
    pick: PickOne | None = Field(
        None,
        description="The value to take when there are several, first or last; "
        "without it, several values are ambiguous, except for one country in several spellings",
    )
    framework: str | None = Field(
        None,
        description="For nqf_level: the framework of the level, a key of mappings/<country>.yaml",
    )
    pseudonym: str | None = Field(
        None,
        description="Kind of identifier; the gateway publishes only a keyed pseudonym, "
        "which is the same for equal identifiers of one kind",
    )
    basis: str | None = Field(
        None, description="Legal basis for publishing a personal value as it is"
    )
    invalid: Literal["reject", "drop"] = Field(
        "reject",
        description="For a value that the gateway cannot read: reject the record, "
        "or drop the value with an issue; without the key, "
        "an unknown code of a closed list and an unusable address are dropped",
    )

    def model_post_init(self, _context: Any, /) -> None:
        """Refuse a rule without exactly one source, or with options that contradict each other."""
        ways = {
            "from": self.from_,
            "const": self.const,
            "first_of": self.first_of,
            "each": self.each,
            "join": self.join,
            "languages": self.languages,
            "ordinal": self.ordinal,
        }
        given = [name for name, value in ways.items() if value is not None]
        split = self.split_date is not None
        if len(given) != 1 and not (split and not given):
            raise ValueError(
                f"give exactly one of {', '.join(ways)}; found {' and '.join(given) or 'none'}"
            )
        if (self.each is None) != (self.map is None):
            raise ValueError("each and map belong together")
        if self.achieved and self.each is None:
            raise ValueError("achieved needs each and map: it says which items are achieved")
        if not split and any(cast.split is not None for cast in self.as_ or ()):
            raise ValueError("split stands alone: it reads three fields and gives a date")
        if self.text is not None and not isinstance(self.join, dict):
            raise ValueError("text needs join with names: {a: EXPR, b: EXPR}")
        if self.pseudonym is not None and self.basis is not None:
            raise ValueError(
                "give either pseudonym or basis: "
                "the gateway publishes the value as a pseudonym or as it is"
            )

    @property
    def split_date(self) -> SplitDate | None:
        """The three fields of a date, if the conversion is ``split``."""
        return self.as_[0].split if self.as_ is not None and len(self.as_) == 1 else None


def _expand_rule_shorthand(value: object) -> object:
    return {"from": value} if isinstance(value, str) else value


AnyRule = Annotated[MappingRule, BeforeValidator(_expand_rule_shorthand)]
MappingRule.model_rebuild()

Rules = dict[str, AnyRule]


def pseudonym_kinds(rule: MappingRule) -> Iterator[str]:
    """Yield the kinds of identifier that a rule replaces by pseudonyms."""
    if rule.pseudonym:
        yield rule.pseudonym
    for inner in rule.first_of or ():
        yield from pseudonym_kinds(inner)


class LocalTable(ConfigModel):
    """A code table that only this connector uses."""

    map: dict[str, str | int | bool | None] = Field(
        description="Code of the registry to harmonised value; codes are always text"
    )
    unmapped: Annotated[
        Literal["reject", "null", "flag"],
        BeforeValidator(lambda value: "null" if value is None else value),
    ] = Field("reject", description="Treatment of a code that is not in the table")
    country: CountryCode | None = Field(
        None, description="Country, when it differs from the connector's"
    )


class RecordKind(ConfigModel, title="Kind"):
    """One kind of record, in a stream with several kinds."""

    map: Rules = Field(
        {}, description="Rules for this kind; they add to the stream's rules and override them"
    )
    emits: RecordType | None = Field(
        None, description="Type of these records, when it differs from the stream's emits"
    )
    achieved: Achievements = Field(
        (), description="The condition that an award fits, when it differs from the stream's"
    )
    skip: str | None = Field(
        None,
        description="Reason for not harmonising records of this kind; "
        "the gateway rejects them with this reason",
    )

    def model_post_init(self, _context: Any, /) -> None:
        """Refuse a kind with both rules and a reason to skip it."""
        if self.skip and self.map:
            raise ValueError("give either skip or map")
