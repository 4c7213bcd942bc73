"""Run an export at a registry: start it, poll its status, and download its files."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from gateway.config.expressions.conditions import text_matcher
from gateway.config.expressions.missing_values import count_missing_values
from gateway.config.requests import Decode, Export
from gateway.errors import RetryLater, StreamHalted
from gateway.fetch.decode.chain import DecodedReply
from gateway.fetch.download import download
from gateway.fetch.list_presence import require_list
from gateway.fetch.paging import join_link
from gateway.fetch.record_selector import stripped_text
from gateway.fetch.request_runner import RequestResult, RequestRunner


async def run_export(
    rule: Export,
    runner: RequestRunner,
    values: Mapping[str, Any],
    chain: Decode,
    connection_options: Mapping[str, Any],
) -> RequestResult:
    """Return all files of one export as one result.

    Raise :class:`~gateway.errors.RetryLater` when the export fails, takes too long or expires
    before the download. The next poll then starts a new export. Raise
    :class:`~gateway.errors.StreamHalted` for a state that the connector does not name.
    """
    started = await runner.send(rule.start, values, **connection_options)
    kept = dict(values) | _kept_values(rule, runner, started)
    loop = asyncio.get_running_loop()
    deadline = loop.time() + rule.within.total_seconds()
    done, failed, pending = (
        text_matcher(rule.done),
        text_matcher(rule.failed),
        text_matcher(rule.pending),
    )
    while True:
        status = await runner.send(rule.status, kept, **connection_options)
        state = next(iter(_select_texts(runner, status, rule.state)), "")
        if done(state):
            break
        if failed(state):
            raise RetryLater(
                "EXPORT_FAILED",
                f"{runner.log_prefix}: the registry says that its export failed; "
                "the next poll starts another",
            )
        if not pending(state):
            raise StreamHalted(
                "EXPORT_STATE",
                f"{runner.log_prefix}: the export is in a state that the connector does not name; "
                "add it under `export`",
            )
        if loop.time() + rule.every.total_seconds() > deadline:
            raise RetryLater(
                "EXPORT_LATE",
                f"{runner.log_prefix}: the export was not ready within {rule.within}; "
                "raise `within`",
            )
        await asyncio.sleep(rule.every.total_seconds())
    expires = loop.time() + rule.expires.total_seconds() if rule.expires else None
    gathered = RequestResult("ok", DecodedReply([]), status.url)
    urls = _select_texts(runner, status, rule.files)
    for document in status.reading.documents:
        require_list(
            document.kind,
            rule.files,
            document.root,
            urls,
            where=f"{runner.log_prefix}: export.files",
            namespaces=runner.expressions.namespaces,
        )
    _require_all_addresses(rule, runner, status)
    for url in dict.fromkeys(urls):
        if expires is not None and loop.time() > expires:
            raise RetryLater(
                "EXPORT_EXPIRED",
                f"{runner.log_prefix}: the files of the export expired "
                "before the gateway downloaded all of them; the next poll starts another export",
            )
        file = await download(
            runner,
            join_link(status.url, url),
            chain,
            hosts=rule.hosts,
            line=connection_options.get("line"),
            base=connection_options.get("base"),
        )
        gathered.reading.documents.extend(file.reading.documents)
        gathered.digest += file.digest[:16]
    return gathered


def _require_all_addresses(rule: Export, runner: RequestRunner, status: RequestResult) -> None:
    """Raise ``EXPORT_FAILED`` when a listed file has no address: its records would be missing."""
    names = runner.expressions.namespaces
    for document in status.reading.documents:
        if count_missing_values(document.kind, rule.files, document.root, names):
            raise RetryLater(
                "EXPORT_FAILED",
                f"{runner.log_prefix}: the export lists a file without an address; "
                "compare `export.files` with the reply",
            )


def _kept_values(rule: Export, runner: RequestRunner, answered: RequestResult) -> dict[str, str]:
    kept = {}
    for name, expression in rule.keep.items():
        texts = _select_texts(runner, answered, expression)
        if not texts:
            raise RetryLater(
                "EXPORT_FAILED",
                f"{runner.log_prefix}: the reply that starts the export has no {name!r}; "
                "compare `export` with the reply",
            )
        kept[name] = texts[0]
    return kept


def _select_texts(runner: RequestRunner, answered: RequestResult, expression: str) -> list[str]:
    selected = (
        runner.expressions(document.kind, expression)(document.root, {})
        for document in answered.reading.documents
    )
    return [text for values in selected for value in values if (text := stripped_text(value))]
