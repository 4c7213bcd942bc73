"""Report agreements that a connector file states for every person without naming them."""

from __future__ import annotations

from collections.abc import Iterator

from gateway.config.connector import Connector
from gateway.config.rules import MappingRule
from gateway.config.yaml.document import DocumentPath, YamlDocument
from gateway.errors import Finding
from gateway.harmonise.tables.compiled_tables import Tables

UNNAMED = "agreement-unnamed"
AGREEMENTS = ("esc_agreement", "holder_consent")
"""The targets without which nothing of a person is on a student-card topic."""


def findings(
    connector: Connector, document: YamlDocument, _tables: Tables | None
) -> Iterator[Finding]:
    """Yield a finding for each rule that says of every person that they agreed, and not to what.

    An agreement that the registry records needs no name.
    """
    for name, stream in connector.streams.items():
        maps = {("map",): stream.map} | {
            ("kinds", kind_name, "map"): kind.map for kind_name, kind in stream.kinds.items()
        }
        for place, rules in maps.items():
            for target in AGREEMENTS:
                if target in rules:
                    at: DocumentPath = ("streams", name, *place, target)
                    yield from _unnamed(rules[target], target, at, document)


def _unnamed(
    rule: MappingRule, target: str, place: DocumentPath, document: YamlDocument
) -> Iterator[Finding]:
    if rule.basis:
        return
    if any(map(_agrees_for_everybody, (rule, *(rule.first_of or ())))):
        yield document.make_finding(
            UNNAMED,
            place,
            f"this rule says that every person agreed; add `basis:` to {target} with the name of "
            'the agreement, its version and who keeps it, such as basis: "Card terms 2026, '
            'registry office"',
        )


def _agrees_for_everybody(rule: MappingRule) -> bool:
    """Return whether a rule agrees without a value of the registry."""
    stated = [rule.default] if rule.when or rule.const is None else [rule.const, rule.default]
    return not rule.basis and any(_is_true(value) for value in stated)


def _is_true(value: object) -> bool:
    return str(value).strip().lower() not in {"none", "false", "0", "no", ""}
