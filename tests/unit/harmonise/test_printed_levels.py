"""Levels with the words that documents print around them, in each country's own language."""

from __future__ import annotations

from datetime import date

import pytest

from gateway.harmonise.tables.level_answers import NoLevel, NoLevelReason

ON = date(2024, 6, 1)


@pytest.mark.parametrize(
    ("country", "printed", "row"),
    [
        ("FR", "niveau 6 RNCP", "FR/CNCP/6"),
        ("FR", "Niveau RNCP 7", "FR/CNCP/7"),
        ("DE", "DQR-Niveau 6", "DE/DQR/6"),
        ("DE", "Niveau 7 des DQR", "DE/DQR/7"),
        ("IE", "NFQ Level 8", "IE/NFQ/8"),
        ("IE", "Level 10", "IE/NFQ/10"),
        ("UK-ENI", "Level 3 RQF", "UK-ENI/RQF/3"),
        ("UK-ENI", "RQF Level 5", "UK-ENI/RQF/5"),
        ("UK-ENI", "FHEQ Level 6", "UK-ENI/FHEQ/6"),
        ("UK-SCT", "SCQF Level 10", "UK-SCT/SCQF/10"),
        ("UK-WLS", "CQFW Lefel 4", "level_unknown"),
        ("UK-WLS", "FfCChC Lefel 4", "UK-WLS/CQFW/4"),
        ("NL", "NLQF-niveau 4+", "NL/NLQF/4+"),
        ("NL", "mbo niveau 4", "level_unknown"),
        ("AT", "NQR-Niveau 7", "AT/NQR/7"),
        ("BE-FL", "VKS-niveau 6", "BE-FL/VKS/6"),
        ("BE-FR", "niveau 6 du CFC", "BE-FR/CFC/6"),
        ("EE", "EKR 6. tase", "EE/EKR/6"),
        ("EE", "6. tase", "framework_required"),
        ("EE", "II tase", "EE/KUTSE-5/II"),
        ("PL", "poziom VI PRK", "PL/PRK/6"),
        ("PL", "VI poziom Polskiej Ramy Kwalifikacji", "PL/PRK/6"),
        ("LT", "VI lygis", "LT/LTKS/6"),
        ("LV", "LKI 6. līmenis", "LV/LKI/6"),
        ("LV", "6. līmenis", "framework_required"),
        ("GR", "επίπεδο 6 του ΕΠΠ", "GR/HQF/6"),
        ("GR", "Επίπεδο 6", "GR/HQF/6"),
        ("BG", "ниво 6 по НКР", "BG/NKR/6"),
        ("RS", "NOKS nivo 7.1", "RS/NOKS/7.1"),
        ("MK", "МРК ниво 6A", "MK/MRK/6A"),
        ("SE", "SeQF-nivå 6", "SE/SeQF/6"),
        ("NO", "nivå 6.1 i NKR", "NO/NKR/6.1"),
        ("DK", "niveau 5", "DK/NKR-DK/5"),
        ("FI", "vaativuustaso 6", "FI/FiNQF/6"),
        ("ES", "nivel 2 del MECES", "ES/MECES/2"),
        ("ES", "nivel 2", "framework_required"),
        ("PT", "nível 5 do QNQ", "PT/QNQ/5"),
        ("PT", "nível 5", "framework_required"),
        ("RO", "nivelul 6 CNC", "RO/CNC/6"),
        ("HU", "MKKR 6. szint", "HU/MKKR/6"),
        ("SI", "raven SOK 7", "SI/SOK/7"),
        ("SI", "SQF, level 10", "SI/SOK/10"),
        ("HR", "razina 7.2 HKO", "HR/HKO/7.2"),
        ("TR", "TYÇ SEVİYESİ 6", "TR/TYC/6"),
        ("UA", "7 рівень НРК", "UA/NRK/7"),
        ("UA", "7 рівень", "framework_required"),
        ("MT", "MQF/EQF level 5", "MT/MQF/5"),
        ("XK", "niveli 6 i KKK", "XK/NQF-KS/6"),
        ("EHEA", "Second cycle", "EHEA/QF-EHEA/second"),
        ("EHEA", "1st cycle", "EHEA/QF-EHEA/first"),
        ("AT", "NQR-Niveau VII", "AT/NQR/7"),
        ("NL", "NLQF 4+/EQF 4", "NL/NLQF/4+"),
        ("NL", "NLQF 4/EQF 5", "level_unknown"),
        ("PL", "na poziomie szóstym Polskiej Ramy Kwalifikacji", "PL/PRK/6"),
        ("UK-ENI", "RQF Entry Level 3", "UK-ENI/RQF/E3"),
        ("IE", "EQF Level 6", "level_unknown"),
    ],
)
def test_a_printed_level_is_the_level_of_its_row(tables, country, printed, row):
    found = tables.level(country, None, printed, ON)
    assert (found.row or str(getattr(found, "reason", ""))) == row


@pytest.mark.parametrize(
    ("country", "name", "key"),
    [
        ("FR", "Répertoire national des certifications professionnelles", "CNCP"),
        ("DE", "Deutscher Qualifikationsrahmen für lebenslanges Lernen", "DQR"),
        ("BG", "НКР", "NKR"),
        ("TR", "TYÇ", "TYC"),
        ("GR", "Εθνικό Πλαίσιο Προσόντων", "HQF"),
        ("PL", "PQF", "PRK"),
        ("UK-WLS", "Fframwaith Credydau a Chymwysterau Cymru", "CQFW"),
    ],
)
def test_a_framework_has_its_names_in_its_languages(tables, country, name, key):
    found = tables.level(country, name, "5", ON)
    assert found.framework == key
    assert found == tables.level(country, key, "5", ON)


def test_a_name_that_two_frameworks_share_is_decided_by_level_and_day(tables):
    """The French register held the levels of 1969 until 2019, and holds those of 2019 since."""
    for framework, text in (("RNCP", "V"), ("RNCP", "niveau V"), (None, "niveau V RNCP")):
        found = tables.level("FR", framework, text, date(2012, 6, 1))
        assert (found.row, found.eqf) == ("FR/RNCP-1969/V", 3)
    for day in (ON, None):
        for framework, text in (("RNCP", "5"), ("RNCP", "niveau 5"), (None, "niveau 5 RNCP")):
            found = tables.level("FR", framework, text, day)
            assert (found.row, found.eqf) == ("FR/CNCP/5", 5)


def test_every_declared_text_has_the_answer_of_its_level(tables):
    """Words around a level give what the level gives, or ask for the framework. Never more."""
    checked = 0
    for mapping in tables.mappings:
        for key, framework in mapping.frameworks.items():
            rows = [row for version in framework.versions for row in version.levels]
            for row in rows:
                expected = tables.level(mapping.country, key, row.level, ON)
                for words in framework.around:
                    text = words.replace("{level}", row.level)
                    found = tables.level(mapping.country, key, text, ON)
                    assert found == expected, (mapping.country, key, text)
                    alone = tables.level(mapping.country, None, text, ON)
                    assert (
                        alone == expected
                        or (
                            isinstance(alone, NoLevel)
                            and alone.reason is NoLevelReason.FRAMEWORK_REQUIRED
                        )
                        or getattr(expected, "reason", "") == "not_in_force"
                    ), (key, text)
                    checked += 1
    assert checked > 4000
