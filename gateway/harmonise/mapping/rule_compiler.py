"""Compile mapping rules to closures and shapes.

Inside a rule the order is fixed: ``from``, ``as``, ``table``, ``default``. A missing value is
``None`` and takes the default. Three rejections differ: several values for one field, a value that
no cast can convert, and a code that is in no table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from gateway.config.achievement import Achievement
from gateway.config.connector import payload_format
from gateway.config.expressions.compiler import (
    CompiledExpression,
    Evaluate,
    ExpressionError,
    compile_expression,
)
from gateway.config.expressions.conditions import compile_record_condition, words_at_a_key
from gateway.config.expressions.template import Template, parse_template
from gateway.config.rules import Languages, MappingRule, SplitDate
from gateway.config.target_fields import TargetField, UnknownTarget, find_target
from gateway.harmonise.mapping import combined_values, rule_functions
from gateway.harmonise.mapping.achievement import Judge, compile_achievement, judge_all
from gateway.harmonise.mapping.code_lookup import (
    ConnectorTableLookup,
    CrosswalkLookup,
    MappingTableLookup,
    reference_date_paths,
)
from gateway.harmonise.mapping.constants import compile_constant
from gateway.harmonise.mapping.conversion import build_conversion, compile_casts
from gateway.harmonise.mapping.language_maps import language_map
from gateway.harmonise.mapping.record_country import (
    FIELD,
    CountryFinder,
    compile_record_country,
)
from gateway.harmonise.mapping.rule_context import (
    RuleContext,
    RuleProblem,
    expected_rule_form,
    inherit_options,
    unknown_variables,
)
from gateway.harmonise.mapping.rule_functions import (
    CompiledRule,
    Constant,
    Conversion,
    FieldRule,
    StatefulConvert,
    ValueObserver,
    no_value,
    observed_by,
)
from gateway.harmonise.mapping.target_names import normalise_last_name
from gateway.harmonise.part_ids import ORDINAL
from gateway.harmonise.pseudonyms import pseudonymiser
from gateway.harmonise.values import casts
from gateway.harmonise.values import text as scalars
from gateway.harmonise.values.text import CastError
from gateway.records import CredentialPart


class RuleCompiler:
    """Turns the rules of one stream into steps; mistakes end in ``problems``."""

    def __init__(self, around: RuleContext, watch: ValueObserver | None = None) -> None:
        self.around = around
        self.on_value = watch
        self.kind = payload_format(around.connector, around.stream)
        self.namespaces = around.connector.protocol.namespaces
        self.nulls = around.nulls
        self.zone = around.stream.zone
        self.problems: list[RuleProblem] = []
        self.reads: set[str] = set()
        self.variables: set[str] = set()
        self.protected = False
        self.record_type: type[Any] = object
        """The type of the record, or of the item inside it, whose rules are being compiled."""

    def steps(
        self, rules: Mapping[str, MappingRule], record_type: type[Any], place: tuple[str | int, ...]
    ) -> list[FieldRule]:
        """Compile a ``map``. Steps that read other targets come last."""
        made: list[FieldRule] = []
        for name, rule in rules.items():
            here = (*place, name)
            try:
                target = find_target(record_type, name)
            except UnknownTarget as error:
                self._problem("unknown-field", here, str(error))
                continue
            if target.derived:
                self._problem(
                    "derived-field",
                    here,
                    f"the gateway itself fills '{name}'; map what it is derived from",
                )
                continue
            target, code, message = normalise_last_name(target, record_type)
            if message:
                self._problem(code, here, message, blocks=False)
            self._check_privacy(target, rule, here)
            self.protected, self.record_type = (
                target.personal or bool(rule.pseudonym or rule.basis),
                record_type,
            )
            shape = self._rule(rule, target, here)
            late = rule.table is not None and rule.table not in self.around.connector.tables
            made.append(FieldRule(target.path[:-1], target.path[-1], shape, late))
            if rule.framework is not None:
                made.append(
                    FieldRule((), "nqf_framework", rule_functions.framework(rule.framework), late)
                )
        return sorted(made, key=lambda step: step.reads_other_targets)

    def _problem(
        self,
        code: str,
        place: tuple[str | int, ...],
        message: str,
        column: int = 0,
        *,
        blocks: bool = True,
    ) -> None:
        self.problems.append(RuleProblem(code, place, message, column, blocks))

    def _check_privacy(
        self, target: TargetField, rule: MappingRule, place: tuple[str | int, ...]
    ) -> None:
        name = ".".join(target.path)
        alternatives = rule.first_of or ()
        protected = (
            rule.pseudonym
            or rule.basis
            or (alternatives and all(inner.pseudonym or inner.basis for inner in alternatives))
        )
        if (
            target.personal
            and not protected
            and rule.const is None
            and target.value_type not in {"struct", "structs"}
        ):
            word = (
                "pseudonym: KIND" if target.path[-1] == "pseudonym" else "basis: WHY IT MAY LEAVE"
            )
            self._problem(
                "personal-field",
                place,
                f"'{name}' is personal; add {word} to the rule, or leave it out",
            )
        if target.path[-1] == "pseudonym" and rule.basis:
            self._problem(
                "personal-field",
                place,
                f"'{name}' carries a pseudonym; write pseudonym: KIND instead of basis",
            )
        if target.path[-1] == "esi" and rule.pseudonym:
            message = f"'{name}' is an identifier that others know; write basis: WHY IT MAY LEAVE"
            self._problem("personal-field", place, f"{message} instead")

    def _rule(
        self, rule: MappingRule, target: TargetField, place: tuple[str | int, ...]
    ) -> CompiledRule:
        shape = self._compile_source(rule, target, place)
        if rule.when is not None:
            shape = self._compile_condition(rule, shape, (*place, "when"))
        if rule.default is not None:
            default = self._constant(rule.default, target, (*place, "default"))
            shape = (
                rule_functions.with_default(shape, default.value)
                if isinstance(default, Constant)
                else rule_functions.first_of([shape, default])
            )
        return shape

    def _compile_source(
        self, rule: MappingRule, target: TargetField, place: tuple[str | int, ...]
    ) -> CompiledRule:
        name = ".".join(target.path)
        if rule.const is not None:
            return self._constant(rule.const, target, (*place, "const"))
        if rule.ordinal is not None:
            if self.record_type is not CredentialPart or name != "id":
                message = "ordinal numbers the parts of a credential; write it for their id alone"
                self._problem("wrong-rule", (*place, "ordinal"), message)
            return rule_functions.constant(ORDINAL)
        if rule.first_of is not None:
            return rule_functions.first_of(
                [
                    self._rule(inherit_options(inner, rule), target, (*place, "first_of", index))
                    for index, inner in enumerate(rule.first_of)
                ]
            )
        if rule.each is not None:
            return self._compile_list(rule, target, place)
        if target.value_type in {"struct", "structs", "dictionary"}:
            self._problem("wrong-rule", place, expected_rule_form(target))
            return CompiledRule(no_value)
        if rule.languages is not None:
            if target.value_type != "languages":
                self._problem(
                    "wrong-rule", place, f"'{name}' is one text, not one a language; use from"
                )
            return self._compile_languages(rule, rule.languages, name, (*place, "languages"))
        if target.value_type == "languages":
            self._problem(
                "language-needed",
                place,
                f"'{name}' is a text a language; write {name}.en: EXPR or {{languages: …}}",
            )
            return CompiledRule(no_value)
        return self._compile_value(rule, target, place)

    def _compile_value(
        self, rule: MappingRule, target: TargetField, place: tuple[str | int, ...]
    ) -> CompiledRule:
        name = ".".join(target.path)
        convert = self._compile_conversion(rule, target, place, name)
        if rule.join is not None:
            return self._compile_join(rule, convert, place)
        if (split := rule.split_date) is not None:
            return self._compile_split_date(rule, split, name, place)
        select = self._select(
            rule.from_ or ".", (*place, "from") if isinstance(rule.from_, str) else place
        )
        if target.value_type in {"texts", "integers"}:
            return rule_functions.many_values(select, convert, self.nulls)
        return rule_functions.single_value(select, convert, self.nulls, target, rule.pick)

    def _expression(self, text: str, place: tuple[str | int, ...]) -> Evaluate:
        return self._select(text, place).run

    def _select(self, text: str, place: tuple[str | int, ...]) -> CompiledExpression:
        try:
            select = compile_expression(self.kind, text, self.namespaces)
        except ExpressionError as error:
            self._problem(error.code, place, str(error), error.column)
            return CompiledExpression(
                text, self.kind, lambda _node, _context: [], is_direct_path=False
            )
        self.reads |= select.first_names
        self.variables |= select.variables
        for message in unknown_variables(self.around.stream, select.variables):
            self._problem("unknown-name", place, message)
        if self.on_value is not None:
            return replace(
                select,
                run=observed_by(select.run, self.on_value, protected=self.protected),
                direct_path=None,
            )
        return select

    def _compile_conversion(
        self, rule: MappingRule, target: TargetField, place: tuple[str | int, ...], name: str
    ) -> Conversion:
        """Return ``as``, ``table`` and the type of the target as one conversion."""
        try:
            cast = compile_casts(rule, target, self.zone)
        except Exception:  # noqa: BLE001 - a pattern that is no regular expression, a period without a day
            self._problem(
                "bad-cast",
                (*place, "as"),
                "this conversion cannot be used; check its pattern or its words",
            )
            return Conversion(lambda value, _state: value)
        return build_conversion(
            target,
            self.zone,
            cast=cast,
            lookup=self._lookup(rule, place, name) if rule.table is not None else None,
            pseudonymise=pseudonymiser(
                self.around.key, self.around.connector.country[:2], rule.pseudonym
            )
            if rule.pseudonym
            else None,
            invalid=rule.invalid if "invalid" in rule.model_fields_set else None,
            personal=self.protected,
        )

    def _constant(
        self, value: Any, target: TargetField, place: tuple[str | int, ...]
    ) -> CompiledRule:
        return compile_constant(value, target, self.zone, place, self._problem)

    def _compile_condition(
        self, rule: MappingRule, shape: CompiledRule, place: tuple[str | int, ...]
    ) -> CompiledRule:
        condition = rule.when
        if condition is None or condition.path is None:
            self._problem("wrong-rule", place, "a rule looks at its record: give path")
            return shape
        self._expression(condition.path, (*place, "path"))
        try:
            fits = compile_record_condition(condition, self.kind, self.namespaces)
            words = words_at_a_key(condition, self.kind, self.namespaces)
        except ExpressionError:
            return shape
        return rule_functions.conditional(shape, fits, words)

    def _lookup(
        self, rule: MappingRule, place: tuple[str | int, ...], name: str
    ) -> StatefulConvert:
        table = str(rule.table)
        connector = self.around.connector
        self._check_date_target(rule, place)
        if table in connector.tables:
            return ConnectorTableLookup(
                connector.tables[table], table, name, connector.connector, connector.digest
            )
        tables, country = self.around.tables, connector.country
        several = self.around.stream.record_country is not None
        if tables is not None and (
            tables.has_crosswalk(table) if several else tables.crosswalk(country, table)
        ):
            return CrosswalkLookup(tables, country, table, name, rule.at)
        remote = MappingTableLookup(
            tables, "" if several else country, table, name, reference_date_paths(rule.at)
        )
        if not remote.exists:
            file = "any file of mappings/" if several else f"mappings/{country.lower()}.yaml"
            message = f"'{table}' is neither under tables nor in {file}; add it"
            self._problem("unknown-table", (*place, "table"), message)
        return remote

    def _check_date_target(self, rule: MappingRule, place: tuple[str | int, ...]) -> None:
        """Check that ``at`` names a date field."""
        if rule.at is None:
            return
        at = (*place, "at")
        try:
            if find_target(self.record_type, rule.at).value_type not in {"date", "datetime"}:
                message = f"'{rule.at}' is no day; name a target that is a date"
                self._problem("wrong-rule", at, message)
            elif rule.table in self.around.connector.tables:
                message = "a table of this file is the same on every day; leave at out"
                self._problem("wrong-rule", at, message)
        except UnknownTarget as error:
            self._problem("unknown-field", at, str(error))

    def _compile_join(
        self, rule: MappingRule, conversion: Conversion, place: tuple[str | int, ...]
    ) -> CompiledRule:
        parts = rule.join
        if not isinstance(parts, dict):
            return combined_values.joined_text(
                [
                    self._expression(text, (*place, "join", index))
                    for index, text in enumerate(parts or ())
                ],
                conversion,
                self.nulls,
                rule.with_,
            )
        evaluators = {
            name: self._expression(text, (*place, "join", name)) for name, text in parts.items()
        }
        template: Template | None = parse_template(rule.text) if rule.text is not None else None
        for name in (template.names if template else frozenset()) - set(evaluators):
            self._problem(
                "unknown-name",
                (*place, "text"),
                f"{{{name}}} is not under join; it has {', '.join(evaluators)}",
            )
        return combined_values.templated_text(
            evaluators, template, conversion, self.nulls, rule.with_
        )

    def _compile_split_date(
        self, rule: MappingRule, split: SplitDate, name: str, place: tuple[str | int, ...]
    ) -> CompiledRule:
        inside = self._expression(rule.from_, (*place, "from")) if rule.from_ else None
        evaluators = [
            self._expression(text, (*place, "as", "split", key)) if text else None
            for key, text in (("year", split.year), ("month", split.month), ("day", split.day))
        ]
        return combined_values.split_date(inside, evaluators, self.nulls, name)

    def _compile_list(
        self, rule: MappingRule, target: TargetField, place: tuple[str | int, ...]
    ) -> CompiledRule:
        if target.value_type != "structs" or target.struct is None:
            self._problem(
                "wrong-rule",
                place,
                f"'{'.'.join(target.path)}' is not a list of items; each and map do not fit",
            )
            return CompiledRule(no_value)
        if rule.achieved and target.path != ("parts",):
            message = "only parts of a credential are achieved or not; leave achieved out"
            self._problem("wrong-rule", (*place, "achieved"), message)
        select = self._select(rule.each or ".", (*place, "each"))
        return rule_functions.item_list(
            select,
            self.steps(rule.map or {}, target.struct, (*place, "map")),
            target.path[-1],
            self.achievement(rule.achieved, (*place, "achieved")),
        )

    def achievement(
        self, rules: Sequence[Achievement], place: tuple[str | int, ...]
    ) -> Judge | None:
        """Compile ``achieved``. The result is ``None`` if every record is an award."""
        self.protected = False
        judges = []
        for index, rule in enumerate(rules):
            if rule.path is not None:
                inner = () if len(rules) == 1 else (index,)
                select = self._expression(rule.path, (*place, *inner, "path"))
                judges.append(compile_achievement(rule, select, self.nulls))
        return judge_all(judges)

    def record_country(self) -> CountryFinder | None:
        """Compile ``record_country``. The result is ``None`` if the stream has one country."""
        text = self.around.stream.record_country
        if text is None:
            return None
        self.protected = False
        return compile_record_country(
            self._expression(text, (FIELD,)), self.nulls, self.around.tables
        )

    def _compile_languages(
        self, rule: MappingRule, languages: Languages, name: str, place: tuple[str | int, ...]
    ) -> CompiledRule:
        convert = (
            casts.compile_casts(rule.as_, self.zone) if rule.as_ is not None else scalars.clean_text
        )
        said: dict[tuple[str, ...], str] = {("fields", tag): tag for tag in languages.fields}
        if languages.otherwise not in {None, "und"}:  # BCP 47 has a tag for what nobody knows
            said["otherwise",] = str(languages.otherwise)
        for where, tag in said.items():
            try:
                casts.language(tag)
            except CastError as error:
                self._problem("bad-language", (*place, *where), f"'{tag}' is not {error.expected}")
        return language_map(
            languages,
            convert,
            self.nulls,
            name,
            rule.pick,
            lambda text, key: self._select(text, (*place, key)),
        )
