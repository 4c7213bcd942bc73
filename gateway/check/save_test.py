"""Save a fetched record as an inline test of its connector file.

The gateway replaces every personal value with a fake value of the same shape. It keeps the values
that a rule reads and does not protect. It replaces all other values, mapped or not, because no
rule declares them harmless.
"""

from __future__ import annotations

import io
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lxml import etree
from ruamel.yaml import YAML
from ruamel.yaml.scalarstring import LiteralScalarString

from gateway.check.run_tests import raw_record_of_test, to_plain_values
from gateway.config.connector import Connector, Stream, payload_format
from gateway.config.expressions.compiler import compile_expression, is_element, text_of
from gateway.config.inline_tests import InlineTest
from gateway.config.rules import Rules, pseudonym_kinds
from gateway.config.yaml.document import read_yaml
from gateway.errors import UsageError
from gateway.harmonise.harmoniser import Harmoniser
from gateway.harmonise.pseudonyms import pseudonymiser
from gateway.harmonise.rule_findings import CHECK_KEY
from gateway.harmonise.tables.compiled_tables import Tables
from gateway.harmonise.values.payload import json_value, xml_element
from gateway.records import MISSING_PARTS_CONTEXT_KEY, Accepted, RawRecord, Rejected

MAX_CODE_LENGTH = 3
"""The longest text that counts as a code. A code identifies no person."""
_DATE = re.compile(r"(\d{4})-(\d{2})-(\d{2})(.*)|(\d{2})[./](\d{2})[./](\d{4})(.*)", re.DOTALL)


def save_test(
    file: Path, connector: Connector, stream: str, raw: RawRecord, tables: Tables | None
) -> int:
    """Add the test at the end of the stream's tests and return its line.

    Raises :class:`~gateway.errors.UsageError` when the tests are in one line.
    """
    test = build_test(connector, stream, raw, tables)
    document = read_yaml(file)
    line, column = document.position_of(("streams", stream, "tests"), key=True)
    lines = document.text.splitlines()
    if "[" in lines[line - 1].partition("#")[0]:
        raise UsageError(
            f"{file}:{line}: no test written: the tests are inside [ ]. Write each test in lines "
            "of its own, where the first begins with `- `, and run the command again"
        )
    end = line
    while end < len(lines) and (
        not lines[end].strip() or len(lines[end]) - len(lines[end].lstrip()) >= column
    ):
        end += 1
    while end > line and not lines[end - 1].strip():
        end -= 1
    first_item = next((text for text in lines[line:end] if text.lstrip().startswith("- ")), None)
    indent = len(first_item) - len(first_item.lstrip()) if first_item else column + 1
    yaml = YAML()
    yaml.width = 140
    out = io.StringIO()
    yaml.dump([test], out)
    written = [(" " * indent + text).rstrip() for text in out.getvalue().splitlines()]
    file.write_text("\n".join([*lines[:end], *written, *lines[end:]]) + "\n", encoding="utf-8")
    return end + 1


def build_test(
    connector: Connector, stream: str, raw: RawRecord, tables: Tables | None
) -> dict[str, Any]:
    """Return a test of the record as plain YAML values, with fake values for personal data.

    The harmonised fake record supplies the expected outcome.
    """
    body, replace = _fake_record(connector, raw, tables)
    native_id = replace(raw.native_id) if raw.native_id in replace.faked else raw.native_id
    listed = _loops_of_the_file(connector.streams[stream])
    context = {
        name: value if name in listed else replace(value)
        for name, value in raw.context.items()
        if name not in {"root", MISSING_PARTS_CONTEXT_KEY}
    }
    test: dict[str, Any] = {"name": "TODO say what it shows"}
    if raw.media_type == "application/xml":
        root = xml_element(body)
        etree.indent(root)
        test["given"] = LiteralScalarString(etree.tostring(root, encoding="unicode") + "\n")
    else:
        test["given"] = json.loads(body)
    if raw.kind:
        test["kind"] = raw.kind
    if context:
        test["context"] = context
    test["native_id"] = native_id
    fake = raw_record_of_test(connector, stream, InlineTest(**test, expect_some={}))
    outcome = Harmoniser(connector, tables, pseudonym_key=CHECK_KEY)(fake)
    if isinstance(outcome, Accepted):
        test["expect"] = _expected(connector, stream, outcome, fake)
    elif isinstance(outcome, Rejected):
        test["expect_rejected"] = {
            key: value for key in ("field", "reason") if (value := getattr(outcome, key))
        }
    else:
        test["expect_withheld"] = outcome.reason
    return test


def raw_lines(connector: Connector, raw: RawRecord, tables: Tables | None) -> list[str]:
    """Return the registry's record as indented lines, with every personal value replaced.

    The result is empty when the record has no body.
    """
    if raw.body is None:
        return []
    body, _ = _fake_record(connector, raw, tables)
    if raw.media_type == "application/xml":
        root = xml_element(body)
        etree.indent(root)
        return etree.tostring(root, encoding="unicode").splitlines()
    return json.dumps(json.loads(body), ensure_ascii=False, indent=2).splitlines()


def _expected(
    connector: Connector, stream: str, outcome: Accepted, raw: RawRecord
) -> dict[str, Any]:
    sources: dict[str, str] = {}
    protected: list[str] = []
    Harmoniser(
        connector,
        None,
        pseudonym_key=CHECK_KEY,
        on_value=lambda values, personal: protected.extend(
            text_of(value).strip()
            for value in values
            if personal and not isinstance(value, dict | list)
        ),
    )(raw)
    rules = [
        connector.streams[stream].map,
        *(kind.map for kind in connector.streams[stream].kinds.values()),
    ]
    for kind in {
        kind for group in rules for rule in group.values() for kind in pseudonym_kinds(rule)
    }:
        pseudonym = pseudonymiser(CHECK_KEY, connector.country[:2], kind)
        sources |= {pseudonym(text): f"pseudonym({text})" for text in protected}

    def with_pseudonym_sources(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: with_pseudonym_sources(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [with_pseudonym_sources(inner) for inner in value]
        if isinstance(value, bool | int):
            return value
        text = value.isoformat() if hasattr(value, "isoformat") else str(value)
        return sources.get(text, text)

    return with_pseudonym_sources(to_plain_values(outcome.record))  # type: ignore[no-any-return]


def _loops_of_the_file(stream: Stream) -> set[str]:
    """Return the loops whose values the connector file itself lists, such as institutions."""
    return {
        name
        for name, each in stream.for_each.items()
        if each.in_.parties is not None or each.in_.values is not None or each.in_.table is not None
    }


@dataclass(slots=True)
class _Replacements:
    """A function that returns a harmless text as it is, and a fake text for any other."""

    harmless: set[str]
    protected: set[str]
    faked: dict[str, str] = field(default_factory=dict)

    def __call__(self, text: str) -> str:
        stripped = text.strip()
        is_code = len(stripped) <= MAX_CODE_LENGTH and stripped not in self.protected
        if stripped in self.harmless or is_code:
            return text
        self.faked[stripped] = fake_text(stripped)
        return text.replace(stripped, self.faked[stripped])


def _fake_record(
    connector: Connector, raw: RawRecord, tables: Tables | None
) -> tuple[bytes, _Replacements]:
    unprotected, protected = _values_the_rules_read(connector, raw, tables)
    harmless = (unprotected | _values_the_stream_reads(connector, raw)) - protected
    harmless |= _words_of_achieved(connector.streams[raw.stream])
    replacements = _Replacements(harmless, protected)
    if raw.media_type == "application/xml":
        root = xml_element(raw.body or b"")
        for element in root.iter():
            if element.text and element.text.strip():
                element.text = replacements(element.text)
            if element.tail and element.tail.strip():
                element.tail = replacements(element.tail)
            for name, value in element.attrib.items():
                element.set(name, replacements(value))
        return etree.tostring(root, encoding="utf-8"), replacements
    return json.dumps(
        _walk(json_value(raw.body or b""), replacements), default=float
    ).encode(), replacements


def _values_the_rules_read(
    connector: Connector, raw: RawRecord, tables: Tables | None
) -> tuple[set[str], set[str]]:
    """Return the unprotected and the protected texts that the rules read from a record.

    No rule runs for a record or a part that is not achieved. Its values count as well.
    """
    unprotected, protected = set[str](), set[str]()

    def collect(values: list[Any], personal: bool) -> None:
        for value in values:
            (protected if personal else unprotected).update(_leaves(value))

    every_rule = {raw.stream: _without_achieved(connector.streams[raw.stream])}
    for reader in (connector, connector.with_streams(every_rule)):
        Harmoniser(reader, tables, pseudonym_key=CHECK_KEY, on_value=collect)(raw)
    return unprotected, protected


def _without_achieved(stream: Stream) -> Stream:
    """Return a stream whose rules run for each record and each part."""

    def without(rules: Rules) -> Rules:
        return {
            target: rule.model_copy(update={"achieved": ()}) if rule.achieved else rule
            for target, rule in rules.items()
        }

    kinds = {
        name: kind.model_copy(update={"achieved": (), "map": without(kind.map)})
        for name, kind in stream.kinds.items()
    }
    return stream.model_copy(update={"achieved": (), "kinds": kinds, "map": without(stream.map)})


def _words_of_achieved(stream: Stream) -> set[str]:
    """Return the words that the conditions of a stream list. The file itself contains them."""
    maps = [stream.map, *(kind.map for kind in stream.kinds.values())]
    conditions = [
        *stream.achieved,
        *(rule for kind in stream.kinds.values() for rule in kind.achieved),
        *(rule for rules in maps for listed in rules.values() for rule in listed.achieved),
    ]
    return {word for rule in conditions for word in (*rule.is_, *rule.not_)}


def _values_the_stream_reads(connector: Connector, raw: RawRecord) -> set[str]:
    """Return the texts that the stream itself reads from a record.

    They are the change time, the version, the kind and the native id. A native id that identifies
    a person is left out.
    """
    stream = connector.streams[raw.stream]
    kind = payload_format(connector, stream)
    node = xml_element(raw.body or b"") if kind == "xml" else json_value(raw.body or b"")
    texts = [
        stream.changed_at,
        stream.version,
        stream.kind,
        *(stream.id if stream.id_key is None else ()),
    ]
    values: set[str] = set()
    for text in filter(None, texts):
        for value in compile_expression(kind, text, connector.protocol.namespaces)(
            node, raw.context
        ):
            values |= _leaves(value)
    return values


def _walk(value: Any, replacements: Any) -> Any:
    if isinstance(value, dict):
        return {key: _walk(inner, replacements) for key, inner in value.items()}
    if isinstance(value, list):
        return [_walk(inner, replacements) for inner in value]
    if isinstance(value, str):
        return replacements(value)
    if isinstance(value, int) and not isinstance(value, bool):
        replacement = replacements(str(value))
        return int(replacement) if replacement.lstrip("-").isdigit() else value
    return value


def _leaves(value: Any) -> set[str]:
    if is_element(value):
        return (
            {text.strip() for text in value.itertext() if text.strip()}
            if len(value) == 0
            else {text_of(value).strip()}
        )
    if isinstance(value, dict | list):
        return set()
    return {text_of(value).strip()}


def fake_text(text: str) -> str:
    """Return a fake text of the same shape.

    A date becomes 1 January 1990. Otherwise a digit replaces each digit and a letter replaces each
    letter. All other characters stay.
    """
    if match := _DATE.fullmatch(text):
        return (
            f"1990-01-01{match[4]}"
            if match[1]
            else re.sub(r"\d{2}([./])\d{2}([./])\d{4}", r"01\g<1>01\g<2>1990", text)
        )
    return "".join(
        str((int(char) * 7 + 3 + place) % 10) if char.isdigit() and char.isascii()
        else _fake_letter(char, place, "abcdefghijklmnoprstuv") if char.islower()
        else _fake_letter(char, place, "ABCDEFGHIJKLMNOPRSTUV") if char.isupper()
        else char
        for place, char in enumerate(text)
    )  # fmt: skip


def _fake_letter(char: str, place: int, letters: str) -> str:
    return letters[(ord(char) * 5 + place * 3 + 1) % len(letters)]
