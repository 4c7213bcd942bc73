"""Expressions of a connector file cannot take the time or the memory of a worker."""

from __future__ import annotations

import contextlib
import json
import time
from decimal import Decimal
from pathlib import Path
from typing import Any, cast

import pytest
from lxml import etree

from gateway.check import check, check_document
from gateway.config.expressions.compiler import (
    ExpressionError,
    ExpressionLimitError,
    compile_expression,
)
from gateway.config.expressions.template import Placeholder, format_value
from gateway.config.expressions.xpath_cost import xpath_cost
from gateway.config.yaml.document import parse_yaml
from gateway.errors import Finding, StreamHalted
from gateway.fetch.decode.formats import DecodedDocument
from gateway.fetch.expression_cache import ExpressionCache
from gateway.fetch.record_selector import RecordSelector
from gateway.fetch.stream_errors import reading_errors
from tests.support.hostile_registry import connector_at

ROOT = Path(__file__).parents[2]
FILE = """language: 1
connector: office
country: FI
title: An office of awards
owner: {{name: Example office, contact: registry@office.example}}
rest:
  url: {{production: "https://api.office.example/v2"}}
  errors: by_status
streams:
  awards:
    emits: qualification
    request: {{get: /awards}}
    paging: none
    cursor: scan
    {decode}
    records: {records}
    id: {id}
    map: {{title.en: {title}}}
    tests: [{{name: shape, given: {given}, expect_some: {{}}}}]
"""
STEPS = """    request: {{get: /r}}
    records: {}
    id: id
    map: {{title.en: t}}
    tests: [{{name: a, given: {{id: "1"}}, expect_some: {{}}}}]
"""
MULTIPLYING = [
    " | ".join(["[@,@,@,@]"] * 11 + ["to_string(@)"]),
    " | ".join(["[@,@][]"] * 7),
    ".".join(["{a: @, b: @}"] * 7),
    "length([@,@,@,@][].[@,@,@,@][].[@,@,@,@][].[@,@,@,@][])",
    "items[?length(" + "[@,@,@,@][]." * 3 + "[@,@,@,@][]) > `1`]",
    "items[*]." + "[@,@,@]." * 4 + "x",
    "map(&map(&map(&map(&[@,@,@], [@,@,@]), [@,@,@]), [@,@,@]), items)",
    "sort_by([@,@,@,@][].[@,@,@,@][].[@,@,@,@][].[@,@,@,@][], &x)",
    "items[*]." + "[`{}`,`{}`,`{}`][]." * 4 + "x",
    "join(separator, items)",
    "join('" + "x" * 1_500 + "', items)",
    "to_string(" + "[to_string(" * 8 + "@" + ")]" * 8 + ")",
    "merge(" + "@," * 70 + "@)",
    "[" + "@," * 70 + "@]",
    "items || [@,@,@,@].[@,@,@,@].[@,@,@,@].[@,@,@,@]",
    "{a: items, b: [@,@,@,@].[@,@,@,@].[@,@,@,@].[@,@,@,@]}",
    "not_null([@,@,@,@][].[@,@,@,@][].[@,@,@,@][].[@,@,@,@][])",
]
USUAL = [
    "items",
    "items[?status == 'passed' && !withdrawn].{id: id, name: name.fi, all: @}",
    "{a: a, b: b, c: c.d[0], e: e[].f, g: g, h: h, i: i}",
    "join(', ', [first, middle, last])",
    "[name, other][]",
    "sort_by(versions, &changed)[-1].id",
    "map(&to_string(@), codes)",
    "a || b || c || d || 'none'",
    "max_by(items, &n).{id: id, whole: @} | [@.id, @.whole.id]",
    "items[*].parts[*].parts[*].code[]",
    "to_string(@)",
    "[@, @]",
]
QUADRATIC = [
    "//r[count(//*//*) > 0]",
    "//r[count(//*[count(//*) > 1]) > 0]",
    "//r[not(preceding-sibling::r)]",
    "//r[@id = preceding::r/@id]",
    "//r[following::t = 'T']",
    "//r[..//t]",
    "//r[ancestor::*//t]",
    "//r[ancestor::*/descendant::t = t]",
    "//r[t = //t]",
    "//r[contains(string(/), 'x')]",
    "//r[position() = count(//r)]",
    "//r[*[//x]]",
    "//r[2*//x > 1]",
    "//r[-//x]",
    "//r[(//t)[1] = t]",
    "//r/following::t",
    "//r/preceding-sibling::r",
    "count(//r/preceding::*)",
    "following::r/following::r",
    "(//r)[//t]",
    "/rs/r[count(//x) > 0]",
    "r[count(//x) > 0]",
    "//r[ parent :: * / descendant :: t ]",
    "//r[self::*/preceding::t]",
    "//r[boolean(//t)]",
    "//r[id(//t)]",
    "//*[count(descendant::*[count(//*) > 1]) > 1]",
]
LINEAR = [
    "//r",
    "/rs/r",
    "//r[@id = '1']/t",
    "//r[t]",
    "//r[.//t]",
    "//r[not(parent::hasPart)]",
    "//r[. = '//x' and @a = 'preceding::y']",
    "//d[starts-with(local-name(), 'a') and code]",
    "//item/one | //item/other",
    "ancestor::report/issuer/identifier[@type='local']",
    "e[@type='elmo'] | e[not(../e[@type='elmo'])][1]",
    "(ancestor::r/i/t[@l='en'] | ancestor::r/i/t)[1]",
    "../code",
    "a/b[1]/@c",
    "//and[or]/div",
    "preceding::x[1]",
    "count(r) * 2",
    "string-length(normalize-space(.)) > 0",
]


def connector(records: object, *, xml: bool = False) -> str:
    return FILE.format(
        records=json.dumps(records),
        decode="decode: [xml]" if xml else "decode: [json]",
        id='"@id"' if xml else "id",
        title='"t"' if xml else "t",
        given="'<r id=\"1\"><t>T</t></r>'" if xml else '{id: "1", t: T}',
    )


def limits(records: object, *, xml: bool = False) -> list[Finding]:
    found = check_document(parse_yaml(connector(records, xml=xml).encode(), "office.yaml"))
    return [one for one in found if one.code == "expression-limit"]


@pytest.mark.parametrize("text", MULTIPLYING)
def test_expression_that_multiplies_is_refused_with_its_line(text: str) -> None:
    began = time.process_time()
    with pytest.raises(ExpressionError) as caught:
        compile_expression("json", text)
    assert caught.value.code == "expression-limit"
    assert time.process_time() - began < 1
    found = limits(text)
    assert [(one.line, one.path) for one in found] == [(16, "streams.awards.records")]


@pytest.mark.parametrize(
    ("kind", "steps"),
    [
        ("json", ["items", *["[@,@,@,@][]"] * 12]),
        ("xml", ["//r", "//t[x]"]),
        ("xml", ["//r", "(//t)"]),
    ],
)
def test_steps_of_records_that_multiply_are_stopped(kind: str, steps: list[str]) -> None:
    made = connector_at("http://127.0.0.1:9", STEPS.format(json.dumps(steps)))
    name, stream = next(iter(made.streams.items()))
    selector = RecordSelector("office", name, stream, ExpressionCache({}), lambda _: b"")
    root = etree.fromstring("<rs>" + "<r id='1'><t/></r>" * 2_000 + "</rs>")
    value = root if kind == "xml" else {"items": [{"id": "1"}]}
    began = time.process_time()
    with pytest.raises(StreamHalted) as caught, reading_errors("office.awards"):
        selector.items(DecodedDocument(cast("Any", kind), value), {})
    assert caught.value.reason == "EXPRESSION_LIMIT"
    assert time.process_time() - began < 2


@pytest.mark.parametrize("text", USUAL)
def test_usual_json_expression_compiles(text: str) -> None:
    compile_expression("json", text)


def test_growth_is_measured_against_the_largest_accepted_expression() -> None:
    value = {"items": [{"id": str(number), "t": "x" * 100} for number in range(1_000)]}
    size = len(json.dumps(value))
    for text in ("to_string([@,@,@,@][].[@,@,@,@])", "[@,@,@,@][].[@,@][].items[] | to_string(@)"):
        (made,) = compile_expression("json", text)(value)
        assert len(made) <= 64 * size


@pytest.mark.parametrize(
    "text", ["[" * 900, "a" + ".b(" * 300, "!" * 1_500 + "a", "a" + "[?b" * 300]
)
def test_deeply_nested_expression_is_refused(text: str) -> None:
    for kind in ("json", "xml"):
        with pytest.raises(ExpressionError):
            compile_expression(kind, text)


@pytest.mark.parametrize("text", ["a" + "||a" * 600, "a" + "[0].b" * 390, "&".join(["a"] * 2)])
def test_long_expression_ends_at_once(text: str) -> None:
    began = time.process_time()
    with contextlib.suppress(ExpressionError):
        compile_expression("json", text)({"a": 1})
    assert time.process_time() - began < 1


@pytest.mark.parametrize("text", QUADRATIC)
def test_path_that_reads_the_document_for_each_element_is_refused(text: str) -> None:
    found = limits(text, xml=True)
    assert [(one.line, one.path) for one in found] == [(16, "streams.awards.records")]
    assert "for each element" in found[0].message


@pytest.mark.parametrize("text", QUADRATIC)
def test_path_that_reads_the_document_for_each_element_does_not_run_on_a_large_one(
    text: str,
) -> None:
    root = etree.fromstring("<rs>" + "<r id='1'><t>T</t></r>" * 20_000 + "</rs>")
    expression = compile_expression("xml", text)
    began = time.process_time()
    with pytest.raises(ExpressionLimitError, match="at most"):
        expression(root)
    assert time.process_time() - began < 1


@pytest.mark.parametrize("text", QUADRATIC)
def test_path_that_reads_the_document_for_each_element_still_runs_on_a_small_one(
    text: str,
) -> None:
    root = etree.fromstring("<rs>" + "<r id='1'><t>T</t></r>" * 30 + "</rs>")
    began = time.process_time()
    compile_expression("xml", text)(root)
    assert time.process_time() - began < 1


@pytest.mark.parametrize("text", LINEAR)
def test_usual_path_is_accepted_and_runs_on_a_large_document(text: str) -> None:
    assert not limits(text, xml=True)
    root = etree.fromstring("<rs>" + "<r id='1'><t>T</t></r>" * 20_000 + "</rs>")
    began = time.process_time()
    compile_expression("xml", text)(root)
    assert time.process_time() - began < 2


@pytest.mark.parametrize("text", ["x[not(. = preceding-sibling::x)]", "r[following-sibling::r]"])
def test_comparison_of_neighbours_inside_a_record_runs(text: str) -> None:
    root = etree.fromstring("<rs>" + "<r><x>1</x><x>1</x><x>2</x></r>" * 5_000 + "</rs>")
    expression = compile_expression("xml", text)
    assert all(len(expression(record)) in {0, 2} for record in root[:100])


def test_union_of_two_large_lists_has_a_limit() -> None:
    assert xpath_cost("//a | //b").element_limit == 300_000
    assert xpath_cost("a | b").element_limit is None


def test_later_step_of_records_from_the_root_is_refused() -> None:
    found = limits(["//r", "//t"], xml=True)
    assert [one.path for one in found] == ["streams.awards.records.1"]
    assert not limits(["//r", "t"], xml=True)


def test_shipped_connectors_use_no_costly_expression() -> None:
    for file in sorted((ROOT / "connectors").glob("*.yaml")):
        assert not [one for one in check(file) if one.code == "expression-limit"], file


@pytest.mark.parametrize(
    ("value", "form"),
    [(1, "1000000000d"), (1, "0999999999"), (Decimal("1E+999999"), "f"), (7, ",>5000"),
     (Decimal(1), ".999999999f"), (True + 1, "<99999")],
)  # fmt: skip
def test_placeholder_makes_no_vast_text(value: object, form: str) -> None:
    with pytest.raises(StreamHalted) as caught:
        format_value(value, Placeholder("page", form))
    assert caught.value.reason == "EXPRESSION_LIMIT"


def test_placeholder_with_a_usual_width_is_filled() -> None:
    assert format_value(7, Placeholder("page", "05d")) == "00007"
    assert format_value(Decimal("1.50"), Placeholder("page", ".1f")) == "1.5"


def test_pattern_of_a_cast_takes_linear_time() -> None:
    text = connector("items").replace(
        "{title.en: t}", "{title.en: {from: t, as: {match: '(a|aa|a+)*b'}}}"
    )
    text = text.replace("t: T}", f"t: {'a' * 5_000}}}")
    began = time.process_time()
    check_document(parse_yaml(text.encode(), "office.yaml"))
    assert time.process_time() - began < 2


def test_wildcards_of_a_condition_take_linear_time() -> None:
    from gateway.config.expressions.conditions import text_matcher

    fits = text_matcher(("*a" * 200 + "b",))
    began = time.process_time()
    assert not fits("a" * 50_000)
    assert time.process_time() - began < 2


def test_steps_of_records_that_multiply_are_found_by_check() -> None:
    found = limits(["items", *["[@,@,@,@][]"] * 12])
    assert [one.path for one in found] == ["streams.awards.records"]
    assert not limits(["items", "[?a].b", "[].c"])


@pytest.mark.parametrize(
    ("value", "form"),
    [(1, "%Y"), (1, "pa'e"), (7, ".3d"), (7, "s"), (Decimal(1), "d"), (2, "z"), (3, "05d ")],
)
def test_placeholder_with_a_wrong_format_names_it(value: object, form: str) -> None:
    with pytest.raises(StreamHalted, match=r"write one such as \{page:05d\}") as caught:
        format_value(value, Placeholder("page", form))
    assert caught.value.reason == "PLACEHOLDER_FORMAT"
    assert f"{{page:{form}}}" in str(caught.value)


@pytest.mark.parametrize(
    ("query", "found"),
    [("{page:%Y}", True), ("a{page:x9.}b", True), ("{page:03}", False), ("{since:%Y}", False)],
)
def test_check_finds_a_number_with_a_wrong_format(query: str, found: bool) -> None:
    text = FILE.format(decode="", records="items", id="id", title="title", given='{id: "1"}')
    text = text.replace("{get: /awards}", f'{{get: /awards, query: {{p: "{query}"}}}}')
    findings = check_document(parse_yaml(text.encode(), "office.yaml"), None)
    wrong = [finding for finding in findings if finding.code == "placeholder-format"]
    assert [finding.line for finding in wrong] == [12] * found
    assert all("write one such as {page:05d}" in finding.message for finding in wrong)
