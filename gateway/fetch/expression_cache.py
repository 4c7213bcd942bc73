"""Keep the compiled expressions and conditions of one connector."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

from gateway.config.connection import Condition
from gateway.config.expressions.compiler import PayloadKind, compile_expression
from gateway.config.expressions.conditions import Predicate, compile_record_condition

ExpressionFunction = Callable[[Any, Mapping[str, Any]], list[Any]]
CompileCondition = Callable[[Condition, PayloadKind, Mapping[str, str]], Predicate]


class ExpressionCache:
    """The compiled expressions of one connector."""

    def __init__(self, namespaces: Mapping[str, str]) -> None:
        self._namespaces = dict(namespaces)
        self._looks: dict[tuple[str, str], ExpressionFunction] = {}
        self._tests: dict[tuple[Any, ...], Callable[[Any, Mapping[str, Any]], bool]] = {}

    @property
    def namespaces(self) -> Mapping[str, str]:
        """The XML prefixes that the expressions may use, without the built-in ones."""
        return self._namespaces

    def __call__(self, kind: str, text: str) -> ExpressionFunction:
        """Return the compiled expression."""
        if (kind, text) not in self._looks:
            self._looks[kind, text] = compile_expression(
                cast("PayloadKind", kind), text, self._namespaces
            ).run
        return self._looks[kind, text]

    def matches(
        self,
        kind: str,
        condition: Condition,
        node: Any,
        context: Mapping[str, Any],
        *,
        compile_test: CompileCondition = compile_record_condition,
    ) -> bool:
        """Return whether a node satisfies a condition with a path."""
        key = (
            compile_test,
            kind,
            condition.path or "",
            condition.is_,
            condition.not_,
            condition.over,
            condition.since,
            condition.exists,
        )
        if key not in self._tests:
            self._tests[key] = compile_test(condition, cast("PayloadKind", kind), self._namespaces)
        return self._tests[key](node, context)
