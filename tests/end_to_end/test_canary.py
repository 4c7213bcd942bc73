"""Send one canary for each kind of secret, and one canary person, through the whole gateway.

Each canary may appear only in the places that are meant for it.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import shutil
import signal
import ssl
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote

import pytest
from cryptography.hazmat.primitives import serialization

from gateway.kafka import topic_admin
from gateway.local import broker as kafka
from gateway.messages import topics
from gateway.settings import Settings
from tests.conftest import free_port
from tests.end_to_end.conftest import ROOT, read_all
from tests.support.canary_worker import BREAKS, NAME
from tests.support.certificates import AUTHORITY, CLIENT, SERVER
from tests.support.operator_commands import until

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]

SECRETS = {
    "canary-basic/password": "canary-of-basic-5Jq",
    "canary-bearer/token": "canary-of-bearer-8Wd",
    "canary-oauth/secret": "canary-of-client-2Xm",
    "canary-login/password": "canary-of-login-7Gh",
    "canary-key/value": "canary-of-api-key-4Ld",
    "canary-tls/passphrase": "canary-of-passphrase-3Rt",
    "canary-soap/key": "canary-of-soap-body-6Bn",
    "canary-soap/password": "canary-of-wsse-9Kp",
}
SASL = "canary-of-sasl-1Vz"
PSEUDONYMS = "canary-of-the-pseudonym-key-0123456789"
TOKEN = "canary-of-a-token-8Qs"
PERSON = {
    "given": NAME,
    "family": "Zwitscherbach",
    "born": "1987-03-29",
    "number": "290387-917K",
    "mail": "post-17@canary.example",
    "esi": "urn:schac:personalUniqueCode:int:esi:canary.example:kan-77",
    "grade": "canary-grade-17",
}
EVERYWHERE = [*SECRETS.values(), SASL, PSEUDONYMS, TOKEN]
FOR_EUROPASS = {PERSON["given"], PERSON["family"], PERSON["born"], PERSON["esi"], PERSON["grade"]}
MAY_HOLD = {
    "gateway.raw.v1": set(PERSON.values()),
    "europass.credentials.v1": FOR_EUROPASS,
    "esc.student-status.v1": {PERSON["esi"], PERSON["mail"]},
    "esc.credential-pointers.v1": {PERSON["esi"]},
}
"""Values of topics that are for the person's data; keys and headers never are."""
HEAD = """
language: 1
connector: {name}
country: FI
title: A canary
owner: {{name: Tests, contact: tests@example.org}}
rest:
  url: {{production: "{url}", acceptance: "{url}"}}
  auth: {auth}
{tls}  limits: {{timeout: 5s, attempts: 1, patience: 2s}}
streams:
  awards:
    emits: credential
    every: 2s
    request: {{get: /{name}, query: {{page: "{{page}}"}}}}
    paging: {{page_number: {{start: 1, more: more}}}}
    cursor: scan
    records: items
    id: id
    map:
      kind: {{const: diploma}}
      title.en: title
      awarded_on: day
      awarding_body.name.en: school
      awarding_body.country: {{const: FI}}
      awarding_body.identifiers.pic: pic
      holder.pseudonym: {{from: person.number, pseudonym: fi-national-number}}
      holder.given_name: {{from: person.given, basis: "Award document names its holder"}}
      holder.family_name: {{from: person.family, basis: "Award document names its holder"}}
      holder.birth_date: {{from: person.born, basis: "Award document identifies its holder"}}
      holder.esi: {{from: person.esi, basis: "European Student Card"}}
      holder_consent: consent
      assessment.grade: {{from: person.grade, basis: "Part of the award"}}
    tests: [{{name: nobody, given: {{id: A, title: An award, day: 2020-05-31, person: {{}}}}, expect_some: {{id: A}}}}]
  students:
    emits: student_status
    every: 2s
    request: {{get: /{name}, query: {{page: "{{page}}"}}}}
    paging: {{page_number: {{start: 1, more: more}}}}
    cursor: scan
    records: enrolments
    id: id
    map:
      holder.esi: {{from: person.esi, basis: "European Student Card"}}
      holder.email: {{from: person.mail, basis: "European Student Card"}}
      institution.identifiers.pic: pic
      active: active
      valid_until: until
      esc_agreement: consent
    tests: [{{name: nobody, given: {{id: E, active: "true", until: 2027-07-31, consent: "true", person: {{}}}}, expect_some: {{id: E}}}}]
"""
AUTH = {
    "canary-basic": "{basic: {username: gateway, password: {secret: canary-basic/password}}}",
    "canary-bearer": "{bearer: {token: {secret: canary-bearer/token}}}",
    "canary-oauth": '{oauth2_client_credentials: {token_url: "URL/token", client_id: gateway, client_secret: {secret: canary-oauth/secret}}}',
    "canary-login": '{login: {url: "URL/refuse", fields: {user: gateway, password: {secret: canary-login/password}}, token: token}}',
    "canary-key": "{api_key: {query: key, value: {secret: canary-key/value}}}",
    "canary-tls": "{bearer: {token: {secret: canary-bearer/token}}}",
}


def records() -> dict[str, object]:
    school = {"school": "Canary School", "pic": "999990002", "consent": "true", "person": PERSON}
    awards = [
        {"id": "A-1", "title": "Accepted", "day": "2020-05-31", **school},
        {"id": "A-2", "title": "Rejected", "day": f"the {PERSON['born']} of {NAME}", **school},
        {"id": "A-3", "title": BREAKS, "day": "2020-05-31", **school},
    ]
    enrolments = [{"id": "E-1", "active": "true", "until": "2027-07-31", **school}]
    return {"items": awards, "enrolments": enrolments, "more": False}


class Registry(BaseHTTPRequestHandler):
    """Serves the canary person once in good order; everything else is an error that repeats all it was told, and more."""

    def _answer(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        echo = f"{self.path} {self.headers} {self.rfile.read(length).decode()} {json.dumps(PERSON, ensure_ascii=False)}"
        status, kind, text = 500, "text/plain", echo
        if self.path.startswith("/canary-basic"):
            status, kind, text = 200, "application/json", json.dumps(records())
        elif self.path.startswith("/token"):
            status, kind, text = (
                200,
                "application/json",
                json.dumps({"access_token": TOKEN, "token_type": "Bearer", "expires_in": 60}),
            )
        elif self.path.startswith("/refuse"):
            status = 401
        elif self.path.startswith("/canary-bearer"):
            status, kind, text = 200, "application/json", echo  # and it is no JSON
        elif self.path.startswith("/soap"):
            told = echo.replace("&", "&amp;").replace("<", "&lt;")
            kind, text = (
                "text/xml",
                (
                    '<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body><s:Fault><faultcode>s:Server</faultcode>'
                    f"<faultstring>{told}</faultstring></s:Fault></s:Body></s:Envelope>"
                ),
            )
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = _answer  # noqa: N815 - the library's names

    def log_message(self, *_: object) -> None:
        pass


@dataclass
class Nest:
    """The site of one run."""

    folder: Path
    bootstrap: str
    environment: dict[str, str]
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, str(ROOT / "tests/support/canary_worker.py"), *arguments]
        log = (self.folder / "worker.log").open("ab")
        process = subprocess.Popen(
            command,
            env=self.environment,
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
            cwd=self.folder,
        )
        self.processes.append(process)
        return process

    def tell(self, *arguments: str, given: str = "", **environment: str) -> str:
        command = [sys.executable, str(ROOT / "tests/support/canary_worker.py"), *arguments]
        done = subprocess.run(
            command,
            env=self.environment | environment,
            input=given,
            capture_output=True,
            text=True,
            cwd=self.folder,
            check=False,
            timeout=120,
        )
        return done.stdout + done.stderr


def write_connectors(folder: Path, url: str, secure_url: str) -> None:
    connectors = folder / "connectors"
    connectors.mkdir()
    for name, auth in AUTH.items():
        tls = "  tls: {certificate: {secret: tls/cert}, key: {secret: tls/key}, password: {secret: canary-tls/passphrase}, authorities: {secret: tls/ca}}\n"
        at = secure_url if name == "canary-tls" else url
        text = HEAD.format(
            name=name,
            url=at,
            auth=auth.replace("URL", url),
            tls=tls if name == "canary-tls" else "",
        )
        (connectors / f"{name}.yaml").write_text(text)
    soap = (ROOT / "connectors" / "demo-soap.yaml").read_text()
    soap = soap.replace("connector: demo-soap", "connector: canary-soap").replace(
        "demo-soap/key", "canary-soap/key"
    )
    soap = (
        soap.replace("http://127.0.0.1:18081/student-records", f"{url}/soap")
        .replace("every: 10s", "every: 2s")
        .replace("attempts: 4", "attempts: 1")
    )
    token = "  security: {username_token: {username: gateway, password: {secret: canary-soap/password}}}\n"
    (connectors / "canary-soap.yaml").write_text(
        soap.replace("  wsdl: demo-soap.wsdl\n", f"  wsdl: demo-soap.wsdl\n{token}")
    )
    (connectors / "demo-soap.wsdl").write_bytes(
        (ROOT / "connectors" / "demo-soap.wsdl").read_bytes()
    )


def write_secrets(folder: Path) -> None:
    lock = serialization.BestAvailableEncryption(SECRETS["canary-tls/passphrase"].encode())
    key = CLIENT.key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, lock
    )
    for name, value in {
        **{name: text.encode() for name, text in SECRETS.items()},
        "tls/cert": CLIENT.pem,
        "tls/key": key,
        "tls/ca": AUTHORITY.pem,
    }.items():
        path = folder / "secrets" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(value)
        path.chmod(0o600)


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[tuple[str, str]]:
    servers = [
        ThreadingHTTPServer(("127.0.0.1", 0), Registry),
        ThreadingHTTPServer(("127.0.0.1", 0), Registry),
    ]
    pem = tmp_path / "server.pem"
    pem.write_bytes(SERVER.pem + SERVER.key_pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    servers[1].socket = context.wrap_socket(servers[1].socket, server_side=True)
    for server in servers:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    yield (
        f"http://127.0.0.1:{servers[0].server_port}",
        f"https://localhost:{servers[1].server_port}",
    )
    for server in servers:
        server.shutdown()


@pytest.fixture
def nest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, registry: tuple[str, str]
) -> Iterator[Nest]:
    """A broker that asks for a password, a registry, and everything that is secret."""
    guarded = free_port()
    monkeypatch.setattr(
        kafka,
        "PROPERTIES",
        kafka.PROPERTIES
        + f"""
listeners=PLAINTEXT://127.0.0.1:{{port}},SASL_PLAINTEXT://127.0.0.1:{guarded},CONTROLLER://127.0.0.1:{{controller}}
advertised.listeners=PLAINTEXT://127.0.0.1:{{port}},SASL_PLAINTEXT://127.0.0.1:{guarded}
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT
sasl.enabled.mechanisms=PLAIN
listener.name.sasl_plaintext.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_canary="{SASL}";
""",
    )
    write_connectors(tmp_path, *registry)
    write_secrets(tmp_path)
    with kafka.running(tmp_path / "kafka") as broker:
        asyncio.run(topic_admin.create_missing(Settings(kafka_bootstrap=broker.bootstrap)))
        environment = os.environ | {
            "GATEWAY_KAFKA_BOOTSTRAP": f"127.0.0.1:{guarded}",
            "GATEWAY_KAFKA_SECURITY": "SASL_PLAINTEXT",
            "GATEWAY_KAFKA_SASL_MECHANISM": "PLAIN",
            "GATEWAY_KAFKA_USERNAME": "canary",
            "GATEWAY_KAFKA_PASSWORD": SASL,
            "GATEWAY_CONNECTORS": str(tmp_path / "connectors"),
            "GATEWAY_MAPPINGS": str(ROOT / "mappings"),
            "GATEWAY_SECRETS_DIR": str(tmp_path / "secrets"),
            "GATEWAY_PSEUDONYM_KEY": PSEUDONYMS,
            "GATEWAY_METRICS_PORT": "0",
            "GATEWAY_LOG_FORMAT": "json",
            "GATEWAY_LOG_LEVEL": "DEBUG",
            "PYTHONPATH": str(ROOT),
        }
        made = Nest(tmp_path, broker.bootstrap, environment)
        yield made
        for process in made.processes:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


def spellings(canary: str) -> list[bytes]:
    """Give the ways a text may be written: as it is, quoted for a URL, in base64, in JSON's and Python's escapes."""
    plain = canary.encode()
    return list(
        {
            plain,
            quote(canary).encode(),
            base64.b64encode(plain).rstrip(b"=")[:-1],
            canary.encode("unicode_escape"),
            plain.lower(),
        }
    )


def found_in(text: str | bytes, canaries: list[str]) -> set[str]:
    data = text.encode() if isinstance(text, str) else text
    return {
        canary for canary in canaries if any(spelling in data for spelling in spellings(canary))
    }


def fly(nest: Nest, *also: str, reason: str) -> dict[str, set[str]]:
    """Run everything once; return what was found where it must not be, by place."""
    worker = nest.start("run", *also)
    log = nest.folder / "worker.log"

    def flown() -> bool:
        assert worker.poll() is None, log.read_text()
        standing = {
            record.topic
            for record in asyncio.run(read_all(nest.bootstrap, WATCHED, "read_committed"))
        }
        return standing == set(WATCHED) and log.read_text().count('"poll failed"') >= len(AUTH) + 2

    until(flown, what=lambda: log.read_text()[-4000:])
    url = json.loads(
        next(line for line in log.read_text().splitlines() if '"event": "started"' in line)
    )["metrics"]
    places: dict[str, str | bytes] = {"argv": Path(f"/proc/{worker.pid}/cmdline").read_bytes()}
    for place, path in (("metrics", "/metrics"), ("page", "/"), ("page", "/readyz")):
        with urllib.request.urlopen(url + path) as reply:
            places[place] = str(places.get(place, "")) + reply.read().decode()
    places["verify"] = nest.tell("verify", "canary-basic") + nest.tell("verify", "canary-oauth")
    assert "NOT COMPLETE" in places["verify"] or "complete" in places["verify"], places["verify"]
    alone = (
        nest.folder / "alone"
    )  # an erasure takes every stream of every connector it knows: one will do
    alone.mkdir()
    shutil.copy(nest.folder / "connectors" / "canary-basic.yaml", alone)
    given = f"fi-national-number {PERSON['number']}\n"
    places["receipt"] = nest.tell(
        "erase", "--person", "--yes", "--reason", reason, given=given, GATEWAY_CONNECTORS=str(alone)
    )
    assert '"state": "erased"' in places["receipt"], places["receipt"]
    places["log"] = log.read_text()
    found = {
        place: found_in(text, [*EVERYWHERE, *PERSON.values()]) for place, text in places.items()
    }
    for record in asyncio.run(
        read_all(nest.bootstrap, tuple(topic.name for topic in topics.TOPICS), "read_uncommitted")
    ):
        about = b"\n".join(
            [record.key or b"", *(name.encode() + b" " + value for name, value in record.headers)]
        )
        found.setdefault("headers", set()).update(found_in(about, [*EVERYWHERE, *PERSON.values()]))
        allowed = MAY_HOLD.get(record.topic, set())
        found.setdefault(record.topic, set()).update(
            found_in(record.value or b"", [*EVERYWHERE, *PERSON.values()]) - allowed
        )
    return {place: canaries for place, canaries in found.items() if canaries}


WATCHED = (
    "gateway.raw.v1",
    "gateway.rejections.v1",
    "europass.credentials.v1",
    "esc.credential-pointers.v1",
    "esc.student-status.v1",
)


def test_canary_values_do_not_leak(nest: Nest):
    assert fly(nest, reason="case 1") == {}


@pytest.mark.slow
def test_planted_leaks_are_detected_in_every_place(nest: Nest):
    """The same run with one leak planted in each place: a scan that finds nothing would prove nothing."""
    nest.environment["CANARY_LEAKS"] = "1"
    found = fly(nest, f"--note={NAME}", reason=f"{NAME} asked for it")
    assert {place for place, canaries in found.items() if NAME in canaries} >= {
        "argv",
        "metrics",
        "page",
        "log",
        "headers",
        "receipt",
        "gateway.rejections.v1",
        "gateway.audit.v1",
    }
    assert PERSON["born"] in found["log"], "the traceback and the logged body"
