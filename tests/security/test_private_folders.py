"""Keep files and folders of the gateway from other users of the machine."""

from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.errors import StorageError
from gateway.fetch.http.lease import Lease
from gateway.local import broker as kafka
from gateway.settings import Settings
from gateway.worker import socket_folder as sockets
from gateway.worker.control_plane import build_control_app


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


@pytest.fixture
def temporary(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """Return the folder for temporary files, with a path that is short enough for sockets."""
    tmp_path_factory.getbasetemp()  # outside of this folder
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    yield folder
    shutil.rmtree(folder)


def test_socket_folder_is_private_and_unpredictable(temporary: Path):
    with sockets.socket_folder() as first, sockets.socket_folder() as second:
        assert first != second
        assert first.parent == temporary
        assert mode(first) == 0o700
        assert len(first.name) >= len(sockets.PREFIX) + 8
        assert first.is_dir(), "a parent that starts does not remove the folder of a running one"
    assert list(temporary.iterdir()) == []


def test_socket_folder_of_a_killed_parent_is_removed_at_the_next_start(temporary: Path):
    """The kernel releases the lock of a killed process, and the files stay."""
    left = temporary / f"{sockets.PREFIX}abandoned"
    left.mkdir(0o700)
    (left / "lock").touch()
    (left / "1.sock").touch()
    (left / "push-1.sock").touch()
    with sockets.socket_folder():
        assert not left.exists()


@pytest.mark.parametrize("kind", ["link", "link as lock", "no lock", "file", "fifo as lock"])
def test_socket_folder_that_is_none_is_left_alone(temporary: Path, tmp_path: Path, kind: str):
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "lock").touch()
    (victim / "precious").touch()
    planted = temporary / f"{sockets.PREFIX}planted"
    match kind:
        case "link":
            planted.symlink_to(victim)
        case "file":
            planted.touch()
        case "no lock":
            planted.mkdir()
        case "link as lock":
            planted.mkdir()
            (planted / "lock").symlink_to(victim / "lock")
        case "fifo as lock":
            planted.mkdir()
            os.mkfifo(planted / "lock")
    with sockets.socket_folder():
        pass
    assert (victim / "precious").exists()
    assert planted.is_symlink() or planted.exists() or kind == "fifo as lock"


def test_socket_folder_that_another_parent_locks_is_left_alone(temporary: Path):
    other = temporary / f"{sockets.PREFIX}other"
    other.mkdir()
    with (other / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with sockets.socket_folder():
            assert other.exists()


def test_missing_place_for_temporary_files_is_one_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "none"))
    with pytest.raises(StorageError, match="set TMPDIR"), sockets.socket_folder():
        pass


@pytest.mark.parametrize("kind", ["file", "folder", "link", "dangling link"])
def test_control_plane_creates_nothing_that_another_user_can_take_first(
    temporary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
):
    """Faust wants folders for tables, also where it has none."""
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.chdir(empty)
    planted = temporary / "gateway-control"
    match kind:
        case "file":
            planted.write_text("of another user")
        case "folder":
            planted.mkdir(0o500)
        case "link":
            planted.symlink_to(empty)
        case "dangling link":
            planted.symlink_to(tmp_path / "nowhere")

    async def nothing(_: object) -> None:
        pass

    async def scenario() -> None:
        app = build_control_app(Settings(), "127.0.0.1:1", Lease(60), nothing, nothing)
        app._create_directories()
        assert list(empty.iterdir()) == []
        assert [path.name for path in temporary.iterdir()] == ["gateway-control"]

    asyncio.run(scenario())


def test_faust_creates_its_folders_through_the_replaced_method():
    from faust.app.base import App

    assert "_create_directories" in App.on_first_start.__code__.co_names


@pytest.mark.kafka
def test_data_of_the_local_broker_are_private(tmp_path: Path):
    data = tmp_path / "data"
    previous = os.umask(0o022)
    try:
        kafka.start(data, detached=False, mirror=os.environ.get("GATEWAY_JAR_MIRROR", ""))
    finally:
        os.umask(previous)
        kafka.stop(data)
    assert mode(data) == 0o700
    readable = [
        str(path.relative_to(data))
        for path in data.rglob("*")
        if mode(path) & 0o077 and not path.is_symlink()
    ]
    assert readable == []


@pytest.mark.kafka
def test_data_of_an_earlier_version_become_private(tmp_path: Path):
    data = tmp_path / "data"
    logs = data / "logs"
    logs.mkdir(parents=True)
    logs.chmod(0o755)
    (data / "broker.log").write_text("")
    (data / "broker.log").chmod(0o644)
    try:
        kafka.start(data, detached=False, mirror=os.environ.get("GATEWAY_JAR_MIRROR", ""))
        assert mode(logs) == 0o700
        for name in ("broker.log", "broker.json", "server.properties", "lock"):
            assert mode(data / name) == 0o600, name
    finally:
        kafka.stop(data)


@pytest.mark.parametrize("name", ["lock", "server.properties"])
def test_link_in_the_data_of_the_local_broker_is_refused(tmp_path: Path, name: str):
    data = tmp_path / "data"
    data.mkdir()
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (data / name).symlink_to(victim)
    with pytest.raises(StorageError, match="cannot store its data here"):
        kafka.start(data, detached=False, mirror=os.environ.get("GATEWAY_JAR_MIRROR", ""))
    assert victim.read_text() == "precious"
