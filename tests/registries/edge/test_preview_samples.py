"""Previews answer each request of a stream with the saved reply that belongs to it."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import pytest
from typer.testing import CliRunner

from gateway.cli import app

HEAD = """
language: 1
connector: edge
country: FI
title: A registry of an authority
owner: {name: An authority, contact: registry@authority.example}
"""
REST = """
rest:
  url: {production: "https://registry.example/api"}
  errors: by_status
streams:
  courses:
    emits: learning_opportunity
    cursor: scan
    request: {get: "/courses"}
    records: items
    id: id
"""
RULES = """
    map:
      title: {languages: {object: name, otherwise: en}}
    tests:
      - name: shape
        given: {id: "1", name: {en: Weaving}}
        expect_some: {title: {en: Weaving}}
"""
JOINS = """
    join:
      - {into: places, request: {get: "/places/{id}"}, records: "[@]", key: name, to: at}
      - {into: dates, request: {get: /dates}, records: dates, key: course, to: id, paging: none}
"""
COURSES = {"items": [{"id": "c-1", "name": {"en": "Weaving"}, "at": "Hall"}], "pages": 7}
NO_SAMPLES: Mapping[str, object] = MappingProxyType({})


def preview(
    folder: Path, *samples: object, more: str = "", joined: Mapping[str, object] = NO_SAMPLES
) -> str:
    file = folder / "edge.yaml"
    file.write_text(HEAD + REST + JOINS + more + RULES)
    arguments = ["preview", str(file), "--raw"]
    named = [("", sample) for sample in samples] + [(f"{n}=", s) for n, s in joined.items()]
    for number, (name, sample) in enumerate(named):
        saved = folder / f"reply{number}.json"
        saved.write_text(json.dumps(sample))
        arguments += ["--sample", f"{name}{saved}"]
    result = CliRunner().invoke(app, arguments)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.output
    assert "title.en = Weaving" in result.output
    return result.output


def test_join_without_a_sample_joins_nothing_and_the_preview_says_so(tmp_path: Path) -> None:
    more = "    paging: {page_number: {start: 1, pages: pages}}\n"
    shown = preview(tmp_path, COURSES, more=more)
    for join in ("places", "dates"):
        remark = f"join {join!r} joined nothing, as it has no sample: add `--sample {join}=FILE`"
        assert remark in shown


def test_reply_of_a_join_is_found_by_its_name(tmp_path: Path) -> None:
    joined = {"dates": {"dates": [{"course": "c-1"}]}, "places": {"name": "Hall"}}
    shown = preview(tmp_path, COURSES, joined=joined)
    assert "join '" not in shown
    assert '"dates"' in shown
    assert '"places"' in shown


def test_replies_of_joins_without_names_are_found_by_their_order(tmp_path: Path) -> None:
    shown = preview(tmp_path, COURSES, {"name": "Hall"}, {"dates": [{"course": "c-1"}]})
    assert "join '" not in shown


def test_sample_whose_name_is_no_join_is_a_file(tmp_path: Path) -> None:
    file = tmp_path / "edge.yaml"
    file.write_text(HEAD + REST + JOINS + RULES)
    saved = tmp_path / "year=2026.json"
    saved.write_text(json.dumps(COURSES))
    result = CliRunner().invoke(app, ["preview", str(file), "--sample", str(saved)])
    assert "title.en = Weaving" in result.output


SOAP = """
soap:
  url: {{production: "https://registry.example/api"}}
  namespaces: {{d: "urn:d"}}
  addressing: {{to: "urn:to", action: "urn:list"}}
  replies: [{{when: {{path: "//d:error", exists: true}}, then: stop}}]
streams:
  courses:
    emits: learning_opportunity
    cursor: scan
    request: {{envelope: "<d:list xmlns:d='urn:d'/>"}}
    records: "//d:course"
    id: "d:id"
    join: [{{into: place, request: {{{request}}}, records: "//d:place", to: "d:at"}}]
    map: {{title.en: "d:name", description.en: "place/d:place/d:name"}}
    tests:
      - name: shape
        given: <d:course xmlns:d="urn:d"><d:id>1</d:id><d:name>Weaving</d:name></d:course>
        expect_some: {{title: {{en: Weaving}}}}
"""
ENVELOPE = """
<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Header>
<a:RelatesTo xmlns:a="http://www.w3.org/2005/08/addressing">urn:uuid:of-another-day</a:RelatesTo>
</s:Header><s:Body><d:r xmlns:d="urn:d">{}</d:r></s:Body></s:Envelope>
"""


@pytest.mark.parametrize("action", ["", 'action: "urn:find", '])
def test_saved_soap_reply_answered_another_message(tmp_path: Path, action: str) -> None:
    request = action + "envelope: \"<d:find xmlns:d='urn:d'><d:id>{id}</d:id></d:find>\""
    file = tmp_path / "edge.yaml"
    file.write_text(HEAD + textwrap.dedent(SOAP).format(request=request))
    course = "<d:course><d:id>c-1</d:id><d:name>Weaving</d:name><d:at>p</d:at></d:course>"
    (tmp_path / "list.xml").write_text(ENVELOPE.format(course))
    (tmp_path / "place.xml").write_text(ENVELOPE.format("<d:place><d:name>Hall</d:name></d:place>"))
    samples = [f"place={tmp_path / 'place.xml'}", str(tmp_path / "list.xml")]
    arguments = [part for sample in samples for part in ("--sample", sample)]
    result = CliRunner().invoke(app, ["preview", str(file), *arguments])
    assert "title.en = Weaving" in result.output
    assert "description.en = Hall" in result.output
