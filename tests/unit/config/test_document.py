"""Check that the reader takes YAML as it looks and reports everything that could mislead."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config.yaml import reader
from gateway.config.yaml.document import MAX_BYTES, parse_yaml


def test_yaml_words_keep_their_meaning() -> None:
    text = (
        "a: NO\nb: on\nc: yes\nd: 2026-01-01\ne: 1.50\nf: 7\ng: true\nh: null\ni: '012'\nj: 1_000\n"
    )
    assert parse_yaml(text.encode()).value == {
        "a": "NO", "b": "on", "c": "yes", "d": "2026-01-01", "e": Decimal("1.50"), "f": 7, "g": True, "h": None, "i": "012", "j": "1_000",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "code", "line", "column"),
    [
        ("a: 1\na: 2\n", "duplicate-key", 2, 1),
        ("a:\n\tb: 1\n", "tab", 2, 1),
        ("a: 012\n", "leading-zero", 1, 4),
        ("a: 0x1F\n", "odd-number", 1, 4),
        ("a: 1e5\n", "odd-number", 1, 4),
        ("a: .nan\n", "odd-number", 1, 4),
        ("a: &x 1\n", "anchor", 1, 4),
        ("a: &x 1\nb: *x\n", "alias", 2, 4),
        ("a: {<<: {b: 1}}\n", "merge-key", 1, 5),
        ("a: !!python/object:os.system x\n", "tag", 1, 4),
        ("a: 1\n---\nb: 2\n", "several-documents", 2, 1),
        ("a: b\u202ec\n", "control-character", 1, 5),
        ("a: b\x07c\n", "control-character", 1, 5),
        ("a: b: c\n", "bad-yaml", 1, 5),
        ("a: [1, 2\n", "bad-yaml", 2, 1),
        ("a: " + "[" * 60 + "]" * 60 + "\n", "too-deep", 1, 43),
        ("", "empty", 1, 1),
    ],
)
def test_yaml_trap_is_a_finding_with_its_position(
    text: str, code: str, line: int, column: int
) -> None:
    finding = next(
        finding for finding in parse_yaml(text.encode(), "x.yaml").findings if finding.code == code
    )
    assert (finding.line, finding.column) == (line, column)
    assert finding.message


def test_binary_and_endless_files_are_refused() -> None:
    assert parse_yaml(b"a: 1\nb: \xff\n").findings[0].code == "not-utf-8"
    assert (
        parse_yaml(b"a: 1\nb: \xff\n").findings[0].line,
        parse_yaml(b"a: 1\nb: \xff\n").findings[0].column,
    ) == (2, 4)
    assert parse_yaml(b"#" * (MAX_BYTES + 1)).findings[0].code == "too-large"


def test_file_with_too_many_values_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "MAX_NODES", 100)
    assert [found.code for found in parse_yaml(b"a: [" + b"1," * 101 + b"1]\n").findings] == [
        "too-many-values"
    ]


@given(
    st.binary(max_size=120)
    | st.text(alphabet="ab:-[]{}#&*!|>'\"%@` \t\n01", max_size=120).map(str.encode)
)
def test_any_file_is_read_or_refused(data: bytes) -> None:
    document = parse_yaml(data)
    assert document.findings or document.value is not None or data.strip()
