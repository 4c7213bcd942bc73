"""The health port: ``/livez``, ``/readyz``, ``/metrics`` and the page for people at ``/``.

It needs neither Kafka nor a registry, so it answers while they are down: that is when it is needed. It is read-only, it holds no
payload and no person's data, and it listens on loopback unless settings say otherwise.
"""

from __future__ import annotations

import asyncio
import errno
import inspect
import socket
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import TracebackType
from typing import Self

import structlog
from aiohttp import web
from prometheus_client import CollectorRegistry, exposition

from gateway.errors import GatewayError, Unavailable, UsageError
from gateway.observability import merged_metrics, metrics
from gateway.observability.page_layout import STYLE_HASH
from gateway.observability.status_page import Snapshot, render, render_explanation
from gateway.settings import Settings

log = structlog.get_logger()

ReadinessCheck = Callable[[], str | Awaitable[str]]
"""Answers ``""`` when well, else one line that says what is missing. A check about a registry does not belong here."""

Explain = Callable[[str, str], Awaitable[str]]
"""Connector and native id to a text that hides persons; raises a :class:`~gateway.errors.GatewayError` that says what is not there."""

CHECK_SECONDS = 2.0
EXPLAIN_SECONDS = 30.0
STOP_SECONDS = 2.0
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": f"default-src 'none'; style-src '{STYLE_HASH}'; img-src data:; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def gateway_release() -> str:
    """Return the version of the gateway that is installed."""
    try:
        return version("qualification-gateway")
    except PackageNotFoundError:
        return "unknown"


class HealthServer:
    """Serve the health port while the context is open.

    ``checks`` decide readiness, by name; each has two seconds. ``snapshot`` tells the page what metrics do not know. With ``socket``
    it listens there instead, for a parent process only. ``refresh`` is awaited before anything is read.
    """

    def __init__(
        self,
        settings: Settings,
        checks: Mapping[str, ReadinessCheck] | None = None,
        snapshot: Callable[[], Snapshot] = Snapshot,
        registry: CollectorRegistry = metrics.REGISTRY,
        *,
        socket: Path | None = None,
        refresh: Callable[[], Awaitable[None]] | None = None,
        explain: Explain | None = None,
    ) -> None:
        self._host, self._port = settings.metrics_host, settings.metrics_port
        self._checks = dict(checks or {})
        self._snapshot = snapshot
        self._registry = registry
        self._socket = socket
        self._refresh = refresh
        self._explain = explain
        self._explaining = asyncio.Lock()
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        """Where the port really is: the system chooses one when settings say 0."""
        if not self._runner or not self._runner.addresses:
            raise Unavailable("the health port is not open")
        if self._socket:
            return str(self._socket)
        host, port = self._runner.addresses[0][:2]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    async def start(self) -> None:
        """Open the port, or raise :class:`~gateway.errors.Unavailable` that names it."""
        metrics.BUILD_INFO.labels(gateway_release()).set(1)
        app = web.Application(middlewares=[_error_middleware])
        app.add_routes(
            [
                web.get("/", self._page),
                web.get("/livez", self._livez),
                web.get("/readyz", self._readyz),
                web.get("/metrics", self._metrics),
                *([web.get("/explain", self._explain_endpoint)] if self._explain else []),
            ]
        )
        if self._socket:
            app.router.add_get(
                "/snapshot", self._snapshot_endpoint
            )  # for the parent alone: nobody else reaches the socket
        self._runner = web.AppRunner(
            app, access_log=None, handle_signals=False, shutdown_timeout=STOP_SECONDS
        )
        await self._runner.setup()
        try:
            if self._socket:
                await web.UnixSite(self._runner, self._socket).start()
            else:
                await web.TCPSite(self._runner, self._host, self._port).start()
        except (OSError, OverflowError) as error:
            await self.stop()
            raise Unavailable(_port_error(self._host, self._port, error)) from error
        log.info("health port open", url=self.url)

    async def stop(self) -> None:
        """Close the port."""
        if self._runner:
            await self._runner.cleanup()
            self._runner = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    async def _livez(self, _request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _readyz(self, _request: web.Request) -> web.Response:
        """One line a check; 503 when one of them is not well."""
        await self._refresh_readings()
        answers = dict(
            zip(
                self._checks,
                await asyncio.gather(*map(_run_check, self._checks.values())),
                strict=True,
            )
        )
        lines = [f"{name}: {answer or 'ok'}" for name, answer in answers.items()] or ["ok"]
        return web.Response(
            text="\n".join(lines) + "\n", status=503 if any(answers.values()) else 200
        )

    async def _metrics(self, request: web.Request) -> web.Response:
        await self._refresh_readings()
        encode, content_type = exposition.choose_encoder(request.headers.get("Accept", ""))
        names = request.query.getall("name[]", [])
        registry = self._registry.restricted_registry(names) if names else self._registry
        return web.Response(body=encode(registry), headers={"Content-Type": content_type})

    async def _refresh_readings(self) -> None:
        if self._refresh is not None:
            await self._refresh()

    async def _snapshot_endpoint(self, _request: web.Request) -> web.Response:
        return web.Response(
            body=merged_metrics.encode_snapshot(self._snapshot()), content_type="application/json"
        )

    async def _page(self, _request: web.Request) -> web.Response:
        await self._refresh_readings()
        snapshot = replace(self._snapshot(), explains=self._explain is not None)
        return web.Response(
            text=render(self._registry, snapshot, time.time()),
            content_type="text/html",
            charset="utf-8",
        )

    async def _explain_endpoint(self, request: web.Request) -> web.Response:
        """One record at a time: it takes reading a partition of the raw topic."""
        await self._refresh_readings()
        connector, identifier = request.query.get("connector", ""), request.query.get("id", "")
        try:
            async with asyncio.timeout(EXPLAIN_SECONDS), self._explaining:
                text, status = (
                    await self._explain(connector, identifier) if self._explain else "",
                    200,
                )
        except TimeoutError:
            text, status = (
                f"no answer within {EXPLAIN_SECONDS:.0f} s; try `gateway explain` at the command line",
                504,
            )
        except UsageError as error:
            text, status = str(error), 404
        except GatewayError as error:
            text, status = str(error), 503
        page = render_explanation(connector, identifier, text, self._snapshot().titles)
        return web.Response(text=page, status=status, content_type="text/html", charset="utf-8")


async def _run_check(check: ReadinessCheck) -> str:
    """Return what a check says; one that hangs or raises is not well, and says so without quoting anything."""
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            answer = check()
            return await answer if inspect.isawaitable(answer) else answer
    except TimeoutError:
        return f"no answer within {CHECK_SECONDS:g} s"
    except Exception as error:  # noqa: BLE001 - whatever a check raises means "not ready", and must not end the server
        return f"failed: {type(error).__name__}"


@web.middleware
async def _error_middleware(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Answer errors in one plain line and put the same protective headers on every reply."""
    try:
        response = await handler(request)
    except web.HTTPNotFound:
        response = web.Response(
            text="not found; there are /, /livez, /readyz and /metrics\n", status=404
        )
    except web.HTTPMethodNotAllowed as error:
        response = web.Response(
            text="read-only: GET or HEAD\n",
            status=405,
            headers={"Allow": ", ".join(sorted(error.allowed_methods))},
        )
    except web.HTTPException:
        raise
    except Exception:
        log.exception("health port failed", path=request.path)
        response = web.Response(text="the page could not be made; the log says why\n", status=500)
    response.headers.update(_HEADERS)
    return response


def check_port_available(settings: Settings) -> None:
    """Raise :class:`~gateway.errors.Unavailable` when the health port cannot be opened; it is closed again at once."""
    try:
        family = socket.AF_INET6 if ":" in settings.metrics_host else socket.AF_INET
        socket.create_server((settings.metrics_host, settings.metrics_port), family=family).close()
    except (OSError, OverflowError) as error:
        raise Unavailable(
            _port_error(settings.metrics_host, settings.metrics_port, error)
        ) from error


def _port_error(host: str, port: int, error: Exception) -> str:
    change = "set GATEWAY_METRICS_PORT (0 lets the system choose) or stop the other program"
    match getattr(error, "errno", None):
        case errno.EADDRINUSE:
            return f"port {port} on {host} is in use; {change}"
        case errno.EACCES:
            return f"port {port} on {host} needs a privilege this process does not have; choose GATEWAY_METRICS_PORT above 1023"
        case errno.EADDRNOTAVAIL:
            return f"{host} is not an address of this machine; set GATEWAY_METRICS_HOST to 127.0.0.1 or 0.0.0.0"
        case _:
            return f"{host}:{port} cannot be opened ({type(error).__name__}); check GATEWAY_METRICS_HOST and GATEWAY_METRICS_PORT"
