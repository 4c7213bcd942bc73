"""Check connectors that weaken the signature that they require."""

from __future__ import annotations

import pytest

from gateway.check import check_document
from gateway.config.yaml.document import parse_yaml
from tests.support.signed_messages import push_file, soap_file, stream

CODES = {"unsigned-answer", "age-unsigned", "unsigned-fields", "trust-missing"}
ASK = "request: {envelope: \"<r:ask xmlns:r='urn:reg'/>\"}"


def answers(*rules: str) -> str:
    more = f"replies: [{', '.join(rules)}]"
    return soap_file("https://registry.example", stream(request=ASK), more=more)


@pytest.mark.parametrize(
    ("text", "codes"),
    [
        (answers("{when: {status: 404}, then: empty}"), ["unsigned-answer"]),
        (
            answers(
                "{when: {header: X, is: [none]}, then: ok}",
                "{when: {status: 304}, then: empty}",
                "{when: {path: //x, exists: true}, then: empty}",
                "{when: {status: 404}, then: retry}",
            ),
            ["unsigned-answer", "unsigned-answer"],
        ),
        (answers("{when: {path: //x, exists: true}, then: empty}"), []),
        (push_file(), []),
        (push_file(require="[body]"), ["age-unsigned"]),
        (push_file(more="fields: [message, code]"), ["unsigned-fields"]),
        (push_file(stream(more="decode: [{signed: {}}, xml]")), ["trust-missing"]),
        (push_file(stream(more="decode: [{signed: {trust: {secret: a}}}, xml]")), []),
    ],
)
def test_check_names_what_no_signature_protects(text, codes):
    found = check_document(parse_yaml(text.encode(), "signed.yaml"), None)
    named = [finding for finding in found if finding.code in CODES]
    assert [finding.code for finding in named] == codes
    assert all(finding.line > 1 and finding.severity == "warning" for finding in named)
