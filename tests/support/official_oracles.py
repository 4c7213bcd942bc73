"""Independent oracles: official shapes in two engines, XSD, JSON Schema and vocabularies.

Each oracle returns a list of complaints. An empty list is a pass. :meth:`Oracles.targets` counts
the checked nodes, because an empty graph conforms to every shape.
"""

from __future__ import annotations

import csv
import json
import re
from functools import cached_property
from pathlib import Path
from typing import Any

import pyrudof
import pyshacl
from jsonschema import Draft202012Validator
from lxml import etree
from rdflib import RDF, Graph, URIRef

ELM = "http://data.europa.eu/snb/model/elm/"
CONTEXTS = {
    "http://data.europa.eu/snb/model/context/edc-ap": "edc-ap-context-3.2.jsonld",
    "https://www.w3.org/2018/credentials/v1": "w3c-credentials-v1.jsonld",
}
PROFILES = {
    "loq": (
        ("LOQ-constraints.ttl", "LOQ-constraints-mdr.ttl"),
        ("Qualification", "LearningAchievementSpecification", "LearningOpportunity"),
    ),
    "elm": (
        ("EDC-generic-no-cv.ttl",),
        ("Qualification", "LearningAchievementSpecification", "LearningOpportunity"),
    ),
    "converted": (("EDC-converted.ttl",), ("EuropeanDigitalCredential",)),
    "edc": (("EDC-generic-no-cv.ttl", "EDC-generic-full.ttl"), ("EuropeanDigitalCredential",)),
}
SCHEMES = re.compile(
    r"^(http://data\.europa\.eu/snb/[a-z-]+/|http://publications\.europa\.eu/resource/authority/[a-z-]+/)"
)


class Oracles:
    """The oracles, which read the reference material once."""

    def __init__(self, reference: Path) -> None:
        self.home = reference / "elm"
        self._rudof: dict[str, Any] = {}
        self._shapes: dict[str, Graph] = {}

    # --- JSON-LD -> RDF
    def graph(self, document: dict[str, Any]) -> Graph:
        """Read a document as RDF with the official contexts, without a network."""
        found = Graph()
        found.parse(
            data=json.dumps(document | {"@context": self._inlined(document["@context"])}),
            format="json-ld",
        )
        return found

    def _inlined(self, context: Any) -> list[Any]:
        items = context if isinstance(context, list) else [context]
        return [self._contexts[item] if isinstance(item, str) else item for item in items]

    @cached_property
    def _contexts(self) -> dict[str, Any]:
        return {
            url: json.loads((self.home / "context" / name).read_text())["@context"]
            for url, name in CONTEXTS.items()
        }

    def targets(self, document: dict[str, Any], profile: str) -> int:
        """Return the number of nodes that the profile's root shapes check."""
        graph = self.graph(document)
        return sum(
            len(set(graph.subjects(RDF.type, URIRef(ELM + name)))) for name in PROFILES[profile][1]
        )

    # --- shapes
    def rudof(self, document: dict[str, Any], profile: str) -> list[str]:
        """Validate with the original shapes."""
        engine = self._rudof.get(profile)
        if engine is None:
            engine = self._rudof[profile] = pyrudof.Rudof(pyrudof.RudofConfig())
            shapes = "\n".join(
                (self.home / "shacl" / name).read_text() for name in PROFILES[profile][0]
            )
            engine.read_shacl(_without_imports(shapes))
        engine.reset_data()
        engine.read_data(self.graph(document).serialize(format="nt"), pyrudof.RDFFormat.NTriples)
        report = engine.validate_shacl()
        return (
            []
            if report.conforms
            else [str(entry) for entry in report.violations] or ["does not conform"]
        )

    def shacl(self, document: dict[str, Any], profile: str) -> list[str]:
        """Validate with the same shapes in another engine.

        Two patterns use Java's syntax. This function rewrites them for Python.
        """
        if profile not in self._shapes:
            self._shapes[profile] = Graph().parse(
                data=self._python_patterns(profile), format="turtle"
            )
        conforms, report, text = pyshacl.validate(
            self.graph(document), shacl_graph=self._shapes[profile], inference="none"
        )
        return (
            []
            if conforms
            else sorted(f"{component}:{path}" for component, path in _results(report)) or [text]
        )

    def _python_patterns(self, profile: str) -> str:
        text = _without_imports(
            "\n".join((self.home / "shacl" / name).read_text() for name in PROFILES[profile][0])
        )
        text = text.replace("^(?i)(http|https)", "^([Hh][Tt][Tt][Pp][Ss]?)")
        return re.sub(
            r"\\\\\[\[\[A-Fa-f0-9\]\\\\:\\\\\.\]\*\[%\[\\\\p\{L\}\\\\p\{Nl\}\\\\p\{Nd\}\]\]\*\\\\\]",
            r"\\\\[[A-Fa-f0-9:.]*[%\\\\w]*\\\\]",
            text,
        )

    # --- XSD
    @cached_property
    def _xsd(self) -> etree.XMLSchema:
        return etree.XMLSchema(etree.parse(self.home / "xsd" / "loq" / "loq.xsd"))

    def xsd(self, xml: bytes) -> list[str]:
        """Validate LOQ XML."""
        tree = etree.fromstring(xml)
        self._xsd.validate(tree)
        return [f"{entry.line}: {entry.message}" for entry in self._xsd.error_log]

    # --- JSON Schema
    @cached_property
    def _ebsi(self) -> Draft202012Validator:
        schema = json.loads(
            (self.home / "json-schema" / "ebsi-vcdm2.0-europass-edc-schema-2.1.0.json").read_text()
        )
        whole = {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "$defs": schema["$defs"],
            "$ref": "#/$defs/EuropeanDigitalCredentialType",
        }
        return Draft202012Validator(whole)

    def ebsi(self, document: dict[str, Any]) -> list[str]:
        """Validate the body of a credential.

        The schema is for VC 2.0. Its context and additional type therefore replace those of the
        document.
        """
        body = document | {"@context": ["https://www.w3.org/ns/credentials/v2"]}
        body["type"] = [
            "VerifiableCredential",
            "VerifiableAttestation",
            "EuropeanDigitalCredential",
        ]
        return sorted(
            f"{'/'.join(map(str, error.absolute_path))}: {error.message[:400]}"
            for error in self._ebsi.iter_errors(body)
        )

    # --- vocabularies
    @cached_property
    def _known(self) -> set[str]:
        found: set[str] = set()
        for path in sorted((self.home / "vocab").glob("*.csv")):
            with path.open(encoding="utf-8") as file:
                found |= {row["uri"] for row in csv.DictReader(file)}
        return found

    def vocabulary(self, document: Any) -> list[str]:
        """Return every concept of an EU vocabulary that its list does not contain."""
        return sorted(
            uri for uri in _concepts(document) if SCHEMES.match(uri) and uri not in self._known
        )


def _concepts(node: Any) -> set[str]:
    if isinstance(node, dict):
        own = {node["id"]} if node.get("type") == "Concept" and "id" in node else set()
        return own.union(*(_concepts(value) for value in node.values()))
    return set().union(*map(_concepts, node)) if isinstance(node, list) else set()


def _results(report: Graph) -> list[tuple[str, str]]:
    shacl = "http://www.w3.org/ns/shacl#"
    found = []
    for result in report.subjects(RDF.type, URIRef(f"{shacl}ValidationResult")):
        component = str(
            report.value(result, URIRef(f"{shacl}sourceConstraintComponent"))
        ).rpartition("#")[2]
        path = re.split(r"[/#]", str(report.value(result, URIRef(f"{shacl}resultPath"))))[-1]
        found.append((component.removesuffix("ConstraintComponent"), path))
    return found


def _without_imports(turtle: str) -> str:
    graph = Graph().parse(data=turtle, format="turtle")
    graph.remove((None, URIRef("http://www.w3.org/2002/07/owl#imports"), None))
    return graph.serialize(format="turtle")
