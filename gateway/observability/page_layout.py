"""Lay out the status page: head, style, navigation and the place of the sections."""

from __future__ import annotations

import base64
import hashlib
from importlib.resources import files

import htpy
from htpy import Node, p
from markupsafe import Markup

STYLE = files("gateway.observability").joinpath("page.css").read_text("utf-8")
STYLE_HASH = "sha256-" + base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()

RELOAD_SECONDS = 60

_LINKS = (
    ("#streams", "Streams"),
    ("#rejections", "Rejections"),
    ("#registries", "Registries"),
    ("#mapping", "Mapping"),
    ("#unmapped", "Unmapped"),
    ("#coverage", "Coverage"),
    ("#kafka", "Kafka"),
    ("/metrics", "Metrics"),
    ("/readyz", "Readiness"),
    ("/", "Reload"),
)


def render_document(
    about: str, summary: Node, sections: Node, note: Node = None, *, home: str = "/"
) -> str:
    """Return the HTML of a page. ``about`` and ``note`` are the lines below the heading.

    ``home`` is the address of the status page, or blank on that page itself.
    """
    head = htpy.head[
        htpy.meta(charset="utf-8"),
        htpy.meta(name="viewport", content="width=device-width, initial-scale=1"),
        htpy.meta(name="robots", content="noindex"),
        htpy.title["Qualification gateway"],
        htpy.link(rel="icon", href="data:,"),
        # The style is the only text that is not escaped, because its hash must match STYLE_HASH.
        htpy.style[Markup(STYLE)],  # noqa: S704 - a file of this package, not input
    ]
    links = [
        htpy.li[htpy.a(href=home + target if target.startswith("#") else target)[text]]
        for target, text in _LINKS
    ]
    body = htpy.body[
        htpy.a(".skip", href="#main")["Skip to content"],
        htpy.header[
            htpy.h1["Qualification gateway"],
            p[about],
            note,
            htpy.nav(aria_label="On this page and nearby")[htpy.ul[links]],
        ],
        htpy.main(id="main")[summary, sections],
    ]
    return str(htpy.html(lang="en")[head, body])


def reload_note(*, reloads: bool) -> Node:
    """Say whether the page reloads by itself, and link to the other way."""
    if reloads:
        return p[
            f"This page reloads every {RELOAD_SECONDS} seconds. ",
            htpy.a(href="/?reload=no")["Stop reloading"],
        ]
    return p["This page does not reload by itself. ", htpy.a(href="/")["Reload it regularly"]]
