"""Provoke the alerts about registries with a real gateway, and follow their runbooks.

Each test begins with a Prometheus without data. The rules are those of ``deploy/``, without ``for``.
"""

from __future__ import annotations

import json
import ssl
import time

from tests.end_to_end.conftest import live_alert
from tests.support.alert_site import AlertSite, courses
from tests.support.certificates import AUTHORITY, SERVER, make

pytestmark = live_alert
FAILS = "the registry answers 503 from the first poll on"
RATED = "  errors: by_status\n  limits: {rate: 1/s}"
SKIPPED = """    for_each: {person: {in: {secret: drill/persons}}}
    request: {get: "/courses/{person}"}"""


def test_breaker_opens(alert_site: AlertSite):
    site = alert_site
    site.status = 503
    site.start_worker()
    began = time.monotonic()
    site.start_prometheus()
    site.wait_until_fires("BreakerOpen", began)
    site.status = 200
    site.cure("BreakerOpen", FAILS)


def test_polls_fail(alert_site: AlertSite):
    site = alert_site
    site.status = 503
    site.start_worker()
    began = time.monotonic()
    site.start_prometheus()
    site.wait_until_fires("ConnectorFailing", began, 150)
    site.status = 200
    site.cure("ConnectorFailing", FAILS)


def test_credentials_are_refused(alert_site: AlertSite):
    site = alert_site
    auth = "  auth: {bearer: {token: {secret: drill/token}}}\n  errors: by_status"
    site.file.write_text(site.replace("  errors: by_status", auth))
    site.write_secret("drill/token", "the old token")
    body = json.dumps({"items": courses(30)}).encode()
    site.routes["/courses"] = lambda _, headers: (
        (200, {}, body)
        if headers.get("authorization") == "Bearer the new token"
        else (401, {}, b"")
    )
    site.start_worker()
    began = time.monotonic()
    site.start_prometheus()
    site.wait_until_fires("ConnectorHalted", began)
    assert not site.is_firing("ConnectorFailing"), "one cause, one page"
    new = site.folder / "new-token"
    new.write_text("the new token")
    site.cure(
        "ConnectorHalted",
        "the registry refuses the credentials at the first poll",
        "The registry refuses the credentials",
        NEW_SECRET=str(new),
        SECRET="drill/token",
    )


def test_stream_is_stale(alert_site: AlertSite):
    site = alert_site
    site.start_worker()
    site.start_prometheus()
    site.wait_until_read()
    site.status = 503
    began = time.monotonic()
    site.wait_until_fires("ConnectorStale", began, 120)
    site.status = 200
    site.cure(
        "ConnectorStale",
        "the registry answers 503 for a minute",
        "The registry failed and answers again",
    )


def test_all_records_are_rejected(alert_site: AlertSite):
    site = alert_site
    site.items = courses(120)
    for one in site.items:
        one["label"] = one.pop("name")
    site.start_worker()
    began = time.monotonic()
    site.start_prometheus()
    site.wait_until_fires("AllRecordsRejected", began)
    assert not site.is_firing("ConnectorHalted"), "one cause, one page"
    site.edit_next(site.replace("title.en: name", "title.en: label", "name: Stat", "label: Stat"))
    said = site.cure(
        "AllRecordsRejected",
        "the registry renames the field of the title in all records",
        "The connector file does not fit the records",
    )
    assert "title" in said


def test_deletions_are_withheld(alert_site: AlertSite):
    site = alert_site
    site.start_worker()
    site.start_prometheus()
    site.wait_until_read()
    site.items = courses(4)
    site.wait_until_fires("DeletionsWithheld", time.monotonic())
    site.cure("DeletionsWithheld", "the registry shows 4 of 30 records", "The deletions are right")


def test_scans_prove_no_deletion(alert_site: AlertSite):
    site = alert_site
    site.items[3]["number"] = site.items[3].pop("id")
    site.start_worker()
    began = time.monotonic()
    site.start_prometheus(720)
    site.wait_until_fires("DeletionsUnproven", began)
    site.edit_next(site.replace("id: id\n", "id: id || number\n"))
    site.cure("DeletionsUnproven", "the registry shows a record without an id", seconds=240)


def test_loop_value_is_refused(alert_site: AlertSite):
    site = alert_site
    site.file.write_text(site.replace("    request: {get: /courses}", SKIPPED))
    site.write_secret("drill/persons", "one\ntwo\n")
    site.routes["/courses/one"] = lambda *_: (200, {}, json.dumps({"items": courses(5)}).encode())
    site.start_worker()
    began = time.monotonic()
    site.start_prometheus()
    site.wait_until_fires("LoopValuesSkipped", began)
    site.edit_next("one\n")
    site.cure(
        "LoopValuesSkipped",
        "the registry does not know one value of a loop",
        "The registry refuses a value for good",
        SECRET="drill/persons",
    )


def test_listed_record_is_refused(alert_site: AlertSite):
    site = alert_site
    expand = '    expand: {request: {get: "/course/{id}"}, id: id}\n    id: id\n'
    site.file.write_text(site.replace("    id: id\n", expand))
    site.items = courses(4)
    for one in site.items:
        path = "/courses/c3" if one["id"] == "c3" else f"/course/{one['id']}"
        site.routes[path] = lambda *_, one=one: (200, {}, json.dumps(one).encode())
    site.start_worker()
    began = time.monotonic()
    site.start_prometheus(720)
    site.wait_until_fires("RecordsSkipped", began)
    site.routes |= {f"/courses/c{one}": site.routes[f"/course/c{one}"] for one in range(3)}
    site.edit_next(site.replace("/course/{id}", "/courses/{id}"))
    site.cure(
        "RecordsSkipped",
        "the registry answers 404 to the request of a listed record",
        "The path of the second request is wrong",
    )


def test_rate_limit_is_too_low(alert_site: AlertSite):
    site = alert_site
    site.file.write_text(
        site.replace("  errors: by_status", RATED, "{get: /courses}", "{get: /courses/{page}}")
        .replace(
            "    cursor: scan",
            "    paging: {page_number: {start: 1, more: more}}\n    cursor: scan",
        )
        .replace("{get: /courses/{page}}", '{get: "/courses/{page}"}')
    )
    for page in range(1, 9):
        items = courses(80)[page * 10 - 10 : page * 10]
        body = json.dumps({"items": items, "more": page < 8}).encode()
        site.routes[f"/courses/{page}"] = lambda *_, body=body: (200, {}, body)
    site.start_worker()
    began = time.monotonic()
    site.start_prometheus(30)
    site.wait_until_fires("RegistryThrottled", began, 120)
    site.edit_next(site.replace("rate: 1/s", "rate: 100/s"))
    site.cure("RegistryThrottled", "a poll needs 8 requests, and the limit is 1/s", "The lag grows")


def serve_with_tls(site: AlertSite) -> None:
    """Let the registry ask for a client certificate."""
    chain, authority = site.folder / "server.pem", site.folder / "authority.pem"
    chain.write_bytes(SERVER.pem + SERVER.key_pem)
    authority.write_bytes(AUTHORITY.pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain)
    context.load_verify_locations(authority)
    context.verify_mode = ssl.CERT_REQUIRED
    site.server.socket = context.wrap_socket(site.server.socket, server_side=True)
    tls = "{certificate: {secret: own}, key: {secret: own-key}, authorities: {secret: authority}}"
    url = site.url.replace("http://127.0.0.1", "https://localhost")
    site.file.write_text(
        site.replace("  errors: by_status", f"  tls: {tls}\n  errors: by_status", site.url, url)
    )
    site.write_secret("authority", AUTHORITY.pem.decode())


def test_certificate_ends(alert_site: AlertSite):
    site = alert_site
    serve_with_tls(site)
    old = make("gateway", AUTHORITY, days=5)
    new = make("gateway", AUTHORITY, days=300, key=old.key)
    site.write_secret("own", old.pem.decode())
    site.write_secret("own-key", old.key_pem.decode())
    site.start_worker()
    began = time.monotonic()
    site.start_prometheus()
    site.wait_until_fires("CertificateExpiring", began)
    renewed = site.folder / "renewed.pem"
    renewed.write_bytes(new.pem)
    site.cure(
        "CertificateExpiring",
        "the client certificate of the gateway ends in 5 days",
        "You renew the certificate",
        NEW_CERTIFICATE=str(renewed),
        SECRET="own",
    )


def test_certificate_is_renewed_by_halves(alert_site: AlertSite):
    site = alert_site
    serve_with_tls(site)
    old, new = make("gateway", AUTHORITY, days=100), make("gateway", AUTHORITY, days=300)
    site.write_secret("own", old.pem.decode())
    site.write_secret("own-key", old.key_pem.decode())
    site.start_worker()
    site.start_prometheus()
    site.wait_until_read()
    began = time.monotonic()
    site.write_secret("own", new.pem.decode())
    site.wait_until_fires("CertificateNotRenewed", began)
    assert not site.is_firing("ConnectorHalted"), "the earlier pair stays in use"
    files = {"NEW_CERTIFICATE": new.pem, "NEW_KEY": new.key_pem}
    for name, content in files.items():
        (site.folder / name.lower()).write_bytes(content)
    site.cure(
        "CertificateNotRenewed",
        "a new certificate is written without its key",
        **{name: str(site.folder / name.lower()) for name in files},
        CERTIFICATE=str(site.secrets / "own"),
        KEY=str(site.secrets / "own-key"),
    )
