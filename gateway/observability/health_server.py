"""Serve the health port: ``/livez``, ``/readyz``, ``/metrics`` and the status page at ``/``.

The server needs neither Kafka nor a registry, so it also answers during their outages. It is
read-only and shows no payload and no personal data. By default it listens on the loopback address
only.
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
from gateway.observability.bounded_port import BoundedSite, build_runner
from gateway.observability.explanation_page import render_explanation
from gateway.observability.health_access import HealthAccess
from gateway.observability.page_layout import RELOAD_SECONDS, STYLE_HASH
from gateway.observability.page_snapshot import Snapshot
from gateway.observability.status_page import render
from gateway.observability.topics_page import (
    BrowsedRecord,
    TopicBrowser,
    TopicQuery,
    render_topic,
)
from gateway.observability.unmapped_page import render_unmapped
from gateway.observability.why_page import render_why, why_of
from gateway.settings import SHIPPED, Settings

log = structlog.get_logger()

ReadinessCheck = Callable[[], str | Awaitable[str]]
"""Return an empty text when ready, or else one line with the reason. The state of a registry does
not belong in a check."""

Explain = Callable[[str, str], Awaitable[str]]
"""Return an explanation without personal data for a connector and a native id. Raises a
:class:`~gateway.errors.GatewayError` that names the missing part."""

NOTE = "note: "
"""The start of a line in ``/readyz`` that does not affect readiness."""
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


def _runbook_folder() -> Path | None:
    """Return the folder of the runbooks in this package or in this clone, if there is one."""
    folders = (SHIPPED / "runbooks", Path(__file__).parents[2] / "deploy" / "runbooks")
    return next((folder for folder in folders if folder.is_dir()), None)


RUNBOOKS = _runbook_folder()


def gateway_release() -> str:
    """Return the version of the installed gateway, or ``unknown``."""
    try:
        return version("qualification-gateway")
    except PackageNotFoundError:
        return "unknown"


class HealthServer:
    """A server for the health port, open while its context is open.

    ``checks`` decide on readiness, by name; each has two seconds. ``snapshot`` returns the facts
    for the status page that metrics do not contain. With ``socket`` the server listens on that Unix
    socket instead, for a parent process. ``refresh`` is awaited before each answer.
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
        browser: TopicBrowser | None = None,
    ) -> None:
        self._host, self._port = settings.metrics_host, settings.metrics_port
        self._checks = dict(checks or {})
        self._runbooks = settings.runbooks_url or ("/runbooks" if RUNBOOKS else "")
        self._snapshot = snapshot
        self._registry = registry
        self._socket = socket
        self._refresh = refresh
        self._explain = explain
        self._browser = browser
        self._access = HealthAccess(settings)
        self._explaining = asyncio.Lock()
        self._rendering = asyncio.Lock()
        """One large page at a time, so that probes are answered between two pages."""
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        """The URL of the open port, or the path of the socket."""
        if not self._runner or not self._runner.addresses:
            raise Unavailable("the health port is not open")
        if self._socket:
            return str(self._socket)
        host, port = self._runner.addresses[0][:2]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    async def start(self) -> None:
        """Open the port.

        Raises :class:`~gateway.errors.Unavailable` with the address and a remedy, and
        :class:`~gateway.errors.UsageError` for a token that cannot be used.
        """
        self._access.read_token()
        metrics.BUILD_INFO.labels(gateway_release()).set(1)
        app = web.Application(middlewares=[_error_middleware])
        app.add_routes(
            [
                web.get("/", self._page),
                web.get("/livez", self._livez),
                web.get("/readyz", self._readyz),
                web.get("/metrics", self._metrics),
                web.get("/why", self._why),
                web.get("/unmapped", self._unmapped),
                web.get("/runbooks/{name:[A-Za-z]+}.md", _runbook),
                *([web.get("/topics", self._topics)] if self._browser else []),
                *([web.get("/explain", self._explain_endpoint)] if self._explain else []),
            ]
        )
        if self._socket:
            # For the parent process. Other programs cannot reach the socket.
            app.router.add_get("/snapshot", self._snapshot_endpoint)
        self._runner = build_runner(app, shutdown_timeout=STOP_SECONDS)
        await self._runner.setup()
        try:
            if self._socket:
                await web.UnixSite(self._runner, self._socket).start()
            else:
                await BoundedSite(self._runner, self._host, self._port, port_name="health").start()
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
        """Return one line for each check, and status 503 if one of them fails."""
        await self._refresh_readings()
        answers = dict(
            zip(
                self._checks,
                await asyncio.gather(*map(_run_check, self._checks.values())),
                strict=True,
            )
        )
        lines = [f"{name}: {answer or 'ok'}" for name, answer in answers.items()] or ["ok"]
        # Other connectors work, so such a file does not make the worker unready.
        lines += [f"{NOTE}connector {name} is not loaded" for name in self._snapshot().not_loaded]
        return web.Response(
            text="\n".join(lines) + "\n", status=503 if any(answers.values()) else 200
        )

    async def _metrics(self, request: web.Request) -> web.Response:
        await self._refresh_readings()
        encode, content_type = exposition.choose_encoder(request.headers.get("Accept", ""))
        names = request.query.getall("name[]", [])
        registry = self._registry.restricted_registry(names) if names else self._registry
        async with self._rendering:
            return web.Response(body=encode(registry), headers={"Content-Type": content_type})

    async def _refresh_readings(self) -> None:
        if self._refresh is not None:
            await self._refresh()

    async def _snapshot_endpoint(self, _request: web.Request) -> web.Response:
        return web.Response(
            body=merged_metrics.encode_snapshot(self._snapshot()), content_type="application/json"
        )

    async def _page(self, request: web.Request) -> web.Response:
        if refusal := self._access.refuse_host(request):
            return refusal
        await self._refresh_readings()
        explains = self._explain is not None and self._access.has_token
        reloads = request.query.get("reload") != "no"
        snapshot = replace(
            self._snapshot(),
            explains=explains,
            shows_values=self._access.has_token,
            topics=self._browser.topics if self._browser and self._access.has_token else (),
            runbooks=self._runbooks,
            reloads=reloads,
        )
        async with self._rendering:
            page = render(self._registry, snapshot, time.time())
        headers = {"Refresh": str(RELOAD_SECONDS)} if reloads else {}
        return web.Response(text=page, content_type="text/html", charset="utf-8", headers=headers)

    async def _why(self, request: web.Request) -> web.Response:
        """Return why the streams of a connector do not run."""
        if refusal := self._access.refuse_host(request):
            return refusal
        await self._refresh_readings()
        connector, stream = request.query.get("connector", ""), request.query.get("stream", "")
        found = why_of(self._snapshot().diagnoses(), connector, stream)
        if not found:
            text = (
                "this worker does not poll this stream; `gateway why CONNECTOR` asks all workers\n"
            )
            return web.Response(text=text, status=404)
        page = render_why(connector, stream, found, self._runbooks, time.time())
        return web.Response(text=page, content_type="text/html", charset="utf-8")

    async def _unmapped(self, request: web.Request) -> web.Response:
        """Return the values that no table contains, to holders of the token."""
        if refusal := self._access.refuse_host(request) or self._access.refuse(request):
            return refusal
        await self._refresh_readings()
        page = render_unmapped(self._snapshot().unmapped(), time.time())
        return web.Response(text=page, content_type="text/html", charset="utf-8")

    async def _topics(self, request: web.Request) -> web.Response:
        """Return the last records of a topic, to holders of the token. Requests wait in turn."""
        if refusal := self._access.refuse_host(request) or self._access.refuse(request):
            return refusal
        browser = self._browser
        query = TopicQuery.from_form(request.query, browser.topics) if browser else None
        if browser is None or query is None:
            return web.Response(text="choose a topic on the status page\n", status=404)
        await self._refresh_readings()
        records: list[BrowsedRecord] = []
        problem, status = "", 200
        try:
            async with asyncio.timeout(EXPLAIN_SECONDS), self._explaining:
                records = await browser.read(query)
        except TimeoutError:
            problem, status = (
                f"no answer within {EXPLAIN_SECONDS:.0f} s; try `gateway topics read`",
                504,
            )
        except GatewayError as error:
            problem, status = str(error), 404 if isinstance(error, UsageError) else 503
        page = render_topic(query, browser, self._snapshot().titles, records, time.time(), problem)
        return web.Response(text=page, status=status, content_type="text/html", charset="utf-8")

    async def _explain_endpoint(self, request: web.Request) -> web.Response:
        """Return an explanation. Requests wait for each other.

        Each request reads a whole partition of the raw topic.
        """
        if refusal := self._access.refuse_host(request) or self._access.refuse(request):
            return refusal
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
                f"no answer within {EXPLAIN_SECONDS:.0f} s; try `gateway explain` in a shell",
                504,
            )
        except UsageError as error:
            text, status = str(error), 404
        except GatewayError as error:
            text, status = str(error), 503
        page = render_explanation(connector, identifier, text, self._snapshot().titles)
        return web.Response(text=page, status=status, content_type="text/html", charset="utf-8")


async def _runbook(request: web.Request) -> web.Response:
    """Return the text of a runbook."""
    file = RUNBOOKS / f"{request.match_info['name']}.md" if RUNBOOKS else None
    if file is None or not file.is_file():
        raise web.HTTPNotFound
    return web.Response(text=await asyncio.to_thread(file.read_text, "utf-8"))


async def _run_check(check: ReadinessCheck) -> str:
    """Return the answer of a check.

    A check that hangs or raises is not ready; its answer quotes nothing.
    """
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            answer = check()
            return await answer if inspect.isawaitable(answer) else answer
    except TimeoutError:
        return f"no answer within {CHECK_SECONDS:g} s"
    # Any error of a check means "not ready", and it must not end the server.
    except Exception as error:  # noqa: BLE001
        return f"failed: {type(error).__name__}"


@web.middleware
async def _error_middleware(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Answer errors in one line of text, and add the protective headers to every answer."""
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
        response = web.Response(
            text="an internal error occurred; the log contains the cause\n", status=500
        )
    response.headers.update(_HEADERS)
    return response


def check_port_available(settings: Settings) -> None:
    """Raise :class:`~gateway.errors.Unavailable` if the health port cannot be opened.

    The port is closed again at once.
    """
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
            return (
                f"port {port} on {host} needs a privilege that this process does not have; "
                "set GATEWAY_METRICS_PORT to a number above 1023"
            )
        case errno.EADDRNOTAVAIL:
            return (
                f"{host} is not an address of this machine; "
                "set GATEWAY_METRICS_HOST to 127.0.0.1 or 0.0.0.0"
            )
        case _:
            return (
                f"{host}:{port} cannot be opened ({type(error).__name__}); "
                "check GATEWAY_METRICS_HOST and GATEWAY_METRICS_PORT"
            )
