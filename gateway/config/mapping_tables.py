"""What ``mappings/<country>.yaml`` may say: frameworks with dated versions, credit units, grading scales and code tables.

Every row carries, itself or through its version, who states it (``source``), how it is tied to the EQF (``relation``), how sure the
reading is (``confidence``) and from when to when it holds. A level is text and is never shortened.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, StringConstraints, WithJsonSchema

from gateway.config.types import ConfigModel, Day, OneOrMore, text_matching
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
"""How a national level is tied to the EQF."""
RELATIONS_WITH_LEVEL: frozenset[str] = frozenset(
    {"referenced", "referenced_sublevel", "law", "historic", "legacy"}
)
"""Relations under which a row may state an EQF level; under every other one it states none."""
Confidence = Literal["verified", "known", "unsure"]
"""A source was read; widely documented; to be checked: a row of the last kind never states anything."""
Sector = Literal["HE", "VET", "GEN", "ALL"]
Conversion = Literal["identity", "fixed_ratio", "by_hours_only", "institutional", "not_convertible"]
MAX_ECTS_RATIO = 100
"""No unit of credit is worth more than a year and a half of study."""
QDR_BASE_URI = "http://data.europa.eu/snb/qdr/"


def _ratio(value: object) -> Fraction:
    try:
        made = Fraction(str(value))
    except (ValueError, ZeroDivisionError):
        made = Fraction(0)
    if not 0 < made <= MAX_ECTS_RATIO:
        raise ValueError(
            f"expected a number above 0, at most {MAX_ECTS_RATIO}, or a fraction in quotes, such as 1, 1.5 or '10/7'"
        )
    return made


def _number(value: object) -> Fraction:
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise ValueError("expected a number of hours, such as 25 or 26.67")  # noqa: TRY004 - pydantic reports ValueError
    return Fraction(str(value))


def _uri(value: object) -> str:
    text = str(value)
    if text.startswith("c_"):
        return QDR_BASE_URI + text
    if text.startswith(("http://", "https://")):
        return text
    raise ValueError(
        "expected c_ and eight hexadecimal digits (an id of the EU vocabulary) or a whole URI"
    )


Ratio = Annotated[
    Fraction,
    BeforeValidator(_ratio),
    WithJsonSchema({"type": ["number", "string"], "examples": [1, 1.5, "10/7"]}),
]
Hours = Annotated[Fraction, BeforeValidator(_number), WithJsonSchema({"type": "number"})]
Uri = Annotated[
    str, BeforeValidator(_uri), WithJsonSchema({"type": "string", "examples": ["c_218a7e54"]})
]
Text = Annotated[str, StringConstraints(min_length=1)]
LevelText = Annotated[
    str, text_matching(r"^\S(.*\S)?$", "a level is written without a blank before or behind it", 40)
]
System = Annotated[
    str,
    text_matching(
        r"^([A-Z]{2}(-[A-Z]{2,4})?|EHEA)$",
        "a system is a country's two capital letters, with a part of it: BE-VLG; or EU or EHEA",
    ),
]


class ValidityPeriod(ConfigModel, title="Dated"):
    """Something that holds from a day to a day, both included; no day: without a limit."""

    from_: Day | None = Field(None, alias="from", description="First day it holds")
    until: Day | None = Field(None, description="Last day it holds")

    def model_post_init(self, _context: Any, /) -> None:
        """Refuse a last day before the first."""
        if self.from_ and self.until and self.until < self.from_:
            raise ValueError(f"until {self.until} is before from {self.from_}; swap them")


class NationalLevel(ValidityPeriod, title="Level"):
    """One national level. What it does not say, its version says."""

    level: LevelText = Field(description="Exactly as documents write it, in quotes")
    eqf: Annotated[int, Field(ge=1, le=8)] | None = Field(
        None, description="EQF level; left out when none may be stated"
    )
    hint: str | None = Field(None, description="For people only; never published")
    also: OneOrMore[LevelText] = Field((), description="Other spellings of the same level")
    uri: Uri | None = Field(None, description="Concept of the EU's list of national levels")
    cycle: Literal["short", "first", "second", "third"] | None = Field(
        None, description="QF-EHEA cycle the main award completes; no consequence"
    )
    awards: str | None = None
    note: str | None = None
    relation: Relation | None = None
    referenced: int | None = None
    dates: Literal["verified", "approx"] | None = None
    confidence: Confidence | None = None
    source: Text | None = None


class FrameworkVersion(ValidityPeriod, title="Version"):
    """One version of a framework: a set of levels that held together."""

    version: str | None = Field(None, description="Its label; the first day when left out")
    dates: Literal["verified", "approx"] | None = Field(
        None, description="Whether the days were read or are about right"
    )
    relation: Relation = Field(description="How its levels are tied to the EQF")
    referenced: int | None = Field(None, description="Year of the referencing")
    confidence: Confidence
    source: Text | None = Field(None, description="Who states it: the law, the report, the page")
    levels: OneOrMore[NationalLevel] = Field(min_length=1)


class Framework(ConfigModel):
    """A national framework or an older national scale."""

    name: Text
    uri: Uri | None = None
    note: str | None = None
    versions: OneOrMore[FrameworkVersion] = Field(min_length=1)


class CreditUnit(ValidityPeriod):
    """A unit of credit and what it is worth in ECTS, if anything."""

    unit: Text = Field(description="Its key: unique in the file")
    also: OneOrMore[Text] = Field(
        (),
        description="Names documents use; units may share one, then sector, day or credits a year decide",
    )
    system: Text
    sector: Sector
    ects: Ratio | None = Field(None, description="ECTS credits for one unit, exact")
    conversion: Conversion
    hours: OneOrMore[Hours] = Field((), description="Least and most hours of work for one unit")
    per_year: str | None = Field(None, description="Units of one full-time year")
    note: str | None = None
    confidence: Confidence
    source: Text

    def model_post_init(self, context: Any, /) -> None:
        """Refuse a rate that cannot be used and half an hour range."""
        super().model_post_init(context)
        if (self.ects is None) == (self.conversion in {"identity", "fixed_ratio"}):
            raise ValueError(
                f"give ects with identity and fixed_ratio, and with nothing else; conversion is {self.conversion}"
            )
        if len(self.hours) not in {0, 2} or (self.hours and self.hours[0] > self.hours[1]):
            raise ValueError("give hours as [least, most]")


class GradingScale(ConfigModel):
    """A grading scale, for checking and showing a grade; grades are never converted."""

    scale: Text
    sector: Sector
    best: str | None = None
    worst: str | None = None
    passes: str | None = Field(None, alias="pass")
    direction: Literal["higher_better", "lower_better", "ordinal", "table"]
    values: OneOrMore[str] = ()
    note: str | None = None
    confidence: Confidence
    source: Text


class CodeVersion(ValidityPeriod):
    """A code table as it holds from a day to a day."""

    source: Text
    map: dict[str, str | int | bool | None] = Field(description="Code to value; codes are text")


class CodeTable(ConfigModel):
    """A list of codes a country or the EU maintains."""

    name: Text
    versions: OneOrMore[CodeVersion] = Field(min_length=1)


class Mapping(ConfigModel):
    """One file: a country, a part of a country with its own framework, or the EU."""

    country: System
    name: Text
    also: OneOrMore[System] = Field((), description="Other codes for the same system")
    bare_numbers: Literal["framework_required"] | None = Field(
        None,
        description="framework_required: a number without a framework is ambiguous here and rejected",
    )
    note: str | None = None
    frameworks: dict[str, Framework] = Field(default_factory=dict)
    credits: OneOrMore[CreditUnit] = ()
    grading: OneOrMore[GradingScale] = ()
    codes: dict[str, CodeTable] = Field(default_factory=dict)


def read_mapping(path: Path | str) -> tuple[Mapping | None, YamlDocument, list[Finding]]:
    """Read one file; the mapping is ``None`` when the findings say why."""
    document = read_yaml(path)
    if any(finding.severity == "error" for finding in document.findings):
        return None, document, list(document.findings)
    mapping, findings = validate_document(Mapping, document)
    return mapping, document, [*document.findings, *findings]


def mapping_files(directory: Path | str) -> Iterator[Path]:
    """Yield the mapping files of a directory, in order of their names."""
    yield from sorted(Path(directory).glob("*.yaml"))


def load_mappings(directory: Path | str) -> dict[Path, Mapping]:
    """Read every file of a directory; raises :class:`~gateway.errors.ConfigError` with all findings."""
    found: dict[Path, Mapping] = {}
    findings: list[Finding] = []
    for path in mapping_files(directory):
        mapping, _, said = read_mapping(path)
        findings += [finding for finding in said if finding.severity == "error"]
        if mapping:
            found[path] = mapping
    if not found and not findings:
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
    return found
