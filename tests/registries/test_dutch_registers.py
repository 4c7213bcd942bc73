"""The Dutch registers: an offer gets its programme, provider and place by further calls."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from pathlib import Path

import pytest
from lxml import etree

from gateway.config.loading import load_connector
from gateway.errors import StreamHalted
from gateway.fetch import read_pages
from gateway.fetch.registry_client import RegistryClient
from gateway.harmonise.harmoniser import Harmoniser
from gateway.harmonise.tables.compiled_tables import Tables
from gateway.local.registries.saved_replies import SavedReply, SavedReplyRegistry
from gateway.records import Accepted, LearningOpportunity, RawRecord
from tests.support.dutch_replies import CHANGE, ONE_PAGE, rio_replies, rio_reply
from tests.support.saved_replies import CASES, REFERENCE, REGISTRIES, ROOT, WINDOW, here, secret
from tests.support.saved_replies import connector_for as case_connector
from tests.support.saved_replies import read as read_case

RIO = REGISTRIES / "netherlands/rio"
SCHEMA = RIO / "DUO_RIO_Raadplegen_OnderwijsOrganisatie_V4.xsd"
OFFER = RIO / "soap/opvragen_aangebodenOpleiding-2-response.xml"
PRIVATE_OFFER = RIO / "soap/opvragen_aangebodenOpleiding-particulier-response.xml"
UNIT = RIO / "soap/aanleveren_opleidingseenheid-request.xml"
CODE = "4c358c84-dfc3-4a30-874e-0b70db15638b"

pytestmark = [
    pytest.mark.reference,
    pytest.mark.skipif(
        not REGISTRIES.is_dir(),
        reason=f"no reference material at {REFERENCE}; set GATEWAY_REFERENCE",
    ),
]


@pytest.fixture(scope="module")
def tables() -> Tables:
    return Tables.load(ROOT / "mappings")


def harmonised(connector: str, raws: list[RawRecord], tables: Tables) -> list[LearningOpportunity]:
    loaded = load_connector(ROOT / f"connectors/{connector}.yaml")
    harmonise = Harmoniser(loaded, tables, pseudonym_key=b"k" * 32)
    outcomes = [harmonise(raw) for raw in raws]
    assert all(isinstance(outcome, Accepted) for outcome in outcomes), outcomes
    return [outcome.record for outcome in outcomes if isinstance(outcome, Accepted)]


async def read_offers(replies: list[SavedReply]) -> tuple[list[RawRecord], Counter[str]]:
    """Return the offers, and how often each operation was requested."""
    async with await SavedReplyRegistry(replies).start() as registry:
        connector = here(load_connector(ROOT / "connectors/nl-rio.yaml"), registry.url)
        async with RegistryClient(connector, secret, "production") as client:
            pages = [page async for page in read_pages(connector, "offers", WINDOW, client)]
        bodies = [etree.fromstring(body.encode()) for _, _, body in registry.asked]
    operations = Counter(etree.QName(body[-1][0]).localname for body in bodies)
    return [raw for page in pages for raw in page.records], operations


def replies() -> list[SavedReply]:
    return rio_replies(OFFER.read_bytes(), CODE, UNIT.read_bytes())


@pytest.mark.parametrize("offer", [OFFER, PRIVATE_OFFER], ids=["public", "private"])
def test_replies_that_are_served_are_valid_by_the_schema_of_the_register(offer: Path) -> None:
    schema = etree.XMLSchema(etree.parse(SCHEMA))
    for reply in rio_replies(offer.read_bytes(), CODE, UNIT.read_bytes()):
        body = etree.fromstring(etree.tostring(etree.fromstring(reply.body)[-1][0]))
        assert schema.validate(body), [str(error) for error in schema.error_log]


def test_offer_has_what_its_unit_provider_and_place_say(tables: Tables) -> None:
    raws, _ = asyncio.run(read_offers(replies()))
    [offer] = harmonised("nl-rio", raws, tables)
    assert offer.isced_f == ("091",)
    assert (offer.eqf_level, offer.nqf_level) == (6, "6")
    assert (str(offer.credit_amount), offer.credit_unit) == ("93", "SBU")
    assert offer.location == "Manderveen"
    assert offer.provider is not None
    assert offer.provider.name["nl"] == "Hogeschool van Manderveen"
    assert offer.provider.identifiers == {"nl-rio": "110A133", "nl-brin": "99ZZ"}
    assert offer.learning_outcomes == ()


def test_offers_of_one_unit_need_one_request_for_it() -> None:
    listed = "".join(CHANGE.format(code=f"{CODE[:-1]}{number}") for number in range(4))
    operation = "opvragen_gewijzigdeAangebodenOpleidingen"
    changes = SavedReply(
        rio_reply(operation, listed, ONE_PAGE), "text/xml", "POST", body_contains=operation
    )
    offers = [
        SavedReply(
            OFFER.read_bytes().replace(CODE.encode(), code.encode()),
            "text/xml",
            "POST",
            body_contains=f"{code}<",
        )
        for code in (f"{CODE[:-1]}{number}" for number in range(4))
    ]
    raws, operations = asyncio.run(read_offers([changes, *offers, *replies()[1:]]))
    assert len(raws) == 4
    assert operations == {
        "opvragen_gewijzigdeAangebodenOpleidingen_request": 1,
        "opvragen_aangebodenOpleiding_request": 4,
        "opvragen_opleidingseenheid_request": 1,
        "opvragen_onderwijsaanbieder_request": 1,
        "opvragen_onderwijslocatie_request": 1,
    }


def test_register_has_no_place_for_learning_outcomes() -> None:
    """So its offers reach platforms that need none, and never the topic that LOQ demands them of."""
    names = {
        str(node.get("name")).lower()
        for node in etree.parse(SCHEMA).iter("{*}element")
        if node.get("name")
    }
    assert {"omschrijving", "eigenomschrijving"} <= names
    words = ("leeruitkomst", "leerdoel", "eindterm", "leerresulta", "outcome")
    assert not [name for name in names for word in words if word in name]


def test_offers_of_a_programme_have_its_field_outcomes_and_level(tables: Tables) -> None:
    case = next(
        case for case in CASES if case.file.endswith("integration-program-offerings-0.json")
    )
    assert case_connector(case).connector == "nl-ooapi"
    saved = json.loads((REFERENCE / case.file).read_text())
    assert {type(item["program"]) for item in saved["items"]} == {str}
    offers = harmonised("nl-ooapi", asyncio.run(read_case(case)), tables)
    assert [offer.isced_f for offer in offers] == [("0732",)] * 3
    assert all(offer.learning_outcomes and offer.provider for offer in offers)
    assert {offer.location for offer in offers} == {"Boxtel"}


def test_no_sample_of_the_further_calls_invents_a_field() -> None:
    """The built replies hold no field of education: it comes from the saved unit alone."""
    text = Path(ROOT / "tests/support/dutch_replies.py").read_text()
    assert "ISCED" not in text


def refusal(operation: str, code: str) -> SavedReply:
    """Return what the register answers for a code that it does not have."""
    fault = (
        "<d:requestGoedgekeurd>false</d:requestGoedgekeurd><d:foutmelding>"
        f"<d:foutcode>{code}</d:foutcode><d:fouttekst>Komt niet voor in RIO</d:fouttekst></d:foutmelding>"
    )
    body = rio_reply(operation, "").replace(
        b"<d:requestGoedgekeurd>true</d:requestGoedgekeurd>", fault.encode()
    )
    return SavedReply(body, "text/xml", "POST", body_contains=f"{operation}_")


@pytest.mark.parametrize(
    "operation",
    ["opvragen_opleidingseenheid", "opvragen_onderwijsaanbieder", "opvragen_onderwijslocatie"],
)
@pytest.mark.parametrize("code", ["A01020", "A01060", "A01999"])
def test_offer_is_read_without_what_the_register_does_not_find(
    operation: str, code: str, tables: Tables
) -> None:
    raws, _ = asyncio.run(read_offers([refusal(operation, code), *replies()]))
    [offer] = harmonised("nl-rio", raws, tables)
    assert offer.id == CODE


def test_other_refusal_of_a_unit_needs_a_person() -> None:
    operation = "opvragen_opleidingseenheid"
    reply = refusal(operation, "A09999")
    changed = reply.body.replace(b"Komt niet voor in RIO", b"Geen toegang")
    served = SavedReply(changed, "text/xml", "POST", body_contains=f"{operation}_")
    with pytest.raises(StreamHalted):
        asyncio.run(read_offers([served, *replies()]))
