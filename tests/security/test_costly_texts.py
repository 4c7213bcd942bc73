"""Text of a registry is cleaned in linear time: combining marks, and markup that never ends."""

from __future__ import annotations

import json
import time
import unicodedata
from collections.abc import Callable
from typing import Any

import pytest

from gateway.combining_marks import MAX_MARKS, has_too_many_marks
from gateway.config.expressions.json_list_place import Gap
from gateway.errors import StreamHalted
from gateway.fetch.decode.containers import _matches
from gateway.fetch.list_presence import refuse
from gateway.harmonise.pseudonyms import pseudonymiser
from gateway.harmonise.values import casts
from gateway.harmonise.values.text import CastError, read_text
from gateway.pipeline.page_writer import PollResult
from tests.support.memory_stream import MemoryStreamState, poll_route, stream

MARKS = {
    "one mark": "e" + "\u0301" * 200_000,
    "two that alternate": "e" + "\u0316\u0300" * 100_000,
    "two in the wrong order": "e" + "\u0300" * 100_000 + "\u0316" * 100_000,
    "marks that become marks": "\u0f40" + "\u0f73" * 200_000,
    "marks of half width": "\u30ab" + "\uff9e\u0300" * 100_000,
    "marks beyond the first plane": "a" + "\U0001e8d0\u0300" * 100_000,
    "marks without a letter": "\u0301\u0316" * 100_000,
    "marks behind a text": "ä" * 50_000 + "\u0316\u0300" * 100_000,
}
UNCLOSED = ["<a ", '<a x="', "<a x='", "<!--", "</a", "<?", "<!a", "<a b=c ", "<b>x</b><a '"]


def seconds(work: Callable[[], Any]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


@pytest.mark.parametrize("kind", MARKS)
def test_text_of_endless_marks_is_refused_at_once(kind: str) -> None:
    def clean() -> None:
        with pytest.raises(CastError) as caught:
            read_text(MARKS[kind])
        assert caught.value.reason == "not_text"

    assert seconds(clean) < 1
    assert seconds(lambda: pseudonymiser(b"k" * 32, "FI", "number")(MARKS[kind])) < 1
    assert seconds(lambda: _matches(MARKS[kind][:65_000], "*.xml")) < 1


@pytest.mark.parametrize("kind", MARKS)
def test_id_of_endless_marks_rejects_its_record_at_once(kind: str) -> None:
    state = MemoryStreamState()
    items = [{"id": "1", "t": "First"}, {"id": MARKS[kind], "t": "x"}, {"id": "3", "t": "Third"}]
    body = json.dumps({"items": items}).encode()
    began = time.process_time()
    assert isinstance(poll_route(lambda *_: body, stream(), state), PollResult)
    assert time.process_time() - began < 3
    assert {"1", "3"} < state.published
    assert len(state.published) == 3


@pytest.mark.parametrize(
    "text",
    [
        "Tiếng Việt " * 500,
        unicodedata.normalize("NFD", "Tiếng Việt với nhiều dấu " * 500),
        "हिन्दी में लिखा " * 500,
        "عَرَبِيٌّ " * 500,
        "e" + "\u0301" * MAX_MARKS,
        "\u0301" * MAX_MARKS + "e" + "\u0316" * MAX_MARKS,
    ],
)
def test_usual_text_with_marks_is_composed(text: str) -> None:
    assert read_text(text) == unicodedata.normalize("NFC", text.strip())


@pytest.mark.parametrize("before", range(0, 2 * MAX_MARKS + 3, 7))
def test_row_of_marks_is_found_at_every_place(before: int) -> None:
    assert not has_too_many_marks("ä" * before + "\u0301" * MAX_MARKS + "ä")
    assert has_too_many_marks("ä" * before + "\u0301" * (MAX_MARKS + 1) + "ä")


@pytest.mark.parametrize("tag", UNCLOSED)
@pytest.mark.parametrize("end", ["", ">", '">', "-->"])
def test_markup_that_never_ends_is_read_in_linear_time(tag: str, end: str) -> None:
    def convert() -> None:
        try:
            casts.html()(tag * 100_000 + end)
        except CastError as error:
            assert error.reason == "not_text"

    assert seconds(convert) < 3


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        ("x <y and z", "x <y and z"),
        ("<a " * 30 + "end", None),
        ("<p>One</p><p title=it's>Don't</p>", "One\nDon't"),
        ("<b>x</b> <y " * 30, None),
    ],
)
def test_short_text_with_open_tags_is_kept(markup: str, text: str | None) -> None:
    found = casts.html()(markup)
    assert found == text or (text is None and found)


def test_long_text_with_many_tags_is_kept() -> None:
    assert casts.html()("<p>Models <i>rivers</i></p>" * 5_000).count("Models rivers") == 5_000


def test_name_that_is_missing_is_compared_with_few_others() -> None:
    reply = {"itens": 1} | {f"it{number:06x}ms": 1 for number in range(1_000_000)}
    gap = Gap("", "an object", "items")
    began = time.process_time()
    with pytest.raises(StreamHalted, match="did you mean `itens`"):
        refuse(gap, "items", "r.s", reply)
    assert time.process_time() - began < 1
