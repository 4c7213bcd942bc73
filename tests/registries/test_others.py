"""Connect registries that have no connector in the repository.

Each connector file here was written from the registry's documentation alone.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from gateway.check import check
from gateway.config.loading import load_connector
from gateway.errors import StreamHalted
from gateway.fetch import read_pages
from gateway.fetch.registry_client import RegistryClient
from gateway.harmonise.tables.compiled_tables import Tables
from gateway.local.registries.saved_replies import SavedReply, SavedReplyRegistry
from tests.support.saved_replies import ROOT, WINDOW, here, secret

OTHERS = sorted((Path(__file__).parent / "others").glob("*.yaml"))


@pytest.fixture(scope="module")
def tables() -> Tables:
    return Tables.load(ROOT / "mappings")


@pytest.mark.parametrize("file", OTHERS, ids=lambda file: file.stem)
def test_unseen_registry_connects_with_a_file(file, tables):
    assert [str(finding) for finding in check(file, tables) if finding.severity == "error"] == []


@pytest.mark.parametrize(
    "file", sorted((ROOT / "connectors").glob("*.yaml")), ids=lambda file: file.stem
)
def test_shipped_connectors_pass_the_check(file, tables):
    assert [str(finding) for finding in check(file, tables) if finding.severity == "error"] == []


def follow(link: str) -> tuple[list[str], list[str]]:
    """Serve a list with one link; returns the ids that were read and the addresses that were asked."""

    async def following():
        async with await SavedReplyRegistry([]).start() as registry:
            listed = json.dumps({"items": [{"href": link.replace("HERE", registry.url)}]}).encode()
            registry._saved += [
                SavedReply(listed, target="/emner\\?.*"),
                SavedReply(b'{"emne": {"kode": "A", "versjon": "1"}}', target="/emner/1"),
            ]
            connector = here(
                load_connector(next(file for file in OTHERS if file.stem == "no-fs")), registry.url
            )
            async with RegistryClient(connector, secret, "production") as client:
                ids = [
                    raw.native_id
                    async for page in read_pages(connector, "courses", WINDOW, client)
                    for raw in page.records
                ]
            return ids, [target for _, target, _ in registry.asked]

    return asyncio.run(following())


@pytest.mark.parametrize("link", ["HERE/emner/1", "/emner/1"])
def test_record_link_is_followed_on_the_same_host(link):
    ids, asked = follow(link)
    assert (ids, asked[-1]) == (["A/1"], "/emner/1")


def test_link_to_another_host_is_not_followed():
    with pytest.raises(StreamHalted):
        follow("http://127.0.0.1:1/emner/1")
