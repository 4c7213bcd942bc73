"""Follow one person through everything that can happen to a deployment.

The person has a distinctive number, name and card. After each step, every topic is read with plain
aiokafka: the person is published at most once for each kind of document, and nowhere where that is
not allowed. A second person, who never agrees, appears on no topic that needs an agreement.
"""

from __future__ import annotations

import json
import re
import signal
import time
import urllib.request
from pathlib import Path

import pytest

from gateway.pipeline.standing_documents import CONSENT_TOPICS
from tests.end_to_end.conftest import Site
from tests.support.operator_commands import Command, gateway, until
from tests.support.person_registry import (
    DOCUMENT_TOPICS,
    EVERYTHING,
    KEY,
    NAME,
    OTHER_KEY,
    PersonRegistry,
    count_documents,
    counts,
    person_site,
    standing,
)

CONSENT_TOPIC_NAMES = tuple(topic.name for topic in CONSENT_TOPICS)
pytestmark = [pytest.mark.kafka, pytest.mark.timeout(550)]
NUMBER, QUIET = "290387-917K", "310190-955T"
ESI = "urn:schac:personalUniqueCode:int:esi:canary.example:kan-77"
GIVEN = "Zwitscherbach"
CARD = "4b171400-b51e-103d-8abc-077999990002"
ALL = counts(credentials=1, pointers=1, students=1, cards=1)
NOT_AGREED = counts(credentials=1)
NOTHING = counts()
QUIET_SECONDS = 2.5
"""The time in which a second publication would arrive."""


class Canary:
    """The site, and everything that commands printed."""

    def __init__(self, site: Site, registry: PersonRegistry) -> None:
        self.site, self.registry = site, registry
        self.printed = ""

    def command(self, *arguments: str, given: str = "", code: int = 0) -> Command:
        done = gateway(self.site, *arguments, given=given)
        assert done.returncode == code, (arguments, done)
        self.printed += done.stdout + done.stderr
        return done

    def restart(self, *arguments: str) -> None:
        process = self.site.running[-1]
        process.send_signal(signal.SIGTERM)
        process.wait(30)
        self.site.run(*arguments)

    def said(self, text: str, count: int = 1) -> None:
        number = len(self.site.running) - 1
        until(
            lambda: self.site.log(number).count(text) >= count,
            what=lambda: self.site.log(number)[-2000:],
        )

    def look(self, expected: dict[str, int], step: str, *, erased: bool = False) -> None:
        """Check every topic, every log and the metrics, when nothing moves any more."""
        number = len(self.site.running) - 1
        until(
            lambda: count_documents(self.site, ESI) == expected,
            what=lambda: (step, count_documents(self.site, ESI), self.site.log(number)[-2000:]),
        )
        time.sleep(QUIET_SECONDS)
        assert count_documents(self.site, ESI) == expected, step
        records = self.site.read(*EVERYTHING)
        left = standing(records)
        self._check_places(left, step, erased=erased)
        # The other person has one award; another document would be this person again.
        documents = {place for place in left if place[0] in DOCUMENT_TOPICS}
        assert len(documents) == sum(expected.values()) + 1, step
        self._check_tombstones(records, step)
        for text in (self._logs(), self._metrics(), self.printed):
            assert not [name for name in (NUMBER, GIVEN, ESI, CARD, QUIET) if name in text], step

    def _check_places(self, left: dict, step: str, *, erased: bool) -> None:
        for (topic, key), record in left.items():
            texts = [key, record.value, *(value for _, value in record.headers)]
            found = {
                name
                for name in (NUMBER, GIVEN, ESI, CARD)
                if any(name.encode() in text for text in texts)
            }
            allowed = {
                "gateway.raw.v1": {NUMBER, GIVEN, ESI, CARD},
                "europass.credentials.v1": {GIVEN, ESI},
                "esc.credential-pointers.v1": {ESI},
                "esc.student-status.v1": {ESI},
                "esc.cards.v1": {ESI, CARD},
            }
            assert found <= (set() if erased else allowed.get(topic, set())), (step, topic)
            assert QUIET.encode() not in b"".join(texts) or topic == "gateway.raw.v1", (step, topic)

    def _check_tombstones(self, records: list, step: str) -> None:
        """Check that each tombstone on a topic of agreements follows a document."""
        published: set[tuple[str, bytes]] = set()
        for record in records:
            if record.topic not in CONSENT_TOPIC_NAMES:
                continue
            place = (record.topic, record.key)
            assert record.value is not None or place in published, (step, record.topic)
            if record.value is None:
                published.discard(place)
            else:
                assert ESI.encode() in record.value, (step, "somebody else")
                published.add(place)

    def _logs(self) -> str:
        return "".join(self.site.log(number) for number in range(len(self.site.running)))

    def _metrics(self) -> str:
        url = re.findall(r'"metrics": "([^"]+)"', self._logs())[-1]
        with urllib.request.urlopen(f"{url}/metrics") as reply:
            return reply.read().decode()


@pytest.mark.slow
def test_person_is_published_at_most_once_and_only_where_allowed(tmp_path: Path):
    with person_site(tmp_path) as (site, registry):
        canary = Canary(site, registry)
        registry.put(NUMBER, given=GIVEN, esi=ESI, card=CARD)
        registry.put(QUIET)
        site.run()
        canary.look(NOT_AGREED, "first poll")
        assert not site.read(*CONSENT_TOPIC_NAMES), "no tombstone of persons who never agreed"

        for step, answer in (("given", "true"), ("withdrawn", "false"), ("given again", "true")):
            registry.put(NUMBER, consent=answer, agreement=answer)
            canary.look(ALL if answer == "true" else NOT_AGREED, f"agreement {step}")
        registry.put(QUIET, title="Master")

        site.environment |= {
            "GATEWAY_PSEUDONYM_KEY": OTHER_KEY,
            "GATEWAY_PSEUDONYM_KEY_PREVIOUS": KEY,
            "GATEWAY_PERMANENT_KEY": KEY,
        }
        canary.restart()
        assert site.running[-1].wait(60) == 3
        canary.site.run("--accept-new-key")
        canary.said('"renormalised"', 3)
        canary.look(ALL, "key change")

        canary.command("backfill", NAME, "awards", "--from", "2026-01-01")
        canary.said("backfill ended")
        canary.look(ALL, "backfill")

        registry.put(NUMBER, awarded=f"the 29th of {GIVEN}")
        canary.look(counts(students=1, cards=1), "award that is rejected")
        canary.command("rejections", "replay", "--all")
        canary.said('"replayed"')
        canary.look(counts(students=1, cards=1), "replay")
        registry.put(NUMBER, awarded="2021-05-31")
        canary.look(ALL, "award that is corrected")
        canary.command("renormalise", NAME)
        canary.said('"renormalised"', 6)
        canary.look(ALL, "renormalisation")

        done = canary.command(
            "erase",
            "--person",
            "--yes",
            "--reason",
            "case 1",
            given=f"fi-national-number {NUMBER}\n",
        )
        assert json.loads(done.stdout)["records"] == 3
        canary.look(NOTHING, "erasure", erased=True)
        registry.put(NUMBER, title="Doctorate", consent="true", agreement="true")
        canary.command("backfill", NAME, "awards", "--from", "2026-01-01")
        canary.said("backfill ended", 2)
        canary.command("rejections", "replay", "--all")
        canary.command("renormalise", NAME)
        canary.said('"renormalised"', 9)
        canary.look(NOTHING, "everything after the erasure", erased=True)
        canary.restart()
        canary.said('"started"')
        canary.look(NOTHING, "restart after the erasure", erased=True)
        until(
            lambda: gateway(site, "verify", NAME).returncode == 0,
            90,
            what=lambda: gateway(site, "verify", NAME).stdout,
            pause=2,
        )
        assert "suppressed" in canary.command("verify", NAME).stdout
