"""Draw the pages in a headless Chromium, light and dark: ``make pages`` keeps the pictures."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from gateway.observability.page_snapshot import Snapshot
from gateway.observability.status_page import render
from gateway.observability.unmapped_samples import UnmappedPlace, UnmappedSamples
from gateway.observability.why_page import render_why
from tests.unit.observability.test_page import NOW, SNAPSHOT, fleet
from tests.unit.observability.test_why_page import DIAGNOSES

pytestmark = pytest.mark.browser
SIZES = {"status": (1200, 1500), "why": (1200, 800), "phone": (390, 844)}


def snapshot() -> Snapshot:
    found = UnmappedSamples()
    place = UnmappedPlace("bb-catalogue", "programmes", "BB", "levels", "eqf_level")
    for value, count in (("NQF 4X", 9), ("NQF 10", 2)):
        for _ in range(count):
            found.add(place, value, is_about_person=False, now=NOW - 90)
    return replace(
        SNAPSHOT,
        runbooks="/runbooks",
        explains=True,
        reloads=True,
        unmapped=lambda: found.recent(NOW),
    )


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    status = str(render(fleet(), snapshot(), NOW))
    details = "the reply has no list where `items` looks for it: the reply is an object without it"
    halted = msgspec.structs.replace(DIAGNOSES[1], details=details)
    why = str(render_why("aa-awards", "", [DIAGNOSES[0], halted], "/runbooks", NOW))
    return {"status": status, "phone": status, "why": why}


@pytest.mark.parametrize("name", SIZES)
def test_pages_are_drawn_light_and_dark(pages: dict[str, str], name: str, tmp_path: Path):
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if not browser:
        pytest.skip("no Chromium on PATH: the pages were not drawn")
    out = Path(os.environ.get("GATEWAY_PAGES_OUT", tmp_path)).absolute()
    out.mkdir(parents=True, exist_ok=True)
    file = tmp_path / "page.html"
    file.write_text(pages[name], encoding="utf-8")
    pictures = []
    for dark in (False, True):
        picture = out / f"{name}-{'dark' if dark else 'light'}.png"
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
        options += ["--window-size={},{}".format(*SIZES[name]), f"--screenshot={picture}"]
        options += ["--blink-settings=preferredColorScheme=0"] if dark else []
        profile = f"--user-data-dir={tmp_path / str(dark)}"
        subprocess.run(
            [browser, *options, profile, file.as_uri()],
            check=True,
            capture_output=True,
            timeout=120,
        )
        pictures.append(picture.read_bytes())
    assert all(one.startswith(b"\x89PNG") and len(one) > 20_000 for one in pictures)
    assert pictures[0] != pictures[1]
