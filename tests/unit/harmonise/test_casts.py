"""Check that a cast reads a value strictly or refuses it."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config.rules import Boolean, Cast, DateTime, Html
from gateway.harmonise.values import casts
from gateway.harmonise.values.text import CastError


def cast(rule: object, value: object, zone: str = "UTC") -> object:
    return casts.compile_cast(
        Cast.model_validate({"simple": rule} if isinstance(rule, str) else rule), zone
    )(value)


@pytest.mark.parametrize(
    ("rule", "value", "expected"),
    [
        ("date", "2026-02-28", date(2026, 2, 28)),
        ("date", "2014-09-01Z", date(2014, 9, 1)),
        ("date", "2014-09-01+02:00", date(2014, 9, 1)),
        ("date", "2019-12-31T23:30:00+01:00", date(2019, 12, 31)),
        ({"date": ["%d.%m.%Y", "%d/%m/%Y"]}, "31/08/2023", date(2023, 8, 31)),
        ({"date": "%d.%m.%Y."}, "20.02.2018.", date(2018, 2, 20)),
        ({"date": "%Y%m%d"}, "20180220", date(2018, 2, 20)),
        ({"partial": "first"}, "2015", date(2015, 1, 1)),
        ({"partial": "last"}, "2015-02", date(2015, 2, 28)),
        ({"period": {"K": "06-01", "S": "12-01"}}, "2010K", date(2010, 6, 1)),
        ("epoch_ms_date", 1209589200000, date(2008, 4, 30)),
        ("epoch_ms", 1209589200000, datetime(2008, 4, 30, 21, tzinfo=UTC)),
        ("epoch", "0", datetime(1970, 1, 1, tzinfo=UTC)),
        (
            "datetime",
            "2026-02-28T12:00:00.123456789Z",
            datetime(2026, 2, 28, 12, 0, 0, 123456, UTC),
        ),
        (
            {"datetime": DateTime(format=("%d.%m.%Y %H:%M",), zone="Europe/Tallinn")},
            "01.07.2024 12:00",
            datetime(2024, 7, 1, 9, tzinfo=UTC),
        ),
        ("decimal", 9.2857, Decimal("9.2857")),
        ({"decimal": ","}, "1.234,5", Decimal("1234.5")),
        ({"decimal": ","}, "1 234,5", Decimal("1234.5")),
        ("integer", "007", 7),
        ("boolean", "1", True),
        ({"boolean": Boolean(true=("Oui", "Tak"), false=("Non",))}, "tak", True),
        ("language", "swe", "sv"),
        ("language", "sv_FI", "sv-FI"),
        ("language", "no", "nb"),
        ("language", "ger", "de"),
        ("country", "GRC", "GR"),
        ("country", "EL", "GR"),
        ("duration", "P1Y6M", 18),
        ("collapse", " a \n  b ", "a b"),
        (
            {"html": Html()},
            "<p>One &amp; <b>two</b></p><p>three</p><script>x</script>",
            "One & two\nthree",
        ),
        ({"match": r"RNCP(\d+)"}, "RNCP509", "509"),
        ("text", "e\u0301", "\u00e9"),
        ("text", 6, "6"),
    ],
)
def test_cast_reads_valid_values(rule: object, value: object, expected: object) -> None:
    assert cast(rule, value) == expected


@pytest.mark.parametrize(
    ("rule", "value", "reason"),
    [
        ("date", "2024-02-30", "not_a_date"),
        ("date", "2024-2-3", "not_a_date"),
        ("date", "٢٠٢٤-٠١-٠١", "not_a_date"),
        ({"date": "%d.%m.%Y"}, "٠١.٠١.٢٠٢٤", "not_a_date"),
        ({"date": "%d.%m.%Y"}, "30.02.2024", "not_a_date"),
        ({"date": "%d %B %Y"}, "٠١ May 2024", "not_a_date"),
        ("datetime", "2024-01-01T25:00:00Z", "not_a_datetime"),
        ("decimal", "NaN", "not_a_number"),
        ("decimal", float("nan"), "not_a_number"),
        ("decimal", float("inf"), "not_a_number"),
        ("decimal", "1e5", "not_a_number"),
        ("decimal", Decimal("1e-999999999"), "not_a_number"),
        ("decimal", Decimal("1e999999999"), "not_a_number"),
        ("decimal", Decimal("0e-999999999"), "not_a_number"),
        ("decimal", Decimal("1." + "0" * 200_000 + "1"), "not_a_number"),
        ("decimal", Decimal("sNaN"), "not_a_number"),
        ("decimal", "٣", "not_a_number"),
        ("decimal", "7,5", "not_a_number"),
        ("decimal", True, "not_a_number"),
        ({"decimal": ","}, "1,234.5", "not_a_number"),
        ("integer", "1.5", "not_a_number"),
        ("integer", "١", "not_a_number"),
        ("boolean", "yes", "not_boolean"),
        ("text", "a\u202eb", "control_character"),
        ("text", "a\x00b", "control_character"),
        ("text", True, "not_text"),
        ("text", {"a": 1}, "not_one_value"),
        ("language", "xx", "not_a_language"),
        ("country", "ZZ", "not_a_country"),
        ({"period": {"K": "06-01"}}, "2010S", "not_a_period"),
        ("duration", "3 years", "not_a_duration"),
        ("epoch_ms", 10**18, "not_a_datetime"),
    ],
)
def test_cast_error_hides_the_value(rule: object, value: object, reason: str) -> None:
    with pytest.raises(CastError) as caught:
        cast(rule, value)
    assert caught.value.reason == reason
    assert len(str(value)) < 3 or str(value) not in caught.value.expected


def test_utc_day_is_read_in_the_stream_timezone() -> None:
    assert cast("date", "2019-12-31T23:30:00Z", "Europe/Amsterdam") == date(2020, 1, 1)


@given(
    st.one_of(
        st.text(),
        st.integers(),
        st.floats(),
        st.booleans(),
        st.dictionaries(st.text(), st.integers()),
    )
)
def test_casts_answer_or_refuse(value: object) -> None:
    for name in (
        "text",
        "date",
        "datetime",
        "integer",
        "decimal",
        "boolean",
        "language",
        "country",
        "duration",
        "html",
        "epoch_ms",
        "base64",
    ):
        try:
            cast(name, value)
        except CastError as error:
            assert error.reason


def test_printable_text_is_never_refused() -> None:
    """So that text that can be printed need not be searched."""
    from gateway.harmonise.values import text

    assert not [
        hex(code)
        for code in range(0x110000)
        if chr(code).isprintable() and text._FORBIDDEN_CHARACTERS.match(chr(code))
    ]


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        ("a <![DOCTYPE [x]> b", "a b"),
        ("a <![ %entity; [x]]> b", "a b"),
        ("a <![if mso]>b<![endif]> c", "a b c"),
        ("a <![CDATA[x]]> b", "a b"),
        ("a <!DOCTYPE [<!ENTITY x>]> b", "a ]> b"),
        ("a <!-> b", "a b"),
        ("a <![endless", "a <![endless"),
    ],
)
def test_html_skips_declarations_of_any_kind(markup: str, text: str) -> None:
    assert casts.html()(markup) == text


@given(st.text(alphabet="<>![]-&;/ aDOCTYPECDATAif", max_size=60))
def test_html_reads_or_refuses_any_text(text: str) -> None:
    try:
        assert isinstance(casts.html()(text), str)
    except CastError as error:
        assert error.reason
