"""Wrong change times that have a planted defect. Each check holds without the defect only."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gateway.fetch import change_times
from gateway.pipeline import older_contents
from tests.support.memory_stream import MemoryStreamState, item, poll_route, stream

SCAN = stream("", "cursor: scan\nzone: Europe/Tallinn")


def published_title(*versions: tuple[str, str]) -> str:
    """Poll once for each version of a record, and return the title at the end."""
    state = MemoryStreamState()
    for changed, title in versions:
        found = {"items": [item(1, changed, t=title)]}
        poll_route(lambda *_, found=found: found, SCAN, state)
    return (state.bodies["1"] or b"").decode().partition('"t":"')[2].partition('"')[0]


def correction_in_the_hour_that_occurs_twice() -> bool:
    first, second = ("2025-10-26T03:50:00", "first"), ("2025-10-26T03:10:00", "second")
    return published_title(first, second) == "second"


def reads_the_first_meaning_only(patch: pytest.MonkeyPatch) -> None:
    real = change_times.ChangeTimeReader.read
    patch.setattr(
        change_times.ChangeTimeReader,
        "read",
        lambda self, text: real(self, text)._replace(latest=None),
    )


def older_content_that_stays() -> bool:
    new, old = ("2026-02-02T00:00:00Z", "new"), ("2026-02-01T00:00:00Z", "old")
    return published_title(new, old) == "new" and published_title(new, old, old) == "old"


def never_confirms(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(older_contents.OlderContents, "is_confirmed", lambda *_: False)


def confirms_at_once(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(older_contents.OlderContents, "is_confirmed", lambda *_: True)


ROWS: list[tuple[Callable[[], bool], Callable[[pytest.MonkeyPatch], None]]] = [
    (correction_in_the_hour_that_occurs_twice, reads_the_first_meaning_only),
    (older_content_that_stays, never_confirms),
    (older_content_that_stays, confirms_at_once),
]


@pytest.mark.parametrize(("holds", "plant"), ROWS)
def test_planted_time_defect_is_detected(
    holds: Callable[[], bool],
    plant: Callable[[pytest.MonkeyPatch], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert holds()
    plant(monkeypatch)
    assert not holds()
