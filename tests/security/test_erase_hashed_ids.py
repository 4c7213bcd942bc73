"""Erase a record by the registry's own id where the stream hashes ids, in any spelling of it."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

import pytest

from gateway.config.loading import load_connector
from gateway.errors import StreamHalted, UsageError
from gateway.fetch.native_ids import describe_native_id, hash_native_id, possible_native_ids
from tests.support.memory_stream import MemoryStreamState, item, poll_route, stream
from tests.support.operator_commands import gateway, until
from tests.support.person_registry import (
    CONNECTOR,
    EVERYTHING,
    ID_KEYS,
    NAME,
    count_documents,
    counts,
    person_site,
    standing,
)

SECRETS = {f"persons/{name}": key for name, key in ID_KEYS.items()} | {"k": b"a key for tests"}


def connector(tmp_path: Path, award_id: str = "ssn"):
    path = tmp_path / f"{NAME}.yaml"
    path.write_text(CONNECTOR.format(url="http://127.0.0.1:1", award_id=award_id))
    return load_connector(path)


def no_secret(name: str) -> bytes:
    raise StreamHalted("SECRET_MISSING", f"secret {name!r} is missing: write it")


@pytest.mark.parametrize(
    "served",
    ["0101-AB", "Sørensen 7", "Zoë", unicodedata.normalize("NFD", "Zoë"), "a/b", "  7 ", "Å1"],
)
@pytest.mark.parametrize(
    "spell",
    [str, str.strip, lambda text: unicodedata.normalize("NFD", text), lambda text: f" {text}\t"],
)
def test_every_spelling_leads_to_the_id_on_the_topics(tmp_path: Path, served: str, spell):
    """The gateway polls a real server, so the id on the topics is the one that a run writes."""
    state = MemoryStreamState()
    text = stream(more="id_key: {secret: k}")
    poll_route(lambda *_: {"items": [item(served)]}, text, state, secrets={"k": SECRETS["k"]})
    [stored] = state.bodies
    loaded = connector(tmp_path)
    named = loaded.model_copy(
        update={
            "streams": {
                "awards": loaded.streams["awards"].model_copy(
                    update={
                        "id_key": loaded.streams["awards"].id_key.model_copy(update={"secret": "k"})
                    }
                )
            }
        }
    )
    assert stored in possible_native_ids(named, spell(served), SECRETS.__getitem__)["awards"]
    assert stored in possible_native_ids(named, stored, SECRETS.__getitem__)["awards"], (
        "the hash itself"
    )


def test_hash_needs_the_secret_unless_the_hash_is_given(tmp_path: Path):
    loaded = connector(tmp_path)
    with pytest.raises(UsageError, match=r"persons awards hashes its ids.*or give the hashed id"):
        possible_native_ids(loaded, "0101-AB", no_secret)
    given = hash_native_id(ID_KEYS["ids"], "0101-AB")
    assert possible_native_ids(loaded, given, no_secret)["awards"] == (given,)


def test_message_names_the_fields_of_the_id(tmp_path: Path):
    text = describe_native_id(connector(tmp_path, "ssn, n"))
    assert "the stream awards reads it from ssn and n, joined by /" in text
    assert "the stream students reads it from ssn" in text


@pytest.mark.slow
@pytest.mark.kafka
@pytest.mark.timeout(400)
def test_erasure_by_the_own_id_removes_every_record_of_it(tmp_path: Path):
    """Each stream hashes the national number with a key of its own; an award's id has two parts."""
    number, other, third, fourth = "010190-901Ä", "020280-902B", "030370-903C", "040460-904D"
    with person_site(tmp_path, award_id="ssn, n") as (site, registry):
        for ssn in (number, other, third):
            registry.put(ssn, consent="true", agreement="true")
        site.run()
        expected = counts(credentials=3, pointers=3, students=3, cards=3)
        until(lambda: count_documents(site) == expected, what=lambda: site.log()[-3000:])

        unknown = gateway(site, "erase", NAME, "-", "--yes", "--reason", "case 1", given=fourth)
        assert unknown.returncode == 2
        assert json.loads(unknown.stdout)["state"] == "nothing found"
        assert "reads it from ssn and n, joined by /" in unknown.stderr
        assert fourth not in unknown.stdout + unknown.stderr
        slip = f"fi-national-number {number}\nfi-national-number {fourth}\n"
        unknown_person = gateway(
            site, "erase", "--person", "--yes", "--reason", "case 1", given=slip
        )
        assert unknown_person.returncode == 2
        assert "identifier of line 2, so nothing was erased" in unknown_person.stderr
        nothing = gateway(
            site, "erase", NAME, "-", "--undo", "--yes", "--reason", "case 1", given=number
        )
        assert (nothing.returncode, "nothing to undo" in nothing.stderr) == (2, True)
        assert not site.read("gateway.suppressions.v1", "gateway.audit.v1")

        before = gateway(site, "erase", NAME, "-", "--verify", given=number)
        assert (before.returncode, "NOT ERASED" in before.stdout) == (1, True)
        spelled = f"  {unicodedata.normalize('NFD', number)} \n"
        done = gateway(site, "erase", NAME, "-", "--yes", "--reason", "case 2", given=spelled)
        assert done.returncode == 0, done.stderr
        receipt = json.loads(done.stdout)
        assert (receipt["state"], receipt["records"]) == ("erased", 2)
        assert count_documents(site) == expected | counts(
            credentials=3, pointers=3, students=2, cards=2
        )
        joined = gateway(
            site, "erase", NAME, "-", "--yes", "--reason", "case 3", given=f"{number}/1\n"
        )
        assert json.loads(joined.stdout)["records"] == 1
        for given in (number, f"{number}/1"):
            after = gateway(site, "erase", NAME, "-", "--verify", given=given)
            assert (after.returncode, "NOT ERASED" in after.stdout) == (0, False), after.stdout

        hashed = hash_native_id(ID_KEYS["student-ids"], other)
        again = gateway(site, "erase", NAME, hashed, "--yes", "--reason", "case 4")
        assert json.loads(again.stdout)["records"] == 1
        repeated = gateway(site, "erase", NAME, hashed, "--yes", "--reason", "case 5")
        assert (repeated.returncode, json.loads(repeated.stdout)["state"]) == (0, "erased")

        # The registry changes all of them: only what was not erased comes back.
        for ssn in (number, other, third):
            registry.put(ssn, title="Master")
        left = counts(credentials=2, pointers=2, students=1, cards=2)
        until(
            lambda: count_documents(site, "Master")["europass.credentials.v1"] == 2,
            what=lambda: site.log()[-3000:],
        )
        assert count_documents(site) == left
        checked = gateway(site, "verify", NAME)

        def complete() -> bool:
            """Return whether every stream has been polled since the change, and nothing is wrong."""
            nonlocal checked
            checked = gateway(site, "verify", NAME)
            return checked.returncode == 0

        until(complete, 90, what=lambda: checked.stdout, pause=2)
        assert count_documents(site) == left
        for text in (number, unicodedata.normalize("NFD", number)):
            assert text not in done.stdout + done.stderr + site.log() + checked.stdout
            assert not [
                place
                for place, record in standing(site.read(*EVERYTHING)).items()
                if text.encode() in place[1] + record.value
            ]
        undo_the_erasure_of_an_enrolment(site, registry, number, receipt)


def undo_the_erasure_of_an_enrolment(site, registry, number: str, receipt: dict) -> None:
    """Undo the first erasure while the worker runs: the enrolment and the card come back."""
    arguments = ("erase", NAME, "-", "--undo", "--yes")
    before = count_documents(site)
    without_reason = gateway(site, *arguments, given=number)
    assert (without_reason.returncode, "--reason" in without_reason.stderr) == (2, True)
    personal = gateway(site, *arguments, "--reason", f"asked by {number}", given=number)
    assert (personal.returncode, number in personal.stderr) == (2, False)
    assert count_documents(site) == before

    undone = gateway(site, *arguments, "--reason", "case 6", given=number)
    assert undone.returncode == 0, undone.stderr
    line = json.loads(undone.stdout)
    assert (line["state"], line["reason"], line["undoes"]) == (
        "undone",
        "case 6",
        [receipt["receipt"]],
    )
    assert line in [json.loads(record.value) for record in site.read("gateway.audit.v1")]
    registry.put(number, title="Doctor")
    expected = before | {
        topic: before[topic] + 1 for topic in ("esc.student-status.v1", "esc.cards.v1")
    }
    until(lambda: count_documents(site) == expected, what=lambda: site.log()[-3000:])
    repeated = gateway(site, *arguments, "--reason", "case 7", given=number)
    assert (repeated.returncode, json.loads(repeated.stdout)["undoes"]) == (0, [])

    unknown = gateway(
        site,
        "erase",
        "--person",
        "--yes",
        "--reason",
        "case 8",
        "--even-if-unknown",
        given="fi-national-number 050570-905E\n",
    )
    assert (unknown.returncode, json.loads(unknown.stdout)["state"]) == (0, "suppressed")
    again = gateway(
        site,
        "erase",
        "--person",
        "--yes",
        "--reason",
        "case 8",
        given="fi-national-number 050570-905E\n",
    )
    assert again.returncode == 0, again.stderr
