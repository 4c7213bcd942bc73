"""``gateway drill`` breaks the demo only, and a fault ends with the drill, however it ends.

The registries, the files, the socket and the commands are real. Kafka is not needed here.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from http.client import HTTPException
from pathlib import Path
from urllib.error import URLError
from urllib.request import Request, urlopen

import pytest

from gateway.cli import drill
from gateway.cli.demo_drills import DrillServer, drill_folder
from gateway.cli.demo_faults import FAULTS, DemoSite
from gateway.cli.demo_keep import copy_connectors
from gateway.config.loading import load_connector
from gateway.errors import Unavailable, UsageError
from gateway.local.registries import rest_catalogue, soap_credits

ROOT = Path(__file__).parents[3]
KAFKA = "127.0.0.1:19092"


class Recorded:
    """A worker and a broker that only note what happened to them."""

    def __init__(self) -> None:
        self.events: list[str] = []

    async def hold_down(self) -> None:
        self.events.append("worker down")

    def let_run(self) -> None:
        self.events.append("worker up")

    async def stop(self) -> None:
        self.events.append("broker down")

    async def start(self) -> None:
        self.events.append("broker up")


class Drill:
    """One ``gateway drill`` as a process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    @classmethod
    async def begin(cls, *words: str, **environment: str) -> Drill:
        clean = {name: value for name, value in os.environ.items() if "GATEWAY_" not in name}
        return cls(
            await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "gateway", "drill", *words),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                env=clean | {"PYTHONPATH": str(ROOT)} | environment,
            )
        )

    async def until(self, words: str) -> None:
        text = ""
        async for line in self.process.stdout:
            text += line.decode()
            if words in text:
                return
        raise AssertionError(text)

    async def end(self) -> tuple[int, str]:
        out, _ = await asyncio.wait_for(self.process.communicate(), 60)
        return self.process.returncode, out.decode()


def with_demo(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    scenario: Callable[[DemoSite, Recorded], Awaitable[None]],
) -> None:
    """Run a scenario beside the parts of a demo that need no Kafka."""
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setenv("TMPDIR", str(tmp_path))

    async def main() -> None:
        async with (
            await rest_catalogue.start(records=60) as rest,
            await soap_credits.start(records=60) as soap,
        ):
            registries = {"demo-rest": rest, "demo-soap": soap}
            addresses = {name: registry.url for name, registry in registries.items()}
            folder = copy_connectors(ROOT / "connectors", tmp_path / "connectors", addresses)
            secret = tmp_path / "secrets/demo-rest/token"
            secret.parent.mkdir(parents=True)
            secret.write_text("token")
            parts = Recorded()
            site = DemoSite(registries, folder, tmp_path / "secrets", parts, parts)
            async with DrillServer(site, KAFKA):
                await scenario(site, parts)
            assert not list(drill_folder().glob("*.sock"))

    asyncio.run(main())


async def first_page(site: DemoSite) -> tuple[int, dict]:
    """Ask the registry for a page, as the gateway does."""
    request = Request(
        f"{site.registries['demo-rest'].url}/catalogue/v1/programmes?pageNumber=1&pageSize=100",
        headers={"Authorization": f"Bearer {rest_catalogue.TOKEN}"},
    )

    def ask() -> tuple[int, dict]:
        try:
            with urlopen(request, timeout=2) as reply:
                return reply.status, json.loads(reply.read())
        except URLError as error:  # also a refused connection
            return getattr(error, "code", 0), {}
        except (OSError, ValueError, HTTPException):
            return -1, {}

    return await asyncio.to_thread(ask)


def degree_level(site: DemoSite) -> str:
    registry = site.registries["demo-soap"]
    entry = next(iter(registry.stocks["degrees"]))
    text = registry.content("degrees", entry).decode()
    return text.partition("</t:level>")[0].rpartition(">")[2]


def test_faults_have_names_words_and_runbooks():
    assert len(FAULTS) >= 10
    for name, fault in FAULTS.items():
        assert (ROOT / fault.page.partition("#")[0]).is_file()
        assert fault.name == name
        assert fault.what.strip(" .") == fault.what


def test_copied_connectors_are_valid_and_call_the_demo(tmp_path: Path):
    folder = copy_connectors(
        ROOT / "connectors", tmp_path / "c", {"demo-soap": "http://127.0.0.1:9"}
    )
    url = load_connector(folder / "demo-soap.yaml").soap.url
    assert {url.production, url.acceptance} == {"http://127.0.0.1:9/student-records"}


def test_list_needs_no_demo_and_no_demo_breaks_nothing(tmp_path: Path, monkeypatch, capsys):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    drill.drill(list_faults=True, as_json=True)
    assert [row["name"] for row in json.loads(capsys.readouterr().out)] == list(FAULTS)
    drill.drill(list_faults=True)
    assert capsys.readouterr().out.splitlines()[0].startswith("registry-down  ")
    with pytest.raises(Unavailable, match="in another terminal with `gateway demo --keep`"):
        drill.drill("registry-down")
    with pytest.raises(UsageError, match=r"no fault list-emty \(did you mean list-empty\?\)"):
        drill.drill("list-emty")


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGHUP, signal.SIGKILL])
def test_fault_ends_with_the_drill(tmp_path: Path, monkeypatch, end: signal.Signals):
    async def scenario(site: DemoSite, _parts: Recorded) -> None:
        assert (await first_page(site))[0] == 200
        begun = await Drill.begin("registry-down")
        await begun.until("Press Enter")
        assert (await first_page(site))[0] == 0
        begun.process.send_signal(end)
        code, out = await begun.end()
        if end == signal.SIGKILL:
            assert code == -end
        else:
            assert code == 128 + end
            assert "It was registry-down: the registry of demo-rest accepts no connection." in out
            assert "deploy/runbooks/BreakerOpen.md" in out
        for _ in range(50):
            if (await first_page(site))[0] == 200:
                break
            await asyncio.sleep(0.1)
        assert (await first_page(site))[0] == 200

    with_demo(tmp_path, monkeypatch, scenario)


def test_each_fault_of_the_registry_is_real_and_undone(tmp_path: Path, monkeypatch):
    seen: dict[str, tuple[int, dict]] = {}

    async def scenario(site: DemoSite, parts: Recorded) -> None:
        before = await first_page(site)
        file, secret = site.connectors / "demo-rest.yaml", site.secrets / "demo-rest/token"
        text = file.read_text()
        for name, fault in FAULTS.items():
            async with fault.breaking(site) as is_cured:
                assert not is_cured(), name
                seen[name] = await first_page(site)
                if name == "connector-mistyped":
                    assert file.read_text() != text
                if name == "secret-missing":
                    assert not secret.exists()
                if name == "level-unknown":
                    assert degree_level(site) == "98"
            assert await first_page(site) == before, name
            assert degree_level(site) != "98"
            assert (file.read_text(), secret.read_text()) == (text, "token")
        assert parts.events == ["broker down", "broker up", "worker down", "worker up"]

    with_demo(tmp_path, monkeypatch, scenario)
    assert {name: status for name, (status, _) in seen.items() if status != 200} == {
        "registry-down": 0,
        "registry-slow": -1,
        "credentials-refused": 401,
        "page-cut": -1,
        "maintenance-page": -1,
    }
    assert "items" not in seen["list-renamed"][1]
    assert seen["list-empty"][1]["items"] == []


def test_cure_ends_the_drill_and_the_seconds_end_it(tmp_path: Path, monkeypatch):
    async def scenario(site: DemoSite, _parts: Recorded) -> None:
        begun = await Drill.begin("connector-mistyped")
        await begun.until("Press Enter")
        file = site.connectors / "demo-rest.yaml"
        file.write_text(file.read_text().replace("evry:", "every:"))
        code, out = await begun.end()
        assert code == 0
        assert "You have cured it. It was connector-mistyped: " in out
        code, out = await (await Drill.begin("list-renamed", "--seconds", "1")).end()
        assert (code, "It was list-renamed" in out) == (0, True)
        code, out = await (await Drill.begin("--seconds", "1")).end()
        assert "Something in the demo is broken now." in out, "a random fault has no name yet"
        assert (code, "It was " in out) == (0, True)

    with_demo(tmp_path, monkeypatch, scenario)


def test_second_drill_is_refused(tmp_path: Path, monkeypatch):
    async def scenario(site: DemoSite, _parts: Recorded) -> None:
        first = await Drill.begin("list-renamed", GATEWAY_KAFKA_BOOTSTRAP=KAFKA)
        await first.until("Press Enter")
        code, out = await (await Drill.begin("registry-down")).end()
        assert (code, "another drill runs in this demo; end it first" in out) == (4, True)
        first.process.terminate()
        assert (await first.end())[0] == 128 + signal.SIGTERM
        assert (await first_page(site))[0] == 200

    with_demo(tmp_path, monkeypatch, scenario)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("GATEWAY_KAFKA_BOOTSTRAP", "kafka.example.org:9093", "but the demo uses 127.0.0.1:19092"),
        ("GATEWAY_STAGE", "production", "GATEWAY_STAGE is production"),
    ],
)
def test_other_targets_are_refused(tmp_path: Path, monkeypatch, name, value, words):
    async def scenario(site: DemoSite, _parts: Recorded) -> None:
        monkeypatch.setenv(name, value)
        with pytest.raises(UsageError, match=words):
            await drill._run(FAULTS["registry-down"], 1, is_named=True)
        assert (await first_page(site))[0] == 200

    with_demo(tmp_path, monkeypatch, scenario)


def test_folder_of_another_user_is_not_trusted(tmp_path: Path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    folder = tmp_path / f"gateway-demo-{os.getuid()}"
    folder.mkdir(mode=0o777)
    folder.chmod(0o777)
    with pytest.raises(Unavailable, match="not private to this user"):
        drill_folder()
