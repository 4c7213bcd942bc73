"""Check that the YAML reader gives the values of an independent library, or a finding."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML
from ruamel.yaml.nodes import MappingNode, SequenceNode

from gateway.config.yaml.document import parse_yaml
from gateway.config.yaml.reader import resolve_plain_scalar

ROOT = Path(__file__).parents[3]
FILES = sorted(
    path for place in ("mappings", "connectors", "tests") for path in (ROOT / place).rglob("*.yaml")
)


def read_with_ruamel(text: str) -> Any:
    """Return the value that an independent YAML library reads, with scalars resolved alike."""
    library = YAML(typ="rt", pure=True)
    library.version = "1.2"

    def build(node: Any) -> Any:
        if isinstance(node, MappingNode):
            return {key.value: build(value) for key, value in node.value}
        if isinstance(node, SequenceNode):
            return [build(item) for item in node.value]
        if node.style is None:
            return resolve_plain_scalar(node.value)
        return node.value.replace("\a", "") if node.style == ">" else node.value

    node = library.compose(text)
    return None if node is None else build(node)


def agree(text: str) -> bool:
    """Compare a text without findings with the independent library; return whether it had none."""
    document = parse_yaml(text.encode())
    if document.findings:
        return False
    assert repr(document.value) == repr(read_with_ruamel(text))
    return True


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_yaml_reader_agrees_with_another_library_on_every_file(path: Path):
    assert agree(path.read_text(encoding="utf-8")) or path.name == "thirty.yaml"


UNUSUAL = {
    "a: 1\na: 2": "duplicate-key", "a: &x 1\nb: *x": "anchor", "a: !t 1": "tag", "a: ! x": "tag", "<<: {a: 1}": "merge-key",
    "\ta: 1": "tab", "a: 007": "leading-zero", "007: a": "leading-zero", "a: 0x1f": "odd-number", "a: 1e3": "odd-number", "a: .inf": "odd-number",
    "a: 1\n---\nb: 2": "several-documents", "a: [1": "bad-yaml", "? [a]\n: b": "bad-key", "? {a: b}\n: {c: d}": "bad-key", "": "empty", "# nothing": "empty",
    "a: x\u200by": "control-character", "a: " + "[" * 45 + "]" * 45: "too-deep", "a: {b: &c d}": "anchor", "- &a x": "anchor", "[" * 60_000: "too-deep",
    "a: ${HOME}": "variable", "a: |# note\n  x": "bad-yaml", "é: {b: >-#\n  x}": "bad-yaml", "a: 1\na: {b: &x 1}": "anchor", "a: *x": "alias",
}  # fmt: skip


@pytest.mark.parametrize(("text", "code"), UNUSUAL.items(), ids=range(len(UNUSUAL)))
def test_unusual_yaml_is_a_finding(text: str, code: str):
    assert code in [finding.code for finding in parse_yaml(text.encode()).findings]


def test_windows_line_ends_and_byte_order_marks_are_accepted():
    assert parse_yaml("\ufeffa: 1\r\nb: 2\r\n".encode()).value == {"a": 1, "b": 2}


def test_plain_scalars_follow_yaml_1_2():
    text = "a: [NO, on, yes, ~, null, true, False, 12, -3, 1.50, 2026-01-01, '12', 1_000, 12:30:45, +1, .5, 5.]\n"
    assert parse_yaml(text.encode()).value == {
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
    assert "\a" not in parse_yaml(text.encode()).value["a"]


WORDS = st.sampled_from(
    ["a", "b c", "no", "1", "0.5", "é", "x:y", "x: y", "http://a.b/c?d=e#f", "a #b", "a# b", '"q"', "'q'", "''", '"a\\nb"', '"\\/"', "[", "]", "{", "}", ",",
     "-", "?", ":", "|", ">", "|-", "#", "&a", "*a", "!t", "%", "@", "`", "~", "---", "\n", "\n\n", "  ", "\n  ", "\n- ", "\n  - ", ": ", "- ", "\\", "=", "<<"]
)  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(st.lists(WORDS, max_size=14).map("".join))
def test_yaml_reader_agrees_with_another_library_on_any_file(text: str):
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
def test_yaml_reader_agrees_with_another_library_on_trees(tree: Any):
    agree(written(tree))
