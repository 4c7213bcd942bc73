"""Read institutions and their reports with the shipped connector over HTTP, and judge awards."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
import structlog

from gateway.check.scripted_registry import without_credentials
from gateway.config.connection import UrlsByEnvironment
from gateway.config.loading import load_connector
from gateway.fetch import TimeWindow, read_pages
from gateway.fetch.registry_client import RegistryClient
from gateway.harmonise.harmoniser import Harmoniser
from gateway.harmonise.providers import Providers
from gateway.records import Accepted, Organisation, Provider
from tests.support.raw_http_server import ReceivedRequest, Server, reply

SHIPPED = Path(__file__).parents[2] / "connectors" / "eu-deqar.yaml"
WINDOW = TimeWindow(None, datetime(2026, 3, 1, tzinfo=UTC))
INSTITUTION = re.compile(r".*/browse/institutions/(\d+)/")
REPORTS = re.compile(r".*/browse/reports/(institutional|programme)/by-institution/(\d+)/")

Reports = dict[tuple[str, int], list[dict[str, Any]]]
"""The reports of an institution, by ``institutional`` or ``programme`` and its number."""


def registry(institutions: list[dict[str, Any]], reports: Reports, size: int = 100) -> Any:
    """Return a registry that serves at most ``size`` records in a reply, whatever is asked."""

    def page(rows: list[Any], offset: int) -> dict[str, Any]:
        more = offset + size < len(rows)
        return {
            "count": len(rows),
            "next": "…" if more else None,
            "results": rows[offset : offset + size],
        }

    def route(path: str, query: dict[str, str]) -> Any:
        offset = int(query.get("offset", 0))
        if found := REPORTS.fullmatch(path):
            return page(reports.get((found[1], int(found[2])), []), offset)
        if found := INSTITUTION.fullmatch(path):
            return next(one for one in institutions if one["id"] == int(found[1]))
        return page([{"id": one["id"]} for one in institutions], offset)

    return route


def read_providers(route: Callable[[str, dict[str, str]], Any]) -> list[Provider]:
    """Return the provider records that the shipped connector makes of a registry over HTTP."""
    shipped = load_connector(SHIPPED)

    async def answer(asked: ReceivedRequest, writer: asyncio.StreamWriter) -> None:
        parts = urlsplit(asked.target)
        found = route(parts.path, dict(parse_qsl(parts.query)))
        reply(writer, json.dumps(found).encode(), content_type="application/json")

    async def run() -> list[Any]:
        async with Server(answer) as server:
            connector = without_credentials(shipped)
            assert connector.rest is not None
            here = connector.rest.model_copy(
                update={"url": UrlsByEnvironment(production=f"{server.url}/webapi/v2")}
            )
            connector = connector.model_copy(update={"rest": here})
            async with RegistryClient(connector, {}.__getitem__, "production") as client:
                return [
                    raw
                    async for page in read_pages(connector, "institutions", WINDOW, client)
                    for raw in page.records
                ]

    harmonise = Harmoniser(shipped, None, pseudonym_key=b"k" * 32)
    outcomes = [harmonise(raw) for raw in asyncio.run(run())]
    assert all(isinstance(outcome, Accepted) for outcome in outcomes), outcomes
    return [outcome.record for outcome in outcomes]


@pytest.fixture(scope="module")
def saved(reference: Path) -> Providers:
    """Return the view of the saved replies, as the shipped connector reads them over HTTP."""
    institutions: dict[int, dict[str, Any]] = {}
    reports: Reports = {}
    for name in (
        "reports-institutional-by-institution",
        "reports-programme-by-institution",
        "reports-search",
    ):
        text = (reference / "providers" / "deqar" / f"{name}.response.json").read_text()
        for row in json.loads(text)["results"]:
            first = row["institutions"][0]
            institutions[first["id"]] = {
                "id": first["id"],
                "deqar_id": first["deqar_id"],
                "name_primary": first["name_primary"],
            }
            kind = "programme" if "programme" in row["agency_esg_activity_type"] else ""
            reports.setdefault((kind or "institutional", first["id"]), []).append(row)
    return Providers(read_providers(registry(list(institutions.values()), reports)))


@pytest.mark.reference
def test_each_published_vector_holds_through_the_shipped_connector(
    saved: Providers, reference: Path
):
    text = (reference / "providers" / "deqar" / "trust-check-vectors.json").read_text()
    vectors = json.loads(text)["vectors"]
    assert len(vectors) == 7
    for vector in vectors:
        given = vector["institution"]
        names = {"deqar": "deqar_id", "eter": "eter_id", "pic": "pic"}
        body = Organisation(
            identifiers={scheme: given[name] for scheme, name in names.items() if name in given}
        )
        found = saved.assess_award(
            body,
            awarded_on=date.fromisoformat(vector["awarded_on"]),
            eqf_level=vector["eqf_level"],
            programme=[vector["programme"]] if vector["programme"] else [],
        )
        report = found.report.id if found.report else None
        expected = vector["expect_report"]
        assert (found.outcome, report) == (vector["expect"], expected and str(expected)), vector
        if found.report:
            assert found.report.permalink == f"https://data.deqar.eu/report/{expected}"


def report(number: int, **more: Any) -> dict[str, Any]:
    return {
        "id": number,
        "agency_acronym": "XQA",
        "agency_esg_activity_type": "programme",
        "institutions": [{"id": 382}],
        "programmes": [{"name_primary": f"Programme {number}", "qf_ehea_level": "first cycle"}],
        "valid_from": "2024-01-01",
        "valid_to": None,
        "status": "part of obligatory EQA system",
        "decision": "positive",
        "flag": "none",
        **more,
    }


UNIVERSITY = {"id": 382, "deqar_id": "DEQARINST0382", "name_primary": "Example University"}


def test_331_programme_reports_in_pages_of_20_are_331():
    reports = [report(number) for number in range(331)]
    (provider,) = read_providers(registry([UNIVERSITY], {("programme", 382): reports}, size=20))
    assert len({one.id for one in provider.reports}) == len(provider.reports) == 331


def test_list_that_ends_before_its_total_is_an_error_and_no_shorter_list():
    reports = [report(number) for number in range(331)]
    whole = registry([UNIVERSITY], {("programme", 382): reports}, size=20)

    def cut(path: str, query: dict[str, str]) -> Any:
        if "/programme/" in path and int(query.get("offset", 0)) >= 300:
            return {"count": 331, "next": None, "results": []}
        return whole(path, query)

    with structlog.testing.capture_logs() as logs:
        assert read_providers(cut) == [], "what is published stays"
    assert any("COUNT_MISMATCH" in str(line.get("reasons")) for line in logs)


def test_joint_reports_and_those_of_parts_and_predecessors_count():
    reports = [
        report(1, institutions=[{"id": 999}, {"id": 382}]),
        report(2, institutions=[{"id": 998}], institutions_hierarchical=[{"id": 382}]),
        report(3, institutions=[{"id": 997}], institutions_historical=[{"id": 382}]),
    ]
    (provider,) = read_providers(registry([UNIVERSITY], {("programme", 382): reports}))
    assert [one.id for one in provider.reports] == ["1", "2", "3"]


def test_numbers_of_national_registers_are_read():
    identifiers = [
        {"resource": "FI-ETER.BAS.NATID", "identifier": "02509", "identifier_valid_to": "2010"},
        {"resource": "FI-ETER.BAS.NATID", "identifier": "10076", "identifier_valid_to": None},
        {"resource": "ROR", "identifier": "https://ror.org/020hwjq30"},
        {"resource": "UA-national", "identifier": "41"},
    ]
    (provider,) = read_providers(registry([UNIVERSITY | {"identifiers": identifiers}], {}))
    known = provider.organisation.identifiers
    assert known["fi-national"] == "10076", "the number that is still valid"
    assert (known["ror"], known["ua-national"]) == ("https://ror.org/020hwjq30", "41")


@pytest.mark.reference
def test_every_national_scheme_of_the_register_is_mapped(reference: Path):
    text = (reference / "providers" / "deqar" / "identifier-resources.response.json").read_text()
    mapped = SHIPPED.read_text()
    missing = [name for name in json.loads(text) if f"'{name}'" not in mapped]
    assert missing == ["DID-EBSI", "local identifier"]
