"""Two readers of one language: where the quick one answers, the one that explains mistakes answers the same and has nothing to say."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.config.yaml import fast_reader
from gateway.config.yaml.document import YamlDocument, parse_yaml

ROOT = Path(__file__).parents[3]
FILES = sorted(
    path for place in ("mappings", "connectors", "tests") for path in (ROOT / place).rglob("*.yaml")
)


def explained(text: str) -> YamlDocument:
    """Read a text with the reader that explains."""
    with mock.patch.object(fast_reader, "read_simple_yaml", return_value=fast_reader.NOT_SIMPLE):
        return parse_yaml(text.encode())


def agree(text: str) -> bool:
    """Hold both readings of a text against each other; returns whether the quick reader answered."""
    value = fast_reader.read_simple_yaml(text)
    if value is fast_reader.NOT_SIMPLE:
        return False
    slow = explained(text)
    assert not slow.findings
    assert repr(slow.value) == repr(value)
    placed = parse_yaml(text.encode())
    for path in [*slow._keys, *slow._values]:
        assert placed.position_of(path) == slow.position_of(path)
        assert placed.position_of(path, key=False) == slow.position_of(path, key=False)
    return True


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_both_yaml_readers_agree_on_every_file(path: Path):
    answered = agree(path.read_text(encoding="utf-8"))
    assert answered or path.name == "thirty.yaml"


UNUSUAL = [
    "a: 1\na: 2", "a: &x 1\nb: *x", "a: !t 1", "a: ! x", "<<: {a: 1}", "a:\t1", "\ta: 1", "a: 007", "007: a", "a: 0x1f", "a: 1e3", "a: .inf",
    "--- \na: 1", "a: 1\n---\nb: 2", "a: 1\n...\n", "%YAML 1.1\n---\na: 1", "a: [1", "? [a]\n: b", "", "# nothing", "a: '\u2028'", "\ufeffa: 1",
    "a: \x85b", "a: 1\r\nb: 2", "a: x\u200by", "a: " + "[" * 45 + "]" * 45, "a: {b: &c d}", "- &a x", "[" * 60_000,
]  # fmt: skip


@pytest.mark.parametrize("text", UNUSUAL, ids=range(len(UNUSUAL)))
def test_unusual_yaml_is_left_to_the_explaining_reader(text: str):
    assert fast_reader.read_simple_yaml(text) is fast_reader.NOT_SIMPLE


def test_plain_scalars_follow_yaml_1_2():
    text = "a: [NO, on, yes, ~, null, true, False, 12, -3, 1.50, 2026-01-01, '12', 1_000, 12:30:45, +1, .5, 5.]\n"
    assert fast_reader.read_simple_yaml(text) == {
        "a": [
            "NO", "on", "yes", None, None, True, False, 12, -3, Decimal("1.50"), "2026-01-01", "12", "1_000", "12:30:45", 1, Decimal(".5"),
            Decimal(5),
        ]
    }  # fmt: skip


@pytest.mark.parametrize(
    "text",
    ["a: >\n  one\n  two\n\n  three\n", "a: >-\n  one\n   more\n  two\n", "a: |+\n  x\n\nb: y\n"],
)
def test_folded_text_keeps_the_written_text(text: str):
    assert agree(text)
    assert "\a" not in explained(text).value["a"]


WORDS = st.sampled_from(
    ["a", "b c", "no", "1", "0.5", "é", "x:y", "x: y", "http://a.b/c?d=e#f", "a #b", "a# b", '"q"', "'q'", "''", '"a\\nb"', '"\\/"', "[", "]", "{", "}", ",",
     "-", "?", ":", "|", ">", "|-", "#", "&a", "*a", "!t", "%", "@", "`", "~", "---", "\n", "\n\n", "  ", "\n  ", "\n- ", "\n  - ", ": ", "- ", "\\", "=", "<<"]
)  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(st.lists(WORDS, max_size=14).map("".join))
def test_both_yaml_readers_agree_on_any_file(text: str):
    agree(text)


TREES: st.SearchStrategy[Any] = st.recursive(
    WORDS,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from("abcdef"), inner, max_size=4)
    ),
    max_leaves=12,
)


def written(tree: Any, indent: int = 0) -> str:
    """Write a tree in block style, its leaves as they are: mostly YAML."""
    space = "  " * indent
    if isinstance(tree, dict) and tree:
        return "".join(
            f"\n{space}{key}: {written(value, indent + 1)}" for key, value in tree.items()
        )
    if isinstance(tree, list) and tree:
        return "".join(f"\n{space}- {written(value, indent + 1)}" for value in tree)
    return str(tree)


@settings(max_examples=150, deadline=None)
@given(TREES)
def test_both_yaml_readers_agree_on_generated_trees(tree: Any):
    agree(written(tree))
