"""Validate published documents against the gateway's schemas and the official shapes.

Official validation takes tens of milliseconds for each document, so the pipeline does not use it.
Authorities, subscribers and tests do.
"""

from __future__ import annotations

import json
import re
from functools import cached_property
from pathlib import Path
from typing import Any

from gateway.errors import Unavailable
from gateway.messages.topics import (
    CARDS_TOPIC,
    COMPLETE_ENTRY_TOPICS,
    CREDENTIALS_TOPIC,
    INCOMPLETE_ENTRIES_TOPIC,
    OPPORTUNITIES_TOPIC,
    POINTERS_TOPIC,
    QUALIFICATIONS_TOPIC,
    STUDENT_STATUS_TOPIC,
)
from gateway.render.json_schemas import schemas

CONTEXTS = {
    "http://data.europa.eu/snb/model/context/edc-ap": "edc-ap-context-3.2.jsonld",
    "https://www.w3.org/2018/credentials/v1": "w3c-credentials-v1.jsonld",
}
SHAPES = {
    QUALIFICATIONS_TOPIC: ("LOQ-constraints.ttl", "LOQ-constraints-mdr.ttl"),
    OPPORTUNITIES_TOPIC: ("LOQ-constraints.ttl", "LOQ-constraints-mdr.ttl"),
    INCOMPLETE_ENTRIES_TOPIC: ("LOQ-constraints.ttl", "LOQ-constraints-mdr.ttl"),
    CREDENTIALS_TOPIC: ("EDC-generic-no-cv.ttl", "EDC-generic-full.ttl"),
}
ADDED_BY_SEALING = ("#issued", "/eidasLegalIdentifier", "#issuer")
"""Properties that an unsealed credential lacks, because sealing adds them."""
MISSING_IN_INCOMPLETE_ENTRIES = (
    "/ISCEDFCode",
    "/learningOutcome",
    "/language",
    "/defaultLanguage",
    "/homepage",
)
"""Properties that LOQ requires and an incomplete entry may lack."""
INSTALL_HINT = (
    "validation needs jsonschema, rdflib and pyshacl: pip install 'qualification-gateway[validate]'"
)


class DocumentValidator:
    """A validator that returns the problems of one document. An empty list means valid."""

    def __init__(self, shapes: Path | None) -> None:
        self._home = shapes
        self.judges = ["the published schema"]
        if self.has_shapes:
            self.judges.append("the official shapes (pyshacl)")
        try:
            import jsonschema
        except ModuleNotFoundError:
            raise Unavailable(INSTALL_HINT) from None
        form = jsonschema.Draft202012Validator.FORMAT_CHECKER
        self._schemas = {
            name: jsonschema.Draft202012Validator(schema, format_checker=form)
            for name, schema in schemas().items()
        }
        self._loaded: dict[tuple[str, ...], Any] = {}

    @property
    def has_shapes(self) -> bool:
        """Whether the official shapes were found."""
        return self._home is not None and (self._home / "shacl").is_dir()

    def __call__(self, document: Any, source: str = "") -> list[str]:
        """Return the problems of a document, as texts without its values.

        ``source`` is the topic that contains the document. LOQ requires more of every other source
        of catalogue entries than of the topic of incomplete entries.
        """
        topic = topic_of(document)
        if source == INCOMPLETE_ENTRIES_TOPIC and topic in COMPLETE_ENTRY_TOPICS:
            topic = source
        if not topic:
            return [
                (
                    "not a document of any topic: "
                    "expected a type of the learning model, or a schemaVersion"
                )
            ]
        problems = [
            f"schema: {'.'.join(map(str, error.absolute_path)) or 'document'}: "
            f"{_without_values(error)}"
            for whole in self._schemas[topic].iter_errors(document)
            for error in _root_causes(whole)
        ]
        return problems + (
            self._shape_findings(topic, document) if self.has_shapes and topic in SHAPES else []
        )

    def _shape_findings(self, topic: str, document: Any) -> list[str]:
        if any(
            isinstance(context, dict) and "ontology" in str(context.get("elm"))
            for context in document["@context"]
        ):
            return ["shapes: the installed official shapes have another version than this document"]
        try:
            import pyshacl
            from rdflib import RDF, Graph, URIRef
        except ModuleNotFoundError:
            raise Unavailable(INSTALL_HINT) from None
        data = Graph()
        inlined = [
            self._contexts[context] if isinstance(context, str) else context
            for context in document["@context"]
        ]
        data.parse(data=json.dumps(document | {"@context": inlined}), format="json-ld")
        conforms, report, _ = pyshacl.validate(
            data, shacl_graph=self._shapes(SHAPES[topic]), inference="none"
        )
        if conforms:
            return [] if len(data) else ["shapes: the document holds no statements"]
        shacl = "http://www.w3.org/ns/shacl#"
        problems = []
        for result in report.subjects(RDF.type, URIRef(f"{shacl}ValidationResult")):
            path = str(report.value(result, URIRef(f"{shacl}resultPath")))
            component = str(
                report.value(result, URIRef(f"{shacl}sourceConstraintComponent"))
            ).rpartition("#")[2]
            if not (
                (topic == CREDENTIALS_TOPIC and path.endswith(ADDED_BY_SEALING))
                or (
                    topic == INCOMPLETE_ENTRIES_TOPIC
                    and component.startswith("MinCount")
                    and path.endswith(MISSING_IN_INCOMPLETE_ENTRIES)
                )
            ):
                problems.append(f"shapes: {path}: {component.removesuffix('ConstraintComponent')}")
        return sorted(problems)

    @cached_property
    def _contexts(self) -> dict[str, Any]:
        home = self._home or Path()
        return {
            url: json.loads((home / "context" / name).read_text(encoding="utf-8"))["@context"]
            for url, name in CONTEXTS.items()
        }

    def _shapes(self, names: tuple[str, ...]) -> Any:
        from rdflib import Graph, URIRef

        if names not in self._loaded:
            graph = Graph()
            for name in names:
                text = ((self._home or Path()) / "shacl" / name).read_text(encoding="utf-8")
                graph.parse(data=_to_python_regex(text), format="turtle")
            graph.remove((None, URIRef("http://www.w3.org/2002/07/owl#imports"), None))
            self._loaded[names] = graph
        return self._loaded[names]


def topic_of(document: Any) -> str:
    """Return the topic of a document, derived from its content, or an empty text."""
    if not isinstance(document, dict):
        return ""
    kind = document.get("type")
    event = str(document.get("eventType", ""))
    if isinstance(kind, list):
        return CREDENTIALS_TOPIC if "EuropeanDigitalCredential" in kind else ""
    by_kind = {
        "Qualification": QUALIFICATIONS_TOPIC,
        "LearningAchievementSpecification": QUALIFICATIONS_TOPIC,
        "LearningOpportunity": OPPORTUNITIES_TOPIC,
    }
    by_event = {"student": STUDENT_STATUS_TOPIC, "card": CARDS_TOPIC, "credential": POINTERS_TOPIC}
    return (
        by_kind.get(str(kind), "")
        or by_event.get(event.partition(".")[0], "")
        or ("reference.providers.v1" if {"organisation", "reports"} <= document.keys() else "")
    )


def _to_python_regex(text: str) -> str:
    """Translate two Java patterns of the shapes to Python; the results stay the same."""
    text = text.replace("^(?i)(http|https)", "^([Hh][Tt][Tt][Pp][Ss]?)")
    return re.sub(
        r"\\\\\[\[\[A-Fa-f0-9\]\\\\:\\\\\.\]\*\[%\[\\\\p\{L\}\\\\p\{Nl\}\\\\p\{Nd\}\]\]\*\\\\\]",
        r"\\\\[[A-Fa-f0-9:.]*[%\\\\w]*\\\\]",
        text,
    )


def _root_causes(error: Any) -> list[Any]:
    """Return the errors inside the form that a node declares, instead of the general error."""
    if error.validator not in {"oneOf", "anyOf"} or not error.context:
        return [error]
    forms: dict[int, list[Any]] = {}
    for inner in error.context:
        forms.setdefault(inner.schema_path[0], []).append(inner)
    fitting = [
        errors
        for errors in forms.values()
        if not any(list(inner.path) == ["type"] and inner.validator == "const" for inner in errors)
    ]
    return (
        [cause for inner in fitting[0] for cause in _root_causes(inner)]
        if len(fitting) == 1
        else [error]
    )


def _without_values(error: Any) -> str:
    """Return what a schema expected, without document values, which may be personal data."""
    match error.validator:
        case "required":
            return f"misses {sorted(set(error.validator_value) - set(error.instance))}"
        case "additionalProperties":
            extra = sorted(set(error.instance) - set(error.schema.get("properties", {})))
            return f"has fields that may not be there: {extra}"
        case "oneOf" | "anyOf":
            return f"matches none of {len(error.validator_value)} forms"
        case _:
            expected = json.dumps(error.validator_value, ensure_ascii=False)[:120]
            return f"expected {error.validator} {expected}"
