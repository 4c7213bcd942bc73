"""Check that the documentation points to files, headings and commands that exist."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

ROOT = Path(__file__).parents[2]
FRAGMENTS = (ROOT / "docs/decisions/template.md", ROOT / "connectors/language/introduction.md")
PAGES = sorted(
    path
    for path in [
        *ROOT.glob("*.md"),
        *(
            path
            for folder in ("docs", "deploy", "connectors", "tests", "bench")
            for path in (ROOT / folder).rglob("*.md")
        ),
    ]
    if path not in FRAGMENTS
)
PLACEHOLDER = re.compile(r"/[A-Z]+\.")
LINK = re.compile(r"\]\(([^)\s]+)\)")
CODE = re.compile(r"^( *)```.*?^\1```$", re.MULTILINE | re.DOTALL)
PATH = re.compile(
    r"`((?:tests|gateway|deploy|docs|schemas|mappings|connectors|bench)/[\w./-]*\.\w+)(?:::\w+)?`"
)
COMMAND = re.compile(r"^ *gateway ([a-z]+)([^`\n#|]*)", re.MULTILINE)
INLINE = re.compile(r"`(gateway [^`]+)`")


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


@cache
def anchors_in(page: Path) -> frozenset[str]:
    """Return the anchors of a page's headings, as GitHub and MkDocs name them."""
    text = CODE.sub("", page.read_text(encoding="utf-8"))
    found: set[str] = set()
    for heading in re.findall(r"^#{1,6} (.+)$", text, re.MULTILINE):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").lower()
        found.add(re.sub(r"[^\w\- ]", "", plain).strip().replace(" ", "-"))
    return frozenset(found)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_each_link_leads_to_a_file_and_a_heading_that_exist(page: Path):
    for address in LINK.findall(CODE.sub("", page.read_text(encoding="utf-8"))):
        parts = urlsplit(address)
        if parts.scheme or parts.netloc:
            continue
        target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
        assert target.exists(), address
        if parts.fragment and target.suffix == ".md":
            assert parts.fragment in anchors_in(target), address


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_each_path_in_a_text_exists(page: Path):
    missing = [
        path
        for path in PATH.findall(page.read_text(encoding="utf-8"))
        if not PLACEHOLDER.search(path) and not (ROOT / path).exists()
    ]
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_each_command_and_option_exists(page: Path):
    from typer.main import get_command

    from gateway.cli import app

    commands = get_command(app).commands
    if page.name == "CHANGELOG.md" or "decisions" in page.parts:
        pytest.skip("describes former versions, too")
    text = page.read_text(encoding="utf-8")
    shown = [*(block[0] for block in CODE.finditer(text)), *INLINE.findall(CODE.sub("", text))]
    for name, rest in COMMAND.findall("\n".join(shown)):
        assert name in commands, name
        command = commands[name]
        if inner := getattr(command, "commands", None):
            first = re.match(r"\s+([a-z]+)", rest)
            if first is None:
                continue
            assert first[1] in inner, (name, first[1])
            command = inner[first[1]]
        options = {option for parameter in command.params for option in parameter.opts}
        assert set(re.findall(r"(?<!\S)(--[a-z][a-z-]*)", rest)) <= {*options, "--help"}, (
            name,
            rest,
        )
