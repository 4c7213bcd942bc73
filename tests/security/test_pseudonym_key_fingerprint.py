"""Another key never publishes a person a second time.

The gateway stores fingerprints of the keys. It refuses other keys until an operator accepts them,
and then no document under an old key remains.
"""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
from pathlib import Path

import pytest
from pydantic import SecretStr

from gateway.errors import RetryLater, Unavailable
from gateway.kafka.topic_reader import read_latest
from gateway.messages.outgoing import partition_for
from gateway.messages.topics import CURSORS
from gateway.pipeline import key_check
from gateway.pipeline.key_check import fingerprint, fingerprints_of
from gateway.pipeline.standing_documents import StandingKeys
from gateway.pipeline.stream_state import StreamState
from gateway.pseudonym_keys import load_keys
from gateway.settings import Settings
from tests.end_to_end.conftest import Site
from tests.support.operator_commands import gateway, until
from tests.support.person_registry import (
    DOCUMENT_TOPICS,
    KEY,
    NAME,
    OTHER_KEY,
    PersonRegistry,
    count_documents,
    counts,
    person_site,
    standing,
    write_secret,
)
from tests.support.topic_records import fill

PERSON, REFUSING = "010190-901A", "020280-902B"
EACH_ONCE = counts(credentials=2, pointers=1, students=1, cards=1)


def keys(**secrets: str) -> Settings:
    return Settings(**{name: SecretStr(value) for name, value in secrets.items()})


def test_fingerprints_follow_the_keys_and_reveal_none():
    of = lambda **secrets: fingerprints_of(load_keys(keys(**secrets)))  # noqa: E731
    one, other = of(pseudonym_key=KEY), of(pseudonym_key=OTHER_KEY)
    assert one == of(pseudonym_key=KEY, pseudonym_key_previous=OTHER_KEY)
    assert one == of(pseudonym_key=KEY, permanent_key=KEY), "naming the permanent key changes none"
    assert one.pseudonym != other.pseudonym
    assert one.permanent != other.permanent
    kept = of(pseudonym_key=OTHER_KEY, pseudonym_key_previous=KEY, permanent_key=KEY)
    assert (kept.pseudonym, kept.permanent) == (other.pseudonym, one.permanent)
    texts = {one.pseudonym, one.permanent, other.pseudonym, other.permanent}
    assert len(texts) == 4, "one secret has a fingerprint for each purpose"
    for text in texts:
        assert len(text) == 32
        assert KEY not in text
    assert fingerprint(b"a", "pseudonym") != fingerprint(b"a", "id_key|x|y")


def test_new_pseudonym_key_keeps_the_hashes_of_loop_values():
    before = StreamState(keys(pseudonym_key=KEY), "c", "s").loop_secret
    rotated = keys(pseudonym_key=OTHER_KEY, pseudonym_key_previous=KEY, permanent_key=KEY)
    assert StreamState(rotated, "c", "s").loop_secret == before


def ends_with(site: Site, process: subprocess.Popen, code: int) -> str:
    """Wait until a worker ends, and return what it said."""
    number = site.running.index(process)
    until(
        lambda: process.poll() is not None,
        what=lambda: [site.log(each)[-3000:] for each in range(len(site.running))],
    )
    assert process.returncode == code, site.log(number)[-3000:]
    text = site.log(number)
    assert "Traceback" not in text
    assert KEY not in text
    assert OTHER_KEY not in text
    return text


def stop(process: subprocess.Popen) -> None:
    process.send_signal(signal.SIGTERM)
    process.wait(30)


def started(site: Site, registry: PersonRegistry) -> subprocess.Popen:
    registry.put(PERSON, consent="true", agreement="true")
    registry.put(REFUSING)
    process = site.run()
    until(lambda: count_documents(site) == EACH_ONCE, what=lambda: site.log()[-3000:])
    return process


def document_keys(site: Site) -> set[tuple[str, bytes]]:
    return set(standing(site.read(*DOCUMENT_TOPICS)))


def refused_everywhere(site: Site, **environment: str) -> None:
    """Check that no command that writes accepts a key."""
    here = Site(site.folder, site.bootstrap, site.services, site.environment | environment)
    for arguments in (
        ("renormalise", NAME),
        ("backfill", NAME, "awards", "--from", "2026-01-01"),
        ("rejections", "replay", "--all"),
        ("erase", NAME, PERSON, "--yes", "--reason", "case 1"),
    ):
        done = gateway(here, *arguments)
        assert done.returncode == 3, (arguments, done)
        assert "key-changed" in done.stderr
        assert "--accept-new-key" in done.stderr
    assert not site.read("gateway.suppressions.v1")


@pytest.mark.slow
@pytest.mark.kafka
@pytest.mark.timeout(500)
def test_other_key_is_refused_until_it_is_accepted(tmp_path: Path):
    """The old key is lost: its documents are deleted, and everybody is published once."""
    with person_site(tmp_path) as (site, registry):
        old_worker = started(site, registry)
        before = document_keys(site)
        site.environment["GATEWAY_PSEUDONYM_KEY"] = OTHER_KEY
        said = ends_with(site, site.run(), 3)
        assert said.count("key-changed") == 1
        assert "would be published twice" in said
        for arguments in (("--roles", "harmonise"), ("--processes", "2")):
            assert "key-changed" in ends_with(site, site.run(*arguments), 3)
        refused_everywhere(site)
        assert document_keys(site) == before

        site.run("--accept-new-key")
        number = len(site.running) - 1
        assert "key-changed" in ends_with(site, old_worker, 3), "a worker with the old key ends"
        until(
            lambda: count_documents(site) == EACH_ONCE and not document_keys(site) & before,
            what=lambda: (count_documents(site), site.log(number)[-3000:]),
        )
        registry.put(PERSON, title="Master")
        until(lambda: count_documents(site, "Master")["europass.credentials.v1"] == 1)
        assert count_documents(site) == EACH_ONCE
        stop(site.running[-1])

        # Back to the first key: it is another one now.
        site.environment["GATEWAY_PSEUDONYM_KEY"] = KEY
        assert "key-changed" in ends_with(site, site.run(), 3)
        site.run("--accept-new-key")
        until(lambda: document_keys(site) == before, what=lambda: site.log(number + 2)[-3000:])


@pytest.mark.slow
@pytest.mark.kafka
@pytest.mark.timeout(500)
def test_known_previous_key_moves_each_document_once(tmp_path: Path):
    with person_site(tmp_path) as (site, registry):
        stop(started(site, registry))
        before = document_keys(site)
        site.environment |= {
            "GATEWAY_PSEUDONYM_KEY": OTHER_KEY,
            "GATEWAY_PSEUDONYM_KEY_PREVIOUS": KEY,
            "GATEWAY_PERMANENT_KEY": KEY,
        }
        assert "key-changed" in ends_with(site, site.run(), 3)
        slip = {"GATEWAY_PSEUDONYM_KEY_PREVIOUS": KEY + " "}
        said = ends_with(site, site.run("--accept-new-key", **slip), 3)
        assert "GATEWAY_PSEUDONYM_KEY_PREVIOUS: wrong-key" in said
        assert document_keys(site) == before
        site.run("--accept-new-key")
        until(
            lambda: count_documents(site) == EACH_ONCE and document_keys(site) != before,
            what=lambda: (count_documents(site), site.log(3)[-3000:]),
        )
        until(
            lambda: len(document_keys(site) - before) == 2,
            what=lambda: document_keys(site) - before,
        )
        assert count_documents(site) == EACH_ONCE
        moved = {topic for topic, _ in before - document_keys(site)}
        assert moved == {"esc.student-status.v1", "esc.cards.v1"}, "credentials keep their ids"


@pytest.mark.kafka
@pytest.mark.timeout(500)
def test_changed_id_key_halts_its_stream_alone_until_it_is_accepted(tmp_path: Path):
    with person_site(tmp_path) as (site, registry):
        worker = started(site, registry)
        before = document_keys(site)
        write_secret(tmp_path, "student-ids", b"a new key of ids, for tests, of 32 bytes")
        registry.put(PERSON, title="Master")
        until(lambda: '"KEY_CHANGED"' in site.log(), what=lambda: site.log()[-3000:])
        until(lambda: count_documents(site, "Master")["europass.credentials.v1"] == 1)
        assert document_keys(site) == before, "the other streams go on under the same ids"
        stop(worker)

        site.run()
        until(lambda: '"KEY_CHANGED"' in site.log(1), what=lambda: site.log(1)[-3000:])
        stop(site.running[-1])
        site.run("--accept-new-key")
        until(
            lambda: count_documents(site) == EACH_ONCE and document_keys(site) != before,
            what=lambda: (count_documents(site), site.log(2)[-3000:]),
        )
        assert {topic for topic, _ in before - document_keys(site)} == {"esc.student-status.v1"}
        raw = [
            place
            for place, record in standing(site.read("gateway.raw.v1")).items()
            if b"/students" in dict(record.headers)["ce_source"]
        ]
        assert len(raw) == 2, "raw records under the old ids are deleted, too"


@pytest.mark.kafka
@pytest.mark.timeout(500)
def test_first_start_of_an_upgraded_deployment_stores_the_fingerprints(tmp_path: Path):
    with person_site(tmp_path) as (site, registry):
        stop(started(site, registry))
        here = Settings(kafka_bootstrap=site.bootstrap, pseudonym_key=SecretStr(KEY))

        async def forget() -> None:
            await fill(
                site.bootstrap,
                CURSORS.name,
                [(key_check.KEY, None)],
                partition_for(key_check.KEY, CURSORS.partitions),
            )

        stored = asyncio.run(read_latest(here, CURSORS.name, key_check.KEY))
        assert json.loads(stored.value).keys() == {"pseudonym", "permanent"}
        asyncio.run(forget())
        assert asyncio.run(key_check.read_fingerprints(here)) is None
        site.run()
        until(lambda: asyncio.run(key_check.read_fingerprints(here)) is not None)
        assert asyncio.run(key_check.read_fingerprints(here)) == fingerprints_of(load_keys(here))
        assert count_documents(site) == EACH_ONCE


def test_stage_waits_for_a_broker_that_is_away():
    """A command ends with exit code 4. A running stage tries again, and does not end."""
    away = Settings(kafka_bootstrap="127.0.0.1:1", pseudonym_key=SecretStr(KEY))
    with pytest.raises(Unavailable):
        asyncio.run(key_check.check_keys(away))
    with pytest.raises(RetryLater):
        asyncio.run(key_check.check_keys_again(away))
    with pytest.raises(RetryLater):
        asyncio.run(StandingKeys(away).read_since(0))
