"""Poll registries that misbehave.

The poll reads every record exactly once, or it ends with a reason. It never loses records and
reports success.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest

from gateway.config.loading import load_connector
from gateway.errors import StreamError
from gateway.fetch import TimeWindow, read_pages
from gateway.fetch.registry_client import RegistryClient
from gateway.local.registries import KINDS, WHOLE_POLL, rest_catalogue, soap_credits
from tests.support.saved_replies import ROOT, here

WINDOW = TimeWindow(datetime(2024, 9, 1, tzinfo=UTC), datetime(2024, 12, 1, tzinfo=UTC))
SERVICES = {
    "rest": (rest_catalogue, "programmes", 600, b"demo-token"),
    "soap": (soap_credits, "degrees", 750, b"demo-key"),
}
HELD = 300
ENDS = {
    "repeated_page": "PAGE_REPEATED",
    "empty_page": "PAGE_EMPTY",
    "wrong_charset": "ENCODING",
    "endless": "LIMIT_BYTES",
    "not_found": "HTTP_404",
    "refused": "DENIED",
    **dict.fromkeys(
        ("renamed_list", "null_list", "other_version", "unknown_error", "processing"),
        "LIST_MISSING",
    ),
}
"""What a poll says that cannot go on; every other kind passes when the request is repeated."""


async def read(which: str, kind: str, times: int | None):
    """Read a stream whose second request goes wrong; returns the ids, the last page and how it ended."""
    service, stream, records, key = SERVICES[which]
    async with await service.start(records=records) as registry:
        connector = here(
            load_connector(ROOT / f"connectors/demo-{which}.yaml"), registry.url + service.PATH
        )
        block = getattr(connector, which)
        limits = block.limits.model_copy(update={"max_response": 2_000_000, "attempts": 3})
        connector = connector.model_copy(
            update={which: block.model_copy(update={"limits": limits})}
        )
        registry.misbehave(kind, times=times, skip=1, seconds=1)
        ids, complete, reason = [], False, ""
        async with RegistryClient(connector, lambda _: key, "production") as client:
            try:
                async for page in read_pages(connector, stream, WINDOW, client):
                    ids += [raw.native_id for raw in page.records]
                    complete = page.last
            except StreamError as error:
                reason = error.reason
        return ids, complete, reason, {entry.id for entry in registry.ledger}


@pytest.mark.parametrize("which", SERVICES)
@pytest.mark.parametrize("kind", sorted(set(KINDS) - WHOLE_POLL))
def test_one_wrong_reply_loses_and_duplicates_nothing(which, kind):
    ids, complete, reason, served = asyncio.run(read(which, kind, 1))
    assert len(ids) == len(set(ids))
    assert set(ids) <= served
    assert reason == ENDS.get(kind, "")
    assert (len(ids) == HELD, complete) == (kind not in ENDS, kind not in ENDS)


@pytest.mark.parametrize("which", SERVICES)
def test_endless_paging_loop_is_stopped(which):
    ids, complete, reason, _ = asyncio.run(read(which, "loop", None))
    assert (complete, reason) == (False, "CURSOR_LOOP")
    assert len(set(ids)) == HELD
