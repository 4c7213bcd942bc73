"""The second calls of the Dutch registers, answered from saved replies and their schemas."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from gateway.local.registries.saved_replies import SavedReply

RIO = "http://duo.nl/schema/DUO_RIO_%s_OnderwijsOrganisatie_V4"
READ, WRITE = RIO % "Raadplegen", RIO % "Beheren"
ENVELOPE = (
    '<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body>'
    '<d:{operation}_response xmlns:d="{space}">'
    "<d:identificatiecodeBedrijfsdocument>8fa492e1-0d0c-4010-a5b7-87bfb362fdb8"
    "</d:identificatiecodeBedrijfsdocument>"
    "<d:verzendendeInstantie>00000001800866472000</d:verzendendeInstantie>"
    "<d:ontvangendeInstantie>00000000000000000001</d:ontvangendeInstantie>"
    "<d:datumTijdBedrijfsdocument>2024-01-15T10:00:00Z</d:datumTijdBedrijfsdocument>"
    "{paging}<d:requestGoedgekeurd>true</d:requestGoedgekeurd>{content}"
    "</d:{operation}_response></s:Body></s:Envelope>"
)
PROVIDER = (
    "<d:onderwijsaanbieder><d:onderwijsaanbiedercode>110A133</d:onderwijsaanbiedercode>"
    "<d:inBedrijfdatum>2012-01-01</d:inBedrijfdatum><d:onderwijsaanbiederPeriode>"
    "<d:begindatum>2012-01-01</d:begindatum><d:naam>Hogeschool van Manderveen</d:naam>"
    "<d:internationaleNaam>Manderveen University of Applied Sciences</d:internationaleNaam>"
    "</d:onderwijsaanbiederPeriode><d:juridischeRelatie>"
    "<d:instellingserkenningscode>99ZZ</d:instellingserkenningscode><d:erkenner>OCW</d:erkenner>"
    "<d:begindatum>2012-01-01</d:begindatum></d:juridischeRelatie><d:bijbehorendOnderwijsbestuur>"
    "<d:onderwijsbestuurcode>100B490</d:onderwijsbestuurcode>"
    "<d:organisatierelatieBegindatum>2012-01-01</d:organisatierelatieBegindatum>"
    "<d:onderwijsbestuurPeriode><d:begindatum>2012-01-01</d:begindatum>"
    "<d:naam>Stichting Manderveen</d:naam></d:onderwijsbestuurPeriode>"
    "</d:bijbehorendOnderwijsbestuur></d:onderwijsaanbieder>"
)
PRIVATE_UNIT = (
    "<d:particuliereOpleiding><d:opleidingseenheidcode>1007O5629</d:opleidingseenheidcode>"
    "<d:herkomstOpleiding>INSTELLING</d:herkomstOpleiding><d:begindatum>2015-09-21</d:begindatum>"
    "<d:particuliereOpleidingPeriode><d:begindatum>2015-09-21</d:begindatum>"
    "<d:naamLang>Voorbeelden leiden</d:naamLang></d:particuliereOpleidingPeriode>"
    "<d:niveau>HBO-BA</d:niveau></d:particuliereOpleiding>"
)
"""A unit of private education. Its schema has no field of education."""
PLACE = (
    "<d:onderwijslocatie><d:onderwijslocatiecode>107X215</d:onderwijslocatiecode>"
    "<d:postcode>7662ZZ</d:postcode><d:plaatsnaam>Manderveen</d:plaatsnaam></d:onderwijslocatie>"
)
CHANGE = (
    "<d:gewijzigde_AangebodenOpleiding><d:aangebodenOpleidingCode>{code}</d:aangebodenOpleidingCode>"
    "<d:soortWijziging>WIJZIGING</d:soortWijziging></d:gewijzigde_AangebodenOpleiding>"
)
ONE_PAGE = (
    "<d:paginering><d:pagina>1</d:pagina><d:aantalPaginas>1</d:aantalPaginas>"
    "<d:aantalResultaten>1</d:aantalResultaten></d:paginering>"
)


def rio_reply(operation: str, content: str, paging: str = "") -> bytes:
    """Return a reply of the register in the form of its schema."""
    return ENVELOPE.format(operation=operation, space=READ, content=content, paging=paging).encode()


def rio_unit(delivered: bytes, code: str) -> bytes:
    """Return the reply with a unit that an institution delivered to the register.

    The register returns the delivered unit in the namespace for reading, with its code and origin.
    """
    text = delivered.decode().replace(WRITE, READ)
    start, end = text.index("<duo:hoOpleiding>"), text.index("</duo:hoOpleiding>")
    content = text[start + len("<duo:hoOpleiding>") : end].replace("duo:", "d:")
    origin = (
        f"<d:opleidingseenheidcode>{code}</d:opleidingseenheidcode>"
        "<d:herkomstOpleiding>INSTELLING</d:herkomstOpleiding>"
    )
    # In a reply, the properties of a unit stand after its periods.
    head, period, rest = content.partition("<d:hoOpleidingPeriode>")
    before, kept = head.split("<d:kenmerken>", 1)
    inner, closing, after = rest.partition("</d:hoOpleidingPeriode>")
    body = f"{before}{period}{inner}{closing}<d:kenmerken>{kept}{after}"
    return rio_reply("opvragen_opleidingseenheid", f"<d:hoOpleiding>{origin}{body}</d:hoOpleiding>")


def rio_replies(offer: bytes, code: str, delivered: bytes) -> list[SavedReply]:
    """Return a list with one change, and the replies for its offer, unit, provider and place."""
    is_private = b"aangebodenParticuliereOpleiding" in offer
    unit = (
        rio_reply("opvragen_opleidingseenheid", PRIVATE_UNIT)
        if is_private
        else rio_unit(delivered, "1010O6466")
    )
    found = {
        "opvragen_gewijzigdeAangebodenOpleidingen": rio_reply(
            "opvragen_gewijzigdeAangebodenOpleidingen", CHANGE.format(code=code), ONE_PAGE
        ),
        "opvragen_opleidingseenheid_": unit,
        "opvragen_onderwijsaanbieder_": rio_reply("opvragen_onderwijsaanbieder", PROVIDER),
        "opvragen_onderwijslocatie_": rio_reply("opvragen_onderwijslocatie", PLACE),
        "opvragen_aangebodenOpleiding_": offer,
    }
    return [
        SavedReply(body, "text/xml", "POST", body_contains=operation)
        for operation, body in found.items()
    ]


def example(specification: Path, name: str, **values: Any) -> dict[str, Any]:
    """Return a record that holds the examples which a specification gives for its fields.

    ``values`` replace examples, or add fields that have none.
    """
    schemas = json.loads(specification.read_text(encoding="utf-8"))["components"]["schemas"]
    return {**_examples(schemas, schemas[name]), **values}


def _examples(schemas: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for part in schema.get("allOf", ()):
        found |= _examples(schemas, _resolved(schemas, part))
    for field, inner in schema.get("properties", {}).items():
        value = _example_of(schemas, inner)
        if value is not None:
            found[field] = value
    return found


def _example_of(schemas: dict[str, Any], schema: dict[str, Any]) -> Any:
    if "example" in schema:
        return schema["example"]
    resolved = _resolved(schemas, schema)
    if resolved.get("type") == "array" or "array" in resolved.get("type", ()):
        inner = _example_of(schemas, resolved.get("items", {}))
        return None if inner is None else [inner]
    return resolved.get("example")


def _resolved(schemas: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    for choice in (*schema.get("oneOf", ()), *schema.get("anyOf", ())):
        if "$ref" in choice:
            return _resolved(schemas, choice)
    reference = schema.get("$ref", "")
    return schemas[reference.rpartition("/")[2]] if reference else schema


def oeapi_replies(specification: Path, collection: str, name: str) -> list[SavedReply]:
    """Return a collection with one record of the examples of version 6, and the further calls.

    The EduHub gateway wraps each reply in its envelope.
    """
    served = {
        "organisations": "Organisation",
        "learning-outcomes": "LearningOutcome",
        "persons": "Person",
        "programmes": "Programme",
        "courses": "Course",
        "programme-offerings": "ProgrammeOffering",
    }
    page = {"pageSize": 250, "pageNumber": 1, "hasPreviousPage": False, "hasNextPage": False}
    collected = {**page, "items": [example(specification, name)]}
    return [
        SavedReply(in_envelope(collected), target=f"(.*/)?{collection}\\?.*"),
        *(
            SavedReply(in_envelope(example(specification, schema)), target=f".*/{path}/[^/]*")
            for path, schema in served.items()
        ),
    ]


def in_envelope(reply: object, status: int = 200) -> bytes:
    """Return a reply as the EduHub gateway passes it on. It drops replies that are not 200."""
    endpoint = {"url": "https://demo.example/v6", "responseCode": status}
    inner = {"demo.example": reply} if status == 200 else {}
    whole = {"gateway": {"endpoints": {"demo.example": endpoint}}, "responses": inner}
    return json.dumps(whole).encode()
