"""Generate the function of the fast path for one kind of record.

The function maps the fields that each record has for itself with the code of
:mod:`gateway.harmonise.mapping.code_generator`. For the other fields it reads only what is in
the record, and looks up the parts of the document that were made for the same values before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from gateway.harmonise.mapping.code_scope import Scope
from gateway.harmonise.mapping.generated_code_runtime import compile_source
from gateway.harmonise.mapping.rule_functions import (
    CompiledRule,
    Constant,
    FieldRule,
    ImpliedFramework,
    ItemList,
    SingleValue,
    nested_rules,
)
from gateway.harmonise.mapping.rule_shapes import describe_source, is_shared
from gateway.pipeline.fast_path.key_writer import KeyWriter
from gateway.pipeline.fast_path.memory import Memory, NotFastError
from gateway.pipeline.fast_path.plan import (
    AWARD_DAYS,
    STATUS_DAYS,
    Check,
    Fact,
    Group,
    Part,
    Plan,
    Presence,
    Remembered,
    Root,
    Value,
    Written,
)
from gateway.pipeline.fast_path.plan import Constant as ConstantPart

RunFast = Callable[..., Any]


_NEVER_WRITTEN = "holder.pseudonym"
"""A field that no document holds. A rule may ask only whether it has a value."""


def _without_hash(shape: CompiledRule) -> CompiledRule:
    """Return the rule of a pseudonym, which then keeps plain text instead of hashing it."""
    conversion = shape.conversion if isinstance(shape, SingleValue) else None
    if not isinstance(shape, SingleValue) or conversion is None or not conversion.is_pseudonym:
        return shape
    pseudonym_of: Callable[[str], Any] = conversion.convert_text or str

    def convert(text: str) -> Any:
        return text if text.isascii() and text.isprintable() else pseudonym_of(text)

    return replace(shape, conversion=replace(conversion, convert_text=convert))


def split_steps(
    plan: Plan, steps: Sequence[FieldRule]
) -> tuple[list[FieldRule], dict[str, list[tuple[int, FieldRule]]]]:
    """Return the steps to run for each record, and those of each group with their positions."""
    grouped = {
        group.name: [
            (position, step) for position, step in enumerate(steps) if _belongs(step, group)
        ]
        for group in plan.groups
    }
    positions = {position for found in grouped.values() for position, _ in found}
    own = [step for position, step in enumerate(steps) if position not in positions]
    return own, grouped


def _belongs(step: FieldRule, group: Group) -> bool:
    path = (*step.parents, step.name)
    return any(".".join(path[:length]) in group.fields for length in range(1, len(path) + 1))


def _reads_days(step: FieldRule) -> bool:
    """Return whether a rule, or one inside it, reads a table at the day of another field.

    Such a rule needs the values of the record, which the fast path keeps in variables.
    """
    return step.reads_other_targets or any(
        isinstance(shape, ItemList) and any(map(_reads_days, shape.steps))
        for shape in nested_rules(step.shape)
    )


def is_in_higher_education(steps: Sequence[FieldRule]) -> bool:
    """Return whether all records are in higher education, so that no level decides on credits."""
    return any(
        step.name == "credit_sector"
        and isinstance(step.shape, Constant)
        and step.shape.value == "HE"
        for step in steps
    )


def generate_fast(
    plan: Plan,
    steps: Sequence[FieldRule],
    record_type: type[Any],
    memories: Mapping[str, Memory],
    names: Mapping[str, Any],
    title: str,
    *,
    xml: bool,
) -> tuple[RunFast, str]:
    """Return the function and its source. ``names`` are values that its code uses."""
    writer = _FastWriter(plan, record_type, memories, names, xml=xml)
    writer.function(steps)
    source = "\n".join(writer.lines) + "\n"
    return compile_source(source, writer.bound, title)["process"], source


class _FastWriter(KeyWriter):
    def __init__(
        self,
        plan: Plan,
        record_type: type[Any],
        memories: Mapping[str, Memory],
        names: Mapping[str, Any],
        *,
        xml: bool,
    ) -> None:
        super().__init__(record_type, xml=xml)
        self._plan = plan
        self._required: dict[int, str] = {}
        self._level_decides = False
        """Whether the level of a record decides on its credits, so that it is part of their key."""
        self._variables: dict[str, str] = {}
        """The variables of values of the record itself, by field."""
        self.bound |= names
        for name, each in memories.items():
            self.bound |= {f"known_{name}": each.entries.get, f"learn_{name}": each.learn}
        self._constants: dict[str, Any] = {}
        """The values that are the same for each record, by the names that parts use."""
        for name in (
            *self.bound,
            "process",
            "raw",
            "root",
            "prefix",
            "body",
            "entry",
            "key",
            "document",
            "second",
        ):
            self.unique_name(name)

    def function(self, steps: Sequence[FieldRule]) -> None:
        """Write the function for all steps of a kind of record."""
        own, grouped = split_steps(self._plan, steps)
        if any(map(_reads_days, own)):
            raise NotFastError
        groups = [group for group in self._plan.groups if grouped[group.name]]
        self._level_decides = bool(grouped.get("level")) and not is_in_higher_education(steps)
        empty = self._record_type(id="")
        for group in self._plan.groups:
            if group not in groups:
                for part, write in group.parts.items():
                    self._constants[f"{group.name}_{part}"] = write(empty)
        with self.emit_block("def process(raw, node, context, root, prefix, hidden):"):
            self.emit('country = ""')
            self.emit("values, lookups, issues = {}, [], []")
            self.emit("# values of this record alone")
            scope = self.emit_rules(own, "node", "values")
            variables = self._name_values(own)
            self._emit_checks(variables)
            self._emit_required(variables)
            self.emit("# values that records share")
            for group in groups:
                self._emit_lookup(group, grouped[group.name], scope)
            self._emit_learning(groups)
            variables |= {
                name: self._literal(self._constants[name]) if name in self._constants else name
                for name in self._plan.group_parts
            }
            additions = [self._emit_parts(group, variables) for group in groups]
            additions += [
                self._emit_presence(presence, variables)
                for presence in self._plan.presences
                if self._constants.get(presence.fields[0], True)
            ]
            self._emit_values(variables)
            for check in self._plan.checks:
                if not self._is_about_record(check):
                    self._emit_check(check, variables)
            if self._plan.second is not None:
                self._emit_second(self._plan.second, variables)
            self._emit_document(variables)
            if self._plan.facts:
                additions.append(self._emit_facts(variables))
            self._emit_provenance(additions)

    def _emit_rule(self, step: FieldRule, scope: Scope) -> None:
        """Write a rule. A value of the record itself stays in its variable."""
        path = (*step.parents, step.name)
        field = ".".join(path)
        if (
            scope.values != "values"
            or (step.parents and field not in self._plan.written_fields)
            or is_shared(scope.shared_targets, path)
            or field in self._variables
            or isinstance(step.shape, ImpliedFramework)
        ):
            super()._emit_rule(step, scope)
            return
        shape = _without_hash(step.shape) if field == _NEVER_WRITTEN else step.shape
        self._emit_value(shape, scope)
        self._variables[field] = self._value

    def _name_values(self, own: Sequence[FieldRule]) -> dict[str, str]:
        """Return the variables of all fields that the document or a check needs."""
        variables = dict(self._variables)
        paths = [(*step.parents, step.name) for step in own]
        names = {".".join(path) if ".".join(path) in variables else path[0] for path in paths}
        for name in sorted(names - variables.keys()):
            variables[name] = self.unique_name(name)
            self.emit(f"{variables[name]} = values.get({name!r})")
        for name in sorted(names - self._plan.written_fields):
            with self.emit_block(f"if {variables[name]} is not None:"):
                self.emit("return None")
        for name, default in (("id", "raw.native_id"), ("changed_at", "raw.changed_at")):
            if name not in variables:
                variables[name] = default
            else:
                with self.emit_block(f"if {variables[name]} is None:"):
                    self.emit(f"{variables[name]} = {default}")
        for name in self._plan.written_fields - variables.keys():
            variables[name], self._constants[name] = "None", None
        return variables

    def _emit_checks(self, variables: Mapping[str, str]) -> None:
        """Write the rules about values of this record: R6, R9 and R17."""
        if "title" in variables:
            self._emit_text_checks(variables)
        for first, last in (("valid_from", "valid_until"), ("starts_on", "ends_on")):
            begin, end = variables.get(first, "None"), variables.get(last, "None")
            if "None" not in (begin, end):
                with self.emit_block(
                    f"if {begin} is not None and {end} is not None and {begin} > {end}:"
                ):
                    self.emit("return None")
        hours = variables.get("workload_hours", "None")
        if hours != "None":
            with self.emit_block(
                f"if {hours} is not None and not ({hours}.is_finite() and {hours} > 0):"
            ):
                self.emit("return None")
        for check in self._plan.checks:
            if self._is_about_record(check):
                self._emit_check(check, variables)
        days = [variables.get(name, "None") for name in self._plan.days]
        self.emit(f"days = ({', '.join(days)},)")
        if self._plan.days == AWARD_DAYS:
            self.emit("level_period, credits_period, list_period = award_periods(days[0])")
        elif self._plan.days == STATUS_DAYS:
            self.emit("status_period = status_period_of(*days)")
        else:
            self.emit("level_period, credits_period = periods(days[0], days[1])")

    def _is_about_record(self, check: Check) -> bool:
        """Return whether a check reads only values that no other record shares."""
        return self._plan.group_parts.isdisjoint((*check.fields, check.applies))

    def _emit_text_checks(self, variables: Mapping[str, str]) -> None:
        with self.emit_block(f"if not {variables['title']}:"):
            self.emit("return None")
        for name in ("title", "description"):
            if variables.get(name, "None") != "None":
                self.emit(f"for text in ({variables[name]} or EMPTY).values():")
                with self.emit_block("    if not text.isascii() and is_suspect(text):"):
                    self.emit("    return None")

    def _emit_check(self, check: Check, variables: Mapping[str, str]) -> None:
        self._field = ""
        if self._constants.keys() >= set(check.fields) and check.test(
            *(self._constants[name] for name in check.fields)
        ):
            return
        test = self.bind(f"check_{check.test.__name__}", check.test)
        values = [variables[name] for name in check.fields]
        applies = f"{variables[check.applies]} and " if check.applies else ""
        with self.emit_block(f"if {applies}not {test}({', '.join(values)}):"):
            self.emit("return None")

    # groups

    def _emit_lookup(
        self, group: Group, steps: Sequence[tuple[int, FieldRule]], scope: Scope
    ) -> None:
        """Write the look-up of the entry of a group."""
        self.emit(f"# {group.name}")
        elements = []
        for _, step in steps:
            self._field = "_".join((*step.parents, step.name))
            self.emit(f"# {'.'.join((*step.parents, step.name))}{describe_source(step.shape)}")
            elements += self._key_elements(step, scope)
            if step.reads_other_targets:
                elements.append("days")
        if group.period:
            elements.append(f"{group.period}_period")
        if group.judge == "credits" and self._level_decides:
            elements.append("level_key")
        elements = list(dict.fromkeys(elements))
        key = f"({', '.join(elements)})" if len(elements) > 1 else "".join(elements) or "None"
        self.emit(f"{group.name}_key = {key}")
        self.emit(f"{group.name}_entry = known_{group.name}({group.name}_key)")

    def _emit_learning(self, groups: Sequence[Group]) -> None:
        """Write what happens to a record with values that were not seen before."""
        with self.emit_block("if lookups or issues:"):
            self.emit("return None")
        entries = [f"{group.name}_entry" for group in groups]
        with self.emit_block(f"if not ({' and '.join(entries)}):"):
            with self.emit_block(f"if () in ({', '.join(entries)},):"):
                self.emit("return None  # the fast path does not know such values")
            for entry, group in zip(entries, groups, strict=True):
                learn = f"learn_{group.name}({group.name}_key, node, context, days)"
                self.emit(f"{entry} = {entry} or {learn}")

    def _emit_parts(self, group: Group, variables: Mapping[str, str]) -> str:
        """Write the variables of an entry, and return the one of what it adds to the provenance."""
        additions = f"{group.name}_additions"
        parts = [f"{group.name}_{part}" for part in (*group.parts, *group.original_parts)]
        usual = ["usual"] if group.judge == "credits" else []
        self.emit(f"{', '.join((additions, *usual, *parts))}, = {group.name}_entry")
        if usual:
            hours, months = variables["workload_hours"], variables["duration_months"]
            if (hours, months) != ("None", "None"):
                self.emit(f"if usual is not None and not usual.covers({hours}, {months}):")
                self.emit("    return None")
        return additions

    def _emit_presence(self, presence: Presence, variables: Mapping[str, str]) -> str:
        """Write the look-up of what a rule says about the fields that a record has."""
        name = presence.name
        values = [f"bool({variables[field]})" for field in presence.fields]
        self.emit(f"key = ({', '.join(values)},)")
        self.emit(f"{name}_additions, = known_{name}(key) or learn_{name}(key, *key)")
        return f"{name}_additions"

    def _emit_facts(self, variables: Mapping[str, str]) -> str:
        """Write what the provenance says about this record alone, and return its variable."""
        self.emit(
            f"facts = ({', '.join(self._call(fact, variables) for fact in self._plan.facts)},)"
        )
        return "facts"

    # the document

    def _emit_values(self, variables: dict[str, str]) -> None:
        """Write the values of the plan that are no fields."""
        for name, expression in self._plan.expressions.items():
            variables[name] = f"({expression.format(**variables)})"
        for name, value in self._plan.values.items():
            variables[name] = self.unique_name(name)
            self.emit(f"{variables[name]} = {self._call(value, variables)}")

    def _emit_document(self, variables: Mapping[str, str]) -> None:
        self.emit("# the document")
        pieces: list[bytes | str] = []
        for part in self._plan.parts:
            piece = self._piece(part, variables)
            if isinstance(piece, bytes) and pieces and isinstance(pieces[-1], bytes):
                pieces[-1] += piece
            elif piece:
                pieces.append(piece)
        self._field = ""
        names = [
            self.bind("constant", each) if isinstance(each, bytes) else each for each in pieces
        ]
        self.emit("document = join((")
        self.lines += [f"        {name}," for name in names]
        has_nodes = Root() in self._plan.parts
        self.emit(")).replace(MARKER, prefix)" if has_nodes else "))")

    def _piece(self, part: Part, variables: Mapping[str, str]) -> bytes | str:
        """Return the bytes of a part, or the expression for them."""
        if isinstance(part, ConstantPart):
            return part.json
        if isinstance(part, Root):
            return "root"
        if isinstance(part, Value):
            return variables[part.name]
        if isinstance(part, Remembered):
            name = f"{part.group}_{part.part}"
            found: bytes = self._constants.get(name, b"")
            return found if name in self._constants else name
        if self._constants.keys() >= set(part.fields):
            return part.write(*(self._constants[name] for name in part.fields))
        return self._emit_written(part, variables)

    def _emit_required(self, variables: Mapping[str, str]) -> None:
        """Write the required parts that need no group, before anything is looked up."""
        for part in self._plan.parts:
            if isinstance(part, Written) and part.required and variables.keys() >= set(part.fields):
                self._required[id(part)] = self._emit_required_part(part, variables)

    def _emit_written(self, part: Written, variables: Mapping[str, str]) -> str:
        if part.required:
            return self._required.get(id(part)) or self._emit_required_part(part, variables)
        return self._call(part, variables)

    def _emit_required_part(self, part: Written, variables: Mapping[str, str]) -> str:
        piece = self.unique_name(f"{part.fields[0]}_member")
        self.emit(f"{piece} = {self._call(part, variables)}")
        with self.emit_block(f"if not {piece}:"):
            self.emit("return None")
        return piece

    def _call(self, part: Written | Fact, variables: Mapping[str, str]) -> str:
        self._field = ""
        write = self.bind(f"write_{part.fields[0]}", part.write)
        call = f"{write}({', '.join(variables[name] for name in part.fields)})"
        applies = part.applies if isinstance(part, Fact) else ""
        return f"({call} if {variables[applies]} else None)" if applies else call

    def _emit_second(self, second: Fact, variables: Mapping[str, str]) -> None:
        """Write the second document, or that there is none."""
        self._field = ""
        if not self._constants.get(second.fields[0], True):
            self.emit("second = None")
            return
        values = (variables[name] for name in second.fields)
        write = self.bind("write_second", second.write)
        self.emit(f"second = {write}(raw, root, {', '.join(values)})")
        with self.emit_block("if second is not None and type(second) is not bytes:"):
            self.emit("return None")

    def _emit_provenance(self, additions: Sequence[str]) -> None:
        self.emit("# provenance and headers")
        self.emit(f"key = ({', '.join(additions)},)")
        self.emit("entry = known_provenance(key) or learn_provenance(key)")
        if self._plan.second is None:
            self.emit("return finish(raw, root, document, entry)")
        else:
            self.emit("return finish(raw, root, document, entry, second)")
