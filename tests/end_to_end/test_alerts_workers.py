"""Provoke the alerts about workers, files and pauses, and follow their runbooks."""

from __future__ import annotations

import shutil
import time

from tests.conftest import free_port
from tests.end_to_end.conftest import live_alert
from tests.support.alert_site import AlertSite, courses
from tests.support.command_site import wait_for

pytestmark = live_alert
STOPS = "the only worker stops"


def test_worker_stops(alert_site: AlertSite):
    site = alert_site
    site.start_worker()
    site.start_prometheus()
    site.stop_worker()
    site.wait_until_fires("WorkerDown", time.monotonic())
    start = site.on_platform("/start", lambda: site.start_worker(port=site.ports[0]))
    site.cure("WorkerDown", STOPS, START_WORKER=start)


def test_gateway_stops(alert_site: AlertSite):
    site = alert_site
    site.start_worker()
    site.start_prometheus()
    site.stop_worker()
    site.wait_until_fires("GatewayDown", time.monotonic())
    start = site.on_platform("/start", lambda: site.start_worker(port=site.ports[0]))
    site.cure("GatewayDown", STOPS, "No worker runs", START_WORKERS=start)


def test_changed_file_is_refused(alert_site: AlertSite):
    site = alert_site
    good = site.file.read_text()
    site.start_worker()
    site.start_prometheus()
    began = time.monotonic()
    site.file.write_text(site.replace("every:", "evry:"))
    site.wait_until_fires("ConfigRefused", began)
    site.edit_next(good)
    site.cure("ConfigRefused", "a connector file gets a typing error")


def test_file_is_not_valid_at_the_start(alert_site: AlertSite):
    site = alert_site
    good = site.file.read_text()
    site.file.write_text(site.replace("every:", "evry:"))
    other = site.name + "-other"
    site.write_connector(other, good.replace(f"connector: {site.name}", f"connector: {other}"))
    site.start_worker("--roles", "poll,harmonise")  # all connectors of the folder
    began = time.monotonic()
    site.start_prometheus()
    site.wait_until_fires("ConnectorNotLoaded", began)
    site.edit_next(good)
    said = site.cure("ConnectorNotLoaded", "a connector file is not valid when a worker starts")
    assert "evry" in said


def test_no_worker_polls(alert_site: AlertSite):
    site = alert_site
    site.start_worker("--roles", "harmonise", site.name)
    site.ports.append(free_port())
    began = time.monotonic()
    site.start_prometheus()
    site.wait_until_fires("ConnectorsUnowned", began)
    start = site.on_platform("/start", lambda: site.start_worker(port=site.ports[1]))
    site.cure(
        "ConnectorsUnowned",
        "no worker has the role poll",
        "No worker has the role poll",
        START_POLL_WORKER=start,
    )


def test_workers_run_different_files(alert_site: AlertSite):
    site = alert_site
    other = site.folder / "other"
    shutil.copytree(site.connectors, other)
    changed = site.replace("every: 1s", "every: 2s")
    site.start_worker()
    site.start_worker(GATEWAY_CONNECTORS=str(other))
    site.start_prometheus()
    wait_for(lambda: site.number("count(gateway_config_info)") == 2, 120, site.state)
    began = time.monotonic()
    site.file.write_text(changed)
    site.wait_until_fires("ConfigsDiffer", began)
    site.cure(
        "ConfigsDiffer",
        "one of two workers gets another version of a file",
        DEPLOY_FILES=f"cp {site.file} {other}",
    )


def test_pause_is_forgotten(alert_site: AlertSite):
    site = alert_site
    site.start_worker()
    site.start_prometheus(1440)
    site.wait_until_read()
    began = time.monotonic()
    paused = site.command("pause", site.name, "--reason", "planned work")
    assert paused.returncode == 0, paused.stderr
    wait_for(lambda: site.number("count(gateway:stream_paused:state)") == 1, 60, site.state)
    while time.monotonic() < began + 45:
        assert not site.is_firing("PauseForgotten"), "a short pause is no forgotten one"
        time.sleep(1)
    site.restart_worker(0)  # a restart does not begin the time again
    site.wait_until_fires("PauseForgotten", began)
    assert time.monotonic() - began < 90
    pages = [one for one in site.prometheus.alerts() if one["severity"] == "page"]
    assert not pages, "a paused stream pages nobody"
    site.items = courses(31)
    said = site.cure(
        "PauseForgotten", "a stream is paused, and nobody resumes it", "The reason is over"
    )
    assert "planned work" in said
