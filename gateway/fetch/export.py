"""An export a registry prepares: start it, ask until it is done, download its files."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any
from urllib.parse import urljoin

from gateway.config.expressions.conditions import matcher
from gateway.config.requests import Decode, Export
from gateway.errors import Halt, RetryLater
from gateway.fetch.decode.chain import Reading
from gateway.fetch.record_selector import text_of
from gateway.fetch.request_runner import Answered, Dialogue


async def exported(rule: Export, dialogue: Dialogue, values: Mapping[str, Any], chain: Decode, more: Mapping[str, Any]) -> Answered:
    """Return all files of one export as one answer.

    An export that fails, takes too long or expires before it was downloaded is started again by the next poll
    (:class:`~gateway.errors.RetryLater`).
    """
    started = await dialogue.ask(rule.start, values, **more)
    kept = dict(values) | _kept(rule, dialogue, started)
    loop = asyncio.get_running_loop()
    deadline = loop.time() + rule.within.total_seconds()
    done, failed, pending = matcher(rule.done), matcher(rule.failed), matcher(rule.pending)
    while True:
        status = await dialogue.ask(rule.status, kept, **more)
        state = next(iter(_texts(dialogue, status, rule.state)), "")
        if done(state):
            break
        if failed(state):
            raise RetryLater("EXPORT_FAILED", f"{dialogue.where}: the registry says that its export failed")
        if not pending(state):
            raise Halt("EXPORT_STATE", f"{dialogue.where}: the connector does not name the state the export is in")
        if loop.time() + rule.every.total_seconds() > deadline:
            raise RetryLater("EXPORT_LATE", f"{dialogue.where}: the export was not ready within {rule.within}")
        await asyncio.sleep(rule.every.total_seconds())
    expires = loop.time() + rule.expires.total_seconds() if rule.expires else None
    gathered = Answered("ok", Reading([]), status.url)
    for url in dict.fromkeys(_texts(dialogue, status, rule.files)):
        if expires is not None and loop.time() > expires:
            raise RetryLater("EXPORT_EXPIRED", f"{dialogue.where}: the export's files expired before they were all downloaded")
        file = await dialogue.download(urljoin(status.url, url), chain, hosts=rule.hosts, line=more.get("line"))
        gathered.reading.documents.extend(file.reading.documents)
        gathered.digest += file.digest[:16]
    return gathered


def _kept(rule: Export, dialogue: Dialogue, answered: Answered) -> dict[str, str]:
    kept = {}
    for name, expression in rule.keep.items():
        found = _texts(dialogue, answered, expression)
        if not found:
            raise RetryLater("EXPORT_FAILED", f"{dialogue.where}: the reply that starts the export does not hold {name!r}")
        kept[name] = found[0]
    return kept


def _texts(dialogue: Dialogue, answered: Answered, expression: str) -> list[str]:
    looked = (dialogue.expressions(document.kind, expression)(document.root, {}) for document in answered.reading.documents)
    return [text for found in looked for value in found if (text := text_of(value))]
