"""Check that documents are written as compact JSON bytes.

Each part holds the texts of its own record, for every text.
"""

from __future__ import annotations

import uuid
from urllib.parse import quote

import msgspec
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.records import Holder, LearningOutcome, Organisation
from gateway.render import record_ids
from gateway.render.render import Rendered, render
from tests.support import samples

AWKWARD = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12) | st.sampled_from(
    ['"', "\\", "\0", "%b", "%", "\u2028", "\x7f😀", "#/"]
)
LEARNING = ("qualification", "specification", "opportunity", "diploma", "micro", "transcript")


def documents(name: str, template: str | None = None, **fields: object) -> list[bytes]:
    record = msgspec.structs.replace(samples.RECORDS[name], **fields)
    found = render(
        samples.accepted(record),
        samples.keys(name, template),
        country="IE",
        at=samples.AT,
    )
    assert isinstance(found, Rendered), found
    return [document.value for document in found.documents if document.value is not None]


@given(
    st.sampled_from(LEARNING),
    AWKWARD,
    AWKWARD,
    AWKWARD,
    st.sampled_from([None, "https://x.example/{id}", 'https://x.example/a"b#{id}']),
)
def test_any_text_becomes_compact_json(
    name: str, title: str, other: str, scheme: str, template: str | None
):
    body = Organisation(
        name={"en": other}, country="IE", identifiers={scheme: other, "eidas": title}
    )
    fields: dict[str, object] = {
        "title": {"en": title, f"en-{other}": other},
        "description": {"ga": other},
        "entry_requirement": {"en": title},
        "learning_outcomes": (LearningOutcome(title={"en": title}, esco=(samples.SKILL,)),),
        "awarding_body": body,
    }
    if name in {"diploma", "micro", "transcript"}:
        fields["holder"] = Holder(given_name=title, family_name=other, esi=samples.ESI)
    for value in documents(name, template, **fields):
        node = orjson.loads(value)
        assert orjson.dumps(node) == value
        assert orjson.dumps(title) in value


def test_cached_institution_uses_ids_of_each_record():
    first, second = (
        documents("qualification", f"https://{place}.example/{{id}}")[0] for place in ("one", "two")
    )
    assert b"https://one.example/" in first
    assert first.replace(b"https://one.example/", b"https://two.example/") == second
    assert b"https://one.example/" not in second


def test_different_institutions_are_written_separately():
    seen = set()
    for change in (
        {},
        {"name": {"ga": "B", "en": "A"}},
        {"name": {"en": "A", "ga": "B"}},
        {"country": "FR"},
        {"homepage": None},
    ):
        body = msgspec.structs.replace(samples.BODY, **change)
        seen.add(documents("qualification", awarding_body=body)[0])
    assert len(seen) == 5


def test_unencodable_text_is_an_error():
    with pytest.raises(TypeError, match="surrogates"):
        documents("qualification", title={"en": "\ud800"})


@given(st.text(st.characters(codec="utf-8")))
def test_uuid_and_segment_equal_the_standard_library(name: str):
    assert record_ids.uuid5(name) == str(uuid.uuid5(record_ids.NAMESPACE, name))
    assert (
        record_ids.iri("c", name, "https://x.example/{id}")
        == f"https://x.example/{quote(name, safe='-._~:/')}"
    )
