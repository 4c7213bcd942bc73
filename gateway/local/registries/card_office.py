"""Run a card office and a register of institutions, which serve one CSV file each.

``/cards.csv`` has the columns that the ESC Router uses for its own import. Clients cannot request
only the changes. A deleted record disappears from its file.
"""

from __future__ import annotations

import csv
import io
import uuid
from datetime import date, timedelta

from aiohttp import web

from gateway.local.registries.misbehaviour import Misbehaviour
from gateway.local.registries.people import FICTION, Institution, choose_flaw, institutions
from gateway.local.registries.record_store import RecordStore, StoredEntry
from gateway.local.registries.server import Registry

COLUMNS = {
    "cards": (
        "cardNumber",
        "cardStatusType",
        "cardType",
        "issuedAt",
        "expiresAt",
        "issuerIdentifier",
        "personIdentifier",
        "processorIdentifier",
        "displayName",
    ),
    "institutions": ("number", "name", "country", "pic", "schac", "charterFrom", "charterUntil"),
}
FLAWS = ("unknown status", "impossible date", "other issuer")
_INSTITUTIONS = tuple(
    (FICTION[service]["country"], institution)
    for service in ("soap", "rest")
    for institution in institutions(service)
)
_CLOCK = "8abc"


async def start(
    host: str = "127.0.0.1", port: int = 0, *, records: int = 0, seed: int = 1
) -> CardOffice:
    """Start a service with ``records`` records in total: all institutions, and cards."""
    registry = CardOffice(seed=seed)
    count = min(len(_INSTITUTIONS), records // 2)
    registry.stocks["institutions"].fill(count)
    registry.stocks["cards"].fill(records - count)
    return await registry.start(host, port)


class CardOffice(Registry):
    """A registry with two streams, ``cards`` and ``institutions``."""

    def __init__(self, *, seed: int = 1) -> None:
        super().__init__(
            {
                "cards": RecordStore("cards", seed, _card_number),
                "institutions": RecordStore("institutions", seed, _institution_number),
            }
        )

    def routes(self) -> list[web.RouteDef]:
        """Return the routes of the two files."""
        return [web.get("/{stream:cards|institutions}.csv", self._get)]

    def content(self, stream: str, entry: StoredEntry) -> bytes:
        """Return one row of a file."""
        row = (
            _card(self.stocks[stream], entry)
            if stream == "cards"
            else _institution(entry, *_INSTITUTIONS[entry.number % len(_INSTITUTIONS)])
        )
        return _line(row)

    async def _get(self, request: web.Request) -> web.StreamResponse:
        stream = request.match_info["stream"]
        trouble = self.next_misbehaviour(stream)
        return await self.reply(request, trouble, self._file(stream, trouble))

    def _file(self, stream: str, trouble: Misbehaviour | None) -> web.Response:
        rows = self.serve_records(stream, list(self.stocks[stream].alive()), trouble)
        return web.Response(
            body=_line(COLUMNS[stream]) + b"".join(rows), content_type="text/csv", charset="utf-8"
        )


def _card_number(number: int) -> str:
    """Return an ESCN, which ends with the PIC of the issuer."""
    _, issuer = _INSTITUTIONS[number % len(_INSTITUTIONS)]
    time_low = uuid.uuid5(uuid.NAMESPACE_URL, f"card {number}").hex[:8]
    return f"{time_low}-b51e-103d-{_CLOCK}-001{issuer.pic}"


def _institution_number(number: int) -> str:
    return _INSTITUTIONS[number % len(_INSTITUTIONS)][1].code


def _card(stock: RecordStore, entry: StoredEntry) -> tuple[str, ...]:
    random_source = stock.random_source(entry.number)
    _, issuer = _INSTITUTIONS[entry.number % len(_INSTITUTIONS)]
    first_day = date(2024, 9, 1) + timedelta(days=random_source.randrange(600))
    status = "ACTIVE" if random_source.random() < 0.9 else "INACTIVE"  # noqa: PLR2004
    until, pic = str(first_day + timedelta(days=4 * 365)), issuer.pic
    match choose_flaw(random_source, FLAWS):
        case "unknown status":
            status = "LOST"
        case "impossible date":
            until = "2028-02-30"
        case "other issuer":
            pic = "999970001"
    return (
        stock.name(entry.number),
        status if entry.version == 1 else "INACTIVE",
        random_source.choice(("SMART_CDZ", "PASSIVE", "SMART_PASSIVE")),
        str(first_day),
        until,
        pic,
        f"urn:schac:personalUniqueCode:int:esi:{issuer.domain}:k-{entry.number + 1:06d}",
        "",
        "Campus card",
    )


def _institution(entry: StoredEntry, country: str, institution: Institution) -> tuple[str, ...]:
    name = institution.names["en"] + (f" ({entry.version})" if entry.version > 1 else "")
    number, pic, domain = institution.code, institution.pic, institution.domain
    return number, name, country, pic, domain, "2021-01-01", "2027-12-31"


def _line(cells: tuple[str, ...]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerow(cells)
    return text.getvalue().encode()
