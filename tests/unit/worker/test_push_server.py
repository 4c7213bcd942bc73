"""Answer calls of push registries whose connector is not loaded."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx2
import pytest

from gateway.config.loading import load_connector
from gateway.settings import Settings
from gateway.worker.push_server import PushServer

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(("may_serve_later", "status"), [(False, 404), (True, 503)])
def test_unknown_path_is_refused_for_now_while_a_connector_is_not_loaded(
    may_serve_later: bool, status: int
) -> None:
    settings = Settings().model_copy(update={"receive_port": 0})

    async def run() -> int:
        server = PushServer(settings, may_serve_later=lambda: may_serve_later)
        connector = load_connector(ROOT / "connectors" / "eu-emrex.yaml")
        await server.start([connector], {}.__getitem__)
        try:
            async with httpx2.AsyncClient(trust_env=False) as client:
                return (await client.post(f"{server.url}/of-another")).status_code
        finally:
            await server.close()

    assert asyncio.run(run()) == status
