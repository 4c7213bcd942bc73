"""Build the iterations of a stream's loops over institutions, data subjects or listed values."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from http.cookiejar import CookieJar
from itertools import islice
from typing import Any
from urllib.parse import quote

import structlog

from gateway.config.connector import Stream
from gateway.config.expressions.missing_values import count_missing_values
from gateway.config.second_lists import Institution, LoopConfig, LoopRequest
from gateway.errors import StreamHalted
from gateway.fetch.loop_progress import LoopProgress
from gateway.fetch.record_selector import stripped_text
from gateway.fetch.record_texts import is_storable
from gateway.fetch.registry_client import Connection, RegistryClient
from gateway.fetch.request_builder import SecretValue, TemplateFiller
from gateway.fetch.request_runner import RequestRunner
from gateway.fetch.second_list import SecondList, read_all_pages
from gateway.fetch.secrets import text_secret as secret_text
from gateway.records import INVALID_ID_PREFIX, MISSING_ID_PREFIX, RawRecord

log = structlog.get_logger()

UNREADABLE_ID = (MISSING_ID_PREFIX, INVALID_ID_PREFIX)
LoopValues = Mapping[str, Sequence[str]]
ReadStream = Callable[[str], Awaitable[list[RawRecord]]]
"""A function that reads another stream of the same connector, for its ids."""
OnUnproved = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class LoopIteration:
    """One combination of the values of all loops.

    Requests use ``values``, and records keep ``context``. ``base`` and ``connection`` replace the
    connector's own when an institution sets them.
    """

    values: Mapping[str, Any]
    context: Mapping[str, str]
    base: str | None = None
    connection: Connection | None = None
    separator: str = ","
    identities: tuple[str, ...] = ()
    """A text for each combination of values in this iteration; several for a batch."""

    @property
    def institution(self) -> str:
        """The party whose requests these are, or an empty text."""
        return self.connection.scope.institution if self.connection else ""

    @property
    def request_options(self) -> dict[str, Any]:
        """The address, credentials and separator of the requests of this iteration."""
        return {"base": self.base, "line": self.connection, "separator": self.separator}

    def options_of_record(self, client: RegistryClient, names: Sequence[str]) -> dict[str, Any]:
        """Return the options of a request for records alone, which fails independently."""
        connection = self.connection or client.line
        value = "\x1e".join((connection.scope.value, *names))
        scope = replace(connection.scope, value=value)
        return {**self.request_options, "line": replace(connection, scope=scope)}


async def loop_iterations(
    stream: Stream,
    runner: RequestRunner,
    client: RegistryClient,
    subjects: LoopValues | None,
    of_stream: ReadStream,
    is_new: Callable[[str], bool] | None = None,
    on_unproved: OnUnproved = lambda _missing: None,
    on_empty: Callable[[str], None] = lambda _: None,
) -> list[LoopIteration]:
    """Return the iterations of all loops; the outermost loop changes last.

    A stream without loops has one iteration. ``is_new`` tells which values were never read. A batch
    never mixes them with other values, because they start at other positions. ``on_unproved`` is
    called when a list of values is not complete: the registry refused it, or some of its items have
    no value. It receives their number. ``on_empty`` receives the name of a loop
    without any value; the stream then reads nothing.
    """
    iterations = [LoopIteration({}, {})]
    for name, each in stream.for_each.items():
        was_empty = not iterations
        iterations = [
            iteration
            for outer in iterations
            for iteration in await _Loop(
                name, each, runner, client, subjects or {}, of_stream, is_new, on_unproved
            ).iterations_within(outer)
        ]
        if not iterations and not was_empty:
            _no_values(name, runner.log_prefix)
            on_empty(name)
    return iterations


def institutions_of(stream: Stream) -> tuple[str, ...]:
    """Return the parties that the requests of a stream concern; an empty name means no party."""
    names = [name for loop in stream.for_each.values() for name in loop.in_.parties or ()]
    return tuple(names) or ("",)


def iterations_digest(
    iterations: Sequence[LoopIteration], progress: LoopProgress | None = None
) -> str:
    """Return a digest of the values of all iterations and their order.

    It is stored with the cursor. A value may name a person, so that ``progress`` supplies the key.
    """
    state = hashlib.blake2b(key=progress.secret if progress else b"")
    for iteration in iterations:
        state.update("\x1e".join(iteration.identities).encode() + b"\x1d")
    return state.hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class _Loop:
    name: str
    each: LoopConfig
    runner: RequestRunner
    client: RegistryClient
    subjects: LoopValues
    of_stream: ReadStream
    is_new: Callable[[str], bool] | None = None
    on_unproved: OnUnproved = lambda _missing: None

    async def iterations_within(self, outer: LoopIteration) -> list[LoopIteration]:
        """Return the iterations of this loop within one iteration of the outer loops."""
        name, each = self.name, self.each
        parties, given = each.in_.parties, self.subjects.get(name)
        if parties is not None and (given is None or parties.keys() >= set(given)):
            return [
                _institution_iteration(outer, name, party_name, party, self.client)
                for party_name, party in parties.items()
                if given is None or party_name in given
            ]
        iterations = []
        for batch in self._batches(await self._values(outer), outer):
            value: Any = batch if each.batch > 1 else batch[0]
            if each.in_.secret is not None:
                value = tuple(map(SecretValue, batch)) if each.batch > 1 else SecretValue(value)
            context = {**outer.context, name: each.separator.join(batch)}
            identities = tuple(_identity(outer, name, one) for one in batch)
            connection = outer.connection or self.client.line
            scope = replace(connection.scope, value="\x1e".join(identities))
            connection = replace(connection, scope=scope)
            if each.in_.secret or each.secrets:  # A session may belong to the person.
                connection = replace(connection, cookies=CookieJar())
            iterations.append(
                LoopIteration(
                    {**outer.values, name: value, **self._secrets_of(batch[0])},
                    context,
                    outer.base,
                    connection,
                    each.separator,
                    identities,
                )
            )
        return iterations

    def _secrets_of(self, value: str) -> dict[str, SecretValue | StreamHalted]:
        """Return the secrets of one value, or for a secret that is missing the error to raise."""
        found: dict[str, SecretValue | StreamHalted] = {}
        for placeholder, folder in self.each.secrets.items():
            try:
                name = f"{folder}/{file_name_of(value)}"
                found[placeholder] = SecretValue(secret_text(self.client.secrets, name))
            except StreamHalted as error:
                # The error names the value, which may be a person.
                found[placeholder] = StreamHalted(
                    error.reason,
                    f"{self.runner.log_prefix}: a value of the loop {self.name!r} has no readable "
                    f"secret in the folder {folder!r} of the secrets; write a file for each value "
                    "there, and name it as the value",
                )
        return found

    def _batches(self, values: Sequence[str], outer: LoopIteration) -> Iterator[tuple[str, ...]]:
        size, is_new = self.each.batch, self.is_new
        groups: list[Sequence[str]] = [values]
        if size > 1 and is_new is not None:
            fresh = [value for value in values if is_new(_identity(outer, self.name, value))]
            known = set(values) - set(fresh)
            groups = [[value for value in values if value in known], fresh]
        for group in groups:
            remaining = iter(group)
            while batch := tuple(islice(remaining, size)):
                yield batch

    async def _values(self, outer: LoopIteration) -> Sequence[str]:
        loop, runner = self.each.in_, self.runner
        if self.name in self.subjects:
            return self.subjects[self.name]
        if loop.values is not None:
            return loop.values
        if loop.secret is not None:
            lines = secret_text(self.client.secrets, loop.secret).splitlines()
            return [
                line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")
            ]
        if loop.table is not None:
            table = runner.connector.tables.get(loop.table)
            return tuple(map(str, getattr(table, "map", None) or ()))
        if loop.request is not None:
            return await self._requested_values(loop.request, outer)
        if loop.stream is None:
            raise AssertionError
        records = await self.of_stream(loop.stream)
        shared = [
            raw
            for raw in records
            if all(raw.context.get(name, value) == value for name, value in outer.context.items())
        ]
        names = list(dict.fromkeys(raw.native_id for raw in shared))
        values = [name for name in names if not name.startswith(UNREADABLE_ID)]
        self._note_missing(len(names) - len(values))
        return values

    async def _requested_values(self, rule: LoopRequest, outer: LoopIteration) -> list[str]:
        """Return the values that the registry lists, from all pages of the list."""
        runner = self.runner
        reply = await read_all_pages(
            SecondList(
                f"for_each {self.name!r}", rule.request, rule.paging, rule.total, (), rule.select
            ),
            runner,
            outer.values,
            outer.request_options,
        )
        if not reply.is_proved:
            self.on_unproved(0)
        self._note_missing(
            sum(
                count_missing_values(
                    listed.document.kind,
                    rule.select,
                    listed.document.root,
                    runner.expressions.namespaces,
                )
                for listed in reply.documents
            )
        )
        values = (value for listed in reply.documents for value in listed.nodes)
        texts = (stripped_text(value) for value in values if not isinstance(value, dict | list))
        listed_values = dict.fromkeys(text for text in texts if text)
        readable = list(filter(is_storable, listed_values))
        self._note_missing(len(listed_values) - len(readable))
        return readable

    def _note_missing(self, items: int) -> None:
        """Report the listed items without a value: what exists is then not completely known."""
        if items:
            log.warning(
                "loop values missing",
                stream=self.runner.log_prefix,
                loop=self.name,
                items=items,
                advice="listed items have no value, so the gateway deletes no missing records; "
                "compare the list with the source under for_each",
            )
            self.on_unproved(items)


def file_name_of(value: str) -> str:
    """Return the name of the file that holds the secret of a loop value.

    No value can leave its folder: signs other than letters, digits and ``- _ . ~`` are
    percent-encoded, and so is a dot at the beginning.
    """
    name = quote(value, safe="")
    return f"%2E{name[1:]}" if name.startswith(".") else name


def _no_values(name: str, where: str) -> None:
    """Report a loop without values: the stream then reads nothing, and deletes nothing."""
    log.warning(
        "loop has no value",
        stream=where,
        loop=name,
        advice="the stream reads nothing; check the source under for_each",
    )


def _institution_iteration(
    outer: LoopIteration, name: str, party_name: str, party: Institution, client: RegistryClient
) -> LoopIteration:
    filler = TemplateFiller(client.secrets)
    base = party.url.for_environment(client.stage) if party.url else outer.base
    if party.url and base is None:
        raise StreamHalted(
            "URL_MISSING",
            f"{client.connector}: {party_name} has no url for the stage {client.stage!r}; "
            "add it to the institution, or to the connector",
        )
    connection = client.institution_connection(party_name, party, base, outer.connection)
    variables = {key: filler.text(value, {}) for key, value in party.variables.items()}
    return LoopIteration(
        {**outer.values, name: party_name, **variables},
        {**outer.context, name: party_name},
        base,
        connection,
        outer.separator,
        (_identity(outer, name, party_name),),
    )


def _identity(outer: LoopIteration, name: str, value: str) -> str:
    """Return the text that identifies a value of a loop within its outer loops."""
    value = value.replace("\x1f", "\x1f\x1f")  # Other values then give another text.
    return "\x1f".join((*outer.identities, f"{name}={value}"))
