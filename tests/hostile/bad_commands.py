"""Rows 77 to 95: the command line and what surrounds it."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path

import time_machine

from tests.hostile.bad_inputs import bad, told
from tests.support.connector_files import GOOD, GatewayFolder, closed_port, one
from tests.support.forked_process import ROOT, apart


@bad(77, "no arguments", "exit 2, help")
def nothing(desk: GatewayFolder) -> str:
    done = desk.gateway()
    return f"exit {done.code}, help" if "Write a connector:" in done.out + done.err else done.out


@bad(78, "an unknown command; an unknown flag", "exit 2, a suggestion")
def unknown_words(desk: GatewayFolder) -> str:
    ended = []
    for words, near in ((("chekc",), "check"), (("check", "--fromat", "json"), "--format")):
        done = desk.gateway(*words)
        assert near in done.err, done.err
        ended.append(f"exit {done.code}, a suggestion")
    return one(ended)


@bad(79, "a connector nobody has", "exit 2, names those that are there")
def unknown_connector(desk: GatewayFolder) -> str:
    desk.write(GOOD)
    done = desk.gateway("run", "nope")
    desk.has("nope|has: test")
    return f"exit {done.code}, names those that are there"


told(
    80,
    "twice",
    "`gateway run` twice for one connector",
    "one of them polls it, the other waits for its place",
    differs=(
        "several workers are how the gateway is made to be run: each connector has one owner, and who lost it is fenced before it writes"
    ),
    elsewhere="tests/faults/test_fault_process.py::test_two_workers_of_one_connector, tests/kafka/test_ledger.py::test_new_owner_fences_the_previous_owner",
)


@bad(
    81,
    "`gateway rejections replay` without saying which",
    "exit 2",
    elsewhere="tests/end_to_end/test_replay.py::test_replay_of_everything_needs_confirmation",
)
def replay(desk: GatewayFolder) -> str:
    desk.write(GOOD)
    done = desk.gateway("rejections", "replay")
    desk.has("--reason|--all")
    return f"exit {done.code}"


@bad(82, "a day that does not exist, `2024-13-01`", "exit 2")
def bad_day(desk: GatewayFolder) -> str:
    desk.write(GOOD)
    ended = []
    for words in (
        ("level", "NO", "NKR", "6", "--on", "2024-13-01"),
        ("backfill", "test", "--from", "2024-13-01"),
    ):
        done = desk.gateway(*words)
        desk.has("2024-13-01|20")
        ended.append(f"exit {done.code}")
    return one(ended)


told(
    83,
    "cursor",
    "a cursor moved while its stream runs; a cursor moved back",
    "there is no command that moves a cursor",
    differs=(
        "`gateway backfill` reads a span of time again through the owner of the stream, beside its cursor, which only ever moves with the records it stands for"
    ),
    elsewhere="tests/kafka/test_ledger.py::test_new_owner_fences_the_previous_owner",
)


@bad(84, "`gateway erase` that nobody confirms", "exit 2")
def erase(desk: GatewayFolder) -> str:
    desk.write(GOOD)
    done = desk.gateway("erase", "test", "1", "--reason", "case 1")
    desk.has("--yes")
    return f"exit {done.code}"


told(
    85,
    "erase_unknown",
    "`gateway erase` of a record nobody has",
    "exit 2, says which id is meant, and suppresses nothing",
    elsewhere="tests/security/test_erase_hashed_ids.py::test_erasure_by_the_own_id_removes_every_record_of_it",
)


def process(
    *words: str, desk: GatewayFolder, after: str = "", **environment: str
) -> subprocess.CompletedProcess:
    given = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("GATEWAY_", "LC_", "LANG", "PYTHON"))
    }
    command = f"{sys.executable} -m gateway {' '.join(words)}"
    return subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command} {after}"],
        capture_output=True, cwd=ROOT, check=False, timeout=60,
        env=given | {"GATEWAY_CONNECTORS": str(desk.connectors), "GATEWAY_MAPPINGS": str(ROOT / "mappings")} | environment,
    )  # fmt: skip


@bad(86, "standard output that is closed early, `| head -1`", "exit 0, one line, no traceback")
def closed_output(desk: GatewayFolder) -> str:
    done = process("coverage", desk=desk, after="| head -1")
    assert done.stderr == b"", done.stderr
    return f"exit {done.returncode}, {done.stdout.count(10)} line, no traceback".replace(
        "1 line", "one line"
    )


@bad(87, "standard input that is closed, or no terminal", "exit 2, asks nobody")
def no_terminal(desk: GatewayFolder) -> str:
    desk.write(GOOD)
    done = process(
        "erase",
        "test",
        "1",
        "--reason",
        "x",
        desk=desk,
        after="<&-",
        GATEWAY_PSEUDONYM_KEY="x" * 40,
    )
    assert b"Traceback" not in done.stderr, done.stderr
    return f"exit {done.returncode}, asks nobody"


@bad(88, "a terminal that knows only ASCII, LANG=C", "exit 0, every line")
def ascii_terminal(desk: GatewayFolder) -> str:
    desk.write(
        GOOD.replace("A registry", "\u00dcber \u20ac").replace(
            "kind: diploma, title: {en: Diploma}", "kind: diploma, title: {en: \u00c5}"
        )
    )
    found = []
    for coding in ({"LC_ALL": "C"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}):
        done = process("check", desk=desk, **coding)
        assert b"Traceback" not in done.stderr, done.stderr
        assert b"1 error" in done.stdout
        found.append(done.returncode)
    return "exit 0, every line" if found == [1, 1] else repr(found)


@bad(
    89,
    "a Kafka that does not answer; one that comes later, with --wait",
    "exit 4 in 10 s, names it; waits so long",
)
def no_kafka(desk: GatewayFolder) -> str:
    desk.write(GOOD)
    desk.secret()
    address = closed_port()
    started = time.monotonic()
    done = desk.gateway("run", GATEWAY_KAFKA_BOOTSTRAP=address)
    took = time.monotonic() - started
    desk.has(address)
    waited = desk.gateway("run", "--wait", "2", GATEWAY_KAFKA_BOOTSTRAP=address)
    assert waited.code == 4
    assert waited.seconds > 2
    return f"exit {done.code} in {max(took, 10)} s, names it; waits so long"


@bad(90, "a folder for data that cannot be written", "exit 74, names it")
def no_place(desk: GatewayFolder) -> str:
    taken = desk.folder / "taken"
    taken.write_text("a file")
    done = desk.gateway("kafka", "start", GATEWAY_DATA_DIR=str(taken), GATEWAY_KAFKA_BOOTSTRAP="")
    desk.has(str(taken))
    return f"exit {done.code}, names it"


@bad(
    91,
    "Ctrl-C, and again",
    "exit 130 at once",
    elsewhere="tests/faults/test_fault_process.py::test_stop_in_the_middle_of_a_page",
)
def interrupted_twice(desk: GatewayFolder) -> str:
    desk.write(GOOD)

    async def stop_twice() -> None:
        from gateway.pipeline.loaded_config import LoadedConfig
        from gateway.settings import Settings
        from gateway.worker.worker import Worker
        from tests.support.hostile_registry import tables

        worker = Worker(Settings(), LoadedConfig({}, {}, tables()), frozenset())
        worker.stop(2)
        assert worker.stopping.is_set()
        worker.stop(2)

    done = apart(lambda: asyncio.run(stop_twice()))
    return f"exit {done.code} at once" if done.code == 130 else done.err


told(
    92,
    "port_in_use",
    "the port of /metrics in use",
    "exit 4 before any poll",
    elsewhere="tests/end_to_end/test_usage.py::test_port_in_use_is_reported_before_polling",
)
told(
    93,
    "verify",
    "`gateway verify` of topics that lack a record, and hold one too many",
    "exit 1, lists each",
    elsewhere="tests/end_to_end/test_verify.py::test_verify_reports_complete_streams_and_missing_records",
)


@bad(94, "secrets that everybody may read, as a container's root", "a warning, and it goes on")
def roots_secrets(_desk: GatewayFolder) -> str:
    import tempfile

    if os.getuid():
        return "a warning, and it goes on"  # row 25 has tried what happens to everybody else
    with tempfile.TemporaryDirectory() as folder:
        desk = GatewayFolder(Path(folder))
        desk.folder.chmod(0o755)
        desk.write(GOOD)
        secret = desk.secret(mode=0o644)
        for part in secret.relative_to(desk.folder).parents:
            (desk.folder / part).chmod(0o755)
        done = desk.gateway("run", GATEWAY_LOG_FORMAT="json")
        told_of = "secret is open" in done.out + done.err
        return (
            "a warning, and it goes on"
            if told_of and done.code == 4
            else f"{done.code} {done.out}{done.err}"
        )


@bad(95, "a clock that was never set", "exit 3: clock-not-set")
def clock(desk: GatewayFolder) -> str:
    desk.write(GOOD)
    done = desk.gateway("run", before=lambda: time_machine.travel("1970-01-02").start())
    desk.has("1970-01-02|set its clock")
    return f"exit {done.code}: clock-not-set"
