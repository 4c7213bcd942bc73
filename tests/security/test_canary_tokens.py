"""A token or an identifier that only requests read appears nowhere else."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from gateway.config.loading import load_connector
from gateway.errors import ConfigError, StreamError
from gateway.fetch.loops import file_name_of
from gateway.fetch.registry_client import RegistryClient
from gateway.fetch.secrets import FileSecrets
from gateway.kafka import topic_admin
from gateway.kafka.topic_reader import read_topic
from gateway.messages import topics
from gateway.pipeline.page_writer import PollResult
from gateway.pipeline.required_secrets import find_world_readable_secrets
from gateway.settings import Settings
from tests.support import memory_stream
from tests.support.command_site import CommandSite, fetch, wait_for
from tests.support.memory_stream import MemoryStreamState, poll_route, stream

LEARNERS = ("canary-anna", "canary-ben")
TOKENS = {f"tokens/{name}": f"CANARY-TOKEN-{name[-3:]}".encode() for name in LEARNERS}
LOOP = "for_each: {learner: {in: {secret: learners}, secrets: {token: tokens}}}"
BLOCK = '  headers: {Authorization: "Bearer {token}"}\n'


class Recorder(MemoryStreamState):
    """A stream state that keeps everything that would be stored."""

    def __init__(self) -> None:
        super().__init__()
        self.stored: list[Any] = []

    async def write(self, entries: Any, cursor: Any, **more: Any) -> int:
        self.stored.append((repr(entries), cursor, more))
        return await super().write(entries, cursor, **more)


def poll(
    state: Recorder, loop: str = LOOP, block: str = BLOCK, **secrets: bytes
) -> tuple[PollResult | StreamError, list[str]]:
    seen: list[str] = []

    def route(_path: str, _query: dict[str, str]) -> Any:
        async def answer(asked: Any, writer: Any) -> None:
            seen.append(asked.headers.get("authorization", ""))
            seen_cookie.append(asked.headers.get("cookie", ""))
            number = len(set(seen))
            body = json.dumps({"items": [{"id": str(number), "t": "T"}]}).encode()
            writer.write(
                b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
                b"Set-Cookie: SESSION=%d; Path=/\r\nContent-Length: %d\r\n\r\n"
                % (number, len(body))
                + body
            )

        return answer

    seen_cookie: list[str] = []
    result = poll_route(
        route,
        stream("", loop),
        state,
        block=block,
        secrets={"learners": "\n".join(LEARNERS).encode(), **TOKENS, **secrets},
    )
    assert set(seen_cookie) <= {""}, "the session of one learner went with another"
    return result, seen


def test_each_learner_is_asked_for_with_a_token_of_their_own() -> None:
    state = Recorder()
    result, seen = poll(state)
    assert isinstance(result, PollResult), result
    assert seen == ["Bearer CANARY-TOKEN-nna", "Bearer CANARY-TOKEN-ben"]
    assert state.stored
    assert "canary" not in repr(state.stored).lower()


def test_rotated_token_neither_deletes_nor_repeats_a_record() -> None:
    state = Recorder()
    poll(state)
    result, seen = poll(state, **{"tokens/canary-anna": b"CANARY-NEW"})
    assert isinstance(result, PollResult)
    assert seen[0] == "Bearer CANARY-NEW"
    assert (state.published, state.writes) == ({"1", "2"}, 2)


def test_learner_without_a_token_is_skipped_and_not_named(tmp_path, monkeypatch) -> None:
    state = Recorder()
    missing = {name: value for name, value in TOKENS.items() if "anna" not in name}

    def poll_with(tokens: dict[str, bytes]) -> Any:
        with monkeypatch.context() as patch:
            patch.setattr(memory_stream, "RegistryClient", _client_with(tmp_path, tokens))
            return poll_route(route, stream("", LOOP), state, block=BLOCK)

    seen: list[str] = []

    def route(_path: str, _query: dict[str, str]) -> Any:
        seen.append("asked")
        return {"items": [{"id": "2", "t": "T"}]}

    result = poll_with(missing)
    assert isinstance(result, PollResult), result
    assert seen == ["asked"]
    assert "canary" not in repr(state.stored).lower()
    state = Recorder()
    error = poll_with({})
    assert isinstance(error, StreamError)
    assert error.reason == "SECRET_MISSING"
    assert "folder 'tokens'" in str(error)
    assert "canary" not in str(error).lower()


def _client_with(folder: Path, tokens: dict[str, bytes]) -> Any:
    """Return a client that reads its secrets from real files."""
    for path in (folder / "tokens").glob("*"):
        path.unlink()
    (folder / "tokens").mkdir(exist_ok=True)
    (folder / "learners").write_text("\n".join(LEARNERS))
    for name, value in tokens.items():
        (folder / name).write_bytes(value)
    return lambda connector, _secrets, stage, **more: RegistryClient(
        connector, FileSecrets(folder), stage, **more
    )


@pytest.mark.parametrize("echo", ["{secret}", "{quoted}", "x{secret}y"])
@pytest.mark.parametrize(
    ("query", "block"),
    [
        ('code: "{code}"', "  variables: {code: {secret: code}}\n"),
        ("code: {secret: code}", ""),
        ("", "  auth: {api_key: {query: code, value: {secret: code}}}\n"),
    ],
)
def test_secret_that_a_registry_repeats_in_a_link_is_not_stored(echo, query, block) -> None:
    secret = "CANARY/+ ä"
    repeated = echo.format(secret=secret, quoted=quote(secret, safe=""))
    state, asked = Recorder(), []

    def route(_path: str, given: dict[str, str]) -> Any:
        asked.append(given)
        if "page" in given:
            return {"items": [{"id": "2", "t": "T"}]}
        return {"items": [{"id": "1", "t": "T"}], "next": f"?page=2&echo={repeated}"}

    result = poll_route(
        route, stream(query, "paging: {next_url: next}"), state, block=block,
        secrets={"code": secret.encode()},
    )  # fmt: skip
    assert isinstance(result, PollResult), result
    assert len(asked) == 2
    assert "CANARY" not in repr(state.stored)


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ("anna", "anna"),
        ("../other/password", "%2E.%2Fother%2Fpassword"),
        ("..", "%2E."),
        (".", "%2E"),
        ("a/b", "a%2Fb"),
        ("urn:schac:1", "urn%3Aschac%3A1"),
        ("é\0", "%C3%A9%00"),
    ],
)
def test_value_cannot_name_a_secret_of_another_folder(tmp_path: Path, value, name) -> None:
    assert file_name_of(value) == name
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "password").write_text("CANARY")
    (tmp_path / "tokens").mkdir()
    with pytest.raises(StreamError):
        FileSecrets(tmp_path)(f"tokens/{file_name_of(value)}")


@pytest.mark.parametrize("folder", ["../tokens", "/etc", "a//b", "tokens/", "{learner}", "."])
def test_folder_outside_the_secrets_is_refused(tmp_path: Path, folder) -> None:
    text = _connector("awards").replace(
        "secrets: {token: tokens}", f"secrets: {{token: '{folder}'}}"
    )
    path = tmp_path / "awards.yaml"
    path.write_text(text.replace("URL", "http://127.0.0.1:1"))
    with pytest.raises(ConfigError):
        load_connector(path)


def test_batch_of_values_has_no_common_secret(tmp_path: Path) -> None:
    path = tmp_path / "awards.yaml"
    text = _connector("awards").replace(
        "in: {secret: learners}", "in: {secret: learners}, batch: 5"
    )
    path.write_text(text.replace("URL", "http://127.0.0.1:1"))
    with pytest.raises(ConfigError, match="leave batch out"):
        load_connector(path)


def test_token_that_everybody_may_read_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "awards.yaml"
    path.write_text(_connector("awards").replace("URL", "http://127.0.0.1:1"))
    connector = load_connector(path)
    tmp_path.chmod(0o755)
    (tmp_path / "tokens").mkdir()
    (tmp_path / "tokens" / "anna").write_text("x")
    (tmp_path / "tokens" / "anna").chmod(0o644)

    class Config:
        connectors = {"awards": connector}  # noqa: RUF012 - a stand-in for the loaded files

    found = find_world_readable_secrets(Config(), FileSecrets(tmp_path))  # type: ignore[arg-type]
    readable = all(parent.stat().st_mode & 1 for parent in tmp_path.parents)
    assert len(found) == (1 if readable else 0)


def _connector(name: str) -> str:
    return f"""language: 1
connector: {name}
country: FI
title: An office
owner: {{name: Example office, contact: registry@office.example}}
rest:
  url: {{production: "URL"}}
  headers: {{Authorization: "Bearer {{token}}"}}
  limits: {{attempts: 1, timeout: 20s}}
  errors: by_status
streams:
  awards:
    emits: qualification
    every: 1s
    for_each: {{learner: {{in: {{secret: learners}}, secrets: {{token: tokens}}}}}}
    request: {{get: "/people/{{learner}}"}}
    paging: {{next_url: next}}
    cursor: scan
    records: items
    id: id
    map:
      title.en: t
      awarding_body.name.en: {{const: A school}}
      awarding_body.country: {{const: FI}}
      isced_f: {{const: "0712"}}
      languages: {{const: en}}
      learning_outcomes: {{each: "[t]", map: {{title.en: "@"}}}}
    tests: [{{name: shape, given: {{id: "1", t: T}}, expect_some: {{title: {{en: T}}}}}}]
"""


@pytest.mark.kafka
@pytest.mark.timeout(300)
def test_token_and_learner_appear_on_no_topic_in_no_log_and_in_no_metric(
    tmp_path: Path, kafka_bootstrap: str
) -> None:
    """One learner has records, one is refused, one has no token, and one has a broken reply."""
    settings = Settings(kafka_bootstrap=kafka_bootstrap)
    asyncio.run(topic_admin.create_missing(settings))
    site = CommandSite(tmp_path, kafka_bootstrap)
    names = ("canary-anna", "canary-ben", "canary-cleo", "canary-dora", "canary-emil")
    site.write_secret("learners", "\n".join(names))
    for name in names:
        if name != "canary-cleo":
            site.write_secret(f"tokens/{name}", f"CANARYTOKEN{name[-4:]}")
    site.write_connector("tst-canary", _connector("tst-canary"))

    def respond(target: str, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        name = target.partition("?")[0].rpartition("/")[2]
        token = headers["authorization"].removeprefix("Bearer ")
        assert token == f"CANARYTOKEN{name[-4:]}"
        if name == "canary-ben":
            return 403, {}, json.dumps({"error": f"{name} and {token} are not known"}).encode()
        if name == "canary-dora":
            return 200, {}, f"{{{token}".encode()
        if name == "canary-emil":
            return 302, {"Location": f"http://{token}.example/{name}"}, b""
        if "page" in target:
            return 200, {}, json.dumps({"items": [{"id": "r2"}]}).encode()
        link = f"{site.url}/people/{name}?page=2&token={token}"
        return 200, {}, json.dumps({"items": [{"id": "r1", "t": "T"}], "next": link}).encode()

    site.respond = respond
    try:
        log = site.work("tst-canary", GATEWAY_LOG_LEVEL="DEBUG")
        wait_for(lambda: log.read_text().count('"event": "polled"') > 2, what=log.read_text)

        async def everything() -> str:
            texts = []
            for topic in topics.TOPICS:
                async for record in read_topic(settings, topic.name):
                    headers = repr(dict(record.headers))
                    if b"tst-canary" in (record.key or b"") or "tst-canary" in headers:
                        texts.append(f"{topic.name} {record.key!r} {record.value!r} {headers}")
            return "\n".join(texts)

        wait_for(lambda: "europass" in asyncio.run(everything()), what=log.read_text)
        written = asyncio.run(everything())
        assert "gateway.raw.v1" in written
        url = re.findall(r'"url": "(http://[^"]+)", "event": "health port open"', log.read_text())
        outputs = {
            "topics": written,
            "log": log.read_text(),
            "metrics": fetch(url[-1] + "/metrics"),
            "page": fetch(url[-1] + "/"),
            "status": site.command("status", "tst-canary").stdout,
            "status as JSON": site.command("status", "--json").stdout,
            "rejections": site.command("rejections", "list", "--records").stdout,
            "explain": site.command("explain", "tst-canary", "r1").stdout,
            "verify": str(site.command("verify", "tst-canary")),
        }
        for place, text in outputs.items():
            found = re.findall(
                r"canary(?:token|-anna|-ben|-cleo|-dora|-emil)\w*", text, re.IGNORECASE
            )
            assert not found, (place, found)
            assert text, place
    finally:
        site.close()
