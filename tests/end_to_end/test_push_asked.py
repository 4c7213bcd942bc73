"""Replay, renormalise and erase records of a push connector by command.

The registry continues to push records meanwhile, and the workers are killed.
"""

from __future__ import annotations

import itertools
import json
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple, Self

import pytest

from tests.end_to_end.conftest import HARMONISED, Site, versions
from tests.support.operator_commands import answer, gateway, until

pytestmark = [
    pytest.mark.kafka,
    pytest.mark.timeout(400),
    pytest.mark.parametrize("site", [10], indirect=True),
]
CONNECTOR = """
language: 1
connector: caller
country: NL
title: A registry that calls
owner: {name: A, contact: a@example.org}
push:
  path: /in
  auth: {bearer: {token: {secret: caller/token}}}
  accepted: {body: "{count}"}
tables:
  mode: {map: {here: presential, far: online}}
streams:
  things:
    emits: qualification
    records: items
    id: id
    map:
      title.en: title
      awarding_body.name.en: {const: A school}
      awarding_body.country: {const: NL}
      isced_f: {const: "0712"}
      languages: {const: en}
      learning_outcomes: {each: "[title]", map: {title.en: "@"}}
      mode: {from: mode, table: mode}
    tests:
      - name: a thing
        given: {id: "1", title: A thing, mode: far}
        expect_some: {title: {en: A thing}, mode: online}
"""
QUALIFICATIONS = "europass.qualifications.v1"
PRESENTIAL, ONLINE, BLENDED = "9191af2ed9", "920fbb3cbe", "e92d221e4d"
"""Modes, as the vocabulary of the documents names them."""
REJECTIONS = "gateway.rejections.v1"


class Thing(NamedTuple):
    """One record as the caller sends it."""

    id: str
    title: str
    mode: str


@dataclass
class Caller:
    """Sends one message after the other, each again until it is accepted, as a registry does that must not lose one."""

    site: Site
    sent: dict[str, Thing] = field(default_factory=dict)
    """What was acknowledged last, by id."""
    numbers: Iterator[int] = field(default_factory=itertools.count)
    """No version of a thing is sent twice: its event would be published twice, and rightly."""
    refused: Counter[int] = field(default_factory=Counter)
    """Answers that were no acknowledgement; 0 stands for a lost connection."""

    @property
    def url(self) -> str:
        """The door of the newest worker."""
        return re.findall(
            r'"url": "([^"]+)", "event": "receiving port open"',
            self.site.log(len(self.site.running) - 1),
        )[-1]

    def once(self, *things: Thing) -> int:
        body = json.dumps({"items": [thing._asdict() for thing in things]}).encode()
        headers = {
            "Content-Type": "application/json",
            "Authorization": "Bearer right",
            "Connection": "close",
        }
        try:
            with urllib.request.urlopen(
                urllib.request.Request(f"{self.url}/in", body, headers), timeout=60
            ) as reply:
                return reply.status if reply.read() == str(len(things)).encode() else -1
        except urllib.error.HTTPError as error:
            return error.code
        except (OSError, IndexError):  # no connection, or no door yet
            return 0

    def send(self, *things: Thing) -> None:
        deadline = time.monotonic() + 60
        while (status := self.once(*things)) != 200:
            self.refused[status] += 1
            assert time.monotonic() < deadline, f"a message was never accepted: {self.refused}"
            time.sleep(0.2)
        self.sent |= {thing.id: thing for thing in things}


class Calling:
    """Calls on and on in the background: changes things, brings new ones, until the end of the block."""

    def __init__(self, caller: Caller, ids: list[str]) -> None:
        self._caller, self._ids = caller, itertools.cycle(ids)
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.failed: Exception | None = None
        self.messages = 0

    def _run(self) -> None:
        try:
            for number in self._caller.numbers:
                new = Thing(f"n{number}", f"New {number}", "far")
                self._caller.send(Thing(next(self._ids), f"Changed {number}", "here"), new)
                self.messages += 1
                if self._ending.wait(0.02):
                    return
        except Exception as error:  # noqa: BLE001 - the test raises it
            self.failed = error

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._thread.join(90)
        assert not self.failed, self.failed


@pytest.fixture
def caller(site: Site) -> Caller:
    """A worker with both roles that runs one connector, and who calls it."""
    for path in (site.folder / "connectors").iterdir():
        path.unlink()
    (site.folder / "connectors" / "caller.yaml").write_text(CONNECTOR)
    secret = site.folder / "secrets" / "caller" / "token"
    secret.parent.mkdir(parents=True)
    secret.write_text("right")
    secret.chmod(0o600)
    site.environment["GATEWAY_RECEIVE_PORT"] = "0"
    site.run()
    return Caller(site)


def mend(site: Site, old: str, new: str) -> None:
    """Change the connector file and wait until the newest worker runs by it."""
    number = len(site.running) - 1
    before = site.log(number).count('"configuration replaced"')
    file = site.folder / "connectors" / "caller.yaml"
    file.write_text(file.read_text().replace(old, new))
    until(
        lambda: site.log(number).count('"configuration replaced"') > before,
        60,
        lambda: site.log(number)[-3000:],
    )


def standing(site: Site, topic: str) -> dict[bytes, dict]:
    found: dict[bytes, dict] = {}
    for record in site.read(topic):
        found.pop(record.key, None)
        if record.value is not None:
            found[record.key] = json.loads(record.value)
    return found


def titles(site: Site) -> Counter[tuple[str, str]]:
    """Give what stands as documents: title and mode of each."""
    return Counter(
        (one["title"]["en"], one.get("mode", {}).get("id", "").rpartition("/")[2])
        for one in standing(site, QUALIFICATIONS).values()
    )


def wanted(caller: Caller, modes: dict[str, str]) -> Counter[tuple[str, str]]:
    """Give what should stand: the last acknowledged version of everything whose mode is known."""
    return Counter(
        (thing.title, modes[thing.mode]) for thing in caller.sent.values() if thing.mode in modes
    )


def balanced(site: Site) -> Counter[str]:
    """Wait until everything that was received has ended in the newest worker; give how."""
    log = site.log(len(site.running) - 1)
    url = json.loads(next(line for line in log.splitlines() if '"event": "started"' in line))[
        "metrics"
    ]
    found: Counter[str] = Counter()

    def even() -> bool:
        found.clear()
        with urllib.request.urlopen(f"{url}/metrics") as reply:
            text = reply.read().decode()
        for name, labels, value in re.findall(
            r"^gateway_records_(received_|suppressed_|)total\{(.*)\} (\S+)$", text, re.MULTILINE
        ):
            outcome = re.search(r'outcome="(\w+)"', labels)
            found[outcome[1] if outcome else name.rstrip("_")] += int(float(value))
        return found["received"] == sum(
            found[one] for one in ("accepted", "rejected", "unchanged", "deleted")
        )

    until(even, 60, lambda: found)
    return found


def erase(site: Site, native_id: str) -> subprocess.CompletedProcess:
    """Erase a record by the command, in a process of its own: in this one it would slow the caller down."""
    words = ("erase", "caller", "-", "--yes", "--reason", "case 1")
    return subprocess.run(
        [sys.executable, "-m", "gateway", *words], env=site.environment, cwd=site.folder, input=native_id,
        capture_output=True, text=True, timeout=150, check=False,
    )  # fmt: skip


def things(count: int) -> list[Thing]:
    """Give so many things; every third has a mode that no table knows."""
    return [
        Thing(str(number), f"Thing {number}", "here" if number % 3 else "both")
        for number in range(count)
    ]


def settled(site: Site, caller: Caller, modes: dict[str, str]) -> None:
    """Wait until what stands is what was acknowledged, and see that nothing was published twice."""
    found = Counter()

    def whole() -> bool:
        nonlocal found
        found = titles(site)
        return found == wanted(caller, modes)

    until(
        whole,
        90,
        lambda: (
            f"missing {wanted(caller, modes) - found}, too many {found - wanted(caller, modes)}"
        ),
    )
    twice = [one for one, count in versions(site.read(*HARMONISED)).items() if count > 1]
    assert not twice, "the same event was published twice"


@pytest.mark.slow
def test_replay_of_a_push_registry_survives_kills(site: Site, caller: Caller):
    caller.send(*things(30))
    settled(site, caller, {"here": PRESENTIAL})
    assert len(standing(site, REJECTIONS)) == 10
    with Calling(caller, [str(number) for number in range(30) if number % 3]) as calling:
        mend(site, "far: online}", "far: online, both: blended}")
        tried = answer(
            site,
            "rejections",
            "replay",
            "--reason",
            "unmapped",
            "--connector",
            "caller",
            "--dry-run",
        )
        assert [one["now"] for one in tried] == [{"accepted": 10}]
        assert (
            gateway(
                site, "rejections", "replay", "--reason", "unmapped", "--connector", "caller"
            ).returncode
            == 0
        )
        for sign in (
            '"event": "command"',
            '"event": "receiving port open"',
        ):  # it is written down, then it is taken up
            until(lambda sign=sign: sign in site.log(len(site.running) - 1), 60, pause=0.01)
            site.running[-1].send_signal(signal.SIGKILL)
            site.running[-1].wait()
            site.run()
        until(
            lambda: not standing(site, REJECTIONS),
            90,
            lambda: site.log(len(site.running) - 1)[-3000:],
        )
    modes = {"here": PRESENTIAL, "far": ONLINE, "both": BLENDED}
    settled(site, caller, modes)
    balanced(site)
    replayed = [number for number in range(len(site.running)) if '"replayed"' in site.log(number)]
    assert replayed, "nobody carried it out to its end"
    assert (
        gateway(site, "rejections", "replay", "--connector", "caller").stdout == "no rejections\n"
    )
    print(
        f"replayed by worker {replayed}; {calling.messages} messages accepted meanwhile; other answers: {dict(caller.refused)}"
    )


def test_renormalise_and_erase_work_while_a_registry_pushes(site: Site, caller: Caller):
    caller.send(*things(30))
    settled(site, caller, {"here": PRESENTIAL})
    ids = [str(number) for number in range(30) if number % 3]
    erased = ("4", "5", "7", "6")  # the last one stands rejected
    kept = [one for one in ids if one not in erased]
    with Calling(caller, kept) as calling:
        mend(site, "here: presential", "here: blended")
        assert gateway(site, "renormalise", "caller").returncode == 0
        until(lambda: '"renormalised"' in site.log(), 90, lambda: site.log()[-3000:])
    modes = {"here": BLENDED, "far": ONLINE}
    settled(site, caller, modes)
    history: dict[bytes, list[str]] = {}
    corrections = 0
    for record in site.read(QUALIFICATIONS):
        headers = dict(record.headers)
        if corrected := headers.get("ce_correctionof"):
            corrections += 1
            assert corrected.decode() == history[record.key][-1], (
                "a correction names the event that stood"
            )
        history.setdefault(record.key, []).append(headers["ce_id"].decode())
    assert corrections >= 1, "what was not changed meanwhile was published anew"

    with Calling(caller, kept) as going:
        for native_id in erased:
            done = erase(site, native_id)
            assert done.returncode == 0, done.stderr
            assert json.loads(done.stdout)["records"] == 1
        for (
            native_id
        ) in erased:  # acknowledged, or the registry would send it for ever; and not kept
            caller.send(Thing(native_id, "Back again", "here"))
            del caller.sent[native_id]
    settled(site, caller, modes)
    ended = balanced(site)
    assert ended["suppressed"] == len(erased)
    raw = {record.key: record.value for record in site.read("gateway.raw.v1")}
    assert not [one for one in erased if raw[f"caller|{one}".encode()] is not None]
    assert b"caller|6" not in standing(site, REJECTIONS)
    assert "Back again" not in str(site.read("gateway.raw.v1", *HARMONISED))
    for native_id in erased:
        assert gateway(site, "erase", "caller", "-", "--verify", given=native_id).returncode == 0
    print(
        f"{calling.messages} and {going.messages} messages accepted meanwhile; other answers: {dict(caller.refused)}; {corrections} corrections"
    )
