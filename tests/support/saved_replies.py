"""Assign each saved reply to a connector's stream, for the golden test and the Kafka test."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from urllib.parse import quote

from gateway.config.connection import UrlsByEnvironment
from gateway.config.connector import Connector, Rest
from gateway.config.loading import load_connector
from gateway.config.requests import Request
from gateway.fetch import TimeWindow, read_pages
from gateway.fetch.registry_client import RegistryClient
from gateway.local.registries.saved_replies import SavedReply, SavedReplyRegistry
from gateway.records import RawRecord
from tests.support.dutch_replies import example, oeapi_replies, rio_replies

ROOT = Path(__file__).parents[2]
REFERENCE = Path(
    os.environ.get("GATEWAY_REFERENCE", ROOT / ".." / "shared" / "reference")
).resolve()
REGISTRIES = REFERENCE / "registries"
OOAPI_FOLDER = REGISTRIES / "netherlands/ooapi"
WINDOW = TimeWindow(datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 1, 15, tzinfo=UTC))


@dataclass(frozen=True)
class Case:
    """One saved reply that ``stream`` of ``connector`` reads."""

    connector: str
    stream: str
    file: str
    replies: Callable[[bytes, str], list[SavedReply]]
    subjects: dict[str, list[str]] = field(default_factory=dict)
    adapt: Callable[[Connector], Connector] = lambda connector: connector


def soap(data: bytes, _: str) -> list[SavedReply]:
    return [SavedReply(data, "text/xml; charset=utf-8", "POST")]


def fault(data: bytes, _: str) -> list[SavedReply]:
    return [SavedReply(data, "text/xml; charset=utf-8", "POST", status=500)]


def in_envelope(data: bytes, _: str) -> list[SavedReply]:
    """Wrap the data in a SOAP envelope, because the mock stores only the content of the Body."""
    inside = data.decode().split("?>", 1)[-1] if data.startswith(b"<?xml") else data.decode()
    body = f'<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body>{inside}</s:Body></s:Envelope>'
    return [SavedReply(body.encode(), "text/xml; charset=utf-8", "POST")]


def numbered(data: bytes, _: str) -> list[SavedReply]:
    """Add the numbers of the person and of each study right.

    The saved learners are messages from schools. The register adds these numbers before it sends a
    learner.
    """
    learner = json.loads(data)
    learner["henkilö"]["oid"] = "1.2.246.562.24.00000000001"
    for number, right in enumerate(learner["opiskeluoikeudet"]):
        right |= {"oid": f"1.2.246.562.15.0000000000{number}", "versionumero": 1}
    return [SavedReply(json.dumps([learner]).encode(), method="POST")]


def got(media_type: str) -> Callable[[bytes, str], list[SavedReply]]:
    return lambda data, _: [SavedReply(data, media_type)]


def with_token(data: bytes, _: str) -> list[SavedReply]:
    """Serve an OAuth 2 token first, a page, and the further calls for what the page names.

    The saved programme and course answer for every id. The organisation holds the examples that
    the specification gives for its fields.
    """
    token = SavedReply(
        b'{"access_token": "t", "token_type": "Bearer", "expires_in": 3600}',
        method="POST",
        target="/token",
    )
    body = example(OOAPI_FOLDER / "ooapi-v5.openapi.json", "Organization")
    return [
        token,
        SavedReply(data, target=".*pageNumber=1.*"),
        SavedReply(b'{"hasNextPage": false, "items": []}', target=".*pageNumber=.*"),
        SavedReply(json.dumps(body).encode(), target=".*/organizations/.*"),
        *(
            SavedReply(
                (OOAPI_FOLDER / f"samples/{name}.json").read_bytes(), target=f".*/{name}s/.*"
            )
            for name in ("program", "course")
        ),
    ]


def examples_of(collection: str, name: str) -> Callable[[bytes, str], list[SavedReply]]:
    """Serve a token, and then the examples that a specification gives for its fields."""
    return lambda data, _: [
        with_token(data, "")[0],
        *oeapi_replies(REFERENCE / "oeapi-6/oeapi.json", collection, name),
    ]


def numbers_first(data: bytes, _: str) -> list[SavedReply]:
    numbers = (REGISTRIES / "finland/ytr/ytr-modifiedSince-ssns.json").read_bytes()
    return [SavedReply(numbers), SavedReply(b"[" + data + b"]", method="POST")]


def listed_first(data: bytes, _: str) -> list[SavedReply]:
    return [
        SavedReply(b'{"data": [{"id": 515491}], "sivu": 0, "sivuja": 1}', target=".*perusteet.*"),
        SavedReply(data),
    ]


def archive(data: bytes, url: str) -> list[SavedReply]:
    """Point the feed's links at this registry. The document before it is empty.

    The second call of the register gives the name of the institution to which the events belong.
    """
    here = data.replace(b"https://api.mit-integration.ladok.se:443", url.encode())
    empty = b'<feed xmlns="http://www.w3.org/2005/Atom"><id>urn:id:256258</id><updated>2017-01-01T00:00:00Z</updated></feed>'
    kind = "application/atom+xml"
    names = "".join(
        f"<b:Benamning><b:Sprakkod>{language}</b:Sprakkod><b:Text>{name}</b:Text></b:Benamning>"
        for language, name in (
            ("sv", "Kungliga Tekniska högskolan"),
            ("en", "Royal Institute of Technology"),
        )
    )
    institution = (
        '<k:LarosatesinformationLista xmlns:k="http://schemas.ladok.se/kataloginformation"'
        ' xmlns:b="http://schemas.ladok.se"><k:Larosatesinformation><b:Benamningar>'
        f"{names}</b:Benamningar><b:ID>29</b:ID><b:Kod>KTH</b:Kod><k:OrtID>18</k:OrtID>"
        "</k:Larosatesinformation></k:LarosatesinformationLista>"
    )
    return [
        SavedReply(institution.encode(), "application/xml", target=".*larosatesinformation"),
        SavedReply(here, kind, target=".*recent"),
        SavedReply(here, kind, target=".*256259"),
        SavedReply(empty, kind),
    ]


def with_details(code: str) -> Callable[[bytes, str], list[SavedReply]]:
    """Serve a list with one change, and then the saved offer with its unit, provider and place."""
    delivered = REFERENCE / RIO / "aanleveren_opleidingseenheid-request.xml"
    return lambda data, _: rio_replies(data, code, delivered.read_bytes())


def index_first(data: bytes, _: str) -> list[SavedReply]:
    """Serve an index that lists the mobility of the saved transcript, and then the transcript."""
    space = b"https://github.com/erasmus-without-paper/ewp-specs-api-imobility-tors/blob/stable-v2/endpoints/index-response.xsd"
    mobility = data.split(b"<omobility-id>")[1].split(b"</omobility-id>")[0]
    index = (
        b'<imobility-tors-index-response xmlns="' + space + b'"><omobility-id>' + mobility
        + b"</omobility-id></imobility-tors-index-response>"
    )  # fmt: skip
    return [
        SavedReply(index, "application/xml", "POST", target=".*index"),
        SavedReply(data, "application/xml", "POST"),
    ]


def one_host(connector: Connector) -> Connector:
    """Read one host alone, at the address of the connector."""
    stream = connector.streams["transcripts"]
    each = stream.for_each["host"]
    name, host = next(iter((each.in_.parties or {}).items()))
    here_alone = {name: host.model_copy(update={"url": None})}
    loop = each.model_copy(update={"in_": each.in_.model_copy(update={"parties": here_alone})})
    return connector.with_streams(
        {"transcripts": stream.model_copy(update={"for_each": {"host": loop}})}
    )


def institution_first(data: bytes, _: str) -> list[SavedReply]:
    """Serve the saved reports of another institution as those of this one."""
    saved = (
        REFERENCE / "providers/deqar/reports-institutional-by-institution.response.json"
    ).read_bytes()
    reports = saved.replace(b'"id": 382', b'"id": 792')
    listed = b'{"count": 1, "results": [{"id": 792, "deqar_id": "DEQARINST0792"}]}'
    return [
        SavedReply(reports, target=".*/reports/institutional/.*"),
        SavedReply(b'{"count": 0, "results": []}', target=".*/reports/programme/.*"),
        SavedReply(data, target=".*/institutions/792/"),
        SavedReply(listed),
    ]


def pulled(connector: Connector) -> Connector:
    """Return the connector with the same rules, for a message without push, compression or
    signature.
    """
    push = connector.push
    assert push is not None
    rest = Rest(
        url=UrlsByEnvironment(production="https://replay.example"),
        namespaces=push.namespaces,
        namespace_versions=push.namespace_versions,
    )
    streams = {
        name: stream.model_copy(update={"request": Request(get="/results"), "decode": ("xml",)})
        for name, stream in connector.streams.items()
    }
    return connector.model_copy(update={"push": None, "rest": rest, "streams": streams})


def pulled_base64(connector: Connector) -> Connector:
    made = pulled(connector)
    return made.model_copy(
        update={
            "streams": {
                name: stream.model_copy(update={"decode": ("base64", "xml")})
                for name, stream in made.streams.items()
            }
        }
    )


FINLAND, LED, RIO = (
    "registries/finland",
    "registries/belgium-flanders-led/soap",
    "registries/netherlands/rio/soap",
)
VIRTA = [
    f"{FINLAND}/virta/OpiskelijanKaikkiTiedotResponse-{n}.xml"
    for n in ("100193-948U", "101291-954C", "160980-9606", "290492-9455")
]
KOSKI = [
    "osaamismerkki-microcredential",
    "jotpa-continuous-learning",
    "vet-qualification",
    "matriculation",
    "language-test-yki",
]
LED_REPLIES = [
    "experience-certificates",
    "vks-level-6-and-7",
    "24-proofs",
    "two-proofs",
    "fault-too-many-concurrent",
    "fault-nested-nodata-filtered",
    "fault-other",
    "notfound",
]
RIO_REPLIES = {
    "2": "4c358c84-dfc3-4a30-874e-0b70db15638b",
    "particulier": "bd6cb46b-3f4e-49c2-a1f7-e24ae82b0672",
    "notfound": "b",
}
OOAPI = {
    "education-specification": "education-specifications", "program": "programs", "course": "courses",
    "program-offerings": "offerings", "course-offerings": "course-offerings", "integration-program-offerings-0": "offerings",
}  # fmt: skip

OEAPI = [
    ("programmes", "programmes", "Programme"),
    ("courses", "courses", "Course"),
    ("programme-offerings", "programme-offerings", "ProgrammeOffering"),
    ("course-offerings", "course-offerings", "CourseOffering"),
    ("enrolments", "programme-offering-associations", "ProgrammeOfferingAssociation"),
]

CASES: list[Case] = [
    *(
        Case("fi-virta", stream, file, soap, {"person": ["1"]})
        for file in VIRTA
        for stream in ("achievements", "enrolments")
    ),
    *(
        Case(
            "fi-koski",
            stream,
            f"{FINLAND}/koski/koski-oppija-{name}.json",
            numbered,
            {"person": ["1"]},
        )
        for name in KOSKI
        for stream in ("achievements", "transcripts")
    ),
    Case(
        "fi-koski-xroad",
        "study-rights",
        f"{FINLAND}/koski/xroad-opintoOikeudet-response.xml",
        soap,
        {"person": ["1"]},
    ),
    Case(
        "fi-koski-xroad",
        "study-rights",
        f"{FINLAND}/koski/xroad-opintoOikeudet-fault.xml",
        fault,
        {"person": ["1"]},
    ),
    *(
        Case("fi-ytr", "examinations", f"{FINLAND}/ytr/ytr-student-{version}.json", numbers_first)
        for version in ("v0", "v1")
    ),
    Case(
        "fi-eperusteet",
        "requirements",
        f"{FINLAND}/eperusteet/peruste-erikoisammattitutkinto.json",
        listed_first,
    ),
    *(
        Case(
            "nl-ooapi",
            stream,
            f"registries/netherlands/ooapi/samples/{name}.json",
            with_token,
            {"program": ["9a01"], "course": ["c1"]},
        )
        for name, stream in OOAPI.items()
    ),
    *(
        Case(
            "nl-oeapi",
            stream,
            "oeapi-6/oeapi.json",
            examples_of(collection, name),
            {"programme": ["p1"], "course": ["c1"], "offering": ["f1"]},
        )
        for stream, collection, name in OEAPI
    ),
    *(
        Case(
            "nl-rio",
            "offers",
            f"{RIO}/opvragen_aangebodenOpleiding-{name}-response.xml",
            with_details(code),
        )
        for name, code in RIO_REPLIES.items()
    ),
    *(
        Case(
            "be-led",
            "certificates",
            f"{LED}/GeefBewijs-response-{name}.xml",
            in_envelope,
            {"person": ["1"]},
        )
        for name in LED_REPLIES
    ),
    Case(
        "se-ladok", "courses", "registries/sweden-ladok/uppfoljning-atom-feed-256259.xml", archive
    ),
    Case(
        "fr-rncp",
        "certifications",
        "registries/france-rncp/export-fiches-csv-2024-02-22.sample.zip",
        got("application/zip"),
    ),
    *(
        Case("eu-emrex", "results", file, got("application/xml"), adapt=pulled)
        for file in (
            "registries/emrex-elmo/legacy-0.x-norway.xml",
            "registries/emrex-elmo/legacy-0.x-nested-finland.xml",
            "registries/emrex-elmo/elmo-1.7-example.xml",
            "registries/emrex-elmo/no-emrex-test-signed.xml",
            "elmo-2.0/example.xml",
        )
    ),
    Case(
        "eu-emrex",
        "results",
        "registries/emrex-elmo/no-emrex-test-signed.b64",
        got("text/plain"),
        adapt=pulled_base64,
    ),
    Case(
        "eu-ewp-tors",
        "transcripts",
        "registries/ewp/imobility-tors-get-response-example.xml",
        index_first,
        adapt=one_host,
    ),
    Case("eu-eche", "charters", "providers/eche/eche-list-2026-04-08.csv", got("text/csv")),
    Case(
        "eu-deqar",
        "institutions",
        "providers/deqar/institution-by-identifier-schac.response.json",
        institution_first,
    ),
]

NOT_READ = {
    f"{FINLAND}/ytr/ytr-modifiedSince-ssns.json": "served before both students",
    f"{FINLAND}/virta/OpintosuorituksetRequest.xml": "a request",
    f"{FINLAND}/koski/xroad-opintoOikeudet-request.xml": "a request",
    f"{LED}/GeefBewijs-request.xml": "a request",
    f"{LED}/RegistreerBewijs-response-ok.xml": "acknowledges a message that suppliers send to the register",
    f"{LED}/RegistreerMutatieBewijs-response-notfound.xml": "acknowledges a message that suppliers send to the register",
    **{f"{RIO}/{name}-request.xml": "a request" for name in (
        "opvragen_aangebodenOpleiding-2", "opvragen_aangebodenOpleiding-notfound",
        "opvragen_aangebodenOpleiding-particulier", "opvragen_opleidingsrelaties", "opvragen_rioIdentificatiecode-notfound")},
    f"{RIO}/aanleveren_opleidingseenheid-request.xml": "its unit is served to each offer",
    f"{RIO}/aanleveren_opleidingseenheid-response.xml": "acknowledges a message that institutions send to the register",
    f"{RIO}/opvragen_opleidingsrelaties-response.xml": "relations between units: nothing of them is harmonised",
    f"{RIO}/opvragen_rioIdentificatiecode-notfound-response.xml": "answers an operation the connector does not use",
    "registries/sweden-ladok/KursUppdateradEvent.json": "the same event as in the feed, in a form the feed does not have",
    "registries/sweden-ladok/KursUppdateradEvent.xml": "one entry's content, served inside the feed",
    "registries/sweden-ladok/event-c7c55433.json": "one entry's content, served inside the feed",
    "registries/sweden-ladok/event-c7c55433.xml": "one entry's content, served inside the feed",
    "registries/sweden-ladok/event-c9cd06d7.json": "one entry's content, served inside the feed",
    "registries/sweden-ladok/event-c9cd06d7.xml": "one entry's content, served inside the feed",
    "registries/france-rncp/bcn-N_FORMATION_DIPLOME.sample.csv": "a code list of another register",
    "registries/france-rncp/bcn-N_NIVEAU_FORMATION_DIPLOME.sample.csv": "a code list of another register",
    "registries/emrex-elmo/own-catalog.xml": "an XML catalogue",
    "registries/ewp/imobility-tors-index-response-example.xml": "lists other mobilities than the saved transcript",
    "registries/ewp/courses-response-example.xml": "the catalogue of courses, which no connector reads",
}  # fmt: skip


def here(connector: Connector, url: str) -> Connector:
    """Point a connector at a replay without TLS or message security.

    The token endpoint moves to the same address.
    """
    name = next(name for name in ("rest", "soap", "file") if getattr(connector, name) is not None)
    block = getattr(connector, name)
    update: dict[str, object] = {"url": UrlsByEnvironment(production=url), "tls": None}
    if name == "soap":
        update |= {
            "security": None,
            "addressing": block.addressing
            and block.addressing.model_copy(update={"check_relates_to": False}),
        }
    if block.auth and block.auth.oauth2_client_credentials:
        oauth = block.auth.oauth2_client_credentials.model_copy(
            update={"token_url": url + "/token"}
        )
        update["auth"] = block.auth.model_copy(update={"oauth2_client_credentials": oauth})
    streams = {
        key: stream.model_copy(
            update={
                "for_each": {
                    loop: each.model_copy(
                        update={
                            "in_": each.in_.model_copy(
                                update={
                                    "parties": {
                                        p: v.model_copy(update={"tls": None})
                                        for p, v in each.in_.parties.items()
                                    }
                                }
                            )
                        }
                    )
                    if each.in_.parties
                    else each
                    for loop, each in stream.for_each.items()
                }
            }
        )
        for key, stream in connector.streams.items()
    }
    block = block.model_copy(
        update={**update, "limits": block.limits.model_copy(update={"rate": None, "attempts": 1})}
    )
    return connector.model_copy(update={name: block, "streams": streams})


def secret(name: str) -> bytes:
    return b"1" if name.endswith("persons") else f"secret of {quote(name)}".encode()


def connector_for(case: Case) -> Connector:
    return case.adapt(load_connector(ROOT / "connectors" / f"{case.connector}.yaml"))


async def read(case: Case) -> list[RawRecord]:
    """Serve the saved reply over HTTP and return the records that the stream reads from it."""
    data = (REFERENCE / case.file).read_bytes()
    return await read_stream(
        connector_for(case), case.stream, partial(case.replies, data), case.subjects
    )


async def read_stream(
    connector: Connector,
    stream: str,
    replies: Callable[[str], list[SavedReply]],
    subjects: dict[str, list[str]],
) -> list[RawRecord]:
    """Serve replies over HTTP and return the records that the stream reads from them."""
    replay = SavedReplyRegistry([])
    async with await replay.start():
        replay._saved.extend(replies(replay.url))
        moved = here(connector, replay.url)
        async with RegistryClient(moved, secret, "production") as client:
            return [
                raw
                async for page in read_pages(
                    moved, stream, WINDOW, client, subjects=subjects or None
                )
                for raw in page.records
            ]
