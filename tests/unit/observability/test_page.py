"""Check the status page.

The page is well-formed and accessible, shows the right facts, and loads no other resource.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from html import escape
from pathlib import Path

import pytest
from lxml import html
from prometheus_client import CollectorRegistry, Counter, Gauge

from gateway.observability import metrics
from gateway.observability.page_layout import STYLE
from gateway.observability.page_snapshot import Snapshot
from gateway.observability.status_page import render

NOW = 1_800_000_000.0
RUNBOOKS = Path(__file__).parents[3] / "deploy" / "runbooks"


def fleet() -> CollectorRegistry:
    """Three connectors in different states, with the same metric names and labels as ``metrics.py``."""
    registry = CollectorRegistry()

    def one(source, values):
        kind = Counter if source._type == "counter" else Gauge
        made = kind(source._name, source._documentation, source._labelnames, registry=registry)
        for labels, value in values.items():
            child = made.labels(*labels)
            child.inc(value) if kind is Counter else child.set(value)

    aa, bb, cc = ("aa-awards", "credentials"), ("bb-catalogue", "programmes"), ("cc-cards", "cards")
    one(metrics.CURSOR_TIMESTAMP, {aa: NOW - 120, bb: NOW - 90_000})
    one(metrics.POLL_INTERVAL, {aa: 300, bb: 900, cc: 3600})
    one(metrics.RECEIVED, {aa: 1_204_332, bb: 5_000})
    one(
        metrics.RECORDS,
        {
            (*aa, "accepted"): 1_204_000,
            (*aa, "rejected"): 32,
            (*aa, "unchanged"): 300,
            (*bb, "accepted"): 4_990,
            (*bb, "rejected"): 10,
        },
    )
    one(
        metrics.REJECTIONS,
        {
            (*aa, "level_unknown", "nqf_level"): 30,
            (*aa, "date_invalid", "awarded_on"): 2,
            (*bb, "field_missing", "title"): 10,
        },
    )
    one(
        metrics.BREAKER_STATE,
        {
            ("aa-awards", ""): 0,
            ("bb-catalogue", ""): 1,
            ("cc-cards", ""): 2,
            ("cc-cards", "uni-a"): 2,
        },
    )
    one(
        metrics.REQUESTS,
        {("aa-awards", "2xx"): 12_100, ("aa-awards", "5xx"): 3, ("cc-cards", "error"): 40},
    )
    one(metrics.RETRIES, {("aa-awards", "timeout"): 3})
    one(metrics.RATE_LIMIT_WAIT, {("aa-awards",): 421})
    one(
        metrics.CERTIFICATE_EXPIRY,
        {
            ("aa-awards", "tls", "aa/own"): NOW + 9 * 86_400,
            ("aa-awards", "server", "aa.example"): NOW + 90 * 86_400,
        },
    )
    one(
        metrics.TABLE_LOOKUPS,
        {("AA", "levels", "2024-1"): 1_204_000, ("BB", "credits", "2025-1"): 4_000},
    )
    one(metrics.UNMAPPED, {("AA", "levels"): 30})
    one(metrics.TABLE_EXPIRY, {("AA", "levels"): NOW + 400 * 86_400})
    one(metrics.COVERAGE, {aa: 0.472, bb: 1})
    one(metrics.LAST_COMMIT, {("poll",): NOW - 3, ("harmonise",): NOW - 2})
    one(metrics.PUBLISH_BLOCKED, {("poll",): 0, ("harmonise",): 95})
    one(metrics.CONSUMER_LAG, {("0",): 12, ("1",): 1_400})
    return registry


SNAPSHOT = Snapshot(
    release="0.1.0",
    stage="production",
    roles=("poll", "harmonise"),
    titles={
        "aa-awards": "Register of <awards> & diplomas",
        "bb-catalogue": "Catalogue of programmes",
    },
    problems={("bb-catalogue", "programmes"): "no answer within 30 s"},
)


@pytest.fixture(scope="module")
def page():
    return render(fleet(), SNAPSHOT, NOW)


@pytest.fixture(scope="module")
def tree(page):
    return html.fromstring(page)


def cells(tree, section: str) -> list[list[str]]:
    return [
        [" ".join(cell.text_content().split()) for cell in row]
        for row in tree.xpath(f'//section[@aria-labelledby="{section}"]//tbody/tr')
    ]


def test_page_shows_state_freshness_and_counts(tree):
    first, second, third = cells(tree, "streams")
    assert first[:4] == [
        "aa-awards credentials Register of <awards> & diplomas",
        "✓ fresh",
        "2 min ago",
        "5 min",
    ]
    assert first[4:] == ["1 204 332", "1 204 000", "32", "300", "·none"]
    assert second[1] == "▲ failing: no answer within 30 s"
    assert third[1] == "▲ registry not answering"


def test_page_shows_withheld_deletions_before_the_first_poll_fails():
    registry = fleet()
    withheld = Gauge("gateway_deletions_withheld", "d", ["connector", "stream"], registry=registry)
    withheld.labels("aa-awards", "credentials").set(1812)
    tree = html.fromstring(render(registry, SNAPSHOT, NOW))
    assert cells(tree, "streams")[0][1] == "▲ deletions withheld: 1,812"


def test_page_sorts_rejections_by_number(tree):
    assert [row[0] for row in cells(tree, "rejections")] == [
        "level_unknown",
        "field_missing",
        "date_invalid",
    ]


def test_page_shows_registries_tables_and_kafka(tree):
    assert cells(tree, "registries")[0] == [
        "aa-awards",
        "✓ closed",
        "12 103",
        "3",
        "3",
        "7 min",
        "24 January 2027 (soon)",
    ]
    assert cells(tree, "mapping")[0] == [
        "AA",
        "levels",
        "1 204 000",
        "30",
        "99.9 %",
        "19 February 2028",
    ]
    assert cells(tree, "coverage") == [
        ["aa-awards credentials", "47.2 %"],
        ["bb-catalogue programmes", "100 %"],
    ]
    assert cells(tree, "kafka")[0] == ["harmonise", "▲ blocked for 95 s", "2 s ago", "0", "1 412"]


def test_summary_counts_problems(tree):
    assert "2 streams need attention. 3 connectors, 3 streams" in tree.xpath("string(//main/p)")


@pytest.mark.parametrize(
    ("cursor", "every", "paused", "words"),
    [(10, 60, False, "fresh"), (181, 60, False, "late"), (181, 60, True, "paused")],
)
def test_late_uses_the_stale_alert_limit(cursor, every, paused, words):
    registry = CollectorRegistry()
    Gauge(
        "gateway_cursor_timestamp_seconds", "x", ["connector", "stream"], registry=registry
    ).labels("aa", "s").set(NOW - cursor)
    Gauge("gateway_poll_interval_seconds", "x", ["connector", "stream"], registry=registry).labels(
        "aa", "s"
    ).set(every)
    tree = html.fromstring(
        render(registry, Snapshot(paused=frozenset({("aa", "s")} if paused else ())), NOW)
    )
    assert cells(tree, "streams")[0][1].endswith(words)


def test_idle_worker_shows_a_message():
    tree = html.fromstring(render(CollectorRegistry(), Snapshot(), NOW))
    assert "has polled and harmonised nothing yet" in tree.text_content()
    assert not tree.xpath("//table")


def test_page_renders_all_real_metrics():
    metrics.POLL_DURATION.labels("aa", "s").observe(1)
    metrics.BATCH_DURATION.labels("0").observe(1)
    assert "</html>" in render(metrics.REGISTRY, Snapshot(), NOW)


def test_page_loads_no_external_content(page, tree):
    assert not tree.xpath(
        "//script | //img | //iframe | //object | //form | //input | //link[@rel='stylesheet']"
    )
    assert not tree.xpath("//@*[starts-with(name(), 'on')]")
    assert not re.findall(r"https?://|url\(|@import", page)
    assert all(link.startswith(("#", "/")) for link in tree.xpath("//a/@href"))


def test_page_escapes_names(page):
    assert "Register of &lt;awards&gt; &amp; diplomas" in page


def test_page_structure_is_accessible(tree):
    assert tree.get("lang") == "en"
    assert tree.xpath("string(//title)")
    assert [len(tree.xpath(f"//{name}")) for name in ("h1", "main", "header", "nav")] == [
        1,
        1,
        1,
        1,
    ]
    identifiers = tree.xpath("//@id")
    assert len(identifiers) == len(set(identifiers))
    for target in tree.xpath("//a[starts-with(@href, '#')]/@href"):
        assert target[1:] in identifiers
    for table in tree.xpath("//table"):
        assert table.get("aria-labelledby") in identifiers
        assert table.xpath("count(.//thead//th[@scope='col'])") == len(table.xpath(".//thead//th"))
        width = len(table.xpath(".//thead//th"))
        for row in table.xpath(".//tbody/tr"):
            assert len(row) == width
            assert len(row.xpath("./th[@scope='row']")) == 1
        assert table.getparent().get("tabindex") == "0"


def test_landmarks_and_tables_have_names_of_their_own(tree):
    texts = {one.get("id"): one.text_content() for one in tree.xpath("//*[@id]")}
    named = tree.xpath("//section[@aria-labelledby] | //table[@aria-labelledby]")
    names = [texts[one.get("aria-labelledby")] for one in named]
    assert len(names) >= 12
    assert len(names) == len(set(names))
    boxes = tree.xpath("//*[@role='group']/@aria-label")
    assert len(boxes) == len(set(boxes)) == 6


@pytest.mark.parametrize("folder", ["/runbooks", "https://wiki.example.net/gateway/"])
def test_bad_states_link_to_their_runbooks(folder: str):
    snapshot = Snapshot(runbooks=folder, not_loaded={"dd": "dd.yaml:1:1: bad"})
    tree = html.fromstring(render(fleet(), snapshot, NOW))
    found = tree.xpath("//td[@class='bad']/a/@href | //main/ul//a/@href")
    links = [link for link in found if not link.startswith("/why")]
    # The days on which certificates and tables end are marked too, and have no state to link.
    assert len(links) >= 4
    names = {link.removeprefix(folder.rstrip("/") + "/") for link in links}
    assert {"BreakerOpen.md", "PublishBlocked.md", "ConnectorNotLoaded.md"} <= names
    assert all((RUNBOOKS / name).is_file() for name in names)


@pytest.mark.parametrize("reloads", [True, False])
def test_page_says_whether_it_reloads(reloads: bool):
    tree = html.fromstring(render(fleet(), Snapshot(reloads=reloads), NOW))
    target = "/?reload=no" if reloads else "/"
    assert tree.xpath("string(//header/p[2])").startswith("This page ")
    assert tree.xpath("//header/p[2]/a/@href") == [target]


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_page_contrast_is_at_least_7_to_1():
    palettes = [
        dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", part))
        for part in STYLE.split("@media (prefers-color-scheme: dark)")[:2]
    ]
    for palette in palettes:
        for ink in ("ink", "soft", "good", "bad", "link"):
            for ground in ("paper", "band"):
                light, dark = sorted(
                    (luminance(palette[ink]), luminance(palette[ground])), reverse=True
                )
                ratio = (light + 0.05) / (dark + 0.05)
                assert ratio >= (7 if ink == "ink" else 4.5), (ink, ground, round(ratio, 2))


@pytest.mark.browser
def test_page_renders_in_a_browser(page, tmp_path):
    browser = (
        shutil.which("chromium")
        or shutil.which("chromium-browser")
        or shutil.which("google-chrome")
    )
    if not browser:
        pytest.skip("no Chromium on PATH: the page was not drawn")
    file, picture = tmp_path / "page.html", tmp_path / "page.png"
    file.write_text(page, encoding="utf-8")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        common = [
            browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
            "--disable-component-update", "--disable-sync", "--hide-scrollbars", f"--user-data-dir={profile}",
        ]  # fmt: skip
        subprocess.run(
            [*common, "--window-size=1400,1500", f"--screenshot={picture}", file.as_uri()],
            check=True,
            capture_output=True,
            timeout=90,
        )
        assert Path(picture).read_bytes().startswith(b"\x89PNG")
        assert picture.stat().st_size > 40_000
        full = render(
            fleet(), Snapshot(explains=True, not_loaded={"dd": "x" * 99}, reloads=True), NOW
        )
        for width in (320, 375, 768, 1280):
            assert drawn_width(common, full, tmp_path, width) <= width, "the page scrolls sideways"


def drawn_width(browser: list[str], page: str, folder: Path, width: int) -> int:
    """Return the width that the page needs in a window of ``width`` pixels."""
    file = folder / "frame.html"
    file.write_text(
        f'<iframe style="border:0;width:{width}px;height:900px" srcdoc="{escape(str(page))}"></iframe>'
        "<script>onload = () => { document.title = document.querySelector('iframe')"
        ".contentDocument.documentElement.scrollWidth }</script>",
        encoding="utf-8",
    )
    done = subprocess.run(
        [*browser, "--window-size=1400,1500", "--dump-dom", file.as_uri()],
        check=True,
        capture_output=True,
        text=True,
        timeout=90,
    )
    return int(html.fromstring(done.stdout).xpath("string(//title)"))


def test_page_names_the_institution_that_is_not_called() -> None:
    registry = CollectorRegistry()
    source = metrics.BREAKER_STATE
    breakers = Gauge(source._name, source._documentation, source._labelnames, registry=registry)
    for institution, state in (("", 0), ("uni-a", 2), ("uni-b", 0)):
        breakers.labels("aa", institution).set(state)
    cursors = Gauge(
        "gateway_cursor_timestamp_seconds", "-", ["connector", "stream"], registry=registry
    )
    for stream in ("awards@uni-a", "awards@uni-b", "other"):
        cursors.labels("aa", stream).set(NOW)
    page = render(registry, Snapshot(), NOW)
    text = html.fromstring(page).text_content()
    assert "open: not called (uni-a)" in text
    assert text.count("registry not answering") == 1
    assert text.count("fresh") == 2


def test_bad_states_link_to_the_page_that_says_why(tree):
    rows = tree.xpath('//section[@aria-labelledby="streams"]//tbody/tr')
    (link,) = rows[1].xpath("td[@class='bad']/a")
    assert link.get("href") == "/why?connector=bb-catalogue&stream=programmes"
    assert not rows[0].xpath("td[2]/a")
