"""Check the values of the chart and their schema against the code, without helm."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator

from gateway.messages import strimzi
from gateway.settings import Settings
from tests.support.deploy_tools import CHART, DEPLOY, ROOT

SCHEMA = json.loads((CHART / "values.schema.json").read_text())
VALUES = yaml.safe_load((CHART / "values.yaml").read_text())
TEMPLATES = "".join(path.read_text() for path in sorted((CHART / "templates").iterdir()))


def test_chart_values_fit_schema_and_rules_are_equal():
    Draft7Validator.check_schema(SCHEMA)
    Draft7Validator(SCHEMA).validate(VALUES)
    assert (CHART / "files/rules.yml").read_text() == (
        DEPLOY / "prometheus/rules.yml"
    ).read_text(), "run: cp deploy/prometheus/rules.yml deploy/helm/qualification-gateway/files/"


def test_chart_users_and_version_match_the_project():
    import tomllib

    users = {pod["kafkaUser"] for pod in [*VALUES["roles"].values(), *VALUES["commands"].values()]}
    assert users == {user.name for user in strimzi.USERS if user.name.startswith("gateway-")}
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert (
        chart["appVersion"]
        == tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    )


NOT_FOR_SETTINGS = {
    # A value of the chart or a file supplies them, or they are of a broker on the same machine.
    "GATEWAY_KAFKA_PASSWORD",
    "GATEWAY_PSEUDONYM_KEY",
    "GATEWAY_PSEUDONYM_KEY_PREVIOUS",
    "GATEWAY_PERMANENT_KEY",
    "GATEWAY_HEALTH_TOKEN",
    "GATEWAY_METRICS_HOST",
    "GATEWAY_SECRETS_DIR",
    "GATEWAY_RECEIVE_CERT_FILE",
    "GATEWAY_RECEIVE_KEY_FILE",
    "GATEWAY_INSTANCE",
    "GATEWAY_DATA_DIR",
    "GATEWAY_JAR_CACHE",
    "GATEWAY_JAR_MIRROR",
}


def test_settings_of_the_chart_are_those_that_no_other_value_sets():
    every = {
        field.validation_alias or f"GATEWAY_{name.upper()}"
        for name, field in Settings.model_fields.items()
    }
    by_templates = set(re.findall(r"GATEWAY_[A-Z_]+", TEMPLATES))

    assert by_templates <= every
    assert (
        set(SCHEMA["properties"]["settings"]["propertyNames"]["enum"])
        == every - by_templates - NOT_FOR_SETTINGS
    ), "add the setting to `settings` in values.schema.json, or to NOT_FOR_SETTINGS"


def values_of(path: str, value: object) -> dict[str, Any]:
    """Return the default values with one value replaced."""
    values = json.loads(json.dumps(VALUES))
    *way, last = path.split(".")
    place = values
    for step in way:
        place = place[step]
    place[last] = value
    return values


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("replicas", 2),
        ("roles.poll.replica", 2),
        ("roles.poll.replicas", "2"),
        ("roles.poll.replicas", 1.5),
        ("roles.poll.replicas", -1),
        ("roles.poll.processes", 0),
        ("roles.poll.resources", {"limit": {"memory": "1Gi"}}),
        ("roles.poll.resources", {"limits": {"memory": "1 GB"}}),
        ("roles.poll.resources", {"limits": {"mem": "1Gi"}}),
        ("roles.poll.kafkaUser", 7),
        ("roles.pol", {}),
        ("commands.operator.enabled", "true"),
        ("commands.operators", {"enabled": True}),
        ("image.tag", 1.0),
        ("image.digest", "abc"),
        ("image.pullPolicy", "always"),
        ("imagePullSecrets", ["pull"]),
        ("stage", "prod"),
        ("accept", "key"),
        ("connectors", "fi-virta"),
        ("connectors", ["fi-virta.yaml"]),
        ("kafka.bootstrap", "broker"),
        ("kafka.bootstrap", "https://broker:9093"),
        ("kafka.bootstrap", "a:9093, b:9093"),
        ("kafka.security", "sasl_ssl"),
        ("kafka.mechanism", "SCRAM"),
        ("kafka.port", "9093"),
        ("kafka.password", "secret"),
        ("kafka.podSelector", {"app": "kafka"}),
        ("pseudonymKey.secret", "A_B"),
        ("pseudonymKey.permanent", "permanent"),
        ("registrySecrets", [{"secret": "a", "key": "b"}]),
        ("registrySecrets", [{"secret": "a", "key": "b", "path": "../b"}]),
        ("files.connectors", "our-connectors"),
        ("files.connectors", {"configmap": {"name": "a"}}),
        ("files.connectors", {"configMap": "a"}),
        ("files.connectors", {"configMap": {"name": "a"}, "secret": {"secretName": "b"}}),
        ("files.git.repository", "git@git.example:a/b.git"),
        ("files.git.repository", "https://user:word@git.example/a.git"),
        ("files.git.period", 60),
        ("files.git.connectors", "../connectors"),
        ("files.git.connectors", ""),
        ("metrics.port", 80),
        ("metrics.runbooks", "wiki.example"),
        ("metrics.allowFrom", [{"namespace": "monitoring"}]),
        ("receive.enabled", 1),
        ("traces", "collector:4318"),
        ("settings.GATEWAY_STOP_AFTER_REJECTD", 5),
        ("settings.GATEWAY_KAFKA_PASSWORD", "secret"),
        ("settings.GATEWAY_STAGE", "acceptance"),
        ("networkPolicy.registries", ["10.0.0.0/8"]),
        ("networkPolicy.registries", [{"cidr": "10.0.0.1"}]),
        ("networkPolicy.registryPorts", ["443"]),
        ("networkPolicy.registryPorts", [70000]),
        ("networkPolicy.extraEgress", [{"from": []}]),
        ("logLevel", "info"),
        ("podAnnotations", {"a": 1}),
        ("nodeSelector", ["linux"]),
        ("tolerations", [{"keys": "a"}]),
    ],
)
def test_schema_refuses_a_mistyped_value(path: str, value: object):
    assert not Draft7Validator(SCHEMA).is_valid(values_of(path, value))
