"""Describe ``mappings/<country>.yaml``: frameworks, credit units, grading scales and code tables.

Every row, or the version it belongs to, states these facts:

- who states it (``sources``),
- how it relates to the EQF (``relation``),
- how certain the reading is (``confidence``),
- the first and last day on which it holds.

A level is text. The gateway never shortens it.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from gateway.config.mapping_values import Hours, Ratio, ReferencingYears, Uri
from gateway.config.table_sources import (
    Source,
    Sourced,
    Text,
    check_source_names,
    resolve_sources,
)
from gateway.config.types import ConfigModel, Day, Name, OneOrMore, text_matching
from gateway.config.validation import validate_document
from gateway.config.yaml.document import YamlDocument, read_yaml
from gateway.errors import ConfigError, Finding

Relation = Literal[
    "referenced",
    "referenced_sublevel",
    "law",
    "historic",
    "legacy",
    "split",
    "below_eqf",
    "unused",
    "indirect",
    "not_referenced",
    "comparison",
]
"""The relation of a national level to the EQF."""
RELATIONS_WITH_LEVEL: frozenset[str] = frozenset(
    {"referenced", "referenced_sublevel", "law", "historic", "legacy"}
)
"""Relations that let a row state an EQF level. Under all others a row states none."""
Confidence = Literal["verified", "known", "unsure"]
"""How certain a row is.

- ``verified``: a person read the source.
- ``known``: the fact is widely documented.
- ``unsure``: a person still has to check it. Such a row never states anything.
"""
Sector = Literal["HE", "VET", "GEN", "ALL"]
Conversion = Literal["identity", "fixed_ratio", "by_hours_only", "institutional", "not_convertible"]
LevelText = Annotated[
    str, text_matching(r"^\S(.*\S)?$", "a level is written without a blank before or behind it", 40)
]
LevelWords = Annotated[
    str,
    text_matching(
        r"^([^{}\s][^{}]*\{level\}([^{}]*[^{}\s])?|\{level\}[^{}]*[^{}\s])$",
        "words around a level hold {level} once and at least one word, such as 'NFQ Level {level}'",
        120,
    ),
]
System = Annotated[
    str,
    text_matching(
        r"^([A-Z]{2}(-[A-Z]{2,4})?|EHEA)$",
        "a system is a country's two capital letters, with a part of it: BE-VLG; or EU or EHEA",
    ),
]


class ValidityPeriod(ConfigModel, title="Dated"):
    """A period with both days included. A missing day means no limit."""

    from_: Day | None = Field(None, alias="from", description="First day of the period")
    until: Day | None = Field(None, description="Last day of the period")

    def model_post_init(self, _context: Any, /) -> None:
        """Refuse a last day before the first."""
        if self.from_ and self.until and self.until < self.from_:
            raise ValueError(f"until {self.until} is before from {self.from_}; swap them")


class StartedPeriod(ValidityPeriod, title="Started"):
    """A period that has a first day, or says why it has none and from which day it may issue."""

    undated: Text | None = Field(
        None, description="Why no first day can be had; give `safe_from` with it"
    )
    safe_from: Day | None = Field(
        None, description="First day on which it may issue; for a period without a first day"
    )

    @property
    def first_safe_day(self) -> date | None:
        """The first day, or without one the first day on which it may issue."""
        return self.from_ or self.safe_from

    @property
    def undated_remark(self) -> str:
        """Why there is no first day, and the day from which it may issue."""
        if self.from_ or not self.undated:
            return ""
        return f"not known ({self.undated}); used from {self.safe_from or 'any day'}"


class NationalLevel(ValidityPeriod, Sourced, title="Level"):
    """One national level. Its version supplies the facts that it leaves out."""

    level: LevelText = Field(description="Exactly as documents write it, in quotes")
    eqf: Annotated[int, Field(ge=1, le=8)] | None = Field(
        None, description="EQF level; left out when the row may state none"
    )
    hint: str | None = Field(None, description="For people only; never published")
    also: OneOrMore[LevelText] = Field((), description="Other spellings of the same level")
    uri: Uri | None = Field(None, description="Concept of the EU's list of national levels")
    cycle: Literal["short", "first", "second", "third"] | None = Field(
        None, description="QF-EHEA cycle that the main award completes; for information only"
    )
    awards: str | None = None
    note: str | None = None
    relation: Relation | None = None
    referenced: ReferencingYears | None = None
    dates: Literal["verified", "approx"] | None = None
    confidence: Confidence | None = None


class FrameworkVersion(StartedPeriod, Sourced, title="Version"):
    """One version of a framework: the levels that hold in one period."""

    version: str | None = Field(
        None, description="Label of the version; the first day when left out"
    )
    dates: Literal["verified", "approx"] | None = Field(
        None, description="Whether the days come from a source or are approximate"
    )
    relation: Relation = Field(description="Relation of its levels to the EQF")
    referenced: ReferencingYears | None = Field(
        None, description="Year of the referencing, or several years"
    )
    confidence: Confidence
    levels: OneOrMore[NationalLevel] = Field(min_length=1)


class Framework(ConfigModel):
    """A national framework or an older national scale."""

    name: Text
    also: OneOrMore[Text] = Field(
        (), description="Its other names and short names, in all languages; case does not matter"
    )
    around: OneOrMore[LevelWords] = Field(
        (),
        description="Words that documents write around a level, with {level} for the level; "
        "case does not matter",
    )
    uri: Uri | None = None
    note: str | None = None
    versions: OneOrMore[FrameworkVersion] = Field(min_length=1)


class CreditUnit(StartedPeriod, Sourced):
    """A unit of credit, and its value in ECTS if it has one."""

    unit: Text = Field(description="Key of the unit, unique in the file")
    also: OneOrMore[Text] = Field(
        (),
        description="Names that documents use; when units share a name, "
        "the sector, the day or the credits of a year decide",
    )
    system: Text
    sector: Sector
    ects: Ratio | None = Field(None, description="ECTS credits for one unit, exact")
    conversion: Conversion
    hours: OneOrMore[Hours] = Field((), description="Least and most hours of work for one unit")
    per_year: str | None = Field(None, description="Units of one full-time year")
    act: Text | None = Field(
        None,
        description="Act that grants ECTS credits outside higher education; "
        "without it a row of VET or GEN gives no ECTS value",
    )
    eqf: OneOrMore[Annotated[int, Field(ge=1, le=8)]] = Field(
        (), description="EQF levels to which the act is limited; all levels when left out"
    )
    framework: Literal["ECVET"] | None = Field(
        None, description="European credit framework of a unit that is not ECTS"
    )
    note: str | None = None
    confidence: Confidence

    def model_post_init(self, context: Any, /) -> None:
        """Refuse a ratio that the conversion cannot use, and an incomplete range of hours."""
        super().model_post_init(context)
        if (self.ects is None) == (self.conversion in {"identity", "fixed_ratio"}):
            raise ValueError(
                "give ects with identity and fixed_ratio, and with nothing else; "
                f"conversion is {self.conversion}"
            )
        if len(self.hours) not in {0, 2} or (self.hours and self.hours[0] > self.hours[1]):
            raise ValueError("give hours as [least, most]")


class GradingScale(Sourced):
    """A grading scale, to check and show a grade. The gateway never converts grades."""

    scale: Text
    sector: Sector
    best: str | None = None
    worst: str | None = None
    passes: str | None = Field(None, alias="pass")
    direction: Literal["higher_better", "lower_better", "ordinal", "table"]
    values: OneOrMore[str] = ()
    note: str | None = None
    confidence: Confidence


class CodeVersion(ValidityPeriod, Sourced):
    """A code table as it holds in one period."""

    map: dict[str, str | int | bool | None] = Field(description="Code to value; codes are text")


class CodeTable(ConfigModel):
    """A list of codes that a country or the EU maintains."""

    name: Text
    versions: OneOrMore[CodeVersion] = Field(min_length=1)


NationalScheme = Annotated[
    str,
    text_matching(
        r"^[a-z]{2}-[a-z0-9][a-z0-9-]*$", "a national scheme is like fi-national or nl-brin"
    ),
]


class InstitutionRow(ValidityPeriod, Sourced, title="Institution"):
    """The institution that a national number names in one period."""

    number: Text
    name: dict[str, Text] = Field(min_length=1, description="Legal name by language")
    identifiers: dict[str, Text] = Field(
        {}, description="Its other identifiers by scheme, such as pic, erasmus, oid, ror"
    )

    def covers(self, day: date) -> bool:
        """Return whether the row holds on a day."""
        return (not self.from_ or self.from_ <= day) and (not self.until or day <= self.until)


class InstitutionList(Sourced):
    """The institutions of a country by a national number, as a source listed them on a day."""

    scheme: NationalScheme = Field(
        description="Scheme of the numbers: the country in lower case, a hyphen and a word"
    )
    name: Text
    as_of: Day = Field(description="Day on which the source was read")
    rows: OneOrMore[InstitutionRow] = Field(
        min_length=1, description="Several rows for a number when its name changed"
    )


def _several(value: object) -> object:
    return (value,) if isinstance(value, str) else value


IscedFields = Annotated[
    OneOrMore[
        Annotated[
            str,
            text_matching(
                r"^[0-9]{2,4}$", "an ISCED-F field has 2, 3 or 4 digits, in quotes, such as '0715'"
            ),
        ]
    ],
    BeforeValidator(_several),
    Field(min_length=1),
]


class CrosswalkVersion(ValidityPeriod, Sourced):
    """One edition of a national classification of fields, with the ISCED-F field of each code."""

    version: Text = Field(description="Edition of the classification, as its publisher names it")
    as_of: Day = Field(description="Day on which the source was read")
    rows: dict[str, IscedFields] = Field(
        min_length=1,
        description="National code to ISCED-F field; several fields mean that the publisher "
        "states several, so the code gives none",
    )


class Crosswalk(ConfigModel):
    """A national classification of fields of education, and its relation to ISCED-F."""

    name: Text
    note: str | None = None
    unmapped: Annotated[
        Literal["flag", "null"],
        BeforeValidator(lambda value: "null" if value is None else value),
    ] = Field(
        "flag",
        description="Treatment of a code without a row: an issue, "
        "or null for a list that does not name every code",
    )
    versions: OneOrMore[CrosswalkVersion] = Field(min_length=1)


class Mapping(ConfigModel):
    """One file, for a country, for a part of a country with its own framework, or for the EU."""

    country: System
    name: Text
    also: OneOrMore[System] = Field((), description="Other codes for the same system")
    bare_numbers: Literal["framework_required"] | None = Field(
        None,
        description="framework_required: a number without a framework is ambiguous, "
        "so the gateway rejects it",
    )
    outside_eqf_since: Day | None = Field(
        None,
        description="Day since which the country takes no part in the EQF; every answer says so",
    )
    note: str | None = None
    sources: dict[Name, Source] = Field(
        default_factory=dict, description="The sources of the file, by the name that rows use"
    )
    frameworks: dict[str, Framework] = Field(default_factory=dict)
    credits: OneOrMore[CreditUnit] = ()
    grading: OneOrMore[GradingScale] = ()
    codes: dict[str, CodeTable] = Field(default_factory=dict)
    fields: dict[Name, Crosswalk] = Field(
        default_factory=dict,
        description="National classifications of fields, by the name that `table` of a rule uses",
    )
    institutions: OneOrMore[InstitutionList] = Field(
        (), description="Institutions by national number, where no register of providers has them"
    )

    def sources_of(self, *owners: Sourced) -> tuple[Source, ...]:
        """Return the sources of the first owner that names any: a row before its version."""
        return resolve_sources(self.sources, *owners)


def read_mapping(path: Path | str) -> tuple[Mapping | None, YamlDocument, list[Finding]]:
    """Return the mapping of a file, its document and the findings.

    The mapping is ``None`` when the model refuses the file.
    """
    document = read_yaml(path)
    if any(finding.severity == "error" for finding in document.findings):
        return None, document, list(document.findings)
    mapping, findings = validate_document(Mapping, document)
    if mapping:
        findings += check_source_names(mapping, mapping.sources, document)
    return mapping, document, [*document.findings, *findings]


def mapping_files(directory: Path | str) -> Iterator[Path]:
    """Yield the mapping files of a directory, in the order of their names."""
    yield from sorted(Path(directory).glob("*.yaml"))


def load_mappings(directory: Path | str) -> dict[Path, Mapping]:
    """Return the mapping of every file of a directory.

    Raises :class:`~gateway.errors.ConfigError` with all errors.
    """
    mappings: dict[Path, Mapping] = {}
    findings: list[Finding] = []
    for path in mapping_files(directory):
        mapping, _, file_findings = read_mapping(path)
        findings += [finding for finding in file_findings if finding.severity == "error"]
        if mapping:
            mappings[path] = mapping
    if not mappings and not findings:
        findings = [
            Finding(
                str(directory),
                0,
                0,
                "no-mappings",
                "",
                "holds no *.yaml; set GATEWAY_MAPPINGS to the directory of mapping tables",
            )
        ]
    if findings:
        raise ConfigError(findings)
    return mappings
