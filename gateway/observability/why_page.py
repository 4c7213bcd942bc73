"""Render the page that says why streams do not run: the same text as ``gateway why``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from urllib.parse import urlencode

import htpy
from htpy import Element, Node, code, p

from gateway.observability import page_elements as elements
from gateway.observability.diagnosis import Diagnosis, headline, paragraphs
from gateway.observability.page_layout import render_document

MAX_BLOCKS = 50
_SYMBOLS = {True: ("bad", "▲"), False: ("plain", "○")}


def why_address(connector: str, stream: str = "") -> str:
    """Return the address of the page about a connector or one of its streams."""
    names = {"connector": connector, **({"stream": stream} if stream else {})}
    return f"/why?{urlencode(names)}"


def render_why(
    connector: str, stream: str, diagnoses: Iterable[Diagnosis], runbooks: str, now: float
) -> str:
    """Return the page. It shows streams that need attention first.

    ``runbooks`` is the address of their folder, or blank.
    """
    ordered = sorted(diagnoses, key=lambda one: (not one.is_bad, one.stream))
    shown = [one for one in ordered if one.code != "HEALTHY"]
    well = len(ordered) - len(shown)
    summary: list[Node] = [p[_summary(connector, len(shown), well)]]
    if len(shown) > MAX_BLOCKS:
        summary.append(p[f"The first {MAX_BLOCKS} of them are shown."])
    sections = [_block(number, one, runbooks, now) for number, one in enumerate(shown[:MAX_BLOCKS])]
    about = f"why {connector} {stream}".strip()
    return render_document(about, summary, sections, p[htpy.a(href="/")["Back to the status page"]])


def _summary(connector: str, shown: int, well: int) -> str:
    streams = elements.count(well, "stream is", "streams are")
    if not shown:
        return f"{connector}: {streams} well."
    other = elements.count(shown, "stream does", "streams do")
    return f"{connector}: {other} not run as usual, and {streams} well."


def _block(number: int, diagnosis: Diagnosis, runbooks: str, now: float) -> Element:
    level, symbol = _SYMBOLS[diagnosis.is_bad]
    title = headline(diagnosis, f"{diagnosis.connector} {diagnosis.stream}".strip(), now)
    address = elements.runbook_address(runbooks, diagnosis.runbook) if diagnosis.runbook else ""
    parts: list[Node] = [
        [htpy.dt[label], [htpy.dd[_content(label, line)] for line in lines]]
        for label, lines in paragraphs(diagnosis, address)
    ]
    return elements.titled_section(
        f"why-{number}",
        [htpy.span(class_=level, aria_hidden="true")[symbol], " ", title],
        htpy.dl[parts],
    )


def _content(label: str, line: str) -> Node:
    if label == "Runbook":
        return htpy.a(href=line)[line]
    return code[line] if line.startswith("gateway ") else line


def why_of(diagnoses: Sequence[Diagnosis], connector: str, stream: str) -> list[Diagnosis]:
    """Return the diagnoses of a connector, or of one of its streams."""
    return [
        one
        for one in diagnoses
        if one.connector == connector and stream in {"", one.stream, one.stream.partition("@")[0]}
    ]
