"""Check that changes in volumes of Kubernetes and in copies of git-sync are noticed."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from gateway.cli import app
from gateway.pipeline.loaded_config import connector_files
from gateway.worker.watched_files import WatchedFiles

ROOT = Path(__file__).parents[3]
FILES = ("demo-soap.yaml", "demo-soap.wsdl")


def write_version(folder: Path, text: str) -> None:
    folder.mkdir(parents=True)
    for name in FILES:
        (folder / name).write_text((ROOT / "connectors" / name).read_text() + text)


def swap(link: Path, target: str) -> None:
    """Replace a link in one step, as the kubelet and git-sync do."""
    new = link.with_name(f"{link.name}_new")
    new.symlink_to(target)
    new.replace(link)


def config_map(root: Path) -> tuple[Path, Path]:
    """Lay files out as in a mounted ConfigMap. Return the folder and the link that changes."""
    folder = root / "connectors"
    write_version(folder / "..1", "")
    swap(folder / "..data", "..1")
    for name in FILES:
        (folder / name).symlink_to(f"..data/{name}")
    return folder, folder / "..data"


def git_sync(root: Path) -> tuple[Path, Path]:
    """Lay files out as git-sync does."""
    write_version(root / ".worktrees/..1/connectors", "")
    swap(root / "current", ".worktrees/..1")
    return root / "current/connectors", root / "current"


@pytest.mark.parametrize("lay_out", [config_map, git_sync])
def test_swapped_link_is_a_change_of_each_file(tmp_path: Path, lay_out):
    folder, link = lay_out(tmp_path)
    watched = WatchedFiles((folder,))
    before = watched.digests()
    assert before == watched.digests()
    assert [path.name for path in connector_files(folder)] == ["demo-soap.yaml"]

    is_git = lay_out is git_sync
    write_version(
        (tmp_path / ".worktrees/..2/connectors") if is_git else folder / "..2", "<!-- -->"
    )
    swap(link, ".worktrees/..2" if is_git else "..2")

    after = watched.digests()
    assert before is not None
    assert after is not None
    assert before.keys() == after.keys() == {folder / name for name in FILES}
    assert all(before[path] != after[path] for path in before)


@pytest.mark.parametrize("lay_out", [config_map, git_sync])
def test_files_next_to_a_connector_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lay_out
):
    folder, _ = lay_out(tmp_path)
    monkeypatch.setenv("GATEWAY_MAPPINGS", str(ROOT / "mappings"))
    done = CliRunner().invoke(app, ["check", str(folder)])
    assert done.exit_code == 0, done.output
    assert "1 file checked" in done.output
