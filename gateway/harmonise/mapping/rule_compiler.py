"""Rules to closures and shapes, once; then a record at a time from payload to plain typed values.

Inside a rule the order is fixed: from → as → table → default. Nothing found is ``None`` and takes the default; several values
where one is meant, a value that cannot be read, and a code that is in no table are three different refusals.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from gateway.config.connector import Connector, Stream, payload_kind
from gateway.config.expressions.compiler import Context, ExpressionError, Run, Select, compile_expression
from gateway.config.expressions.conditions import record_test
from gateway.config.expressions.template import Template, parse
from gateway.config.rules import Languages, Rule, Split
from gateway.config.target_fields import Target, UnknownTarget, target
from gateway.harmonise.mapping import rule_functions
from gateway.harmonise.mapping.code_lookup import LocalLookup, RemoteLookup, date_paths
from gateway.harmonise.mapping.conversion import compile_cast, conversion, finish
from gateway.harmonise.mapping.language_maps import language_map
from gateway.harmonise.mapping.rule_functions import Conversion, Refused, Shape, State, Step, Tabled, Watch, nothing, texts, watched
from gateway.harmonise.pseudonyms import pseudonymiser
from gateway.harmonise.tables.compiled_tables import Tables
from gateway.harmonise.values import casts, dates
from gateway.harmonise.values import text as scalars
from gateway.harmonise.values.text import CastError


@dataclass(frozen=True, slots=True)
class Problem:
    """A mistake in a rule, found while compiling. ``place`` is relative to the stream."""

    code: str
    place: tuple[str | int, ...]
    message: str
    column: int = 0


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the rules of one stream have in common."""

    connector: Connector
    stream: Stream
    tables: Tables | None
    key: bytes

    @property
    def title(self) -> str:
        """Connector and stream."""
        return f"{self.connector.connector}.{next(name for name, stream in self.connector.streams.items() if stream is self.stream)}"

    @property
    def nulls(self) -> frozenset[str]:
        """Texts that mean nothing is known."""
        return frozenset({"", *(text.strip() for text in self.stream.null_values)})


class Compiler:
    """Turns the rules of one stream into steps; mistakes end in ``problems``."""

    def __init__(self, around: Surroundings, watch: Watch | None = None) -> None:
        self.around = around
        self.watch = watch
        self.kind = payload_kind(around.connector, around.stream)
        self.namespaces = around.connector.protocol.namespaces
        self.nulls = around.nulls
        self.zone = around.stream.zone
        self.problems: list[Problem] = []
        self.reads: set[str] = set()
        self.variables: set[str] = set()
        self.protected = False
        self.owner: type[Any] = object
        """The type of the record, or of the item inside it, whose rules are being compiled."""

    def steps(self, rules: Mapping[str, Rule], owner: type[Any], place: tuple[str | int, ...]) -> list[Step]:
        """Compile a ``map``. Steps that read other targets come last."""
        made: list[Step] = []
        for name, rule in rules.items():
            here = (*place, name)
            try:
                found = target(owner, name)
            except UnknownTarget as error:
                self._problem("unknown-field", here, str(error))
                continue
            if found.derived:
                self._problem("derived-field", here, f"the gateway itself fills '{name}'; map what it is derived from")
                continue
            self._privacy(found, rule, here)
            self.protected, self.owner = found.personal or bool(rule.pseudonym or rule.basis), owner
            shape = self._rule(rule, found, here)
            late = rule.table is not None and rule.table not in self.around.connector.tables
            made.append(Step(found.path[:-1], found.path[-1], shape, late))
            if rule.framework is not None:
                made.append(Step((), "nqf_framework", rule_functions.framework(rule.framework), late))
        return sorted(made, key=lambda step: step.late)

    def _problem(self, code: str, place: tuple[str | int, ...], message: str, column: int = 0) -> None:
        self.problems.append(Problem(code, place, message, column))

    def _privacy(self, found: Target, rule: Rule, place: tuple[str | int, ...]) -> None:
        name = ".".join(found.path)
        alternatives = rule.first_of or ()
        protected = rule.pseudonym or rule.basis or (alternatives and all(inner.pseudonym or inner.basis for inner in alternatives))
        if found.personal and not protected and rule.const is None and found.sort not in {"struct", "structs"}:
            word = "pseudonym: KIND" if found.path[-1] == "pseudonym" else "basis: WHY IT MAY LEAVE"
            self._problem("personal-field", place, f"'{name}' is personal; add {word} to the rule, or leave it out")
        if found.path[-1] == "pseudonym" and rule.basis:
            self._problem("personal-field", place, f"'{name}' carries a pseudonym; write pseudonym: KIND instead of basis")
        if found.path[-1] == "esi" and rule.pseudonym:
            self._problem("personal-field", place, f"'{name}' is an identifier that others know; write basis: WHY IT MAY LEAVE instead")

    # one rule -----------------------------------------------------------------------------------------------------

    def _rule(self, rule: Rule, found: Target, place: tuple[str | int, ...]) -> Shape:
        shape = self._source(rule, found, place)
        if rule.when is not None:
            shape = self._guarded(rule, shape, (*place, "when"))
        if rule.default is not None:
            shape = rule_functions.defaulted(shape, self._literal(rule.default, found, (*place, "default")))
        return shape

    def _source(self, rule: Rule, found: Target, place: tuple[str | int, ...]) -> Shape:
        name = ".".join(found.path)
        if rule.const is not None:
            return rule_functions.constant(self._literal(rule.const, found, (*place, "const")))
        if rule.first_of is not None:
            return rule_functions.first(
                [self._rule(_inherit(inner, rule), found, (*place, "first_of", index)) for index, inner in enumerate(rule.first_of)]
            )
        if rule.each is not None:
            return self._list(rule, found, place)
        if found.sort in {"struct", "structs", "dictionary"}:
            self._problem("wrong-rule", place, _needs(found))
            return Shape(nothing)
        if rule.languages is not None:
            if found.sort != "languages":
                self._problem("wrong-rule", place, f"'{name}' is one text, not one a language; use from")
            return self._languages(rule, rule.languages, name, (*place, "languages"))
        if found.sort == "languages":
            self._problem("language-needed", place, f"'{name}' is a text a language; write {name}.en: EXPR or {{languages: …}}")
            return Shape(nothing)
        return self._value(rule, found, place)

    def _value(self, rule: Rule, found: Target, place: tuple[str | int, ...]) -> Shape:
        name = ".".join(found.path)
        convert = self._convert(rule, found, place, name)
        if rule.join is not None:
            return self._joined(rule, convert, place)
        if rule.as_ is not None and rule.as_.split is not None:
            return self._split(rule, rule.as_.split, name, place)
        select = self._select(rule.from_ or ".", (*place, "from") if isinstance(rule.from_, str) else place)
        if found.sort in {"texts", "integers"}:
            return rule_functions.many(select, convert, self.nulls)
        return rule_functions.single(select, convert, self.nulls, name, rule.pick)

    def _expression(self, text: str, place: tuple[str | int, ...]) -> Run:
        return self._select(text, place).run

    def _select(self, text: str, place: tuple[str | int, ...]) -> Select:
        try:
            select = compile_expression(self.kind, text, self.namespaces)
        except ExpressionError as error:
            self._problem(error.code, place, str(error), error.column)
            return Select(text, self.kind, lambda _node, _context: [], plain=False)
        self.reads |= select.reads
        self.variables |= select.variables
        for variable in select.variables - set(self.around.stream.keep) - set(self.around.stream.for_each) - _PROVIDED:
            known = ", ".join(f"${known}" for known in sorted({*self.around.stream.keep, *self.around.stream.for_each, *_PROVIDED}))
            self._problem("unknown-name", place, f"${variable} is kept nowhere; add it under keep (known: {known})")
        if self.watch is not None:
            return replace(select, run=watched(select.run, self.watch, protected=self.protected), route=None)
        return select

    def _convert(self, rule: Rule, found: Target, place: tuple[str | int, ...], name: str) -> Conversion:
        """Return ``as`` and ``table`` and the target's own type as one function of value and state."""
        try:
            cast = compile_cast(rule.as_, self.zone)
        except Exception:  # noqa: BLE001 - a pattern that is no regular expression, a period without a day
            self._problem("bad-cast", (*place, "as"), "this conversion cannot be used; check its pattern or its words")
            return Conversion(lambda value, _state: value)
        return conversion(
            found,
            self.zone,
            cast=cast,
            lookup=self._lookup(rule, place, name) if rule.table is not None else None,
            secret=pseudonymiser(self.around.key, self.around.connector.country[:2], rule.pseudonym) if rule.pseudonym else None,
            drop=rule.invalid == "drop",
            personal=self.protected,
        )

    def _literal(self, value: Any, found: Target, place: tuple[str | int, ...]) -> Any:
        try:
            if found.sort in {"texts", "integers"}:
                return tuple(map(finish(found, self.zone), value if isinstance(value, tuple | list) else (value,)))
            if found.sort == "languages" and isinstance(value, dict):
                return {str(tag): scalars.text(text) for tag, text in value.items()}
            if found.sort in {"struct", "structs", "dictionary", "languages"}:
                self._problem("wrong-rule", place, _needs(found))
                return None
            return finish(found, self.zone)(value)
        except CastError as error:
            self._problem("wrong-type", place, f"'{'.'.join(found.path)}' expects {error.expected}")
            return None

    def _guarded(self, rule: Rule, shape: Shape, place: tuple[str | int, ...]) -> Shape:
        condition = rule.when
        if condition is None or condition.path is None:
            self._problem("wrong-rule", place, "a rule looks at its record: give path")
            return shape
        self._expression(condition.path, (*place, "path"))
        try:
            fits = record_test(condition, self.kind, self.namespaces)
        except ExpressionError:
            return shape
        return rule_functions.guarded(shape, fits)

    def _lookup(self, rule: Rule, place: tuple[str | int, ...], name: str) -> Tabled:
        table = str(rule.table)
        connector = self.around.connector
        self._dated(rule, place)
        if table in connector.tables:
            return LocalLookup(connector.tables[table], table, name, connector.connector, connector.digest)
        remote = RemoteLookup(self.around.tables, connector.country, table, name, date_paths(rule.at))
        if not remote.known:
            self._problem(
                "unknown-table",
                (*place, "table"),
                f"'{table}' is neither under tables nor in mappings/{connector.country.lower()}.yaml; add it",
            )
        return remote

    def _dated(self, rule: Rule, place: tuple[str | int, ...]) -> None:
        """See whether ``at`` names a day that the table can be read at."""
        if rule.at is None:
            return
        try:
            if target(self.owner, rule.at).sort not in {"date", "datetime"}:
                self._problem("wrong-rule", (*place, "at"), f"'{rule.at}' is no day; name a target that is a date")
            elif rule.table in self.around.connector.tables:
                self._problem("wrong-rule", (*place, "at"), "a table of this file is the same on every day; leave at out")
        except UnknownTarget as error:
            self._problem("unknown-field", (*place, "at"), str(error))

    def _joined(self, rule: Rule, conversion: Conversion, place: tuple[str | int, ...]) -> Shape:
        parts, convert = rule.join, conversion.of
        nulls = self.nulls
        if isinstance(parts, dict):
            runs = {name: self._expression(text, (*place, "join", name)) for name, text in parts.items()}
            shape: Template | None = parse(rule.text) if rule.text is not None else None
            for name in (shape.names if shape else frozenset()) - set(runs):
                self._problem("unknown-name", (*place, "text"), f"{{{name}}} is not under join; it has {', '.join(runs)}")

            def templated(node: Any, context: Context, state: State) -> Any:
                made = {name: listed[0] for name, run in runs.items() if (listed := texts(run(node, context), nulls))}
                if shape is None:
                    return convert(rule.with_.join(made.values()), state) if made else None
                return convert(shape.fill(made), state) if shape.names <= set(made) else None

            return Shape(templated)
        listed = [self._expression(text, (*place, "join", index)) for index, text in enumerate(parts or ())]

        def joined(node: Any, context: Context, state: State) -> Any:
            made = [text for run in listed for text in texts(run(node, context), nulls)]
            return convert(rule.with_.join(made), state) if made else None

        return Shape(joined)

    def _split(self, rule: Rule, split: Split, name: str, place: tuple[str | int, ...]) -> Shape:
        inside = self._expression(rule.from_, (*place, "from")) if rule.from_ else None
        runs = [
            self._expression(text, (*place, "as", "split", key)) if text else None
            for key, text in (("year", split.year), ("month", split.month), ("day", split.day))
        ]
        nulls = self.nulls

        def run(node: Any, context: Context, _state: State) -> Any:
            if inside is not None:
                found = inside(node, context)
                if not found:
                    return None
                node = found[0]
            dated = [texts(part(node, context), nulls) if part else [] for part in runs]
            if not dated[0]:
                return None
            try:
                return dates.whole_date(*(text[0] if text else "" for text in dated))
            except CastError as error:
                raise Refused("map", name, error.reason, f"expected {error.expected}") from None

        return Shape(run)

    def _list(self, rule: Rule, found: Target, place: tuple[str | int, ...]) -> Shape:
        if found.sort != "structs" or found.struct is None:
            self._problem("wrong-rule", place, f"'{'.'.join(found.path)}' is not a list of items; each and map do not fit")
            return Shape(nothing)
        select = self._select(rule.each or ".", (*place, "each"))
        return rule_functions.items(select, self.steps(rule.map or {}, found.struct, (*place, "map")), found.path[-1])

    def _languages(self, rule: Rule, languages: Languages, name: str, place: tuple[str | int, ...]) -> Shape:
        convert = casts.compile_cast(rule.as_, self.zone) if rule.as_ is not None else scalars.clean
        said: dict[tuple[str, ...], str] = {("fields", tag): tag for tag in languages.fields}
        if languages.otherwise not in {None, "und"}:  # BCP 47 has a tag for what nobody knows
            said["otherwise",] = str(languages.otherwise)
        for where, tag in said.items():
            try:
                casts.language(tag)
            except CastError as error:
                self._problem("bad-language", (*place, *where), f"'{tag}' is not {error.expected}")
        return language_map(languages, convert, self.nulls, name, rule.pick, lambda text, key: self._select(text, (*place, key)))


_PROVIDED = frozenset({"parent", "native_id", "kind", "version", "signed_original", "file"})


def _needs(found: Target) -> str:
    name = ".".join(found.path)
    return {
        "struct": f"'{name}' has parts; write {name}.PART: EXPR, one line a part",
        "structs": f"'{name}' is a list of items; write {{each: EXPR, map: {{…}}}}",
        "dictionary": f"'{name}' has named entries; write {name}.NAME: EXPR",
        "languages": f"'{name}' is a text a language; write {name}.en: or {{languages: …}}",
    }.get(found.sort, f"'{name}' cannot be filled so")


def _inherit(inner: Rule, outer: Rule) -> Rule:
    """Let a rule inside ``first_of`` keep the outer conversion, table and protection where it says nothing of its own."""
    changes = {
        name: getattr(outer, name)
        for name in ("as_", "table", "at", "pseudonym", "basis")
        if getattr(inner, name) is None and getattr(outer, name)
    }
    if inner.const is not None:
        changes = {name: value for name, value in changes.items() if name in {"pseudonym", "basis"}}
    return inner.model_copy(update=changes) if changes else inner
