"""Assign connectors to workers with Faust."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from tempfile import gettempdir
from typing import Any

import faust
import structlog

from gateway.fetch.http.lease import Lease
from gateway.kafka.connection import FileToken, sasl_password, ssl_context
from gateway.messages.topics import COMMANDS
from gateway.settings import Settings

log = structlog.get_logger()
START_SECONDS = 60.0
SESSION_SECONDS = 6.0
"""After so long without a heartbeat a worker's connectors are given to others: the least that brokers allow as they come."""
HEARTBEAT_SECONDS = 0.5
ASSIGN_RETRY_SECONDS = 1.0


def build_control_app(
    settings: Settings,
    bootstrap: str,
    tenure: Lease,
    assigned: Callable[[set[int]], Awaitable[None]],
    handle: Callable[[bytes], Awaitable[None]],
) -> Any:
    """Return the Faust app of the control plane. ``handle`` must be total.

    ``tenure`` is suspended while partitions are given out anew, and renewed by each heartbeat that the coordinator answers.
    """
    app = faust.App(
        "gateway-control",
        broker=[f"kafka://{address}" for address in bootstrap.split(",")],
        store="memory://",
        datadir=str(Path(gettempdir()) / "gateway-control"),
        web_enabled=False,
        topic_disable_leader=True,
        consumer_auto_offset_reset="earliest",  # a command said before a worker ever ran is heard; said twice, it does no harm
        broker_session_timeout=SESSION_SECONDS,
        broker_heartbeat_interval=HEARTBEAT_SECONDS,
        broker_credentials=_credentials(settings),
        autodiscover=False,
    )
    topic = app.topic(
        COMMANDS.name,
        key_type=bytes,
        value_type=bytes,
        key_serializer="raw",
        value_serializer="raw",
    )

    @app.agent(topic, name="commands")
    async def on_command(stream: Any) -> None:
        async for value in stream:
            await handle(value)

    @app.on_partitions_revoked.connect  # type: ignore[arg-type]
    async def on_revoked(_app: Any, _revoked: set[Any], **_: Any) -> None:
        tenure.suspend()  # the group waits for this before it gives anything to anybody

    @app.on_partitions_assigned.connect  # type: ignore[arg-type]
    async def on_assigned(_app: Any, assignment: set[Any], **_: Any) -> None:
        # Not awaited: no heartbeat is sent meanwhile, and a poller that stops slowly would cost the membership.
        _renew_lease_on_heartbeat(app, tenure)
        partitions = {one.partition for one in assignment if one.topic == COMMANDS.name}
        assignment_tasks.add(
            task := asyncio.create_task(
                _assign_connectors(partitions, tenure, tenure.assignment_number, assigned),
                name="give",
            )
        )
        task.add_done_callback(assignment_tasks.discard)

    assignment_tasks: set[asyncio.Task[None]] = set()
    return app


async def _assign_connectors(
    partitions: set[int], tenure: Lease, turn: int, assigned: Callable[[set[int]], Awaitable[None]]
) -> None:
    """Stop what is lost, start what is new, and only then let this worker ask; unless connectors are given out anew already."""
    while turn == tenure.assignment_number:
        try:
            await assigned(partitions)
        except Exception as error:
            log.exception(
                "connectors not taken over",
                cause=type(error).__name__,
                next_try_seconds=ASSIGN_RETRY_SECONDS,
            )
            await asyncio.sleep(ASSIGN_RETRY_SECONDS)
        else:
            tenure.resume(turn)
            return


def _renew_lease_on_heartbeat(app: Any, tenure: Lease) -> None:
    """Renew ``tenure`` by each heartbeat that is answered, from when it was sent. Neither Faust nor aiokafka tells; pinned versions."""
    coordinator = app.consumer._thread._consumer._coordinator  # noqa: SLF001 - see above
    if hasattr(coordinator, "gateway_tenure"):
        return
    beat = coordinator._do_heartbeat  # noqa: SLF001 - see above

    async def timed() -> bool:
        sent = time.monotonic()
        answered: bool = await beat()
        if answered:
            tenure.renew(sent)
        return answered

    coordinator.gateway_tenure, coordinator._do_heartbeat = tenure, timed  # noqa: SLF001 - see above


def _credentials(settings: Settings) -> Any:
    if settings.kafka_security == "PLAINTEXT":
        return None
    if settings.kafka_security == "SSL":
        return faust.SSLCredentials(context=ssl_context(settings))
    context = ssl_context(settings) if settings.kafka_security == "SASL_SSL" else None
    if settings.kafka_sasl_mechanism == "OAUTHBEARER":
        return faust.OAuthCredentials(oauth_cb=FileToken(settings), ssl_context=context)
    return faust.SASLCredentials(
        username=settings.kafka_username,
        password=sasl_password(settings),
        mechanism=settings.kafka_sasl_mechanism,
        ssl_context=context,
    )
