"""Attack both ports of a real ``gateway run`` of few descriptors, and measure what it costs."""

from __future__ import annotations

import contextlib
import json
import re
import resource
import shutil
import socket
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests.end_to_end.conftest import ROOT, Site
from tests.support.operator_commands import raw, until

pytestmark = [
    pytest.mark.kafka,
    pytest.mark.timeout(400),
    pytest.mark.parametrize("site", [40], indirect=True),
]
DESCRIPTORS = 256
PROBE_SECONDS = 3.0
"""A probe is answered in milliseconds on an idle machine, and later where tests run beside it."""
CONNECTOR = """
language: 1
connector: pushed
country: FI
title: A push registry
owner: {name: A, contact: a@example.org}
push: {path: /in, auth: {bearer: {token: {secret: pushed/token}}}}
streams:
  things:
    emits: qualification
    records: items
    id: id
    map: {title.en: title, awarding_body.name.en: {const: A}, awarding_body.country: {const: FI}}
    tests: [{name: shape, given: {id: "1", title: T}, expect_some: {title: {en: T}}}]
"""


def memory(pid: int, name: str = "VmHWM") -> int:
    """Return the memory of a process in MB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(rf"{name}:\s+(\d+)", status)[1]) // 1024


def post(url: str, body: bytes, **headers: str) -> int:
    request = urllib.request.Request(url, body, headers)
    try:
        with urllib.request.urlopen(request, timeout=20) as reply:
            return reply.status
    except urllib.error.HTTPError as error:
        return error.code


def livez(url: str) -> float:
    began = time.monotonic()
    with urllib.request.urlopen(f"{url}/livez", timeout=5) as reply:
        assert reply.status == 200
    return time.monotonic() - began


def connect(url: str) -> socket.socket:
    return socket.create_connection(("127.0.0.1", int(url.rsplit(":", 1)[1])), 5)


def test_worker_survives_strangers_at_both_ports(site: Site) -> None:
    token = site.folder / "secrets" / "pushed" / "token"
    token.parent.mkdir(parents=True)
    token.write_text("a-secret")
    token.chmod(0o600)
    (site.folder / "connectors" / "pushed.yaml").write_text(CONNECTOR)
    shutil.copy(ROOT / "connectors" / "eu-emrex.yaml", site.folder / "connectors")
    worker = site.run(GATEWAY_RECEIVE_PORT="0")
    resource.prlimit(worker.pid, resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS))
    until(lambda: "receiving port open" in site.log() and raw(site, "demo-rest") == 40)
    health = re.search(r'"metrics": "(http[^"]+)"', site.log())[1]
    port = re.search(r'"url": "([^"]+)", "event": "receiving port open"', site.log())[1]
    right = {"Authorization": "Bearer a-secret", "Content-Type": "application/json"}
    message = json.dumps({"items": [{"id": "1", "title": "T"}]}).encode()
    until(lambda: post(f"{port}/in", message, **right) == 200)
    before = memory(worker.pid, "VmRSS")

    with contextlib.ExitStack() as stack:
        for url, count in ((port, 150), (health, 150)):
            for _ in range(count):
                with contextlib.suppress(OSError):
                    half = stack.enter_context(connect(url))
                    half.sendall(b"POST /in HTTP/1.1\r\nHost: x\r\nX-Half: ")
        assert livez(health) < PROBE_SECONDS
        assert len(list(Path(f"/proc/{worker.pid}/fd").iterdir())) < DESCRIPTORS - 40
        assert post(f"{port}/in", message, **right) == 200

        for _ in range(12):
            unended = stack.enter_context(connect(port))
            with contextlib.suppress(OSError):
                unended.sendall(
                    b"POST /in HTTP/1.1\r\nHost: x\r\nContent-Length: 49000000\r\n\r\n"
                    + b"a" * 45_000_000
                )
        for path, length in (("/emrex/results", 20_000_000), ("/emrex/results", 19_000_000)) * 3:
            unended = stack.enter_context(connect(port))
            unended.settimeout(2)
            with contextlib.suppress(OSError):
                head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n"
                unended.sendall(head.encode() + b"a" * (length - 1))
        assert livez(health) < PROBE_SECONDS
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        assert post(f"{port}/emrex/results", b"&a" * 9_000_000, **form) in {400, 503}
        assert livez(health) < PROBE_SECONDS
        assert post(f"{port}/in", message, **right) == 200
    assert memory(worker.pid) - before < 300
    until(lambda: memory(worker.pid, "VmRSS") - before < 100)
    assert worker.poll() is None
    assert "Traceback" not in site.log()
