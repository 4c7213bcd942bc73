"""Check TLS, SASL and ACLs against a real broker that uses all three."""

from __future__ import annotations

import asyncio
import datetime as dt
import ipaddress
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from pydantic import SecretStr

from gateway.errors import Denied, RetryLater, Unavailable
from gateway.kafka import topic_admin
from gateway.kafka.connection import admin_client, client_arguments
from gateway.kafka.transactions import TransactionalProducer, read_partition
from gateway.local import broker as kafka
from gateway.messages.outgoing import OutgoingRecord
from gateway.pipeline.harmonise_stage import HarmoniseStage
from gateway.settings import Settings
from tests.support.stage_process import Doubling

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(240)]
PROPERTIES = """
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:SASL_SSL
inter.broker.listener.name=PLAINTEXT
sasl.enabled.mechanisms=PLAIN
sasl.mechanism.inter.broker.protocol=PLAIN
listener.name.plaintext.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required \
  username="admin" password="a-secret" user_admin="a-secret" user_gateway="g-secret" user_stranger="s-secret";
ssl.keystore.type=PEM
ssl.keystore.location={folder}/broker.pem
ssl.truststore.type=PEM
ssl.truststore.location={folder}/ca.pem
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:admin;User:gateway;User:ANONYMOUS
"""


def certificate(folder: Path) -> None:
    """Write a certificate for 127.0.0.1 that signs itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a broker of the tests")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder(
            name,
            name,
            key.public_key(),
            x509.random_serial_number(),
            now,
            now + dt.timedelta(days=1),
        )
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
            critical=False,
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    public = made.public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "ca.pem").write_bytes(public)
    (folder / "broker.pem").write_bytes(private + public)


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Settings of a principal that may do everything on a broker with TLS, SASL and ACLs."""
    folder = tmp_path_factory.mktemp("secured")
    certificate(folder)
    broker = kafka.start(
        folder / "kafka", detached=False, properties=PROPERTIES.format(folder=folder)
    )
    yield Settings(
        kafka_bootstrap=broker.bootstrap,
        kafka_security="SASL_SSL",
        kafka_sasl_mechanism="PLAIN",
        kafka_username="gateway",
        kafka_password=SecretStr("g-secret"),
        kafka_ca_file=folder / "ca.pem",
    )
    kafka.wipe(folder / "kafka")


def stranger(settings: Settings) -> Settings:
    return settings.model_copy(
        update={"kafka_username": "stranger", "kafka_password": SecretStr("s-secret")}
    )


async def make(settings: Settings, name: str) -> None:
    client = AIOKafkaAdminClient(**client_arguments(settings))
    await client.start()
    await client.create_topics(
        [NewTopic(f"{name}-{kind}", 1, 1) for kind in ("raw", "out", "rejects")]
    )
    await client.close()


def stage(settings: Settings, name: str) -> HarmoniseStage:
    process = Doubling(f"{name}-out", f"{name}-rejects")
    return HarmoniseStage(settings, process, process.shrink, topic=f"{name}-raw", group=name)


def test_gateway_works_over_tls_and_sasl(secured: Settings, name: str) -> None:
    async def scenario() -> None:
        await make(secured, name)
        await topic_admin.create_missing(secured)
        await topic_admin.verify_topics(secured)
        writer = TransactionalProducer(secured, name, "test")
        await writer.fence()
        await writer.commit([OutgoingRecord(f"{name}-raw", b"k1", b"k1:1", [])])
        await writer.close()
        assert await read_partition(secured, f"{name}-raw", 0) == {b"k1": b"k1:1"}
        one = stage(secured, name)
        task = asyncio.create_task(one.run())
        async with asyncio.timeout(60):
            while not one.committed:
                await asyncio.sleep(0.05)
        one.stop()
        await task
        assert set(await read_partition(secured, f"{name}-out", 0)) == {b"k1", b"copy-k1"}

    asyncio.run(scenario())


def test_denied_principal_is_named(secured: Settings, name: str) -> None:
    async def scenario() -> None:
        await make(secured, name)
        with pytest.raises(Denied, match="stranger"):
            await TransactionalProducer(stranger(secured), name, "test").fence()
        with pytest.raises(Denied, match="stranger"):
            async with asyncio.timeout(60):
                await read_partition(stranger(secured), f"{name}-raw", 0)
        with pytest.raises(Denied, match="stranger"):
            async with asyncio.timeout(60):
                await stage(stranger(secured), name).run()

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"kafka_password": SecretStr("wrong")}, "SaslAuthenticationFailed"),
        ({"kafka_ca_file": None}, "self-signed certificate"),
        ({"kafka_security": "PLAINTEXT"}, ""),
    ],
    ids=["wrong password", "unknown certificate", "no TLS"],
)
def test_refused_connection_is_one_clear_error(
    secured: Settings,
    name: str,
    change: dict[str, object],
    why: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    settings = secured.model_copy(update={"registry_environment": "acceptance"} | change)

    async def scenario() -> None:
        with pytest.raises(Unavailable, match=rf"{settings.kafka_bootstrap} \({why}"):
            await admin_client(settings)
        assert not caplog.messages
        with pytest.raises(RetryLater):
            await TransactionalProducer(settings, name, "test").fence()

    asyncio.run(scenario())
    assert "g-secret" not in caplog.text
    assert "wrong" not in caplog.text.replace("wrong version number", "")
