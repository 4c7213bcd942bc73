"""A registry in this process, and the gateway as commands and workers in others."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.support import forked_process

ROOT = Path(__file__).parents[2]
Respond = Callable[[str, dict[str, str]], tuple[int, dict[str, str], bytes]]
"""A function from a target and its headers to a status, headers and a body."""


class CommandSite:
    """A folder with connectors and secrets, whose registry answers with ``respond``."""

    def __init__(self, folder: Path, bootstrap: str = "") -> None:
        self.folder = folder
        self.connectors, self.secrets = folder / "connectors", folder / "secrets"
        self.connectors.mkdir()
        self.secrets.mkdir()
        self.respond: Respond = lambda _target, _headers: (404, {}, b"")
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.workers: list[subprocess.Popen[bytes]] = []
        self.program: tuple[str, ...] = ("-m", "gateway")
        """The arguments of Python that run the gateway."""
        self.environment = {
            **{name: text for name, text in os.environ.items() if not name.startswith("GATEWAY_")},
            "GATEWAY_CONNECTORS": str(self.connectors),
            "GATEWAY_MAPPINGS": str(ROOT / "mappings"),
            "GATEWAY_SECRETS_DIR": str(self.secrets),
            "GATEWAY_DATA_DIR": str(folder / "data"),
            "GATEWAY_PSEUDONYM_KEY": "a key for tests only, never for people",
            "GATEWAY_METRICS_PORT": "0",
            "GATEWAY_LOG_FORMAT": "json",
            "PYTHONPATH": str(ROOT),
            **({"GATEWAY_KAFKA_BOOTSTRAP": bootstrap} if bootstrap else {}),
        }
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                headers = {name.lower(): value for name, value in self.headers.items()}
                site.asked.append((self.path, headers))
                status, more, body = site.respond(self.path, headers)
                self.send_response(status)
                for name, value in {"Content-Type": "application/json", **more}.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def write_connector(self, name: str, text: str) -> Path:
        """Write a connector; ``URL`` in its text stands for the address of the registry."""
        path = self.connectors / f"{name}.yaml"
        path.write_text(text.replace("URL", self.url))
        return path

    def write_secret(self, name: str, value: str) -> None:
        path = self.secrets / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(value)
        path.chmod(0o600)

    def command(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run one command to its end."""
        done = forked_process.command(
            *arguments,
            environment=self.environment | environment,
            cwd=self.folder,
            limit=120,
        )
        return subprocess.CompletedProcess(arguments, done.code, done.out, done.err)

    def work(self, *arguments: str, **environment: str) -> Path:
        """Start a worker, and return its log."""
        log = self.folder / f"worker-{len(self.workers)}.log"
        with log.open("wb") as out:
            self.workers.append(
                subprocess.Popen(
                    [sys.executable, *self.program, "run", *arguments],
                    env=self.environment | environment,
                    cwd=self.folder,
                    stdout=out,
                    stderr=out,
                )
            )
        return log

    def close(self) -> None:
        for worker in self.workers:
            if worker.poll() is None:
                worker.send_signal(signal.SIGTERM)
        for worker in self.workers:
            try:
                worker.wait(20)
            except subprocess.TimeoutExpired:
                worker.kill()
                worker.wait()
        self.server.shutdown()
        self.server.server_close()


def wait_for(condition: Callable[[], object], seconds: float = 90, what: object = "") -> None:
    """Wait until a condition holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what() if callable(what) else what
        time.sleep(0.2)


def fetch(url: str, **headers: str) -> str:
    """Return the text at an address of a worker."""
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=20) as reply:
        return str(reply.read().decode())
