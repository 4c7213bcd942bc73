"""Render the values that no table contains, on the status page and on a page behind the token."""

from __future__ import annotations

from collections.abc import Sequence

import htpy
from htpy import Element, Node, code, em, p

from gateway.observability import page_elements as elements
from gateway.observability.page_layout import render_document
from gateway.observability.unmapped_samples import UnmappedSample

HEADS = ("Value", "Table", "Field", "Connector and stream", "Records", "Last seen")
TITLE = "Values that are in no table"


def unmapped_section(
    samples: Sequence[UnmappedSample], now: float, *, shows_persons: bool, more: Node = None
) -> Element:
    """Return the table of the values.

    Without ``shows_persons``, the values of records about persons are hidden. ``more`` is shown
    below.
    """
    rows = [
        [
            elements.row_head(_value(sample, shows_persons=shows_persons)),
            elements.code_cell(f"{sample.place.country} {sample.place.table}"),
            elements.code_cell(sample.place.field),
            elements.code_cell(f"{sample.place.connector} {sample.place.stream}"),
            elements.number_cell(sample.count),
            elements.ago_cell(sample.last_seen, now),
        ]
        for sample in samples
    ]
    section = elements.table_section(
        "unmapped",
        TITLE,
        HEADS,
        rows,
        empty="Every value of the last day was in its table.",
        numbers=range(4, 5),
    )
    return section if more is None or not rows else htpy.div[section, p[more]]


def _value(sample: UnmappedSample, *, shows_persons: bool) -> Node:
    is_hidden = sample.is_about_person and not shows_persons
    return em["(hidden)"] if is_hidden else code[sample.value]


def hidden_note(samples: Sequence[UnmappedSample], *, has_token: bool) -> Node:
    """Say how to read the hidden values; nothing if there are none."""
    if not any(sample.is_about_person for sample in samples):
        return None
    text = "The values of records about persons are hidden. "
    if has_token:
        return [text, htpy.a(href="/unmapped")["Show them with the token"]]
    return [text, "Set GATEWAY_HEALTH_TOKEN to show them."]


def render_unmapped(samples: Sequence[UnmappedSample], now: float) -> str:
    """Return the page behind the token. Personal values are hidden there, too."""
    note = p[htpy.a(href="/")["Back to the status page"]]
    section = unmapped_section(samples, now, shows_persons=True)
    return render_document("values that are in no table", None, section, note)
