"""Check the pages with axe in a headless Chromium: on a phone, a tablet and a desk, light and dark."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
from html import escape
from pathlib import Path
from typing import Any

import pytest
from lxml import html

from gateway.observability.explanation_page import render_explanation
from gateway.observability.page_snapshot import Snapshot
from gateway.observability.status_page import render
from gateway.observability.topics_page import render_topic
from gateway.observability.why_page import render_why
from gateway.operations.browse_topics import TOPIC_NAMES
from tests.unit.observability.test_page import NOW, fleet
from tests.unit.observability.test_topics_page import BROWSER, QUERY, read
from tests.unit.observability.test_unmapped import NOW as SAMPLED
from tests.unit.observability.test_unmapped import samples
from tests.unit.observability.test_why_page import DIAGNOSES

pytestmark = pytest.mark.browser
AXE = Path(os.environ.get("GATEWAY_TEST_AXE", ""))
"""The file axe.min.js of the npm package axe-core."""
REPORT = (
    "onload = () => axe.run().then(found => { parent.document.querySelector('#report').textContent"
    " = JSON.stringify({dark: matchMedia('(prefers-color-scheme: dark)').matches, width:"
    " document.documentElement.scrollWidth, violations: found.violations.map(one => one.id),"
    " passes: found.passes.length}) })"
)


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    snapshot = Snapshot(
        titles={"aa-awards": "Register of awards"},
        explains=True,
        reloads=True,
        topics=TOPIC_NAMES,
        unmapped=lambda: samples(("NLQF 4X", False), ("NLQF 8+", True)).recent(SAMPLED),
        shows_values=True,
        runbooks="/runbooks",
        not_loaded={"dd": "dd.yaml:1:1: " + "x" * 80},
    )
    return {
        "status": str(render(fleet(), snapshot, NOW)),
        "why": str(render_why("aa-awards", "", DIAGNOSES, "/runbooks", NOW)),
        "topics": str(
            render_topic(QUERY, BROWSER, ["aa-awards"], asyncio.run(read(QUERY)) * 3, NOW)
        ),
        "explanation": str(render_explanation("aa-awards", "7", "level: 6 " * 40, ["aa-awards"])),
    }


@pytest.mark.parametrize("name", ["status", "why", "topics", "explanation"])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [320, 768, 1280])
def test_axe_finds_nothing(
    pages: dict[str, str], name: str, dark: bool, width: int, tmp_path: Path
):
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if not browser:
        pytest.skip("no Chromium on PATH: axe had no browser")
    if not AXE.is_file():
        pytest.skip("GATEWAY_TEST_AXE names no axe.min.js (npm package axe-core): axe did not run")
    report = run_axe(browser, pages[name], tmp_path, width, dark=dark)
    assert report["dark"] is dark
    assert report["passes"] > 30
    assert report["violations"] == []
    assert report["width"] <= width, "the page scrolls sideways"


def run_axe(browser: str, page: str, folder: Path, width: int, *, dark: bool) -> dict[str, Any]:
    """Return what axe reports about a page in a window of this width."""
    axe = AXE.read_text("utf-8").replace("</script", "<\\/script")
    document = page.replace("</body>", f"<script>{axe}</script><script>{REPORT}</script></body>")
    file = folder / "frame.html"
    file.write_text(
        f'<iframe title="page" style="border:0;width:{width}px;height:900px"'
        f' srcdoc="{escape(document)}"></iframe><pre id="report"></pre>',
        encoding="utf-8",
    )
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
    options += ["--virtual-time-budget=20000", "--window-size=1500,1000"]
    options += ["--blink-settings=preferredColorScheme=0"] if dark else []
    done = subprocess.run(
        [browser, *options, f"--user-data-dir={folder / 'profile'}", "--dump-dom", file.as_uri()],
        check=True,
        capture_output=True,
        text=True,
        timeout=120,
    )
    return json.loads(html.fromstring(done.stdout).xpath("string(//pre[@id='report'])"))
