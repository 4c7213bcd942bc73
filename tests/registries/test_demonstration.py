"""Check the demo registries themselves.

The same seed gives the same records, the ledger is accurate, and the registries misbehave on
command.
"""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx2 as httpx
import pytest
from lxml import etree
from zeep import Client, Settings

from gateway.local.registries import KINDS, WHOLE_POLL, rest_catalogue, soap_credits

T = "{urn:example:student-records:1}"
LONG_AGO, LATER = "2000-01-01T00:00:00Z", "2100-01-01T00:00:00Z"


def request(
    *, operation="Degrees", page=1, size=100, since=LONG_AGO, until=LATER, key=soap_credits.KEY
):
    return f"""<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/" xmlns:t="urn:example:student-records:1"><s:Body>
      <t:{operation}Request><t:caller><t:system>test</t:system><t:user>demo</t:user><t:key>{key}</t:key></t:caller>
      <t:search><t:changedFrom>{since}</t:changedFrom><t:changedUntil>{until}</t:changedUntil><t:page>{page}</t:page><t:pageSize>{size}</t:pageSize>
      </t:search></t:{operation}Request></s:Body></s:Envelope>""".encode()


async def ask(registry, **words):
    async with httpx.AsyncClient(timeout=60) as client:
        return await client.post(
            registry.url + soap_credits.PATH, content=request(**words), headers={"SOAPAction": '""'}
        )


async def look(registry, stream="programmes", page=1, size=100, token=rest_catalogue.TOKEN):
    async with httpx.AsyncClient(timeout=60) as client:
        return await client.get(
            f"{registry.url}{rest_catalogue.PATH}/{stream}",
            params={"pageNumber": page, "pageSize": size},
            headers={"Authorization": f"Bearer {token}"},
        )


def ids(reply):
    return [
        element.get("id")
        for element in etree.fromstring(reply.content).iter(
            f"{T}degree", f"{T}credit", f"{T}enrolment"
        )
    ]


def run(case):
    return asyncio.run(case())


def test_seed_determines_the_records():
    one, other = soap_credits.StudentRecords(seed=7), soap_credits.StudentRecords(seed=7)
    for registry in (one, other):
        registry.stocks["degrees"].fill(50)
    assert one.current_digests("degrees") == other.current_digests("degrees")


def test_soap_registry_pages_a_window_and_records_replies():
    async def case():
        async with await soap_credits.start(records=500) as registry:
            first, second = await ask(registry), await ask(registry, page=2)
            assert (len(ids(first)), len(ids(second))) == (100, 100)
            assert etree.fromstring(first.content).findtext(f".//{T}more") == "true"
            assert etree.fromstring(second.content).findtext(f".//{T}more") == "false"
            assert {
                entry.id: entry.digest for entry in registry.ledger
            } == registry.current_digests("degrees")

    run(case)


def test_zeep_client_reads_the_soap_registry():
    async def case():
        async with await soap_credits.start(records=50) as registry:

            def call():
                client = Client(
                    f"{registry.url}{soap_credits.PATH}?wsdl", settings=Settings(strict=True)
                )
                caller = {"system": "test", "user": "demo", "key": soap_credits.KEY}
                search = {
                    "changedFrom": datetime(2000, 1, 1, tzinfo=UTC),
                    "changedUntil": datetime(2100, 1, 1, tzinfo=UTC),
                    "page": 1,
                }
                return client.service.Degrees(
                    caller=caller, search=search
                ), client.service.Enrolments(caller=caller, search=search)

            degrees, enrolments = await asyncio.to_thread(call)
            assert len(degrees.degree) == 20
            assert len(enrolments.enrolment) == 10

    run(case)


def test_changes_and_deletions_appear_in_a_later_window():
    async def case():
        async with await soap_credits.start(records=100) as registry:
            before = (datetime.now(UTC) - timedelta(seconds=1)).isoformat()
            (changed,) = registry.change("degrees", id="D-000004")
            (deleted,) = registry.delete("degrees", id="D-000005")
            (added,) = registry.add("degrees")
            reply = await ask(registry, since=before)
            assert ids(reply) == [changed, deleted, added]
            assert [entry.version for entry in registry.ledger] == [2, 2, 1]
            assert 'id="D-000005"' in reply.text
            assert 'deleted="true"' in reply.text
            assert deleted not in registry.current_digests("degrees")

    run(case)


def test_rest_registry_pages_to_the_end_without_deleted_records():
    async def case():
        async with await rest_catalogue.start(records=300) as registry:
            first, second = (await look(registry)).json(), (await look(registry, page=2)).json()
            assert (
                len(first["items"]),
                first["hasNextPage"],
                len(second["items"]),
                second["hasNextPage"],
            ) == (100, True, 50, False)
            assert {item["levelOfQualification"] for item in first["items"]} >= {"4+", "6"}
            (gone,) = registry.delete("programmes")
            again = (await look(registry)).json()
            assert gone not in {item["programmeId"] for item in again["items"]}

    run(case)


def test_registries_require_credentials():
    async def case():
        async with (
            await soap_credits.start(records=10) as soap,
            await rest_catalogue.start(records=10) as rest,
        ):
            refused = await ask(soap, key="guess")
            assert (refused.status_code, "Client.Forbidden" in refused.text) == (500, True)
            assert (await look(rest, token="guess")).status_code == 401
            assert not soap.ledger
            assert not rest.ledger

    run(case)


@pytest.mark.parametrize("kind", sorted(set(KINDS) - WHOLE_POLL - {"timeout", "endless"}))
def test_misbehaviour_happens_once_and_is_not_recorded(kind):
    async def case():
        async with await rest_catalogue.start(records=400) as registry:
            registry.misbehave(kind, seconds=3)
            try:
                reply = await look(registry, page=2)
            except httpx.RemoteProtocolError:
                assert kind == "truncated"
                reply = None
            if kind == "too_many":
                assert (reply.status_code, reply.headers["retry-after"]) == (429, "3")
            if kind == "error":
                assert reply.status_code == 500
            if kind == "html":
                assert reply.headers["content-type"].startswith("text/html")
            if kind == "wrong_charset":
                with pytest.raises(UnicodeDecodeError):
                    reply.content.decode()
            if kind in {"loop", "empty_page"}:
                assert reply.json()["hasNextPage"]
            if kind in {"error_inside", "renamed_list", "other_version", "unknown_error"}:
                assert "items" not in reply.json()
            assert len(registry.ledger) == (100 if kind in {"repeated_page", "loop"} else 0)
            assert len((await look(registry, page=2)).json()["items"]) == 100

    run(case)


def test_controls_over_http():
    async def case():
        async with (
            await rest_catalogue.start(records=20) as registry,
            httpx.AsyncClient(base_url=registry.url, timeout=60) as client,
        ):
            added = (
                await client.post("/_control/add", json={"stream": "courses", "count": 3})
            ).json()
            assert len(added) == 3
            assert (
                await client.post("/_control/delete", json={"stream": "courses", "id": added[0]})
            ).json() == [added[0]]
            assert (
                await client.post("/_control/misbehave", json={"kind": "error", "times": 2})
            ).json()["times"] == 2
            assert (
                await client.post("/_control/misbehave", json={"kind": "dance"})
            ).status_code == 400
            state = (await client.get("/_control")).json()
            assert state["streams"]["courses"]["records"] == 12
            assert (await client.post("/_control/behave")).status_code == 200
            assert (await look(registry, "courses")).status_code == 200
            assert (
                len((await client.get("/_control/ledger", params={"stream": "courses"})).json())
                == 12
            )
            assert json.dumps(state)

    run(case)


def test_connector_wsdl_equals_the_served_wsdl():
    assert (
        Path(__file__).parents[2] / "connectors/demo-soap.wsdl"
    ).read_bytes() == soap_credits.WSDL.read_bytes()
