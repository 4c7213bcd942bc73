"""Outer loops: institutions, subjects in batches, lists a registry gives."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from gateway.config.connector import Push, Stream
from gateway.config.requests import Each, Party
from gateway.errors import Halt
from gateway.fetch.record_selector import text_of
from gateway.fetch.registry_client import Client, Line
from gateway.fetch.request_builder import Filler
from gateway.fetch.request_runner import Dialogue
from gateway.fetch.secrets import text as secret_text
from gateway.records import Raw

Subjects = Mapping[str, Sequence[str]]
OfStream = Callable[[str], Awaitable[list[Raw]]]
"""Read another stream of the same connector, for its ids."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One combination of the loops' values: what requests see, what records keep, and whom to ask."""

    values: Mapping[str, Any]
    context: Mapping[str, str]
    base: str | None = None
    line: Line | None = None
    separator: str = ","


async def turns(stream: Stream, dialogue: Dialogue, client: Client, subjects: Subjects | None, of_stream: OfStream) -> list[Turn]:
    """Return the combinations in order, outermost loop first; a stream without loops has one."""
    made = [Turn({}, {})]
    for name, each in stream.for_each.items():
        made = [turn for outer in made for turn in await _Loop(name, each, dialogue, client, subjects or {}, of_stream).inside(outer)]
    return made


@dataclass(frozen=True, slots=True)
class _Loop:
    name: str
    each: Each
    dialogue: Dialogue
    client: Client
    subjects: Subjects
    of_stream: OfStream

    async def inside(self, outer: Turn) -> list[Turn]:
        """Return the turns of this loop inside one turn of the loops around it."""
        name, each = self.name, self.each
        if each.in_.parties is not None and name not in self.subjects:
            return [_party(outer, name, party_name, party, self.client) for party_name, party in each.in_.parties.items()]
        values, made = iter(await self._values(outer)), []
        while batch := tuple(islice(values, each.batch)):
            value: Any = batch if each.batch > 1 else batch[0]
            context = {**outer.context, name: each.separator.join(batch)}
            made.append(Turn({**outer.values, name: value}, context, outer.base, outer.line, each.separator))
        return made

    async def _values(self, outer: Turn) -> Sequence[str]:
        loop, dialogue = self.each.in_, self.dialogue
        if self.name in self.subjects:
            return self.subjects[self.name]
        if loop.values is not None:
            return loop.values
        if loop.secret is not None:
            lines = secret_text(self.client.secrets, loop.secret).splitlines()
            return [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
        if loop.table is not None:
            table = dialogue.connector.tables.get(loop.table)
            return tuple(map(str, getattr(table, "map", None) or ()))
        if loop.request is not None:
            answered = await dialogue.ask(loop.request.request, outer.values, base=outer.base, line=outer.line)
            select, documents = loop.request.select, answered.reading.documents
            looked = (dialogue.expressions(document.kind, select)(document.root, {}) for document in documents)
            return list(dict.fromkeys(text for found in looked for value in found if (text := text_of(value))))
        if loop.stream is None:
            raise AssertionError
        seen = await self.of_stream(loop.stream)
        shared = [raw for raw in seen if all(raw.context.get(name, value) == value for name, value in outer.context.items())]
        return list(dict.fromkeys(raw.native_id for raw in shared))


def _party(outer: Turn, name: str, party_name: str, party: Party, client: Client) -> Turn:
    filler = Filler(client.secrets)
    block = client.block
    base = party.url.at(client.stage) if party.url else outer.base
    if party.url and base is None:
        raise Halt("URL_MISSING", f"{client.connector}: {party_name} has no url for the stage {client.stage!r}")
    if base is not None:
        client.allow(base)
    line = outer.line
    if (party.auth or party.tls) and not isinstance(block, Push):
        line = client.party_line(party_name, party.auth or block.auth, party.tls or block.tls)
    variables = {key: filler.text(value, {}) for key, value in party.variables.items()}
    return Turn({**outer.values, name: party_name, **variables}, {**outer.context, name: party_name}, base, line, outer.separator)
