"""Read secrets from files, which may be replaced at any moment, or from the environment.

Errors name the secret and never show its value.
"""

from __future__ import annotations

import asyncio
import os
import textwrap
from pathlib import Path

import pytest
from pydantic import SecretStr

from gateway.config.loading import load_connector
from gateway.errors import StreamHalted
from gateway.fetch import read_pages
from gateway.fetch.registry_client import RegistryClient
from gateway.fetch.secrets import FileSecrets, text_secret
from gateway.settings import Settings
from tests.support.raw_http_server import ReceivedRequest, Server, reply
from tests.unit.fetch.test_stream import WINDOW

CONNECTOR = """
language: 1
connector: turning
country: EE
title: A registry whose token is replaced
owner: {{name: Tests, contact: tests@example.org}}
rest:
  url: {{production: "{url}"}}
  auth: {{bearer: {{token: {{secret: turning/token}}}}}}
streams:
  things:
    emits: provider
    request: {{get: /things, query: {{page: "{{page}}"}}}}
    paging: {{page_number: {{start: 1, more: more}}}}
    records: items
    id: id
    map: {{organisation.name.en: id}}
    tests: [{{name: one, given: {{id: a}}, expect_some: {{id: a}}}}]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "secrets"
    (made / "registry").mkdir(parents=True)
    return made


def put(folder: Path, content: bytes, name: str = "registry/key") -> Path:
    path = folder / name
    path.write_bytes(content)
    path.chmod(0o600)
    return path


@pytest.mark.parametrize(
    ("content", "value"),
    [
        (b"one", b"one"),
        (b"one\n", b"one"),
        (b"one\r\n", b"one"),
        (b"one\n\n", b"one\n"),
        (b"\0\xff", b"\0\xff"),
    ],
)
def test_secret_file_drops_one_line_end(folder: Path, content: bytes, value: bytes):
    put(folder, content)
    assert FileSecrets(folder)("registry/key") == value


def test_replaced_secret_file_is_reread(folder: Path):
    secrets = FileSecrets(folder)
    path = put(folder, b"first")
    assert secrets("registry/key") == b"first"
    put(folder, b"a second one")
    assert secrets("registry/key") == b"a second one"
    times = path.stat()
    other = put(
        folder, b"another one!", "registry/other"
    )  # as long, and moved over it with the same time
    os.utime(other, ns=(times.st_atime_ns, times.st_mtime_ns))
    other.replace(path)
    assert secrets("registry/key") == b"another one!"


def test_secret_behind_a_moved_link_is_reread(folder: Path):
    """Kubernetes replaces mounted secrets by turning a link."""
    for name in ("one", "two"):
        (folder / name).mkdir()
        put(folder, name.encode(), f"{name}/key")
    (folder / "data").symlink_to("one")
    secrets = FileSecrets(folder)
    assert secrets("data/key") == b"one"
    (folder / "turning").symlink_to("two")
    (folder / "turning").replace(folder / "data")
    assert secrets("data/key") == b"two"


def test_environment_is_used_without_a_secret_file(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("GATEWAY_SECRET_REGISTRY_KEY", "from the environment")
    secrets = FileSecrets(folder)
    assert secrets("registry/key") == b"from the environment"
    put(folder, b"from the file")
    assert secrets("registry/key") == b"from the file"


def test_secret_error_names_the_file_not_the_value(folder: Path, tmp_path: Path):
    secrets = FileSecrets(folder)
    with pytest.raises(
        StreamHalted,
        match=r"'registry/key' is missing: write it to .*registry/key \(mode 0600\) or set GATEWAY_SECRET_REGISTRY_KEY",
    ):
        secrets("registry/key")
    put(tmp_path, b"outside", "outside")
    with pytest.raises(StreamHalted, match="points outside"):
        secrets("../outside")
    with pytest.raises(StreamHalted, match="is not a regular file"):
        secrets("registry")
    put(folder, b"secret-17\xff")
    with pytest.raises(StreamHalted, match="is not UTF-8 text") as raised:
        text_secret(secrets, "registry/key")
    assert "secret-17" not in str(raised.value)


def test_running_client_uses_the_new_secret(folder: Path, tmp_path: Path):
    """No restart: the request after the replacement carries the new token."""
    (folder / "turning").mkdir()

    async def answer(_: ReceivedRequest, writer: asyncio.StreamWriter) -> None:
        reply(writer, b'{"items": [{"id": "a"}], "more": false}', content_type="application/json")

    async def scenario() -> list[str]:
        async with Server(answer) as server:
            path = tmp_path / "turning.yaml"
            path.write_text(textwrap.dedent(CONNECTOR).format(url=server.url))
            connector = load_connector(path)
            async with RegistryClient(connector, FileSecrets(folder), "production") as client:
                for token in (b"first", b"second"):
                    put(folder, token, "turning/token")
                    assert [page async for page in read_pages(connector, "things", WINDOW, client)]
            return [asked.headers["authorization"] for asked in server.asked]

    assert asyncio.run(scenario()) == ["Bearer first", "Bearer second"]


def test_settings_never_show_a_secret():
    hidden = {
        name: SecretStr("secret-17-of-the-settings")
        for name, one in Settings.model_fields.items()
        if one.annotation is SecretStr
    }
    assert {
        "kafka_password",
        "pseudonym_key",
        "pseudonym_key_previous",
        "permanent_key",
    } <= hidden.keys()
    shown = Settings(**hidden)
    assert "secret-17" not in f"{shown!r} {shown} {shown.model_dump()} {shown.model_dump_json()}"
    words = ("password", "secret", "token", "_key")
    named = {
        name
        for name, one in Settings.model_fields.items()
        if any(word in name for word in words) and "Path" not in str(one.annotation)
    }
    assert named <= hidden.keys(), "a setting that holds a secret hides it, or names a file"
