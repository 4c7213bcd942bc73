"""Poll both demonstration registries with their connectors.

Every record in the registry's ledger arrives once and in order.
"""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gateway.config.loading import load_connector
from gateway.errors import RetryLater, StreamHalted
from gateway.fetch import TimeWindow, read_pages
from gateway.fetch.registry_client import RegistryClient
from gateway.local.registries import rest_catalogue, soap_credits

ROOT = Path(__file__).parents[3]
ALL = TimeWindow(datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC))
SECRETS = {
    "demo-rest/token": rest_catalogue.TOKEN.encode(),
    "demo-soap/key": soap_credits.KEY.encode(),
}


def connector(tmp_path: Path, name: str, url: str):
    text = (ROOT / "connectors" / f"{name}.yaml").read_text()
    port = {"demo-rest": "18082", "demo-soap": "18081"}[name]
    path = tmp_path / f"{name}.yaml"
    path.write_text(text.replace(f"http://127.0.0.1:{port}", url))
    if name == "demo-soap":
        (tmp_path / "demo-soap.wsdl").write_bytes(
            (ROOT / "connectors" / "demo-soap.wsdl").read_bytes()
        )
    return load_connector(path)


async def read(connector, stream: str, window: TimeWindow = ALL, *, secrets=SECRETS, position=None):
    async with RegistryClient(connector, secrets.__getitem__, "production") as client:
        client.allowance = type(client.allowance)(
            **{
                name: getattr(client.allowance, name)
                for name in client.allowance.__slots__
                if name not in {"wait_initial", "timeout"}
            },
            wait_initial=0.01,
            timeout=1.0,
        )
        return [
            page async for page in read_pages(connector, stream, window, client, position=position)
        ]


def test_rest_registry_is_read_by_page_number(tmp_path):
    async def case():
        async with await rest_catalogue.start(records=250) as registry:
            found = await read(connector(tmp_path, "demo-rest", registry.url), "programmes")
            served = [s for s in registry.ledger if s.stream == "programmes"]
            assert [raw.native_id for page in found for raw in page.records] == [
                s.id for s in served
            ]
            assert [page.last for page in found] == [False] * (len(found) - 1) + [True]
            assert found[-1].complete
            assert found[-1].position == ""
            raw = found[0].records[0]
            assert (raw.connector, raw.stream, raw.media_type) == (
                "demo-rest",
                "programmes",
                "application/json",
            )
            assert json.loads(raw.body)["programmeId"] == raw.native_id

    asyncio.run(case())


def test_soap_registry_is_read_by_window_and_page(tmp_path):
    async def case():
        async with await soap_credits.start(records=250) as registry:
            made = connector(tmp_path, "demo-soap", registry.url)
            found = await read(made, "degrees")
            served = [s for s in registry.ledger if s.stream == "degrees"]
            raws = [raw for page in found for raw in page.records]
            assert [raw.native_id for raw in raws] == [s.id for s in served]
            assert raws[0].kind == "degree"
            assert raws[0].version
            assert raws[0].changed_at is not None
            assert b"urn:example:student-records:1" in raws[0].body
            assert max(page.watermark for page in found) == max(raw.changed_at for raw in raws)
            assert not found[-1].complete

    asyncio.run(case())


def test_read_resumes_at_every_position(tmp_path):
    async def case():
        async with await rest_catalogue.start(records=350) as registry:
            made = connector(tmp_path, "demo-rest", registry.url)
            found = await read(made, "programmes")
            every = [raw.native_id for page in found for raw in page.records]
            seen: list[str] = []
            for page in found[:-1]:
                seen += [raw.native_id for raw in page.records]
                rest = await read(made, "programmes", position=page.position)
                assert seen + [raw.native_id for p in rest for raw in p.records] == every
                assert not rest[-1].complete  # half a scan deletes nothing

    asyncio.run(case())


def test_wrong_credentials_halt_the_stream(tmp_path):
    async def case():
        async with (
            await rest_catalogue.start(records=5) as registry,
            await soap_credits.start(records=5) as other,
        ):
            with pytest.raises(StreamHalted) as caught:
                await read(
                    connector(tmp_path, "demo-rest", registry.url),
                    "programmes",
                    secrets={"demo-rest/token": b"CANARY"},
                )
            assert caught.value.reason == "DENIED"
            with pytest.raises(StreamHalted) as caught:
                await read(
                    connector(tmp_path, "demo-soap", other.url),
                    "degrees",
                    secrets={"demo-soap/key": b"CANARY"},
                )
            assert caught.value.reason == "DENIED"
            assert "CANARY" not in str(caught.value)

    asyncio.run(case())


@pytest.mark.parametrize("name", ["demo-rest", "demo-soap"])
@pytest.mark.parametrize("kind", ["error", "too_many", "truncated", "html", "error_inside"])
def test_transient_misbehaviour_loses_nothing(tmp_path, name, kind):
    async def case():
        async with await (rest_catalogue if name == "demo-rest" else soap_credits).start(
            records=250
        ) as registry:
            stream = "programmes" if name == "demo-rest" else "degrees"
            registry.misbehave(kind, times=1, skip=1)
            found = await read(connector(tmp_path, name, registry.url), stream)
            served = [s.id for s in registry.ledger if s.stream == stream]
            assert [raw.native_id for page in found for raw in page.records] == served

    asyncio.run(case())


@pytest.mark.parametrize("name", ["demo-rest", "demo-soap"])
@pytest.mark.parametrize(
    ("kind", "error", "reason"),
    [
        ("timeout", RetryLater, {"TIMEOUT"}),
        ("repeated_page", RetryLater, {"PAGE_REPEATED"}),
        ("loop", (RetryLater, StreamHalted), {"PAGE_REPEATED", "CURSOR_LOOP"}),
        ("html", RetryLater, {"NOT_A_REGISTRY_RESPONSE"}),
        ("truncated", RetryLater, {"INCOMPLETE_BODY", "JSON_MALFORMED", "XML_MALFORMED"}),
        ("endless", StreamHalted, {"LIMIT_BYTES"}),
        ("error", RetryLater, {"HTTP_500"}),
    ],
)
def test_lasting_misbehaviour_has_a_reason(tmp_path, name, kind, error, reason):
    async def case():
        async with await (rest_catalogue if name == "demo-rest" else soap_credits).start(
            records=350
        ) as registry:
            registry.misbehave(kind, times=None, skip=1, seconds=10)
            with pytest.raises(error) as caught:
                await read(
                    connector(tmp_path, name, registry.url),
                    "programmes" if name == "demo-rest" else "degrees",
                )
            assert caught.value.reason in reason

    asyncio.run(case())
