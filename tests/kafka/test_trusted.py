"""Check the provider cache on a real Kafka.

The cache holds committed records only, the newest of each key, without the deleted ones.
"""

from __future__ import annotations

import json
from datetime import date

import msgspec
import pytest
from aiokafka import AIOKafkaProducer
from typer.testing import CliRunner

from gateway.cli import app
from gateway.harmonise.providers import Providers
from gateway.harmonise.tables.institutions import Institutions
from gateway.kafka import topic_admin
from gateway.messages.topics import PROVIDERS
from gateway.operations.provider import load_providers, look_up
from gateway.pipeline.provider_cache import ProviderCache
from gateway.records import Organisation, Provider
from gateway.settings import Settings

pytestmark = pytest.mark.kafka


class Holds:
    """Where a view is put, as a harmoniser holds it."""

    providers: Providers | None = None


async def _write(settings: Settings, name: str) -> None:
    producer = AIOKafkaProducer(
        bootstrap_servers=settings.kafka_bootstrap, transactional_id=name, enable_idempotence=True
    )
    await producer.start()

    def value(pic: str, until: date) -> bytes:
        provider = Provider(
            id=pic, organisation=Organisation(identifiers={"pic": pic}), eche=True, eche_until=until
        )
        return json.dumps(msgspec.to_builtins(provider)).encode()

    async with producer.transaction():
        for key, body in (
            ("a", value("900000011", date(2020, 1, 1))),
            ("a", value("900000011", date(2029, 1, 1))),
            ("b", value("900000012", date(2029, 1, 1))),
            ("b", None),
        ):
            await producer.send_and_wait(PROVIDERS.name, body, key=f"{name}|{key}".encode())
    await producer.begin_transaction()
    await producer.send_and_wait(
        PROVIDERS.name, value("900000013", date(2029, 1, 1)), key=f"{name}|c".encode()
    )
    await producer.abort_transaction()
    await producer.stop()


@pytest.mark.parametrize("times", [1, 2])
def test_provider_cache_holds_committed_providers(settings: Settings, name: str, times: int):
    import asyncio

    async def check() -> None:
        await topic_admin.create_missing(settings)
        await _write(settings, name)
        holder = Holds()
        trusted = ProviderCache(settings, [holder])  # type: ignore[list-item]
        for _ in range(times):
            assert await trusted.load() >= 1
        view = holder.providers
        assert view is not None
        await trusted.load()
        assert holder.providers is view, "unchanged providers keep what they remember"
        on = date(2025, 1, 1)
        assert view.assess_award(
            Organisation(identifiers={"pic": "900000011"}), awarded_on=on, eqf_level=6
        ).charter
        read = await load_providers(settings)
        answers = look_up(read, Institutions(()), "", "", {"pic": "900000011"}, on)
        assert [answer.charter for answer in answers.found] == [True]
        for gone in ("900000012", "900000013"):
            assert (
                view.assess_award(
                    Organisation(identifiers={"pic": gone}), awarded_on=on, eqf_level=6
                ).outcome
                == "UNKNOWN_PROVIDER"
            )

    asyncio.run(check())


def test_provider_command_answers_and_says_what_it_looked_for(
    settings: Settings, name: str, monkeypatch: pytest.MonkeyPatch
):
    import asyncio

    async def fill() -> None:
        await topic_admin.create_missing(settings)
        await _write(settings, name)

    asyncio.run(fill())
    monkeypatch.setenv("GATEWAY_KAFKA_BOOTSTRAP", settings.kafka_bootstrap)
    on = ["--on", "2025-01-01"]
    found = CliRunner().invoke(app, ["provider", "--pic", "0900 000 011", *on])
    assert found.exit_code == 0, found.output
    assert "pic          900000011" in found.output
    assert "NO_REPORT_KNOWN" in found.output
    assert "charter      held" in found.output
    listed = CliRunner().invoke(app, ["provider", "FI", "10076", "--json", *on])
    assert listed.exit_code == 0, listed.output
    assert json.loads(listed.stdout)["found"][0]["name"] == {"fi": "Aalto-yliopisto"}
    missing = CliRunner().invoke(app, ["provider", "FI", "99999", *on])
    assert missing.exit_code == 1
    assert "looked for fi-national 99999, in FI" in missing.output
