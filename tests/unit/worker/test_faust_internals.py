"""Check that the private names of Faust and aiokafka that the control plane uses exist and work."""

from __future__ import annotations

import asyncio
import inspect
from types import SimpleNamespace

import faust
import pytest
from aiokafka.consumer.group_coordinator import GroupCoordinator
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread

from gateway.fetch.http.lease import Lease
from gateway.worker.faust_internals import group_coordinator, renew_lease_on_heartbeat


def fake_app(answered: bool) -> SimpleNamespace:
    async def send_heartbeat() -> bool:
        return answered

    coordinator = SimpleNamespace(_do_heartbeat=send_heartbeat)
    thread = SimpleNamespace(_consumer=SimpleNamespace(_coordinator=coordinator))
    return SimpleNamespace(consumer=SimpleNamespace(_thread=thread))


def test_group_coordinator_is_reached_through_real_objects():
    """Faust starts a thread that holds the consumer, and the consumer holds the coordinator."""

    async def scenario() -> None:
        app = faust.App(
            "private-names", broker="kafka://127.0.0.1:1", store="memory://", web_enabled=False
        )
        thread = app.consumer._thread
        assert isinstance(thread, AIOKafkaConsumerThread)
        assert thread._consumer is None
        thread._consumer = thread._create_consumer(loop=asyncio.get_running_loop())
        assert "_coordinator" in vars(thread._consumer)
        thread._consumer._coordinator = "coordinator"
        assert group_coordinator(app.consumer) == "coordinator"

    asyncio.run(scenario())


def test_aiokafka_sends_heartbeats_through_the_replaced_method():
    assert inspect.iscoroutinefunction(GroupCoordinator._do_heartbeat)
    assert list(inspect.signature(GroupCoordinator._do_heartbeat).parameters) == ["self"]
    assert "_do_heartbeat" in GroupCoordinator._heartbeat_routine.__code__.co_names
    assert hasattr(GroupCoordinator.__new__(GroupCoordinator), "__dict__")


@pytest.mark.parametrize("answered", [True, False])
def test_only_an_answered_heartbeat_renews_the_lease(answered: bool):
    app, lease = fake_app(answered), Lease(60)
    lease.resume()
    renew_lease_on_heartbeat(app, lease)
    assert asyncio.run(group_coordinator(app.consumer)._do_heartbeat()) is answered
    assert lease.is_valid is answered


def test_second_call_does_not_replace_the_method_again():
    app = fake_app(answered=True)
    renew_lease_on_heartbeat(app, Lease(60))
    replaced = group_coordinator(app.consumer)._do_heartbeat
    renew_lease_on_heartbeat(app, Lease(60))
    assert group_coordinator(app.consumer)._do_heartbeat is replaced
