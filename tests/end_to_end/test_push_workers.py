"""Push records to any worker.

A worker that does not own the connector forwards the request, or answers when to retry.
"""

from __future__ import annotations

import json
import re
import time
import urllib.error
import urllib.request

import pytest

from gateway.messages.cloudevents import decode_raw
from tests.conftest import free_port
from tests.end_to_end.conftest import Site
from tests.end_to_end.test_processes import children, get, parent_url
from tests.support.operator_commands import until

pytestmark = [pytest.mark.kafka, pytest.mark.slow]
CONNECTOR = """
language: 1
connector: caller
country: EU
title: A registry that calls
owner: {name: A, contact: a@example.org}
push:
  path: /in
  auth: {bearer: {token: {secret: caller/token}}}
  accepted: {body: "{count}"}
streams:
  things:
    emits: qualification
    records: items
    id: id
    tests: [{name: shape, given: {}, expect_some: {}}]
"""


def call(port: int, number: int, shown: str = "right") -> tuple[int, str, str]:
    """Post one record; return status, body and Retry-After."""
    body = json.dumps({"items": [{"id": str(number)}]}).encode()
    headers = {
        "Content-Type": "application/json",
        "Authorization": f"Bearer {shown}",
        "Connection": "close",
    }
    try:
        with urllib.request.urlopen(
            urllib.request.Request(f"http://127.0.0.1:{port}/in", body, headers), timeout=60
        ) as reply:
            return reply.status, reply.read().decode(), ""
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode(), error.headers.get("Retry-After", "")
    except OSError:
        return 0, "", ""


@pytest.mark.timeout(200)
def test_push_call_is_forwarded_to_the_owner(site: Site):
    """One parent with two processes on one port, one worker beside it: three, of which one owns the connector."""
    folder = site.folder / "connectors"
    for path in folder.iterdir():
        path.unlink()
    (folder / "caller.yaml").write_text(CONNECTOR)
    secret = site.folder / "secrets" / "caller" / "token"
    secret.parent.mkdir(parents=True)
    secret.write_text("right")
    secret.chmod(0o600)
    ports = free_port(), free_port()
    peers = [f"http://127.0.0.1:{port}" for port in ports]
    several = site.run(
        "--processes",
        "2",
        "--roles",
        "poll",
        GATEWAY_RECEIVE_PORT=str(ports[0]),
        GATEWAY_RECEIVE_PEERS=peers[1],
    )
    site.run("--roles", "poll", GATEWAY_RECEIVE_PORT=str(ports[1]), GATEWAY_RECEIVE_PEERS=peers[0])
    url = parent_url(site)
    until(lambda: get(f"{url}/readyz")[0] == 200, 90, lambda: site.log()[-3000:])
    until(
        lambda: '"receiving port open"' in site.log(1) and call(ports[1], 0)[0] == 200,
        60,
        lambda: site.log(1)[-3000:],
    )

    acknowledged = {0}
    for number in range(1, 13):
        until(
            lambda number=number: call(ports[number % 2], number)[:2] == (200, "1"),
            30,
            lambda number=number: f"{number}: {call(ports[number % 2], number)}",
        )
        acknowledged.add(number)
    assert [call(port, 99, "wrong")[0] for port in ports * 6] == [401] * 12, (
        "whoever is called, the owner judges"
    )

    owning = [
        process
        for process, number in re.findall(
            r'gateway_connectors_owned\{process="(.)"\} (\S+)', get(f"{url}/metrics")[1]
        )
        if float(number)
    ]
    owner = children(several)[owning[0]] if owning else None
    killed = time.monotonic()
    (owner.kill if owner else site.running[1].kill)()
    told = []
    number = 100
    port = ports[1] if owner else ports[0]
    while time.monotonic() < killed + 60:
        status, _, after = call(port, number)
        told.append((status, after))
        if status == 200:
            acknowledged.add(number)
            break
        time.sleep(0.5)
    moved = time.monotonic() - killed
    assert told[-1][0] == 200, told
    assert all(status == 0 or (status == 503 and int(after) > 0) for status, after in told[:-1]), (
        "a lost connection, or when to come again"
    )
    assert moved < 30, told  # half of it where nobody else works
    raw = [
        decode_raw(record.key, record.value, record.headers).native_id
        for record in site.read("gateway.raw.v1")
    ]
    assert set(raw) >= set(map(str, acknowledged)), "each acknowledged message is there"
    assert len(raw) == len(set(raw)), "once"
    print(
        f"the owner was killed; a caller was told to come again for {moved:.1f} s ({len(told) - 1} times 503), then accepted"
    )
