"""Test the ACLs of ``deploy/strimzi`` on a real broker that denies by default.

Each role has the rights it needs and no others.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import (
    GroupAuthorizationFailedError,
    KafkaTimeoutError,
    TopicAuthorizationFailedError,
)
from aiokafka.protocol.admin import CreateAclsRequest
from aiokafka.structs import TopicPartition

from gateway.kafka import topic_admin
from gateway.local import broker as kafka
from gateway.messages import strimzi
from gateway.messages.topics import TOPICS
from gateway.settings import Settings
from tests.conftest import free_port
from tests.end_to_end.conftest import Site
from tests.support.operator_commands import gateway, until

pytestmark = pytest.mark.kafka

NEEDS_OTHER_REGISTRIES = {
    "catalogue.incomplete-entries.v1",
    "esc.cards.v1",
    "esc.credential-pointers.v1",
    "gateway.notifications.v1",
    "gateway.rejections.v1",
    "reference.providers.v1",
}
"""Topics on which the demo registries may leave nothing. The principals write all others in this test."""
TYPES = {"topic": 2, "group": 3, "transactionalId": 5}
PATTERNS = {"literal": 3, "prefix": 4}
OPERATIONS = {"Read": 3, "Write": 4, "Describe": 8, "DescribeConfigs": 10}
ALLOW = 3


@dataclass(frozen=True)
class Guarded:
    """A broker with an open listener for the test itself and a guarded one for everybody else."""

    bootstrap: str
    guarded: str


def properties(guarded: int) -> str:
    """Lines for the broker's template, which fills in ``port`` and ``controller``."""
    users = " ".join(f'user_{user.name}="secret-{user.name}"' for user in strimzi.USERS)
    return f"""
listeners=PLAINTEXT://127.0.0.1:{{port}},SASL_PLAINTEXT://127.0.0.1:{guarded},CONTROLLER://127.0.0.1:{{controller}}
advertised.listeners=PLAINTEXT://127.0.0.1:{{port}},SASL_PLAINTEXT://127.0.0.1:{guarded}
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT
sasl.enabled.mechanisms=PLAIN
listener.name.sasl_plaintext.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required {users};
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS
allow.everyone.if.no.acl.found=false
"""


async def grant(bootstrap: str) -> None:
    """Give every user exactly what its ``KafkaUser`` says."""
    client = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await client.start()
    try:
        for user in strimzi.USERS:
            for rule in strimzi.acl_rules(user):
                kind = rule["resource"]
                for operation in rule["operations"]:
                    reply = await client._send_request(
                        CreateAclsRequest(
                            TYPES[kind["type"]],
                            kind["name"],
                            PATTERNS[kind["patternType"]],
                            f"User:{user.name}",
                            "*",
                            OPERATIONS[operation],
                            ALLOW,
                        )
                    )
                    assert [code for code, *_ in reply.creation_responses] == [0]
    finally:
        await client.close()


@pytest.fixture
def broker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Guarded]:
    guarded = free_port()
    monkeypatch.setattr(kafka, "PROPERTIES", kafka.PROPERTIES + properties(guarded))
    with kafka.running(tmp_path / "kafka") as found:
        asyncio.run(topic_admin.create_missing(Settings(kafka_bootstrap=found.bootstrap)))
        asyncio.run(grant(found.bootstrap))
        yield Guarded(found.bootstrap, f"127.0.0.1:{guarded}")


def credentials(broker: Guarded, user: str) -> dict[str, str]:
    return {
        "bootstrap_servers": broker.guarded,
        "security_protocol": "SASL_PLAINTEXT",
        "sasl_mechanism": "PLAIN",
        "sasl_plain_username": user,
        "sasl_plain_password": f"secret-{user}",
    }


def environment(broker: Guarded, user: str) -> dict[str, str]:
    return {
        "GATEWAY_KAFKA_BOOTSTRAP": broker.guarded,
        "GATEWAY_KAFKA_SECURITY": "SASL_PLAINTEXT",
        "GATEWAY_KAFKA_SASL_MECHANISM": "PLAIN",
        "GATEWAY_KAFKA_USERNAME": user,
        "GATEWAY_KAFKA_PASSWORD": f"secret-{user}",
        "GATEWAY_STAGE": "acceptance",
    }


async def may_read(broker: Guarded, user: str, topic: str, *, seconds: float) -> bool:
    """Return whether a user may read; nobody has said no to one who hears nothing for ``seconds``."""
    consumer = AIOKafkaConsumer(
        **credentials(broker, user),
        group_id=None,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
    )
    await consumer.start()
    try:
        if topic not in await consumer.topics():  # not even described to this user
            return False
        consumer.assign([TopicPartition(topic, 0)])
        await consumer.getmany(timeout_ms=int(seconds * 1000))
    except TopicAuthorizationFailedError:
        return False
    else:
        return True
    finally:
        await consumer.stop()


async def may_write(broker: Guarded, user: str, topic: str, *, seconds: float) -> bool:
    """Return whether a user may write; one to whom a topic is not described is given up after ``seconds``."""
    producer = AIOKafkaProducer(**credentials(broker, user), request_timeout_ms=30_000)
    await producer.start()
    try:
        async with asyncio.timeout(seconds):
            await producer.partitions_for(topic)
        await producer.send_and_wait(topic, b"x", key=b"rights|test", partition=0)
    except (TopicAuthorizationFailedError, TimeoutError, KafkaTimeoutError):
        return False  # aiokafka waits for ever for a topic that is not described to this user
    else:
        return True
    finally:
        await producer.stop()


async def may_join(broker: Guarded, user: str, topic: str, group: str) -> bool:
    consumer = AIOKafkaConsumer(topic, **credentials(broker, user), group_id=group)
    try:
        await consumer.start()
        async with asyncio.timeout(60):
            await consumer.getmany(timeout_ms=1500)
    except GroupAuthorizationFailedError:
        return False
    else:
        return True
    finally:
        await consumer.stop()


@pytest.mark.parametrize("site", [60], indirect=True)
@pytest.mark.timeout(400)
def test_kafka_rights_are_sufficient_and_minimal(site: Site, broker: Guarded):
    site.run("--roles", "poll", **environment(broker, "gateway-poll"))
    site.run("--roles", "harmonise", **environment(broker, "gateway-harmonise"))
    needed = ("europass.qualifications.v1", "gateway.rejections.v1", "europass.credentials.v1")
    until(
        lambda: {one.topic for one in site.read(*needed)} == set(needed),
        what=lambda: site.log(0)[-3000:] + site.log(1)[-3000:],
    )
    operate(site, broker)
    for number in (0, 1):
        assert "AuthorizationFailed" not in site.log(number), site.log(number)

    written = {one.topic for one in site.read(*(topic.name for topic in TOPICS))}
    assert {topic.name for topic in TOPICS} - written <= NEEDS_OTHER_REGISTRIES

    asyncio.run(matrix(broker))


def operate(site: Site, broker: Guarded) -> None:
    """What people do beside the workers, each as the principal that is made for it."""

    def as_(user: str, *arguments: str, given: str = "") -> None:
        done = gateway(
            replace(site, environment=site.environment | environment(broker, user)),
            *arguments,
            given=given,
        )
        assert done.returncode == 0, (user, arguments, done.stdout, done.stderr)

    for user in ("gateway-operator", "gateway-poll", "gateway-harmonise"):
        as_(user, "status")  # also in the pod of a worker
        as_(user, "topics", "verify")
    as_("gateway-operator", "poll", "demo-soap", "--wait", "--timeout", "120")
    as_("gateway-operator", "pause", "demo-rest", "--wait", "--timeout", "120")
    as_("gateway-operator", "resume", "demo-rest")
    as_("gateway-operator", "rejections", "list")
    as_("gateway-operator", "renormalise", "FI")
    until(lambda: '"renormalised"' in site.log(0), what=site.log)
    as_("gateway-auditor", "verify", "demo-soap")
    native_id = next(
        one.key.decode() for one in site.read("gateway.raw.v1") if one.key.startswith(b"demo-soap|")
    ).partition("|")[2]
    as_("gateway-eraser", "erase", "demo-soap", "-", "--yes", "--reason", "case 1", given=native_id)
    as_("gateway-auditor", "erase", "demo-soap", "-", "--verify", given=native_id)
    as_("gateway-auditor", "renormalise", "FI", "--dry-run")
    as_("gateway-auditor", "diff", "FI")
    for user, *arguments in (
        ("gateway-auditor", "erase", "demo-soap", "-", "--yes", "--reason", "case 2"),
        ("gateway-auditor", "pause", "demo-soap"),
        ("gateway-operator", "renormalise", "FI", "--dry-run"),
        ("gateway-operator", "diff", "FI"),
    ):
        denied = gateway(
            replace(site, environment=site.environment | environment(broker, user)),
            *arguments,
            given=native_id,
        )
        assert (denied.returncode, denied.stderr.strip().count("\n")) == (5, 0), denied
        assert user in denied.stderr


async def matrix(broker: Guarded) -> None:
    readers = {
        ("europass", "europass.credentials.v1"): True,
        ("europass", "reference.providers.v1"): True,
        ("europass", "esc.cards.v1"): False,
        ("europass", "gateway.raw.v1"): False,
        ("esc", "esc.cards.v1"): True,
        ("esc", "europass.credentials.v1"): False,
        ("esc", "gateway.rejections.v1"): False,
        ("gateway-harmonise", "gateway.raw.v1"): True,
        ("gateway-harmonise", "europass.credentials.v1"): False,
        ("europass", "gateway.digests.v1"): False,
        ("europass", "gateway.suppressions.v1"): False,
        ("esc", "gateway.raw.v1"): False,
        ("gateway-harmonise", "gateway.suppressions.v1"): False,
        ("gateway-operator", "europass.credentials.v1"): False,
        ("gateway-operator", "gateway.rejections.v1"): True,
        ("gateway-operator", "gateway.audit.v1"): True,
        ("gateway-auditor", "esc.cards.v1"): True,
    }
    writers = {
        ("europass", "europass.credentials.v1"): False,
        ("esc", "esc.cards.v1"): False,
        ("gateway-poll", "europass.credentials.v1"): False,
        ("gateway-harmonise", "gateway.raw.v1"): False,
        ("gateway-operator", "gateway.raw.v1"): False,
        ("gateway-poll", "gateway.suppressions.v1"): False,
        ("gateway-operator", "gateway.audit.v1"): False,
        ("gateway-auditor", "gateway.raw.v1"): False,
        ("gateway-auditor", "gateway.suppressions.v1"): False,
        ("gateway-eraser", "europass.credentials.v1"): False,
        ("gateway-eraser", "gateway.commands.v1"): False,
        ("gateway-operator", "gateway.commands.v1"): True,
    }
    may = await asyncio.gather(
        *(
            may_read(broker, user, topic, seconds=2 if allowed else 60)
            for (user, topic), allowed in readers.items()
        ),
        *(
            may_write(broker, user, topic, seconds=60 if allowed else 6)
            for (user, topic), allowed in writers.items()
        ),
    )
    assert dict(
        zip(
            [*itertools.product(["read"], readers), *itertools.product(["write"], writers)],
            may,
            strict=True,
        )
    ) == {
        **{("read", who): allowed for who, allowed in readers.items()},
        **{("write", who): allowed for who, allowed in writers.items()},
    }
    assert await may_join(broker, "europass", "europass.credentials.v1", "europass.portal")
    assert not await may_join(broker, "europass", "europass.credentials.v1", "esc.router")
