"""Results in ELMO 0.x, 1.x and 2.x are read, and the tables of the issuer's country judge them."""

from __future__ import annotations

import base64
import gzip
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import pytest
from lxml import etree
from typer.testing import CliRunner

from gateway.cli import app
from gateway.config.expressions.xpath_cost import xpath_cost
from gateway.harmonise.explanation import explain
from gateway.harmonise.harmoniser import Harmoniser
from gateway.harmonise.tables.compiled_tables import Tables
from gateway.records import Accepted, Outcome, RawRecord, Rejected, Withheld
from gateway.render.publication import publication
from tests.registries.edge.test_other_versions import V1, V2, emrex, post_elmo
from tests.support.saved_replies import REFERENCE, REGISTRIES

ROOT = Path(__file__).parents[3]
TABLES = Tables.load(ROOT / "mappings")
OLD = "http://purl.org/net/elmo"
LEARNER = (
    '<learner><identifier type="nationalIdentifier">T-1</identifier>'
    "<givenNames>Test</givenNames><familyName>Example</familyName>{}</learner>"
)
NAMES = '<alternativeName xml:lang="el">Τεστ Παράδειγμα</alternativeName><dateOfBirth>1990-01-01</dateOfBirth>'


def course(
    name: str = "C-1", *, more: str = "", date: str = "<date>2024-03-17</date>", part: str = ""
) -> str:
    return (
        f'<learningOpportunitySpecification><identifier type="local">{name}</identifier>'
        f'<title xml:lang="en">Course {name}</title><type>Course</type><specifies>'
        f"<learningOpportunityInstance>{date}<status>passed</status>{more}"
        f"</learningOpportunityInstance></specifies>{part}</learningOpportunitySpecification>"
    )


def level(kind: str, value: str) -> str:
    return f"<level><type>{kind}</type><value>{value}</value></level>"


def elmo(
    *content: str,
    country: str = "<country>NO</country>",
    namespace: str = V1,
    learner: str = "<bday>1990-01-01</bday>",
) -> str:
    return (
        f'<elmo xmlns="{namespace}"><generatedDate>2024-05-01T12:00:00+02:00</generatedDate>'
        f"{LEARNER.format(learner)}<report><issuer>{country}"
        '<identifier type="schac">college.example</identifier>'
        '<title xml:lang="nb">Eksempelskolen</title><title xml:lang="en">Example College</title>'
        f"<url>https://college.example</url></issuer>{''.join(content)}"
        "<issueDate>2024-05-01T12:00:00+02:00</issueDate></report></elmo>"
    )


def outcomes(document: str) -> dict[str, Outcome]:
    """Return the outcome of each record of a message that was sent to a real receiver, by title."""
    answer, stored = post_elmo(document)
    assert answer.status_code == 200, answer.text
    harmonise = Harmoniser(emrex(), TABLES, pseudonym_key=b"k" * 32)
    return {
        title(raw): publication(harmonise(raw), raw, harmonise.connector).outcome for raw in stored
    }


def title(raw: RawRecord) -> str:
    """Return the English title of a record."""
    root = etree.fromstring(raw.body or b"")
    return "".join(root.xpath("string(*[local-name() = 'title'][@xml:lang = 'en'])"))


def outcome(document: str) -> Outcome:
    (only,) = outcomes(document).values()
    return only


def accepted(found: Outcome) -> Accepted:
    assert isinstance(found, Accepted), found
    return found


def codes(found: Outcome) -> set[str]:
    return {issue.code for issue in accepted(found).provenance.issues} - {"sealing_required"}


# The country of the record


@pytest.mark.parametrize(("eqf", "row"), [("6", "NO/NKR/6"), ("7", "NO/NKR/7")])
@pytest.mark.parametrize(("namespace", "kind"), [(V1, "EQF"), (V2, "EQF"), (V1, "eqf")])
def test_a_declared_level_comes_from_the_table_of_the_issuers_country(namespace, kind, eqf, row):
    found = outcome(elmo(course(more=level(kind, eqf)), namespace=namespace))
    assert accepted(found).record.eqf_level == int(eqf)
    assert [lookup.row for lookup in found.provenance.lookups if lookup.field == "eqf_level"] == [
        row
    ]
    assert found.provenance.country == "NO"
    assert not codes(found)


def test_a_declared_level_before_the_framework_is_not_published():
    document = elmo(course(date="<date>2009-06-01</date>", more=level("EQF", "6")))
    found = outcome(document)
    assert accepted(found).record.eqf_level is None
    assert codes(found) == {"eqf_declared_unsupported"}


def test_a_country_without_tables_is_refused():
    found = outcome(elmo(course(), country="<country>BR</country>"))
    assert isinstance(found, Rejected)
    assert (found.reason, found.field) == ("country_without_tables", "record_country")
    assert "mappings/br.yaml" in found.detail


@pytest.mark.parametrize(
    "country",
    [
        "",
        "<country/>",
        "<country>NO</country><country>SE</country>",
        '<country type="ISO">NO</country><country type="ISO">SE</country>',
        '<country type="UN">578</country>',
    ],
)
def test_no_country_is_guessed(country):
    document = elmo(course(more=level("EQF", "6")), country=country)
    document = document.replace(
        'type="schac">', 'type="erasmus">N OSLO01</identifier><identifier type="schac">'
    )
    found = outcome(document)
    assert codes(found) == {"record_country_missing", "eqf_declared_unsupported"}
    assert accepted(found).record.eqf_level is None


@pytest.mark.parametrize(
    "country",
    [
        '<country type="ISO">NO</country><country type="UN">578</country>',
        "<country>NO</country><country>no</country>",
        "<country>no</country>",
    ],
)
def test_one_country_with_other_codes_counts(country):
    assert accepted(outcome(elmo(course(), country=country))).provenance.country == "NO"


def test_credits_of_the_country_are_kept_and_judged():
    credit = "<credit><scheme>hp</scheme><value>7.5</value></credit>"
    found = outcome(elmo(course(more=credit), country="<country>SE</country>"))
    assert str(accepted(found).record.credit_points) == "7.50"
    found = outcome(elmo(course(more=credit)))
    assert (accepted(found).record.credit_amount, found.record.credit_unit) == (
        pytest.approx(7.5),
        "hp",
    )
    assert codes(found) == {"credits_unit_unknown"}


# Levels of the type NQF


@pytest.mark.parametrize(
    ("country", "value", "framework", "eqf"),
    [
        ("NO", "6.1", "NKR", 6),
        ("PL", "VI", "PRK", 6),
        ("EE", "7", "EKR", 7),
        ("FR", "6", "CNCP", 6),
        ("SI", "8", "SOK", 7),
    ],
)
def test_a_national_level_is_read_in_the_issuers_country(country, value, framework, eqf):
    document = elmo(
        course(more=level("NQF", value)), country=f"<country>{country}</country>", namespace=V2
    )
    record = accepted(outcome(document)).record
    assert (record.nqf_framework, record.nqf_level, record.eqf_level) == (framework, value, eqf)


@pytest.mark.parametrize("country", ["ES", "es", "CH", "UA", "GB", "BE"])
def test_a_national_level_without_one_framework_is_not_guessed(country):
    document = elmo(course(more=level("NQF", "6")), country=f"<country>{country}</country>")
    assert accepted(outcome(document)).record.eqf_level is None


def test_levels_that_contradict_each_other_are_rejected():
    document = elmo(course(more=level("NQF", "6") + level("EQF", "7")))
    found = outcome(document)
    assert isinstance(found, Rejected)
    assert found.reason == "eqf_conflict"


def test_a_part_has_its_own_level():
    part = f"<hasPart>{course('C-2', more=level('EQF', '7'))}</hasPart>"
    record = accepted(outcome(elmo(course(more=level("EQF", "6"), part=part)))).record
    assert (record.eqf_level, [one.eqf_level for one in record.parts]) == (6, [7])


# What 2.x adds


@pytest.mark.parametrize("namespace", [V1, V2])
def test_the_learner_of_2_x_has_a_day_of_birth_and_an_alternative_name(namespace):
    holder = accepted(outcome(elmo(course(), namespace=namespace, learner=NAMES))).record.holder
    assert f"{holder.birth_date}" == "1990-01-01"
    assert (holder.given_name, holder.family_name) == ("Test", "Example")
    assert holder.full_name == "Τεστ Παράδειγμα"


def recognition(status: str, result: str, day: str = "2024-04-02") -> str:
    basis = course("Abroad")
    return (
        '<resultOfRecognition><title xml:lang="en">Recognition</title>'
        f"<status>{status}</status><decisionDate>{day}</decisionDate>"
        "<recognitionBasis><recognitionReport><issuer><country>SE</country>"
        '<identifier type="schac">abroad.example</identifier><title xml:lang="en">Abroad</title>'
        "<url>https://abroad.example</url>"
        f"</issuer>{basis}<issueDate>2024-01-01T12:00:00+01:00</issueDate></recognitionReport>"
        f"</recognitionBasis><recognitionResult>{result}</recognitionResult></resultOfRecognition>"
    )


@pytest.mark.parametrize("status", ["Positive", "Partially Positive"])
def test_a_recognised_course_is_a_result_of_the_institution_that_decided(status):
    document = elmo(course("Own"), recognition(status, course("Home", date="")), namespace=V2)
    found = outcomes(document)
    assert set(found) == {"Course Own", "Course Home"}  # not the course of the other institution
    record = accepted(found["Course Home"]).record
    assert f"{record.awarded_on}" == "2024-04-02"
    assert record.awarding_body.name == {"en": "Example College"}
    assert record.awarding_body.country == "NO"


def test_the_day_of_the_result_precedes_that_of_the_decision():
    found = outcome(elmo(recognition("Positive", course())))
    assert f"{accepted(found).record.awarded_on}" == "2024-03-17"


def test_a_negative_recognition_is_no_result():
    found = outcome(elmo(recognition("Negative", course(date=""))))
    assert isinstance(found, Withheld)
    assert found.reason == "not_achieved"


def test_a_status_that_elmo_does_not_have_is_rejected():
    found = outcome(elmo(recognition("Pending", course(date=""))))
    assert isinstance(found, Rejected)
    assert found.reason == "achievement_unknown"


# 0.x

OLD_DEGREE = (
    '<learningOpportunitySpecification><title xml:lang="fi">Tutkinto</title><title xml:lang="en">{0}</title>'
    "<type>Degree</type><qualification>{1}</qualification><credit><scheme>ECTS</scheme><value>180</value></credit>"
    '<level>BACHELOR</level><specifies><learningOpportunityInstance><date dtf="yyyy-MM-dd">2014-09-16</date>'
    "</learningOpportunityInstance></specifies><hasPart><learningOpportunitySpecification>"
    '<identifier type="local">M-1</identifier><title xml:lang="en">Module</title><type>Module</type>'
    "<credit><scheme>ECTS</scheme><value>5</value></credit><specifies><learningOpportunityInstance>"
    '<start dtf="yyyy-mm-dd">2013-01-15</start><result scheme="NO30">B</result></learningOpportunityInstance></specifies>'
    "</learningOpportunitySpecification></hasPart></learningOpportunitySpecification>"
)


def old_elmo(*degrees: str) -> str:
    issuers = [
        f'<issuer><identifier type="local">{number}</identifier><identifier type="Erasmus">{code}</identifier>'
        f'<title xml:lang="en">University {number}</title></issuer>'
        for number, code in (("185", "N OSLO01"), ("1005", "SF HELSINK01"))
    ]
    content = "".join(f"{issuer}{degree}" for issuer, degree in zip(issuers, degrees, strict=False))
    learner = LEARNER.format('<bday dtf="yyyy-MM-dd">1990-01-01</bday>')
    return (
        f'<elmo xmlns="{OLD}"><report>{learner}{content}'
        '<issueDate dtf="yyyy-MM-dd">2015-05-02</issueDate></report></elmo>'
    )


def test_a_degree_of_0_x_is_read_with_its_parts():
    identifier = (
        '<identifier type="local">MNB3</identifier><identifier type="elmo">8526</identifier>'
    )
    found = outcome(old_elmo(OLD_DEGREE.format("Bachelor", identifier)))
    record = accepted(found).record
    assert (record.kind, f"{record.awarded_on}", f"{record.credit_points}") == (
        "diploma",
        "2014-09-16",
        "180.00",
    )
    assert f"{record.holder.birth_date}" == "1990-01-01"
    assert [f"{part.credit_points}" for part in record.parts] == ["5.00"]
    assert record.parts[0].assessment.grade == "B"
    assert (record.awarding_body.country, record.awarding_body.identifiers["erasmus"]) == (
        "NO",
        "N OSLO01",
    )
    assert "record_country_missing" in codes(found)


def test_each_degree_of_0_x_has_the_issuer_before_it():
    found = outcomes(old_elmo(OLD_DEGREE.format("First", ""), OLD_DEGREE.format("Second", "")))
    assert {
        name: (one.record.awarding_body.name["en"], one.record.awarding_body.country)
        for name, one in found.items()
        if isinstance(one, Accepted)
    } == {"First": ("University 185", "NO"), "Second": ("University 1005", "FI")}


# The messages of this file


class LocalSchemas(etree.Resolver):
    """Finds the schemas that the schema of ELMO imports in the reference material."""

    FILES: ClassVar = {
        "xml.xsd": "registries/emrex-elmo/xml.xsd",
        "xmldsig-core-schema.xsd": "elmo-2.0/references/xmldsig-core-schema.xsd",
        "EUROPASS_ISOCountries_V1.1.xsd": "elmo-2.0/references/EUROPASS_ISOCountries_V1.1.xsd",
        "common-types.xsd": "registries/ewp/common-types.xsd",
        "schema.xsd": "registries/emrex-elmo/ewp-types-address.xsd",
    }

    def resolve(self, system_url, _public_id, context):
        name = system_url.rsplit("/", 1)[-1]
        if name in self.FILES and (system_url.startswith("http") or name == "common-types.xsd"):
            return self.resolve_filename(str(REFERENCE / self.FILES[name]), context)
        return None


@pytest.mark.reference
@pytest.mark.skipif(
    not REGISTRIES.is_dir(), reason=f"no reference material at {REFERENCE}; set GATEWAY_REFERENCE"
)
@pytest.mark.parametrize("learner", [NAMES, NAMES.partition("<dateOfBirth>")[0]])
def test_messages_of_this_file_are_valid_elmo_2_0(learner):
    parser = etree.XMLParser()
    parser.resolvers.add(LocalSchemas())
    schema = etree.XMLSchema(etree.parse(str(REFERENCE / "elmo-2.0/schema.xsd"), parser))
    part = f"<hasPart>{course('C-2', more=level('EQF', '7'))}</hasPart>"
    whole = course(more=level("EQF", "7") + level("NQF", "7"), part=part)
    recognised = recognition("Partially Positive", course("Home", date=""))
    schema.assertValid(etree.fromstring(elmo(whole, recognised, learner=learner).encode()))


def test_the_surroundings_of_a_result_are_read_without_counting_the_message():
    """A message holds many results, so an expression with a limit would count them for each one."""
    stream = emrex().streams["results"]
    expressions = [*stream.keep.values(), *stream.id]
    limits = {text: xpath_cost(text).element_limit for text in expressions}
    assert {text for text, limit in limits.items() if limit is not None} == set()


# What a person sees


def test_preview_and_explain_name_the_country_and_its_row(tmp_path: Path):
    document = elmo(course(more=level("EQF", "7")))
    sample = tmp_path / "results.xml"
    sample.write_text(document, encoding="utf-8")
    file = str(ROOT / "connectors/eu-emrex.yaml")
    preview = CliRunner().invoke(app, ["preview", file, "--sample", str(sample)]).output
    assert "country of the record: NO" in preview
    assert "eqf_level = 7" in preview
    assert "eqf_level from table NO/NKR: row NO/NKR/7" in preview
    page = explained(document)
    assert "country     NO, from $issuer_country" in page
    assert "table row   NO/NKR/7" in page
    assert "country     none with tables, from $issuer_country" in explained(
        document.replace("<country>NO", "<country>BR")
    )
    assert "country     not known, so EU applies: $issuer_country names no single country" in (
        explained(document.replace("<country>NO", "<country>Norway"))
    )


def explained(document: str) -> str:
    _, (raw,) = post_elmo(document)
    harmonise = Harmoniser(emrex(), TABLES, pseudonym_key=b"k" * 32)
    return explain(harmonise.connector, raw, harmonise(raw), tables=TABLES).to_text()


@pytest.mark.parametrize(
    "wrap",
    [
        lambda data: data,
        base64.b64encode,
        base64.encodebytes,
        gzip.compress,
        lambda data: base64.b64encode(gzip.compress(data)),
    ],
)
def test_preview_reads_a_document_as_the_form_carries_it(
    tmp_path: Path, wrap: Callable[[bytes], bytes]
):
    sample = tmp_path / "results.b64"
    sample.write_bytes(wrap(elmo(course(more=level("EQF", "7"))).encode()))
    file = str(ROOT / "connectors/eu-emrex.yaml")
    assert (
        "eqf_level = 7"
        in CliRunner().invoke(app, ["preview", file, "--sample", str(sample)]).output
    )


def test_preview_says_where_a_namespace_of_another_version_goes(tmp_path: Path):
    sample = tmp_path / "results.xml"
    sample.write_text(elmo(course()).replace("tree/v1", "tree/v3"), encoding="utf-8")
    file = str(ROOT / "connectors/eu-emrex.yaml")
    result = CliRunner().invoke(app, ["preview", file, "--sample", str(sample)])
    output = f"{result.output} {result.exception}"
    assert "add its namespace under `namespace_versions`" in " ".join(output.split())


def test_preview_says_that_no_row_decides(tmp_path: Path):
    credit = "<credit><scheme>xyz</scheme><value>3</value></credit>"
    sample = tmp_path / "results.xml"
    sample.write_text(elmo(course(more=credit)), encoding="utf-8")
    file = str(ROOT / "connectors/eu-emrex.yaml")
    output = CliRunner().invoke(app, ["preview", file, "--sample", str(sample)]).output
    assert "credit_points from table NO/credits: no row decides" in output
