"""Authenticate to Kafka over TLS by certificate, by SCRAM and by token.

The broker refuses each method when its credentials are wrong.
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
import ssl
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from aiokafka.admin import NewTopic
from pydantic import SecretStr

from gateway.errors import Denied, RetryLater, Unavailable, UsageError
from gateway.kafka import broker_certificates, topic_admin, transactions
from gateway.kafka.connection import KafkaError, admin_client, client_arguments, ssl_context
from gateway.kafka.transactions import TransactionalProducer, read_partition
from gateway.local import broker
from gateway.messages import topics
from gateway.messages.outgoing import OutgoingRecord
from gateway.observability import metrics
from gateway.settings import Settings
from gateway.worker import connector_runner, control_plane
from tests.conftest import free_port
from tests.support.certificates import AUTHORITY, CLIENT, SERVER, STRANGER, make

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(240)]
ROOT = Path(__file__).parents[2]
USER, PASSWORD = "gateway", "a password for SCRAM"
PROPERTIES = """
listeners=PLAINTEXT://127.0.0.1:{{port}},SSL://127.0.0.1:{mutual},SASL_SSL://127.0.0.1:{sasl},CONTROLLER://127.0.0.1:{{controller}}
advertised.listeners=PLAINTEXT://127.0.0.1:{{port}},SSL://localhost:{mutual},SASL_SSL://localhost:{sasl}
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_SSL:SASL_SSL
ssl.keystore.type=PEM
ssl.keystore.location={folder}/broker.pem
ssl.truststore.type=PEM
ssl.truststore.location={folder}/ca.pem
listener.name.ssl.ssl.client.auth=required
sasl.enabled.mechanisms=SCRAM-SHA-512,OAUTHBEARER
listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.sasl_ssl.oauthbearer.sasl.jaas.config=org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required;
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS;User:CN=gateway;User:gateway;User:token-gateway
allow.everyone.if.no.acl.found=false
"""


@dataclass(frozen=True)
class Guarded:
    """A broker and the files of somebody who may do everything."""

    folder: Path
    mutual: str
    sasl: str

    def file(self, name: str, content: bytes | str) -> Path:
        path = self.folder / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        path.chmod(0o600)
        return path

    def settings(self, how: str, **changes: object) -> Settings:
        made = {"kafka_ca_file": self.folder / "ca.pem", "stage": "production"}
        if how == "certificate":
            made |= {"kafka_bootstrap": self.mutual, "kafka_security": "SSL"}
            made |= {
                "kafka_cert_file": self.folder / "own.pem",
                "kafka_key_file": self.folder / "own.key",
            }
        else:
            made |= {
                "kafka_bootstrap": self.sasl,
                "kafka_security": "SASL_SSL",
                "kafka_sasl_mechanism": how,
            }
        if how == "SCRAM-SHA-512":
            made |= {"kafka_username": USER, "kafka_password": SecretStr(PASSWORD)}
        if how == "OAUTHBEARER":
            made |= {"kafka_token_file": self.file("token", token())}
        return Settings(**made | changes)


def token(lifetime: float = 600) -> str:
    """A token that the broker's validator for development takes: not signed, but with a subject and an end."""
    now = time.time()
    parts = ({"alg": "none"}, {"sub": "token-gateway", "iat": now - 5, "exp": now + lifetime})
    return (
        ".".join(
            base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()
            for part in parts
        )
        + "."
    )


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    folder = tmp_path_factory.mktemp("guarded")
    mutual, sasl = free_port(), free_port()
    made = Guarded(folder, f"localhost:{mutual}", f"localhost:{sasl}")
    made.file("ca.pem", AUTHORITY.pem)
    made.file("broker.pem", SERVER.key_pem + SERVER.pem)
    made.file("own.pem", CLIENT.pem)
    made.file("own.key", CLIENT.key_pem)

    def with_user(data: Path, java: str, classpath: str) -> None:
        user = f"SCRAM-SHA-512=[name={USER},password={PASSWORD}]"
        command = [
            java,
            "-cp",
            classpath,
            "kafka.tools.StorageTool",
            "format",
            "-t",
            broker.CLUSTER_ID,
        ]
        subprocess.run(
            [*command, "-c", str(data / "server.properties"), "--add-scram", user],
            check=True,
            capture_output=True,
        )

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            broker,
            "PROPERTIES",
            broker.PROPERTIES + PROPERTIES.format(folder=folder, mutual=mutual, sasl=sasl),
        )
        patch.setattr(broker, "_format", with_user)
        with broker.running(folder / "kafka"):
            yield made


async def work(settings: Settings, name: str) -> dict[bytes, bytes]:
    """Make a topic, write to it in a transaction, and read it."""
    client = await admin_client(settings)
    await client.create_topics([NewTopic(name, 1, 1)])
    await client.close()
    writer = TransactionalProducer(settings, name, "test")
    await writer.fence()
    await writer.commit([OutgoingRecord(name, b"k", b"v", [])])
    await writer.close()
    return await read_partition(settings, name, 0)


@pytest.mark.parametrize("how", ["certificate", "SCRAM-SHA-512", "OAUTHBEARER"])
def test_clients_connect_over_tls(guarded: Guarded, how: str, name: str):
    assert asyncio.run(work(guarded.settings(how), name)) == {b"k": b"v"}


@pytest.mark.parametrize("how", ["certificate", "OAUTHBEARER"])
def test_control_plane_connects_over_tls(guarded: Guarded, how: str):
    settings = guarded.settings(how)

    async def scenario() -> set[int]:
        await topic_admin.create_missing(settings)
        got: asyncio.Future[set[int]] = asyncio.get_running_loop().create_future()

        async def assigned(partitions: set[int]) -> None:
            if partitions and not got.done():
                got.set_result(partitions)

        async def handle(_: bytes) -> None:
            return

        app = control_plane.build_control_app(
            settings, settings.kafka_bootstrap, connector_runner.Lease(60), assigned, handle
        )
        await asyncio.wait_for(app.start(), 60)
        try:
            return await asyncio.wait_for(got, 60)
        finally:
            await asyncio.wait_for(app.stop(), 60)

    assert asyncio.run(scenario()) == set(range(topics.COMMANDS.partitions))


def refused(settings: Settings) -> None:
    with pytest.raises(Unavailable, match=settings.kafka_bootstrap):
        asyncio.run(admin_client(settings))


def test_wrong_or_missing_certificate_is_refused(guarded: Guarded):
    stranger = {
        "kafka_cert_file": guarded.file("stranger.pem", STRANGER.pem),
        "kafka_key_file": guarded.file("s.key", STRANGER.key_pem),
    }
    refused(guarded.settings("certificate", **stranger))
    refused(guarded.settings("certificate", kafka_cert_file=None, kafka_key_file=None))
    refused(
        guarded.settings("certificate", kafka_ca_file=guarded.file("other-ca.pem", STRANGER.pem))
    )
    refused(guarded.settings("certificate", kafka_ca_file=None))
    other_name = guarded.mutual.replace("localhost", "127.0.0.1")
    refused(guarded.settings("certificate", kafka_bootstrap=other_name))


def test_renewed_certificate_is_shown_at_the_next_connection(guarded: Guarded):
    """A pair that does not match yet is never used, also by clients that start meanwhile."""
    certificate, key = guarded.file("r.pem", CLIENT.pem), guarded.file("r.key", CLIENT.key_pem)
    settings = guarded.settings("certificate", kafka_cert_file=certificate, kafka_key_file=key)
    renewed = make("gateway", AUTHORITY, days=200)
    without_rights = make("somebody else", AUTHORITY, days=100)

    def state() -> tuple[float, float]:
        label = ("", "kafka", str(certificate))
        return (
            metrics.CERTIFICATE_EXPIRY.labels(*label)._value.get(),
            metrics.CERTIFICATE_NOT_RENEWED.labels(*label)._value.get(),
        )

    async def scenario() -> None:
        running = await admin_client(settings)
        for pair in (renewed, without_rights):
            guarded.file("r.key", pair.key_pem)
            before = state()[0]
            await closed(settings)
            assert state() == (before, 1)
            guarded.file("r.pem", pair.pem)
            if pair is without_rights:
                with pytest.raises((KafkaError, Denied)):
                    await topic_admin.create_missing(settings)
            else:
                await closed(settings)
                await running.list_topics()
            assert state() == (pair.certificate.not_valid_after_utc.timestamp(), 0)
        await running.close()

    asyncio.run(scenario())


def test_certificates_of_brokers_are_measured(guarded: Guarded, monkeypatch: pytest.MonkeyPatch):
    async def scenario() -> None:
        task = asyncio.create_task(
            broker_certificates.watch_broker_certificates(guarded.settings("certificate"))
        )
        shown = metrics.CERTIFICATE_EXPIRY.labels("", "kafka_server", "localhost")
        shown.set(0)
        while not shown._value.get():
            await asyncio.sleep(0.05)
        task.cancel()
        assert shown._value.get() == SERVER.certificate.not_valid_after_utc.timestamp()
        file = str(guarded.folder / "ca.pem")
        authorities = metrics.CERTIFICATE_EXPIRY.labels("", "kafka_authorities", file)
        assert authorities._value.get() == AUTHORITY.certificate.not_valid_after_utc.timestamp()

    asyncio.run(asyncio.wait_for(scenario(), 60))


def test_password_and_token_are_reread_for_each_connection(
    guarded: Guarded, name: str, monkeypatch: pytest.MonkeyPatch
):
    """Whoever replaces the file replaces the secret; the settings stay as they are."""
    settings = guarded.settings(
        "SCRAM-SHA-512",
        kafka_password=SecretStr(""),
        kafka_password_file=guarded.file("password", "wrong\n"),
    )
    refused(settings)
    guarded.file("password", f"{PASSWORD}\n")
    asyncio.run(closed(settings))
    settings = guarded.settings("OAUTHBEARER", kafka_token_file=guarded.file("turning", token(-60)))
    monkeypatch.setattr(
        transactions, "START_SECONDS", 4
    )  # aiokafka does not hear the broker's no, and waits
    with pytest.raises(RetryLater):
        asyncio.run(TransactionalProducer(settings, name, "test").fence())
    guarded.file("turning", token())
    asyncio.run(closed(settings))


async def closed(settings: Settings) -> None:
    client = await admin_client(settings)
    try:
        await client.list_topics()
    finally:
        await client.close()


def test_unreadable_secret_file_is_named(guarded: Guarded):
    gone = guarded.folder / "gone"
    with pytest.raises(UsageError, match=r"GATEWAY_KAFKA_PASSWORD_FILE: .*gone: No such file"):
        client_arguments(guarded.settings("SCRAM-SHA-512", kafka_password_file=gone))
    with pytest.raises(UsageError, match=r"GATEWAY_KAFKA_PASSWORD_FILE: .*empty is empty"):
        client_arguments(
            guarded.settings("SCRAM-SHA-512", kafka_password_file=guarded.file("empty", "\n"))
        )


@pytest.mark.parametrize("security", ["PLAINTEXT", "SASL_PLAINTEXT"])
def test_production_uses_plain_text_only_on_loopback(security: str):
    there = Settings(kafka_bootstrap="kafka.example.org:9092", kafka_security=security)
    with pytest.raises(
        UsageError, match=f"{security} to another machine is refused in the production stage"
    ):
        client_arguments(there)
    assert client_arguments(there.model_copy(update={"registry_environment": "acceptance"}))
    assert client_arguments(there.model_copy(update={"kafka_bootstrap": "127.0.0.1:9092"}))


def test_tls_verification_cannot_be_disabled(guarded: Guarded):
    """No setting weakens the context, and no line of the gateway makes one that does not verify."""
    for stage in ("production", "acceptance"):
        context = ssl_context(guarded.settings("certificate", stage=stage))
        assert (context.verify_mode, context.check_hostname, context.minimum_version) == (
            ssl.CERT_REQUIRED,
            True,
            ssl.TLSVersion.TLSv1_2,
        )
    weak = re.compile(
        r"CERT_NONE|CERT_OPTIONAL|check_hostname\s*=\s*False|verify\s*=\s*False|_create_unverified_context"
    )
    found = {
        (path.relative_to(ROOT).as_posix(), match)
        for path in (ROOT / "gateway").rglob("*.py")
        for match in weak.findall(path.read_text(encoding="utf-8"))
    }
    # The push port is a server. Callers of connectors without certificates show none.
    assert found == {("gateway/worker/push_tls.py", "CERT_OPTIONAL")}
    assert not [name for name in Settings.model_fields if re.search(r"verify|insecure|check", name)]
