"""Rows 11, 12, 13, 14, 42 and 43: prerequisites of the first poll, and rights that are revoked
later.
"""

from __future__ import annotations

import asyncio
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.protocol.admin import DeleteAclsRequest

from gateway.kafka import cluster_check
from gateway.local import broker as kafka
from gateway.messages.topics import CREDENTIALS, CURSORS, RAW, topic_config
from gateway.settings import Settings
from tests.conftest import free_port
from tests.end_to_end.test_rights import Guarded, environment, grant, properties
from tests.support.fault_figures import note
from tests.support.fault_site import FaultSite, create_topics, ended
from tests.support.oracle import assert_sound, look, rest, settle

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(900)]
Build = Callable[..., FaultSite]


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A broker whose topics may be spoilt."""
    with kafka.running(tmp_path_factory.mktemp("own") / "kafka") as broker:
        yield broker.bootstrap


async def admin(bootstrap: str, work: Callable) -> None:
    client = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await client.start()
    try:
        await work(client)
    finally:
        await client.close()


def ends(
    fault_site: FaultSite, process: subprocess.Popen, code: int, *texts: str, seconds: float = 25
) -> float:
    """Assert that a start is refused in time, with this code and these words."""
    started = time.monotonic()
    assert ended(process, seconds) == code, fault_site.log(process)
    for text in texts:
        assert text in fault_site.log(process), fault_site.log(process)
    assert not fault_site.registry.requests, "the registry was asked although the start was refused"
    return time.monotonic() - started


def test_cursors_of_another_cluster(build: Build, settings: Settings) -> None:
    """Row 43: refused with exit 7 until it is said that this is right."""
    fault_site = build(40)
    here = asyncio.run(cluster_check.read_cluster_id(settings))
    asyncio.run(cluster_check.record_cluster_id(settings, "a-cluster-of-before", overwrite=True))
    try:
        took = ends(
            fault_site, fault_site.start(), 7, "a-cluster-of-before", here, "--accept-new-cluster"
        )
        careless = fault_site.start(defect="any-cluster")
        fault_site.said(
            careless, '"polled"'
        )  # what would have been read from cursors of another cluster
        fault_site.stop(careless)
        fault_site.start(more="--accept-new-cluster")
        verdict = settle(fault_site)
    finally:
        asyncio.run(cluster_check.accept_cluster(settings))
    assert_sound(verdict, 40)
    note(
        "43", "cursors of another cluster", fault_site, verdict, remark=f"exit 7 after {took:.1f} s"
    )
    note("0", "planted: any-cluster", remark="caught: it polls instead of ending")


@pytest.mark.slow
class TestStart:
    """The rest, in ``make faults``."""

    def test_missing_topic(self, build: Build, own: str) -> None:
        """Row 11."""
        fault_site = build(20, bootstrap=own)
        asyncio.run(admin(own, lambda client: client.delete_topics([CREDENTIALS.name])))
        try:
            took = ends(fault_site, fault_site.start(), 4, CREDENTIALS.name, "gateway topics apply")
            with pytest.raises(subprocess.TimeoutExpired):
                fault_site.start(defect="topics-unchecked").wait(15)
        finally:
            time.sleep(1)
            create_topics(own)
        note(
            "11",
            "topic missing",
            remark=f"exit 4 after {took:.1f} s, names the topic and the command",
        )
        note("0", "planted: topics-unchecked", remark="caught: still running after 15 s")

    def test_cursor_topic_with_deletion(self, build: Build, own: str) -> None:
        """Row 42."""
        fault_site = build(20, bootstrap=own)

        def policy(value: str) -> Callable:
            wanted = topic_config(CURSORS) | {"cleanup.policy": value}
            return lambda client: client.alter_configs(
                [ConfigResource(ConfigResourceType.TOPIC, CURSORS.name, wanted)]
            )

        asyncio.run(admin(own, policy("delete")))
        try:
            took = ends(
                fault_site,
                fault_site.start(),
                7,
                CURSORS.name,
                "cleanup.policy is delete, must be compact",
            )
        finally:
            asyncio.run(admin(own, policy("compact")))
        note("42", "cleanup.policy of the cursors is delete", remark=f"exit 7 after {took:.1f} s")

    @pytest.mark.usefixtures("small_credentials")
    def test_documents_too_large_for_their_topic(self, build: Build) -> None:
        """Row 14: rejected one by one, in the transaction of their neighbours."""
        fault_site = build(100)
        fault_site.environment["GATEWAY_COMPRESSION"] = "none"  # compressed, all documents fit
        fault_site.start()
        verdict = settle(fault_site)
        view = asyncio.run(look(fault_site))
        large = {record.key for record in view.outputs if b'"too_large"' in (record.value or b"")}
        assert large
        documents = {record.key for record in view.outputs if record.topic == CREDENTIALS.name}
        assert documents, "everything was refused"
        problems = [
            problem
            for problem in verdict.problems
            if "I6" in problem or "not on" in problem or "at once" in problem
        ]
        assert not problems, verdict
        ended = len(large) + len(
            {record.key for record in view.outputs if record.topic != CREDENTIALS.name}
        )
        assert ended > 0
        note(
            "14",
            "documents larger than max.message.bytes",
            fault_site,
            None,
            remark=f"{len(large)} rejected, {len(documents)} beside them",
        )


@pytest.fixture
def guarded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Guarded]:
    port = free_port()
    monkeypatch.setattr(kafka, "PROPERTIES", kafka.PROPERTIES + properties(port))
    with kafka.running(tmp_path / "kafka") as broker:
        create_topics(broker.bootstrap)
        asyncio.run(grant(broker.bootstrap))
        yield Guarded(broker.bootstrap, f"127.0.0.1:{port}")


def revoke(broker: Guarded, user: str, topic: str) -> None:
    """Take away the right to write one topic; the name of a principal that may is in ``deploy/strimzi``."""

    async def work(client: AIOKafkaAdminClient) -> None:
        reply = await client._send_request(
            DeleteAclsRequest(2, topic, 3, f"User:{user}", "*", 4, 3)
        )
        assert reply.filter_responses[0][2], "there was no such right"

    asyncio.run(admin(broker.bootstrap, work))


@pytest.mark.slow
class TestRights:
    def test_principal_without_rights(self, build: Build, guarded: Guarded) -> None:
        """Row 12."""
        fault_site = build(20, bootstrap=guarded.bootstrap)
        took = ends(
            fault_site,
            fault_site.start(**environment(guarded, "esc")),
            5,
            "esc",
            "AuthorizationFailed",
        )
        with pytest.raises(subprocess.TimeoutExpired):
            fault_site.start(defect="denied-again", **environment(guarded, "esc")).wait(15)
        note("12", "principal without rights", remark=f"exit 5 after {took:.1f} s")
        note("0", "planted: denied-again", remark="caught: still running after 15 s")

    @pytest.mark.parametrize(
        ("user", "topic"), [("gateway-poll", RAW.name), ("gateway-harmonise", CREDENTIALS.name)]
    )
    @pytest.mark.parametrize("defect", ["", "commit-others"])
    def test_right_revoked_while_running(
        self, build: Build, guarded: Guarded, user: str, topic: str, defect: str
    ) -> None:
        """Row 13: the transaction is aborted as a whole, the cursor stays, and with the right back everything is there once."""
        fault_site = build(100, bootstrap=guarded.bootstrap)
        poll = fault_site.start(roles="poll", defect=defect, **environment(guarded, "gateway-poll"))
        harmonise = fault_site.start(
            roles="harmonise", defect=defect, **environment(guarded, "gateway-harmonise")
        )
        assert_sound(settle(fault_site), 100)
        revoke(guarded, user, topic)
        time.sleep(2)
        fault_site.add(40)
        fault_site.add(40, "credits")
        log = poll if user == "gateway-poll" else harmonise
        if defect:
            verdict = rest(fault_site)
            assert any(
                "are not on" in one or "ahead of" in one or "are missing" in one
                for one in verdict.problems
            ), verdict
            note("0", f"planted: {defect} ({user})", remark=f"caught: {verdict.problems[-1][:80]}")
            return
        fault_site.said(log, "refuses", 40)
        time.sleep(5)
        assert not [
            problem
            for problem in rest(fault_site, 3, 10).problems
            if not problem.startswith(("did not", "I1: "))
        ]
        asyncio.run(grant(guarded.bootstrap))
        if poll.poll() is None:
            poll.send_signal(
                signal.SIGTERM
            )  # a stream that needs a person is tried again each minute: do not wait for that
            ended(poll, 20)
        fault_site.start(roles="poll", **environment(guarded, "gateway-poll"))
        verdict = settle(fault_site, 120)
        assert_sound(verdict, 180)
        assert harmonise.poll() is None
        note("13", f"right on {topic} taken away while running", fault_site, verdict)
