"""The faults that ``gateway drill`` can put into the running demo. Each one undoes itself."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from gateway.local.registries.record_store import RecordStore, StoredEntry
from gateway.local.registries.server import Registry

REST, SOAP = "demo-rest", "demo-soap"
SECRET = "demo-rest/token"  # noqa: S105 - the name of a secret
SLOW_SECONDS = 20.0
"""Longer than the timeout of the demo's connectors."""
CHANGED_RECORDS = 20
UNKNOWN_LEVEL = "98"
_LEVEL = re.compile(r"(?<=>)[^<]*(?=</t:level>)")


class Worker(Protocol):
    """The worker process of the demo."""

    async def hold_down(self) -> None:
        """Kill the process, and start no other one."""
        ...

    def let_run(self) -> None:
        """Start the process again."""
        ...


class Kafka(Protocol):
    """The broker of the demo."""

    async def stop(self) -> None:
        """Stop the broker. Its data stay."""
        ...

    async def start(self) -> None:
        """Start the broker at the same address."""
        ...


@dataclass(slots=True)
class DemoSite:
    """What a fault can break: the parts of one running demo, and nothing else."""

    registries: dict[str, Registry]
    connectors: Path
    secrets: Path
    worker: Worker
    kafka: Kafka


IsCured = Callable[[], bool]
"""Return whether a person has ended the fault."""
Breaking = Callable[[DemoSite], AbstractAsyncContextManager[IsCured]]


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault, what was broken, and the page that leads to its cure."""

    name: str
    what: str
    page: str
    breaking: Breaking = field(repr=False)


def _never() -> bool:
    return False


def _misbehaviour(connector: str, kind: Any, **details: Any) -> Breaking:
    """Return a fault that a demo registry has on request."""

    @asynccontextmanager
    async def breaking(site: DemoSite) -> AsyncIterator[IsCured]:
        registry = site.registries[connector]
        registry.misbehave(kind, times=None, **details)
        try:
            yield _never
        finally:
            registry.stop_misbehaving()

    return breaking


@asynccontextmanager
async def _registry_down(site: DemoSite) -> AsyncIterator[IsCured]:
    registry = site.registries[REST]
    port = urlsplit(registry.url).port or 0
    await registry.close()
    try:
        yield _never
    finally:
        await registry.start(port=port)


@asynccontextmanager
async def _empty_list(site: DemoSite) -> AsyncIterator[IsCured]:
    registry = site.registries[REST]
    stocks = registry.stocks
    registry.stocks = {
        name: RecordStore(stock.stream, stock.seed, stock.name) for name, stock in stocks.items()
    }
    try:
        yield _never
    finally:
        registry.stocks = stocks


@contextmanager
def _changed_degrees(registry: Registry) -> Iterator[None]:
    """Send some records again, which are wrong now, and at the end once more, which are right."""
    names = registry.change("degrees", count=CHANGED_RECORDS)
    try:
        yield
    finally:
        for name in names:
            registry.change("degrees", id=name)


@asynccontextmanager
async def _unknown_level(site: DemoSite) -> AsyncIterator[IsCured]:
    """Give every degree a level that no table contains."""
    registry = site.registries[SOAP]

    def content(stream: str, entry: StoredEntry) -> bytes:
        text = type(registry).content(registry, stream, entry).decode()
        return _LEVEL.sub(UNKNOWN_LEVEL, text).encode()

    registry.content = content  # type: ignore[method-assign]
    with _changed_degrees(registry):
        try:
            yield _never
        finally:
            del registry.content


@asynccontextmanager
async def _wrong_clock(site: DemoSite) -> AsyncIterator[IsCured]:
    """Let the registry state changes of the year 2062, as with a wrong clock."""
    with _changed_degrees(site.registries[SOAP]):
        async with _misbehaviour(SOAP, "future_change", stream="degrees")(site) as is_cured:
            yield is_cured


@asynccontextmanager
async def _broker_stopped(site: DemoSite) -> AsyncIterator[IsCured]:
    await site.kafka.stop()
    try:
        yield _never
    finally:
        await site.kafka.start()


@asynccontextmanager
async def _worker_killed(site: DemoSite) -> AsyncIterator[IsCured]:
    await site.worker.hold_down()
    try:
        yield _never
    finally:
        site.worker.let_run()


@asynccontextmanager
async def _mistyped_connector(site: DemoSite) -> AsyncIterator[IsCured]:
    file = site.connectors / f"{REST}.yaml"
    text = file.read_text()
    file.write_text(text.replace("every:", "evry:", 1))
    try:
        yield lambda: "evry:" not in file.read_text()
    finally:
        file.write_text(text)


@asynccontextmanager
async def _secret_missing(site: DemoSite) -> AsyncIterator[IsCured]:
    file = site.secrets / SECRET
    value = file.read_text()
    file.unlink()
    try:
        yield file.exists
    finally:
        if not file.exists():
            file.touch(mode=0o600)
            file.write_text(value)


FAULTS = {
    name: Fault(name, what, page if "/" in page else f"deploy/runbooks/{page}.md", breaking)
    for name, what, page, breaking in (
        (
            "registry-down",
            f"the registry of {REST} accepts no connection",
            "BreakerOpen",
            _registry_down,
        ),
        (
            "registry-slow",
            f"the registry of {REST} answers after {SLOW_SECONDS:.0f} s",
            "ConnectorFailing",
            _misbehaviour(REST, "timeout", seconds=SLOW_SECONDS),
        ),
        (
            "registry-busy",
            f"the registry of {SOAP} answers 503 to every request",
            "BreakerOpen",
            _misbehaviour(SOAP, "error", status=503),
        ),
        (
            "credentials-refused",
            f"the registry of {REST} answers 401 to every request",
            "ConnectorHalted",
            _misbehaviour(REST, "error", status=401),
        ),
        (
            "list-renamed",
            f"the registry of {REST} has renamed its list of records",
            "ConnectorHalted",
            _misbehaviour(REST, "renamed_list"),
        ),
        (
            "list-empty",
            f"the registry of {REST} answers with empty lists",
            "DeletionsWithheld",
            _empty_list,
        ),
        (
            "list-shrunk",
            f"the registry of {REST} has lost two thirds of its records",
            "DeletionsWithheld",
            _misbehaviour(REST, "shrunk_list"),
        ),
        (
            "page-cut",
            f"the replies of the registry of {REST} end in the middle",
            "ConnectorFailing",
            _misbehaviour(REST, "truncated"),
        ),
        (
            "maintenance-page",
            f"the registry of {REST} answers with a web page",
            "ConnectorFailing",
            _misbehaviour(REST, "html"),
        ),
        (
            "clock-wrong",
            f"the clock of the registry of {SOAP} is decades ahead",
            "docs/how-to/operate.md#change-times-that-are-wrong",
            _wrong_clock,
        ),
        (
            "level-unknown",
            f"the registry of {SOAP} uses a level that no table contains",
            "RejectionRatioHigh",
            _unknown_level,
        ),
        ("broker-stopped", "the broker of Kafka does not run", "PublishBlocked", _broker_stopped),
        ("worker-killed", "the worker was killed", "WorkerDown", _worker_killed),
        (
            "connector-mistyped",
            f"the file of {REST} contains a typing error",
            "ConfigRefused",
            _mistyped_connector,
        ),
        (
            "secret-missing",
            f"the secret {SECRET} of {REST} was deleted",
            "ConnectorHalted",
            _secret_missing,
        ),
    )
}
"""Every fault by name."""
