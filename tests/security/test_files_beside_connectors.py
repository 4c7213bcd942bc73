"""Huge, broken and strange files beside the connectors cost nothing and stop nothing."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import structlog

from gateway.check import check, check_document
from gateway.check.report_formats import format_findings
from gateway.config.loading import build_connector
from gateway.config.yaml.document import MAX_FINDINGS, parse_yaml, read_yaml
from gateway.pipeline.loaded_config import LoadedConfig, load_config
from gateway.settings import Settings
from gateway.worker import config_reloader
from gateway.worker.config_reloader import ConfigReloader
from gateway.worker.watched_files import WatchedFiles

ROOT = Path(__file__).parents[2]
GOOD = (ROOT / "connectors" / "demo-rest.yaml").read_text(encoding="utf-8")
MAP = GOOD.index("map:\n") + len("map:\n")
RULE = "      "
SECONDS = 3
"""The limit for one file on a busy machine. An idle one needs less than one second."""


def numbered(text: str, count: int) -> str:
    return "".join(text.format(number) for number in range(count))


WRONG_LINES = {
    "tabs": "\ta: 1\n" * 90_000,
    "unknown keys": numbered("wrong{}: 1\n", 70_000),
    "near misses": numbered("stream{}: 1\n", 60_000),
    "unknown keys at the end": GOOD + numbered("wrong{}: 1\n", 60_000),
    "one key": "a: 1\n" * 90_000,
    "leading zeros": numbered("a{}: 01\n", 80_000),
    "invisible characters": numbered("a{}: '\u200b'\n", 40_000),
    "bytes of value zero": "a: \0\n" * 100_000,
    "aliases": "a: &a [x]\n" + numbered("b{}: *a\n", 60_000),
    "anchors": "- &a 1\n" * 90_000,
    "tags": "- !t 1\n" * 90_000,
    "variables": numbered("a{}: ${{A}}\n", 60_000),
    "hosts": GOOD.replace("  limits:", "  hosts:\n" + '    - "*"\n' * 60_000 + "  limits:", 1),
    "rules": GOOD[:MAP] + numbered(RULE + "wrong{}: a\n", 15_000) + GOOD[MAP:],
    "open words": GOOD + "# TODO\n" * 90_000,
}
COSTLY = {
    "syntax": "a: b: c\n" * 60_000,
    "small syntax": numbered("a{}: b: c\n", 6_000),
    "mistake at the end": numbered("a{}: 1\n", 80_000) + "a: b: c\n",
    "open text": 'a: "x\n' * 60_000,
    "brackets": ("[" * 399 + "\n") * 2_400,
    "brackets with blanks": ("[" + " " * 2_500) * 399,
    "dashes": "- " * 400_000,
    "values": "-\n" * 400_000,
    "questions": "? " * 400_000,
    "braces": "{a: " * 200_000,
    "laughs": "a: &a [x,x]\n" + numbered("b{0}: &b{0} [*a,*a]\n", 30),
    "long key": "k" * 900_000 + ": 1\n",
    "documents": "---\na: 1\n" * 90_000,
    "directives": "%YAML 1.1\n" * 90_000,
    "comments": "#\n" * 490_000,
}


@pytest.mark.parametrize("kind", WRONG_LINES)
def test_file_of_wrong_lines_gives_the_first_hundred_findings_and_a_number(kind: str) -> None:
    began = time.process_time()
    found = check_document(parse_yaml(WRONG_LINES[kind].encode(), "demo-rest.yaml"))
    assert time.process_time() - began < SECONDS
    assert MAX_FINDINGS * 0.9 <= len(found) <= MAX_FINDINGS + 1
    assert found[-1].code == "more-findings"
    assert "more findings in this file" in found[-1].message
    lines = [one.line for one in found[:-1]]
    assert lines == sorted(lines)


@pytest.mark.parametrize("kind", COSTLY)
def test_costly_text_is_refused_at_once(kind: str) -> None:
    began = time.process_time()
    connector, found = build_connector(parse_yaml(COSTLY[kind].encode(), "x.yaml"))
    assert time.process_time() - began < SECONDS
    assert connector is None
    assert found
    assert len(found) <= MAX_FINDINGS + 1


def test_file_that_is_too_large_is_refused_before_it_is_parsed(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.touch()
    os.truncate(file, 10**11)  # a file with a hole, which takes no space
    began = time.process_time()
    assert [one.code for one in check(file)] == ["too-large"]
    assert time.process_time() - began < 1


def make_pipe(path: Path) -> None:
    os.mkfifo(path)


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


STRANGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "pipe": (make_pipe, "not-a-file"),
    "socket": (make_socket, "not-a-file"),
    "folder": (Path.mkdir, "not-a-file"),
    "device": (lambda path: path.symlink_to("/dev/zero"), "not-a-file"),
    "loop": (lambda path: path.symlink_to(path), "unreadable-file"),
    "link to nothing": (lambda path: path.symlink_to("absent"), "missing-file"),
    "hole": (lambda path: (path.touch(), os.truncate(path, 10**11)), "too-large"),
    "bytes": (lambda path: path.write_bytes(b"\xff\xfe" * 1_000), "not-utf-8"),
}


@pytest.mark.parametrize("kind", STRANGE)
def test_file_that_is_no_text_is_named_and_not_waited_for(tmp_path: Path, kind: str) -> None:
    make, code = STRANGE[kind]
    file = tmp_path / "x.yaml"
    make(file)
    assert [one.code for one in read_yaml(file).findings] == [code]
    files = WatchedFiles((tmp_path,))
    assert files.digests() == files.digests() != {}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_file_without_permission_is_named(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.touch(mode=0)
    assert [one.code for one in read_yaml(file).findings] == ["unreadable-file"]


def test_finding_prints_no_control_characters_and_no_endless_text(tmp_path: Path) -> None:
    key = r'"\e]0;owned\a\e[31m' + "x" * 50_000 + '"'
    file = tmp_path / "x.yaml"
    file.write_text(GOOD + f"{key}: 1\n", encoding="utf-8")
    shown = format_findings(check(file))
    assert "\x1b" not in shown
    assert "\x07" not in shown
    assert len(shown) < 10_000


def test_digest_follows_each_change_of_a_file(tmp_path: Path) -> None:
    files, file = WatchedFiles((tmp_path,)), tmp_path / "a.yaml"
    seen = []
    for text in ("a: 1", "a: 2", "a: 3"):  # of one size, within one step of the clock
        file.write_text(text, encoding="utf-8")
        seen.append((files.digests() or {})[file])
    assert len(set(seen)) == len(seen)
    file.unlink()
    assert files.digests() == {}
    shutil.rmtree(tmp_path)
    assert files.digests() is None


class Folder:
    """A folder of connectors, and a reloader that watches it."""

    def __init__(self, folder: Path) -> None:
        shutil.copytree(ROOT / "mappings", folder / "mappings")
        (folder / "connectors").mkdir()
        (folder / "connectors" / "demo-rest.yaml").write_text(GOOD, encoding="utf-8")
        self.settings = Settings(
            connectors=folder / "connectors",
            mappings=folder / "mappings",
            pseudonym_key="a key for tests only, never for people",
        )
        self.applied: list[frozenset[str]] = []
        self.longest_silence = 0.0

    async def apply(self, _config: LoadedConfig, changed: frozenset[str]) -> None:
        self.applied.append(changed)

    async def run(
        self, seconds: float, change: Callable[[Path], object], refused: int = 99
    ) -> ConfigReloader:
        """Change the folder while the reloader runs, and measure how long the loop is silent."""
        reloader = ConfigReloader(
            self.settings, None, load_config(self.settings), self.apply, has_poll_role=False
        )
        running = asyncio.create_task(reloader.run())
        await asyncio.sleep(0.3)
        change(self.settings.connectors)
        end = time.monotonic() + seconds
        while time.monotonic() < end and not self.applied and len(reloader.not_loaded) < refused:
            began = time.monotonic()
            await asyncio.sleep(0.01)
            self.longest_silence = max(self.longest_silence, time.monotonic() - began)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        return reloader


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folder:
    monkeypatch.setattr(config_reloader, "CHECK_INTERVAL_SECONDS", 0.1)
    structlog.reset_defaults()  # An earlier test may have configured the log as a worker does.
    return Folder(tmp_path)


def test_file_of_90_000_wrong_lines_is_one_log_line_and_blocks_nothing(
    folder: Folder, capsys: pytest.CaptureFixture[str]
) -> None:
    def change(connectors: Path) -> None:
        (connectors / "bad.yaml").write_text(WRONG_LINES["tabs"], encoding="utf-8")

    reloader = asyncio.run(folder.run(20, change, refused=1))
    assert set(reloader.not_loaded) == {"bad"}
    assert capsys.readouterr().out.count("configuration refused") == 1
    assert folder.longest_silence < 2
    assert not folder.applied


def test_reload_works_beside_files_of_every_strange_kind(folder: Folder) -> None:
    def change(connectors: Path) -> None:
        for number, (make, _) in enumerate(STRANGE.values()):
            make(connectors / f"strange{number}.yaml")
        text = GOOD.replace("every: ", "zone: Europe/Helsinki\n    every: ", 1)
        (connectors / "demo-rest.yaml").write_text(text, encoding="utf-8")

    asyncio.run(folder.run(30, change))
    assert folder.applied == [frozenset({"demo-rest"})]
    assert folder.longest_silence < 2


def test_many_bad_files_leave_the_loop_free_and_the_log_short(
    folder: Folder, capsys: pytest.CaptureFixture[str]
) -> None:
    def change(connectors: Path) -> None:
        for number in range(2_000):
            (connectors / f"bad{number}.yaml").write_text("wrong: 1\n", encoding="utf-8")

    reloader = asyncio.run(folder.run(60, change, refused=2_000))
    assert len(reloader.not_loaded) == 2_000
    said = capsys.readouterr().out
    assert said.count("configuration refused") == config_reloader.MAX_REPORTED_FILES
    assert said.count("configuration of further files refused") == 1
    assert folder.longest_silence < 2


def test_start_beside_strange_files_names_each_once(
    folder: Folder, capsys: pytest.CaptureFixture[str]
) -> None:
    for number, (make, _) in enumerate(STRANGE.values()):
        make(folder.settings.connectors / f"strange{number}.yaml")
    tabs = folder.settings.connectors / "tabs.yaml"
    tabs.write_text(WRONG_LINES["tabs"], encoding="utf-8")
    config = load_config(folder.settings, leave_out_invalid=True)
    assert set(config.connectors) == {"demo-rest"}
    assert len(config.not_loaded) == len(STRANGE) + 1
    config.log_not_loaded()
    said = capsys.readouterr().out.splitlines()
    assert len([line for line in said if "connector not loaded" in line]) == len(STRANGE) + 1


def test_mapping_table_that_is_a_pipe_is_refused_at_once(folder: Folder) -> None:
    os.mkfifo(folder.settings.mappings / "zz.yaml")
    config_before = WatchedFiles((folder.settings.mappings,)).digests()
    assert config_before
    with pytest.raises(Exception, match="not-a-file"):
        load_config(folder.settings)
