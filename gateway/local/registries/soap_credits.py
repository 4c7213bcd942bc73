"""Run a SOAP 1.1 service (document/literal) of degrees, credits and enrolments.

Requests select a time window and a page number, and carry the credentials in the body. The service
returns ``soap_credits.wsdl`` at ``?wsdl``. A deletion is a record with ``deleted="true"``.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

from aiohttp import web
from lxml import etree

from gateway.local.registries.misbehaviour import Misbehaviour
from gateway.local.registries.people import (
    FICTION,
    SUBJECTS,
    Institution,
    Person,
    choose_flaw,
    institutions,
    names_in_version,
    person,
)
from gateway.local.registries.record_store import RecordStore, StoredEntry
from gateway.local.registries.server import Registry

NAMESPACE = "urn:example:student-records:1"
WSDL = Path(__file__).with_suffix(".wsdl")
PATH = "/student-records"
USER = "demo"
KEY = "demo-key"
"""The key that requests must carry in the body. It is a public value for the demo."""
PAGE_SIZE = 100
ITEMS = {"degrees": "degree", "credits": "credit", "enrolments": "enrolment"}
FLAWS = ("unknown level", "no title", "impossible date", "level conflict", "before the framework")

_SOAP = "http://schemas.xmlsoap.org/soap/envelope/"
_PARSER = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False)

_FICTION = FICTION["soap"]
_INSTITUTIONS = institutions("soap")


async def start(
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    records: int = 0,
    seed: int = 1,
    key: str = KEY,
    page_size: int = PAGE_SIZE,
) -> StudentRecords:
    """Start a service with ``records`` records in total.

    Two fifths of them are degrees, two fifths are credits, and the rest are enrolments.
    """
    registry = StudentRecords(seed=seed, key=key, page_size=page_size)
    degrees = records * 2 // 5
    for stream, count in (
        ("degrees", degrees),
        ("credits", degrees),
        ("enrolments", records - 2 * degrees),
    ):
        registry.stocks[stream].fill(count)
    return await registry.start(host, port)


class StudentRecords(Registry):
    """A registry with three streams: ``degrees``, ``credits`` and ``enrolments``."""

    def __init__(self, *, seed: int = 1, key: str = KEY, page_size: int = PAGE_SIZE) -> None:
        super().__init__(
            {stream: RecordStore(stream, seed, _RecordName(stream[0].upper())) for stream in ITEMS}
        )
        self._key = key
        self._page_size = page_size
        self._found: dict[str, tuple[tuple[int, datetime, datetime], list[StoredEntry]]] = {}

    def routes(self) -> list[web.RouteDef]:
        """Return the routes of the operations and of the WSDL, which share one path."""
        return [web.post(PATH, self._post), web.get(PATH, self._serve_wsdl)]

    def content(self, stream: str, entry: StoredEntry) -> bytes:
        """Return one record as an XML element."""
        if entry.deleted:
            return _element(
                stream, self.stocks[stream].name(entry.number), entry, "", deleted="true"
            ).encode()
        return (
            _enrolment(self.stocks[stream], entry)
            if stream == "enrolments"
            else _achievement(self.stocks[stream], entry)
        )

    async def _serve_wsdl(self, request: web.Request) -> web.Response:
        text = WSDL.read_text(encoding="utf-8").replace(f"http://127.0.0.1{PATH}", self.url + PATH)
        return (
            web.Response(text=text, content_type="text/xml")
            if "wsdl" in request.query_string.lower()
            else web.Response(status=405)
        )

    async def _post(self, request: web.Request) -> web.StreamResponse:
        try:
            query = etree.fromstring(await request.read(), _PARSER).find(f"{{{_SOAP}}}Body/*")
        except etree.XMLSyntaxError:
            return _fault("Client", "the request is not XML")
        operation = (
            etree.QName(query).localname.removesuffix("Request") if query is not None else ""
        )
        stream = operation.lower()
        if query is None or stream not in self.stocks or etree.QName(query).namespace != NAMESPACE:
            return _fault("Client", f"no operation {operation!r}")
        if (_text(query, "caller/user"), _text(query, "caller/key")) != (USER, self._key):
            return _fault("Client.Forbidden", "the caller is not known")
        try:
            window = (
                _instant(_text(query, "search/changedFrom")),
                _instant(_text(query, "search/changedUntil")),
            )
            page, size = (
                int(_text(query, "search/page")),
                min(int(_text(query, "search/pageSize") or self._page_size), self._page_size),
            )
        except ValueError:
            return _fault("Client", "search contains an invalid value")
        trouble = self.next_misbehaviour(stream)
        if trouble is not None and trouble.kind == "error_inside":
            return web.Response(
                text=_envelope(_FAULT.format("Server.Busy", "too many requests at once")),
                content_type="text/xml",
            )
        return await self.reply(
            request,
            trouble,
            self._page(operation, self._search(stream, *window), page, size, trouble),
        )

    def _page(
        self,
        operation: str,
        records: list[StoredEntry],
        page: int,
        size: int,
        trouble: Misbehaviour | None,
    ) -> web.Response:
        served = self.serve_page(operation.lower(), records, page, size, trouble)
        head = (
            f"<t:page><t:number>{page}</t:number><t:records>{len(records)}</t:records>"
            f"<t:more>{str(served.has_more).lower()}</t:more></t:page>"
        )
        body = (
            f'<t:{operation}Response xmlns:t="{NAMESPACE}">{head}'
            f"{b''.join(served.contents).decode()}</t:{operation}Response>"
        )
        return web.Response(text=_envelope(body), content_type="text/xml")

    def _search(self, stream: str, since: datetime, until: datetime) -> list[StoredEntry]:
        """Return the entries of a time window.

        The last window of each stream is cached until an entry changes.
        """
        window = (self.stocks[stream].revision, since, until)
        if self._found.get(stream, (None,))[0] != window:
            self._found[stream] = (window, list(self.stocks[stream].changed_between(since, until)))
        return self._found[stream][1]


def _achievement(stock: RecordStore, entry: StoredEntry) -> bytes:
    random_source = stock.random_source(entry.number)
    student, institution, subject = (
        person(random_source),
        random_source.choice(_INSTITUTIONS),
        random_source.choice(SUBJECTS),
    )
    flaw = choose_flaw(random_source, FLAWS)
    degree = random_source.choice(_FICTION["degrees"])
    points, level, kind = degree["points"], degree["level"], "degree"
    names = {
        language: f"{degree['names'][language]}, {subject.names[language]}"
        for language in _FICTION["languages"]
    }
    if stock.stream == "credits":
        points, kind = (
            random_source.choice((1, 3, 5, 10)),
            random_source.choice(("course", "course", "micro")),
        )
        names = {language: subject.names[language] for language in _FICTION["languages"]}
    names = names_in_version(names, entry.version)
    awarded: date | str = date(2018, 1, 8) + timedelta(days=random_source.randrange(2400))
    eqf = level
    match flaw:
        case "unknown level":
            level = "9"
        case "no title":
            names = {}
        case "impossible date":
            awarded = "2021-02-30"
        case "level conflict":
            eqf = str(int(level) - 1)
        case "before the framework":
            awarded = date(2009, 5, 29)
    parts = [
        _student(student, institution, stock.name(entry.number)),
        _institution("awardedBy", institution),
        *(_language_element("name", language, name) for language, name in names.items()),
        _level(level, eqf),
        _text_element("field", subject.isced_f),
        _credit_element(points),
        *(_language_element("outcome", "en", outcome) for outcome in subject.outcomes),
        _text_element("language", random_source.choice(_FICTION["languages"])),
        f'<t:grade scale="0-5">{random_source.randrange(1, 6)}</t:grade>',
        _text_element("awarded", str(awarded)),
        _text_element("consent", str(random_source.random() < 0.5).lower()),  # noqa: PLR2004
    ]
    return _element(
        stock.stream, stock.name(entry.number), entry, "".join(parts), kind=kind
    ).encode()


def _enrolment(stock: RecordStore, entry: StoredEntry) -> bytes:
    random_source = stock.random_source(entry.number)
    student, institution = person(random_source), random_source.choice(_INSTITUTIONS)
    flaw = choose_flaw(random_source, ("unknown level", "impossible date", "unknown state"))
    first_day = date(random_source.choice((2023, 2024, 2025)), 8, 1)
    until = "2026-13-31" if flaw == "impossible date" else str(first_day + timedelta(days=364))
    state = (
        "7"
        if flaw == "unknown state"
        else random_source.choice(("1", "1", "1", "2", "3"))
        if entry.version == 1
        else "3"
    )
    level = "9" if flaw == "unknown level" else random_source.choice(("6", "6", "7", "8"))
    parts = [
        _student(student, institution, stock.name(entry.number)),
        _institution("institution", institution),
        _text_element("state", state),
        _text_element("from", str(first_day)),
        _text_element("until", until),
        _level(level),
        _text_element("consent", str(random_source.random() < 0.9).lower()),  # noqa: PLR2004
    ]
    return _element(stock.stream, stock.name(entry.number), entry, "".join(parts)).encode()


def _level(level: str, eqf: str = "") -> str:
    declared = f" eqf={quoteattr(eqf)}" if eqf else ""
    return (
        f"<t:level framework={quoteattr(_FICTION['framework'])}{declared}>{escape(level)}</t:level>"
    )


def _credit_element(points: int) -> str:
    return f'<t:extent unit={quoteattr(_FICTION["unit"])} sector="HE">{points}</t:extent>'


def _student(student: Person, institution: Institution, code: str) -> str:
    esi = f"urn:schac:personalUniqueCode:int:esi:{institution.domain}:{code.lower()}"
    return (
        f"<t:student>{_text_element('nationalNumber', student.number)}{_text_element('esi', esi)}"
        f"{_text_element('givenName', student.given)}{_text_element('familyName', student.family)}"
        f"{_text_element('birthDate', str(student.born))}</t:student>"
    )


def _institution(tag: str, institution: Institution) -> str:
    names = "".join(
        _language_element("name", language, name) for language, name in institution.names.items()
    )
    facts = (
        _text_element("country", _FICTION["country"])
        + _text_element("schac", institution.domain)
        + _text_element("pic", institution.pic)
    )
    return f"<t:{tag} code={quoteattr(institution.code)}>{names}{facts}</t:{tag}>"


def _element(
    stream: str, identifier: str, entry: StoredEntry, content: str, **attributes: str
) -> str:
    changed = entry.changed_at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    facts = {"id": identifier, "version": str(entry.version), "changed": changed, **attributes}
    written = " ".join(f"{name}={quoteattr(value)}" for name, value in facts.items())
    return f"<t:{ITEMS[stream]} {written}>{content}</t:{ITEMS[stream]}>"


def _text_element(tag: str, value: str) -> str:
    return f"<t:{tag}>{escape(value)}</t:{tag}>"


def _language_element(tag: str, language: str, value: str) -> str:
    return f'<t:{tag} lang="{language}">{escape(value)}</t:{tag}>'


def _text(query: etree._Element, path: str) -> str:
    return query.findtext("/".join(f"{{{NAMESPACE}}}{step}" for step in path.split("/"))) or ""


def _instant(text: str) -> datetime:
    instant = datetime.fromisoformat(text)
    return instant if instant.tzinfo else instant.replace(tzinfo=UTC)


def _envelope(body: str) -> str:
    return (
        f'<?xml version="1.0" encoding="UTF-8"?><s:Envelope xmlns:s="{_SOAP}">'
        f"<s:Body>{body}</s:Body></s:Envelope>"
    )


_FAULT = "<s:Fault><faultcode>s:{}</faultcode><faultstring>{}</faultstring></s:Fault>"


def _fault(code: str, text: str) -> web.Response:
    return web.Response(
        status=500, text=_envelope(_FAULT.format(code, escape(text))), content_type="text/xml"
    )


class _RecordName:
    def __init__(self, letter: str) -> None:
        self._letter = letter

    def __call__(self, number: int) -> str:
        return f"{self._letter}-{number + 1:06d}"
