"""Assign connectors to workers with Faust."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import faust
import structlog

from gateway.fetch.http.lease import Lease
from gateway.kafka.connection import FileToken, sasl_password, ssl_context
from gateway.messages.topics import COMMANDS
from gateway.settings import Settings
from gateway.worker.faust_internals import create_no_folders, renew_lease_on_heartbeat

log = structlog.get_logger()
START_SECONDS = 60.0
SESSION_SECONDS = 6.0
"""Kafka reassigns the connectors of a worker after this time without a heartbeat. It is the
shortest time that brokers allow by default."""
HEARTBEAT_SECONDS = 0.5
ASSIGN_RETRY_SECONDS = 1.0


def build_control_app(
    settings: Settings,
    bootstrap: str,
    lease: Lease,
    assigned: Callable[[set[int]], Awaitable[None]],
    handle: Callable[[bytes], Awaitable[None]],
) -> Any:
    """Return the Faust app of the control plane.

    ``lease`` is suspended while Kafka reassigns partitions, and renewed by each heartbeat that the
    group coordinator answers. ``assigned`` receives the partitions of this worker after each
    assignment. ``handle`` receives the bytes of each command; it must not raise.
    """
    app = faust.App(
        "gateway-control",
        broker=[f"kafka://{address}" for address in bootstrap.split(",")],
        store="memory://",
        web_enabled=False,
        topic_disable_leader=True,
        # A worker also reads commands that are older than itself. A repeated command does no harm.
        consumer_auto_offset_reset="earliest",
        broker_session_timeout=SESSION_SECONDS,
        broker_heartbeat_interval=HEARTBEAT_SECONDS,
        broker_credentials=_credentials(settings),
        autodiscover=False,
    )
    create_no_folders(app)
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
        lease.suspend()  # Kafka assigns nothing to another worker before this function returns

    @app.on_partitions_assigned.connect  # type: ignore[arg-type]
    async def on_assigned(_app: Any, assignment: set[Any], **_: Any) -> None:
        renew_lease_on_heartbeat(app, lease)
        partitions = {
            topic_partition.partition
            for topic_partition in assignment
            if topic_partition.topic == COMMANDS.name
        }
        # A task, because Faust sends no heartbeat during this function. A poller that stops
        # slowly would otherwise cost this worker its membership in the group.
        assignment_tasks.add(
            task := asyncio.create_task(
                _assign_connectors(partitions, lease, lease.assignment_number, assigned),
                name="assign connectors",
            )
        )
        task.add_done_callback(assignment_tasks.discard)

    assignment_tasks: set[asyncio.Task[None]] = set()
    return app


async def _assign_connectors(
    partitions: set[int],
    lease: Lease,
    assignment_number: int,
    assigned: Callable[[set[int]], Awaitable[None]],
) -> None:
    """Start and stop connectors, and then let this worker send requests again.

    Try again after an error. Stop when Kafka reassigns the connectors again.
    """
    while assignment_number == lease.assignment_number:
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
            lease.resume(assignment_number)
            return


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
