"""Check that an explanation shows the quality assurance of an award."""

from __future__ import annotations

from datetime import date
from pathlib import Path

from gateway.config.loading import load_connector
from gateway.harmonise.providers import Providers
from gateway.harmonise.tables.compiled_tables import Tables
from gateway.operations.explain import explain_record
from gateway.records import Organisation, Provider, QualityReport, RawRecord

ROOT = Path(__file__).parents[3]
AWARD = """<v:Opintosuoritus xmlns:v="urn:mace:funet.fi:virta/2015/09/01" avain="77" \
opiskelijaAvain="5" koulutusmoduulitunniste="X"><v:SuoritusPvm>2022-05-31</v:SuoritusPvm>\
<v:Laajuus><v:Opintopiste>210</v:Opintopiste></v:Laajuus><v:Arvosana><v:Hyvaksytty>HYV\
</v:Hyvaksytty></v:Arvosana><v:Myontaja>10076</v:Myontaja><v:Laji>1</v:Laji>\
<v:Nimi kieli="fi">Insinööri</v:Nimi><v:Koulutuskoodi>671101</v:Koulutuskoodi></v:Opintosuoritus>"""
AALTO = Provider(
    id="10",
    organisation=Organisation(country="FI", identifiers={"fi-national": "10076"}),
    reports=(
        QualityReport(
            id="900",
            agency="XQA",
            obligatory=True,
            valid_from=date(2020, 1, 1),
            permalink="https://qa.example/900",
        ),
    ),
)


def page(providers: Providers | None) -> str:
    connector = load_connector(ROOT / "connectors" / "fi-virta.yaml")
    raw = RawRecord(
        connector="fi-virta",
        stream="achievements",
        native_id="10076/77",
        body=AWARD.encode(),
        media_type="application/xml",
        context={"national_number": "010190-901A"},
    )
    tables = Tables.load(ROOT / "mappings")
    return explain_record(connector, raw, tables, providers=providers).to_text()


def test_page_shows_outcome_report_permalink_and_day():
    text = page(Providers([AALTO]))
    section = text[text.index("Quality assurance") :]
    for part in ("INSTITUTION_ACCREDITED", "900 of XQA", "https://qa.example/900", "2022-05-31"):
        assert part in section
    assert "not known" in section, "nothing is known about a charter"


def test_page_without_registers_claims_nothing():
    section = page(None).partition("Quality assurance")[2]
    assert "not assessed" in section
    assert "UNKNOWN_PROVIDER" not in section


def test_page_shows_the_list_that_names_the_institution():
    text = page(Providers())
    assert "UNKNOWN_PROVIDER" in text
    assert "Statistics Finland" in text
    assert "Aalto-yliopisto" in text
