"""Render the form that asks for the explanation of one record, and the page that answers it."""

from __future__ import annotations

from collections.abc import Iterable

import htpy
from htpy import Element, p

from gateway.observability import page_elements as elements
from gateway.observability.page_layout import render_document


def render_explanation(
    connector: str, identifier: str, text: str, connectors: Iterable[str]
) -> str:
    """Return the page that answers the form.

    The page shows ``text`` unchanged, so ``text`` must not contain personal data.
    """
    answer = elements.titled_section(
        "answer",
        "How it came about",
        elements.scrolling_region("How it came about", htpy.pre[text]),
    )
    return render_document(
        f"explain {connector} {identifier}",
        None,
        [explain_form(connectors, connector, identifier), answer],
    )


def explain_form(connectors: Iterable[str], chosen: str = "", identifier: str = "") -> Element:
    """Return the form that asks for the explanation of one record. It needs no script."""
    options = [
        htpy.option(value=name, selected=name == chosen)[name] for name in sorted(connectors)
    ]
    native_id = htpy.input(name="id", value=identifier, required=True, maxlength="500", size="40")
    form = htpy.form(action="/explain", method="get")[
        p[
            htpy.label["Connector ", htpy.select(name="connector")[options]],
            " ",
            htpy.label["Native id ", native_id],
            " ",
            htpy.button["Explain"],
        ]
    ]
    note = p["Each field, its rule, the table row and who states it; persons are hidden."]
    return elements.titled_section("explain", "Explain a record", [form, note])
