"""A MkDocs hook that makes links to files of the repository work in the site.

A page may link to ``../deploy/README.md`` or ``../mappings/``. The hook adds each such file to the site, below
``repository/`` with the same path. A folder without a ``README.md`` becomes a list of its files.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from mkdocs.structure.files import File

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
ADDED = "repository"
FENCE = re.compile(r"^( *)(```+|~~~+).*?^\1\2 *$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r'(\]\(|src=")([^)"\s]+)')


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add each repository file that a page links to, directly or through other added files."""
    pending = [f"docs/{file.src_uri}" for file in files if file.is_documentation_page()]
    added: set[str] = set()
    while pending:
        page = pending.pop()
        text = _read_page(page)
        for target in _link_targets(page, text):
            if target in added or target.startswith("docs/") or not (ROOT / target).exists():
                continue
            added.add(target)
            content = _read_page(target) if _is_page(target) else (ROOT / target).read_bytes()
            files.append(File.generated(config, _site_path(target), content=content))
            if _is_page(target):
                pending.append(target)
    return files


def on_page_markdown(markdown: str, *, page: Page, **_: object) -> str:
    """Rewrite each link out of ``docs/`` or back into it, so that it points to a path in the site."""
    source = page.file.src_uri
    own_path = (
        source.removeprefix(f"{ADDED}/") if source.startswith(f"{ADDED}/") else f"docs/{source}"
    )
    own_path = (
        posixpath.dirname(own_path)
        if own_path.endswith("/index.md") and not (ROOT / own_path).exists()
        else own_path
    )

    def rewrite(before: str, address: str) -> str:
        parts = urlsplit(address)
        if parts.scheme or parts.netloc or not parts.path:
            return before + address
        target = _resolve(own_path, parts.path)
        if not (ROOT / target).exists():
            return before + address
        path = posixpath.relpath(_site_path(target), posixpath.dirname(source))
        return before + path + (f"#{parts.fragment}" if parts.fragment else "")

    return _map_links(markdown, rewrite)


def _map_links(markdown: str, change: Callable[[str, str], str]) -> str:
    """Return the text with every link changed, except inside fenced code."""
    parts: list[str] = []
    end = 0
    for fence in FENCE.finditer(markdown):
        parts += [
            LINK.sub(lambda link: change(link[1], link[2]), markdown[end : fence.start()]),
            fence[0],
        ]
        end = fence.end()
    return "".join([*parts, LINK.sub(lambda link: change(link[1], link[2]), markdown[end:])])


def _link_targets(page: str, text: str) -> list[str]:
    found: list[str] = []

    def note(before: str, address: str) -> str:
        parts = urlsplit(address)
        if not parts.scheme and not parts.netloc and parts.path:
            found.append(_resolve(page, parts.path))
        return before + address

    _map_links(text, note)
    return found


def _resolve(page: str, path: str) -> str:
    """Return the repository path of a link target. The target of a folder is its README.md."""
    folder = page if (ROOT / page).is_dir() else posixpath.dirname(page)
    target = posixpath.normpath(posixpath.join(folder, path))
    readme = posixpath.join(target, "README.md")
    return readme if (ROOT / readme).is_file() else target


def _is_page(path: str) -> bool:
    return path.endswith(".md") or (ROOT / path).is_dir()


def _site_path(path: str) -> str:
    """Return the site path for a repository path."""
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    return f"{ADDED}/{path}" + ("/index.md" if (ROOT / path).is_dir() else "")


def _read_page(path: str) -> str:
    """Return the text of a page. A folder becomes a list of its files."""
    if (ROOT / path).is_dir():
        names = sorted(
            file.name
            for file in (ROOT / path).iterdir()
            if file.is_file() and not file.name.startswith(".")
        )
        return f"# {path}/\n\n" + "".join(f"- [{name}]({name})\n" for name in names)
    return (ROOT / path).read_text(encoding="utf-8")
