"""Push a person's results as an EMREX result service does.

The form carries signed, compressed ELMO over HTTP. The gateway answers when the record is durable.
"""

from __future__ import annotations

import asyncio
import base64
import gzip

import httpx2 as httpx
import pytest
from aiohttp import web
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from lxml import etree
from signxml import XMLSigner, methods

from gateway.config.loading import load_connector
from gateway.errors import RetryLater
from gateway.fetch.push_receiver import PushReceiver, build_application
from tests.registries.test_signed import STRANGER, THEIRS
from tests.support.saved_replies import REFERENCE, REGISTRIES, ROOT

pytestmark = [
    pytest.mark.reference,
    pytest.mark.skipif(
        not REGISTRIES.is_dir(),
        reason=f"no reference material at {REFERENCE}; set GATEWAY_REFERENCE",
    ),
]
ELMO = REGISTRIES / "emrex-elmo/elmo-1.7-example.xml"


def form(keys=THEIRS, **more: str) -> dict[str, str]:
    signer = XMLSigner(
        method=methods.enveloped, signature_algorithm="rsa-sha256", digest_algorithm="sha256"
    )
    results = etree.parse(ELMO).getroot()
    for placeholder in results.findall("{http://www.w3.org/2000/09/xmldsig#}Signature"):
        results.remove(placeholder)
    signed = signer.sign(results, key=load_pem_private_key(keys[0], None), cert=keys[1].decode())
    elmo = base64.b64encode(gzip.compress(etree.tostring(signed))).decode()
    return {"sessionId": "s-1", "returnCode": "NCP_OK", "elmo": elmo, **more}


def push(words: dict[str, str], *, durable: bool = True):
    """Post a form to a real receiver; returns the answer and what was stored."""
    stored = []

    async def store(raws):
        if not durable:
            raise RetryLater("BROKER", "nothing can be committed now")
        stored.extend(raws)

    def secret(name: str) -> bytes:
        return THEIRS[1] if name.endswith(".pem") else b"a key"

    async def posting():
        connector = load_connector(ROOT / "connectors/eu-emrex.yaml")
        runner = web.AppRunner(
            build_application([PushReceiver(connector, secret, store)]), access_log=None
        )
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            async with httpx.AsyncClient(timeout=60) as client:
                return await client.post(
                    f"http://127.0.0.1:{runner.addresses[0][1]}/emrex/results", data=words
                )
        finally:
            await runner.cleanup()

    return asyncio.run(posting()), stored


def test_signed_results_become_records_with_their_bytes():
    answer, stored = push(form())
    assert (answer.status_code, "arrived" in answer.text) == (200, True)
    assert len(stored) == 3
    assert all("signed_original" in raw.context for raw in stored)
    assert not any("00000000000" in raw.native_id for raw in stored)


def test_results_with_a_foreign_signature_are_refused():
    answer, stored = push(form(STRANGER))
    assert (answer.status_code, stored) == (400, [])


def test_altered_results_are_refused():
    words = form()
    changed = gzip.decompress(base64.b64decode(words["elmo"])).replace(
        b"Master of Science", b"Doctor of Science"
    )
    answer, stored = push(words | {"elmo": base64.b64encode(gzip.compress(changed)).decode()})
    assert (answer.status_code, stored) == (400, [])


def test_empty_results_are_no_error():
    answer, stored = push({"sessionId": "s-1", "returnCode": "NCP_NO_RESULTS"})
    assert (answer.status_code, stored) == (200, [])


def test_uncommitted_push_is_not_acknowledged():
    answer, stored = push(form(), durable=False)
    assert (answer.status_code, stored) == (503, [])
