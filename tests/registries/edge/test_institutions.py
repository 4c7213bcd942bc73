"""An institution that fails affects no other institution of the same registry."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable

import pytest

from gateway.config.connector import Connector
from gateway.config.split_streams import split_by_party
from gateway.errors import StreamError
from gateway.fetch.registry_client import RegistryClient
from gateway.pipeline.page_writer import PollResult
from gateway.pipeline.poll import PollContext, poll_once
from tests.support.hostile_registry import connector_at
from tests.support.memory_stream import NOW, MemoryStreamState, stream
from tests.support.raw_http_server import ReceivedRequest, Server, reply


class Institutions:
    """A registry where each institution answers at a path of its own, such as ``/uni-a/r``."""

    def __init__(self) -> None:
        self.down: dict[str, int] = {}
        self.retry_after = ""
        self.asked: Counter[str] = Counter()

    async def __call__(self, asked: ReceivedRequest, writer: asyncio.StreamWriter) -> None:
        name = asked.target.split("/")[1]
        self.asked[name] += 1
        status = self.down.get(name, 200)
        body = f'{{"items": [{{"id": "{name}", "t": "T"}}]}}'.encode()
        reply(
            writer,
            body,
            status,
            content_type="application/json",
            retry_after=self.retry_after if status in self.down.values() else "",
        )


def poll(
    registry: Institutions, loop: str, times: int, path: str = "/r"
) -> dict[str, PollResult | StreamError]:
    """Poll every stream a number of times with one client, and return the last results.

    ``SERVER`` in the text of the loop stands for the address of the registry.
    """

    async def run() -> dict[str, PollResult | StreamError]:
        results: dict[str, PollResult | StreamError] = {}
        states: dict[str, MemoryStreamState] = {}
        async with Server(registry) as server:
            text = stream("", f"for_each: {loop}").replace("/r", path, 1)
            connector: Connector = split_by_party(
                connector_at(server.url, text.replace("SERVER", server.url))
            )
            async with RegistryClient(connector, {}.__getitem__, "production") as client:
                for _ in range(times):
                    for name in connector.streams:
                        state = states.setdefault(name, MemoryStreamState())
                        context = PollContext(connector, name, client, state)  # type: ignore[arg-type]
                        try:
                            results[name] = await poll_once(context, NOW)
                        except StreamError as error:
                            results[name] = error
        return results

    return asyncio.run(run())


def parties(names: Iterable[str]) -> str:
    """Return a loop over institutions, each with an address of its own."""
    addresses = (f'{name}: {{url: {{production: "SERVER/{name}"}}}}' for name in names)
    return f"{{school: {{in: {{parties: {{{', '.join(addresses)}}}}}}}}}"


PARTIES = parties(["uni-a", "uni-b"])


def persons(names: Iterable[str]) -> str:
    return f"{{person: {{in: {{values: [{', '.join(names)}]}}}}}}"


@pytest.mark.parametrize("status", [500, 503, 429])
def test_institution_that_is_down_stops_no_other(status: int) -> None:
    registry = Institutions()
    registry.down = {"uni-a": status}
    results = poll(registry, PARTIES, 12)
    assert getattr(results["awards@uni-a"], "reason", "") == "BREAKER_OPEN"
    assert "uni-a is not called" in str(results["awards@uni-a"])
    assert isinstance(results["awards@uni-b"], PollResult)
    assert registry.asked == {"uni-a": 8, "uni-b": 12}


def test_institution_that_asks_to_wait_delays_no_other() -> None:
    registry = Institutions()
    registry.down, registry.retry_after = {"uni-a": 503}, "100"
    results = poll(registry, PARTIES, 1)
    assert isinstance(results["awards@uni-b"], PollResult)


def test_institution_whose_address_does_not_answer_stops_no_other() -> None:
    registry = Institutions()
    results = poll(registry, PARTIES.replace("SERVER/uni-a", "http://127.0.0.1:1"), 10)
    assert getattr(results["awards@uni-a"], "reason", "") == "BREAKER_OPEN"
    assert isinstance(results["awards@uni-b"], PollResult)


@pytest.mark.parametrize("broken", [["p1"], ["p1", "p2", "p3"], ["p1", "p3"]])
def test_loop_values_that_fail_stop_no_other(broken: list[str]) -> None:
    registry = Institutions()
    registry.down = dict.fromkeys(broken, 503)
    result = poll(registry, persons(["p1", "p2", "p3", "p4"]), 12, "'/{person}/r'")["awards"]
    assert isinstance(result, PollResult), str(result)
    assert result.skipped.keys() == {"BUSY"}, "the cause, and not the circuit breaker"
    assert (sum(result.skipped.values()), result.loop_values) == (len(broken), 4)
    assert registry.asked["p4"] == 12
    assert all(registry.asked[name] == 8 for name in broken)


def test_many_loop_values_that_are_refused_for_good_stop_no_other() -> None:
    """Values that fail are read last, one after another."""
    registry = Institutions()
    registry.down = {f"p{number}": 404 for number in range(30)}
    everybody = [name for number in range(30) for name in (f"p{number}", f"well{number}")]
    result = poll(registry, persons(everybody), 3, "'/{person}/r'")["awards"]
    assert isinstance(result, PollResult), str(result)
    assert result.skipped == {"HTTP_404": 30}
    assert registry.asked["well29"] == 3


def test_credentials_that_are_refused_are_not_tried_for_each_loop_value() -> None:
    registry = Institutions()
    registry.down = {f"p{number}": 401 for number in range(200)}
    result = poll(registry, persons(registry.down), 1, "'/{person}/r'")["awards"]
    assert getattr(result, "reason", "") == "DENIED"
    assert sum(registry.asked.values()) == 21


def test_registry_that_is_down_is_not_called_for_each_loop_value() -> None:
    registry = Institutions()
    registry.down = {f"p{number}": 503 for number in range(200)}
    results = poll(registry, persons(registry.down), 10, "'/{person}/r'")
    assert getattr(results["awards"], "reason", "") == "BREAKER_OPEN"
    assert sum(registry.asked.values()) == 8
