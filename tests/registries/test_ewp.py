"""Read transcripts of records from hosts of Erasmus Without Paper, over mutual TLS."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from urllib.parse import parse_qs

import pytest

from gateway.config.connection import UrlsByEnvironment
from gateway.config.connector import Connector
from gateway.config.loading import load_connector
from gateway.config.split_streams import split_by_party
from gateway.errors import StreamError
from gateway.fetch.registry_client import RegistryClient
from gateway.harmonise.harmoniser import Harmoniser
from gateway.harmonise.tables.compiled_tables import Tables
from gateway.pipeline.page_writer import PollResult
from gateway.pipeline.poll import PollContext, poll_once
from gateway.records import Accepted, Credential
from tests.support.certificates import AUTHORITY, CLIENT, SERVER
from tests.support.memory_stream import NOW, MemoryStreamState
from tests.support.raw_http_server import ReceivedRequest, Server, reply

ROOT = Path(__file__).parents[2]
SPACE = (
    "https://github.com/erasmus-without-paper/ewp-specs-api-imobility-tors/blob/stable-v2/endpoints"
)
ERROR = b"""<error-response xmlns="https://github.com/erasmus-without-paper/ewp-specs-architecture/blob/stable-v1/common-types.xsd">
<developer-message>The client does not cover any institution.</developer-message></error-response>"""
HOSTS = ("host-one.example", "host-two.example")


def transcript(mobility: str, result: str = "<status>passed</status>") -> str:
    """Return a transcript of one course of a fictional student."""
    return f"""<tor><omobility-id>{mobility}</omobility-id><elmo xmlns="https://github.com/emrex-eu/elmo-schemas/tree/v1">
    <generatedDate>2026-02-01T09:00:00+01:00</generatedDate>
    <learner><identifier type="esi">urn:schac:personalUniqueCode:int:esi:home.example:{mobility}</identifier><givenNames>Test</givenNames><familyName>Example</familyName></learner>
    <report><issuer><country>NO</country><title xml:lang="en">Example University</title></issuer>
      <learningOpportunitySpecification><identifier type="ewp-los-id">CR/1</identifier><title xml:lang="en">Examples</title>
        <specifies><learningOpportunityInstance><date>2026-01-20</date>{result}<credit><scheme>ects</scheme><value>7.5</value></credit>
          <level><type>EQF</type><value>7</value></level></learningOpportunityInstance></specifies></learningOpportunitySpecification>
      <issueDate>2026-01-31T09:00:00+01:00</issueDate></report></elmo></tor>"""


class Hosts:
    """Two hosts at one address, which read the id of the host from the form."""

    def __init__(self) -> None:
        self.listed = {host: [f"{host[:8]}-{n}" for n in range(3)] for host in HOSTS}
        self.left_out: set[str] = set()
        self.refused: set[str] = set()
        self.forms: list[tuple[str, dict[str, list[str]]]] = []

    async def __call__(self, asked: ReceivedRequest, writer: asyncio.StreamWriter) -> None:
        form = parse_qs(asked.body.decode())
        self.forms.append((f"{asked.method} {asked.target}", form))
        (host,) = form["receiving_hei_id"]
        if host in self.refused:
            reply(writer, ERROR, 403, content_type="application/xml")
            return
        known = [name for name in self.listed[host] if name not in self.left_out]
        if asked.target.endswith("index"):
            root, inside = "index", "".join(
                f"<omobility-id>{name}</omobility-id>" for name in self.listed[host]
            )  # fmt: skip
        else:
            root, inside = "get", "".join(
                transcript(name) for name in form["omobility_id"] if name in known
            )  # fmt: skip
        name = f"imobility-tors-{root}-response"
        body = f'<{name} xmlns="{SPACE}/{root}-response.xsd">{inside}</{name}>'
        reply(writer, body.encode(), content_type="application/xml")


class Gateway:
    """The shipped connector, with the addresses of the two hosts of this test."""

    def __init__(self, folder: Path) -> None:
        self.states: dict[str, MemoryStreamState] = {}
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        file = folder / "server.pem"
        file.write_bytes(SERVER.pem + SERVER.key_pem)
        self.tls.load_cert_chain(file)
        self.tls.verify_mode = ssl.CERT_REQUIRED
        self.tls.load_verify_locations(cadata=AUTHORITY.pem.decode())

    def poll(self, hosts: Hosts) -> dict[str, PollResult | StreamError]:
        """Poll both hosts once, each in a stream of its own."""
        return asyncio.run(self._poll(hosts))

    async def _poll(self, hosts: Hosts) -> dict[str, PollResult | StreamError]:
        results: dict[str, PollResult | StreamError] = {}
        secrets = {
            "eu-ewp-tors/client.crt": CLIENT.pem,
            "eu-ewp-tors/client.key": CLIENT.key_pem,
            "authorities": AUTHORITY.pem,
        }
        async with Server(hosts, tls=self.tls) as server:
            connector = split_by_party(at(shipped(), server.url))
            async with RegistryClient(connector, secrets.__getitem__, "production") as client:
                for name in connector.streams:
                    state = self.states.setdefault(name, MemoryStreamState())
                    context = PollContext(connector, name, client, state)  # type: ignore[arg-type]
                    try:
                        results[name.partition("@")[2]] = await poll_once(context, NOW)
                    except StreamError as error:
                        results[name.partition("@")[2]] = error
        return results

    @property
    def published(self) -> set[str]:
        return {name for state in self.states.values() for name in state.published}


def shipped() -> Connector:
    return load_connector(ROOT / "connectors/eu-ewp-tors.yaml")


def at(connector: Connector, url: str) -> Connector:
    """Move the hosts to one server, and trust its authority."""
    stream = connector.streams["transcripts"]
    each = stream.for_each["host"]
    parties = {
        name: host.model_copy(update={"url": UrlsByEnvironment(production=url)})
        for name, host in (each.in_.parties or {}).items()
    }
    loop = each.model_copy(update={"in_": each.in_.model_copy(update={"parties": parties})})
    block = connector.rest
    tls = block.tls.model_copy(
        update={"authorities": block.tls.certificate.model_copy(update={"secret": "authorities"})}
    )
    limits = block.limits.model_copy(update={"rate": None, "attempts": 1})
    moved = {"url": UrlsByEnvironment(production=url), "tls": tls, "limits": limits}
    return connector.model_copy(update={"rest": block.model_copy(update=moved)}).with_streams(
        {"transcripts": stream.model_copy(update={"for_each": {"host": loop}})}
    )


@pytest.fixture
def gateway(tmp_path: Path) -> Gateway:
    return Gateway(tmp_path)


def test_each_transcript_of_each_host_is_read_with_the_certificate_of_the_client(gateway):
    hosts = Hosts()
    results = gateway.poll(hosts)
    assert all(isinstance(result, PollResult) for result in results.values()), results
    assert gateway.published == {f"{host}/{host[:8]}-{n}" for host in HOSTS for n in range(3)}
    assert hosts.forms[0] == (
        "POST /ewp/imobility-tors/index",
        {"receiving_hei_id": ["host-one.example"]},
    )
    assert sum(target.endswith("get") for target, _ in hosts.forms) == 6


def test_transcript_that_the_index_no_longer_lists_is_deleted(gateway):
    hosts = Hosts()
    gateway.poll(hosts)
    hosts.listed["host-one.example"].pop()
    gateway.poll(hosts)
    assert "host-one.example/host-one-2" not in gateway.published
    assert len(gateway.published) == 5


def test_listed_transcript_that_the_host_leaves_out_stays(gateway):
    hosts = Hosts()
    gateway.poll(hosts)
    hosts.left_out.add("host-one-1")
    results = gateway.poll(hosts)
    assert len(gateway.published) == 6
    result = results["host-one.example"]
    assert isinstance(result, PollResult)
    assert result.skipped_records == {"EXPAND_MISSING": 1}


def test_host_that_refuses_the_client_stops_no_other_host(gateway):
    hosts = Hosts()
    hosts.refused.add("host-one.example")
    results = gateway.poll(hosts)
    assert isinstance(results["host-one.example"], StreamError)
    assert isinstance(results["host-two.example"], PollResult)
    assert len(gateway.published) == 3


def test_transcript_becomes_one_credential_with_its_courses(gateway):
    hosts = Hosts()
    gateway.poll(hosts)
    connector = split_by_party(shipped())
    harmonise = Harmoniser(connector, Tables.load(ROOT / "mappings"), pseudonym_key=b"k" * 32)
    state = next(iter(gateway.states.values()))
    outcomes = [harmonise(raw) for raw in state.raws.values()]
    assert all(isinstance(outcome, Accepted) for outcome in outcomes)
    record = outcomes[0].record
    assert isinstance(record, Credential)
    assert (record.kind, f"{record.awarded_on}") == ("transcript", "2026-01-31")
    assert record.awarding_body.country == "NO"
    (part,) = record.parts
    assert (part.id, part.credit_points, f"{part.awarded_on}") == ("CR/1", 7.5, "2026-01-20")
    assert part.eqf_level == 7, "the tables of Norway judge the level"
