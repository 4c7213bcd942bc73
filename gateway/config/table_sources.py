"""Describe the sources of the mapping tables: who states a fact, where, and when it was read.

A file names its sources once, under ``sources``. Versions and rows refer to them by name. The kind
of its sources decides whether a row may issue a level or credits.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Annotated, Literal

from pydantic import BaseModel, Field, StringConstraints

from gateway.config.types import ConfigModel, Day, Name, OneOrMore
from gateway.config.yaml.document import YamlDocument
from gateway.errors import Finding

SourceKind = Literal["act", "authority", "eu", "other"]
"""The kind of a source.

- ``act``: a law, decree or official communique in a gazette.
- ``authority``: a ministry, agency, national coordination point, or an official report or site.
- ``eu``: the Commission, Cedefop, the Council, Europass or the EQF Advisory Group.
- ``other``: everything else, such as a copy, a wiki or common knowledge.
"""
SOURCE_KINDS: tuple[SourceKind, ...] = ("act", "authority", "eu", "other")
Fact = Literal["pairing", "levels", "dates", "unit", "scale", "fields", "institutions"]
"""A fact that a source can state. ``pairing`` ties a national level to its EQF level."""
Text = Annotated[str, StringConstraints(min_length=1)]


class Source(ConfigModel):
    """One source: a document that a person can read and check."""

    kind: SourceKind = Field(
        description="Whether it is an act, an authority's text, a text of the EU, or anything else"
    )
    title: Text = Field(description="Its title, as the publisher writes it")
    publisher: Text | None = Field(None, description="The body that publishes it")
    article: Text | None = Field(
        None, description="The article, section, annex or page that states the facts"
    )
    gazette: Text | None = Field(
        None, description="Gazette with number and day, an official number, an ELI or a DOI"
    )
    read: Day | None = Field(
        None, description="Day on which a person read it; left out when nobody read it"
    )
    address: Text | None = Field(None, description="Its official address on the web")
    note: str | None = Field(None, description="Where it was read, and what is still open")
    states: OneOrMore[Fact] = Field((), description="The facts that it really states")

    def is_official_for(self, fact: Fact) -> bool:
        """Return whether it is an official text that a person read, and that states the fact."""
        return self.kind != "other" and self.read is not None and fact in self.states

    @property
    def short_name(self) -> str:
        """The gazette of an act, or else the title: enough to find it, and short."""
        return (self.gazette if self.kind == "act" else None) or self.title

    @property
    def citation(self) -> str:
        """The title with its publisher, gazette and article."""
        where = ", ".join(filter(None, (self.title, self.publisher, self.gazette)))
        return f"{where}: {self.article}" if self.article else where


class Sourced(ConfigModel):
    """A version or a row that names its sources."""

    sources: OneOrMore[Name] = Field(
        (), description="Names of its sources, from the block `sources` of the file"
    )
    source: Text | None = Field(
        None, description="A source as free text; it counts as kind other. Use sources instead"
    )

    @property
    def names_a_source(self) -> bool:
        """Whether it names a source itself."""
        return bool(self.sources or self.source)


def resolve_sources(named: dict[str, Source], *owners: Sourced) -> tuple[Source, ...]:
    """Return the sources of the first owner that names any. A free text is a source of its own."""
    for owner in owners:
        if owner.names_a_source:
            found = [named[name] for name in owner.sources if name in named]
            if owner.source:
                found.append(Source(kind="other", title=owner.source))
            return tuple(found)
    return ()


def official_source(sources: Iterable[Source], fact: Fact) -> Source | None:
    """Return the strongest official source that states a fact, or ``None`` if there is none."""
    official = [source for source in sources if source.is_official_for(fact)]
    return min(official, key=lambda source: SOURCE_KINDS.index(source.kind), default=None)


def short_source(sources: Iterable[Source], fact: Fact) -> str:
    """Return the short name of the source that decides a fact, or else of the first source."""
    found = tuple(sources)
    source = official_source(found, fact) or next(iter(found), None)
    return source.short_name if source else ""


def best_kind(sources: Iterable[Source], fact: Fact) -> SourceKind:
    """Return the kind of the strongest source that may be used for a fact."""
    source = official_source(sources, fact)
    return source.kind if source else "other"


def walk_sourced(
    model: BaseModel, path: tuple[str | int, ...] = ()
) -> Iterator[tuple[tuple[str | int, ...], Sourced]]:
    """Yield each version and row below a model that may name sources, with its path."""
    if isinstance(model, Sourced):
        yield path, model
    for name in type(model).model_fields:
        value = getattr(model, name)
        items: Iterable[tuple[str | int, object]] = ()
        if isinstance(value, tuple):
            items = enumerate(value)
        elif isinstance(value, dict):
            items = value.items()
        for key, item in items:
            if not isinstance(item, BaseModel):
                break  # a sequence or a dictionary holds one kind of value
            yield from walk_sourced(item, (*path, name, key))


def check_source_names(
    model: BaseModel, named: dict[str, Source], document: YamlDocument
) -> Iterator[Finding]:
    """Yield a finding for each name of a source that the file does not have."""
    for place, owner in walk_sourced(model):
        for index, name in enumerate(owner.sources):
            if name not in named:
                known = ", ".join(list(named)[:20]) or "none"
                yield document.make_finding(
                    "source-unknown",
                    (*place, "sources", index),
                    f"the block sources has no source {name}; add it there, or write one of: "
                    f"{known}",
                )
