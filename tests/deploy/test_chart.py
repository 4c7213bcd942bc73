"""Check the chart with helm: what it renders, what it refuses, and what the image expects."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.deploy_tools import (
    ALL_COMMANDS,
    CHART,
    DEPLOY,
    EVERYTHING,
    GIT,
    NEEDED,
    VOLUMES,
    needs,
    needs_helm,
    rendered,
    run,
)

VALUES = yaml.safe_load((CHART / "values.yaml").read_text())


def refusal(*arguments: str) -> str:
    """Return the error of helm, which must refuse the values."""
    done = subprocess.run(
        ["helm", "template", "demo", str(CHART), "--kube-version=1.33", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode != 0, arguments
    return done.stderr


def deployments(made: list[dict]) -> dict[str, dict[str, Any]]:
    """Return the specification of the pods by the name of their Deployment."""
    return {
        one["metadata"]["name"]: one["spec"]["template"]["spec"]
        for one in made
        if one["kind"] == "Deployment"
    }


def environment(pod: dict[str, Any]) -> dict[str, Any]:
    return {one["name"]: one.get("value") for one in pod["containers"][0]["env"]}


def files_of(pod: dict[str, Any]) -> dict[str, tuple[str, str]]:
    """Return the Secret and the key of each file that the first container sees."""
    mounts = {one["name"]: one["mountPath"] for one in pod["containers"][0]["volumeMounts"]}
    return {
        f"{mounts[volume['name']]}/{item['path']}": (volume["secret"]["secretName"], item["key"])
        for volume in pod["volumes"]
        if "secret" in volume and volume["name"] in mounts
        for item in volume["secret"].get("items", ())
    }


@needs_helm
@pytest.mark.parametrize("values", [(), EVERYTHING, VOLUMES], ids=["default", "all", "volumes"])
def test_helm_lints_the_chart(values: tuple[str, ...]):
    run("helm", "lint", "--strict", CHART, *NEEDED, *values)


@needs_helm
@pytest.mark.parametrize(
    ("values", "text"),
    [
        ((), "kafka.bootstrap: give host:port"),
        (("--set=kafka.bootstrap=k:9093",), "pseudonymKey.secret: name the Secret"),
        ((*NEEDED, "--set=roles.poll.kafkaUser="), "roles.poll.kafkaUser: name the KafkaUser"),
        (
            (*NEEDED, "--set=commands.operator.kafkaUser="),
            "commands.operator.kafkaUser: name the KafkaUser",
        ),
        (
            (*NEEDED, "--set=files.git.repository=https://git.example/a.git"),
            "networkPolicy.extraEgress: add a rule",
        ),
        (
            (
                *NEEDED,
                "--set=files.git.repository=https://git.example/a.git,networkPolicy.enabled=false",
            ),
            "files.git.image: name the image of git-sync",
        ),
        ((*NEEDED, "--set=accept=new-key"), "accept: set roles.poll.replicas to 1"),
        ((*NEEDED, *GIT, VOLUMES[0]), "files.connectors and files.git.repository: set one"),
        ((*NEEDED, *GIT, VOLUMES[1]), "files.mappings and files.git.mappings: set one"),
        ((*NEEDED, "--set=roles.poll.replicas=two"), "got string, want integer"),
        ((*NEEDED, "--set=role.poll.replicas=2"), "additional properties 'role' not allowed"),
    ],
)
def test_helm_names_the_value_that_is_missing_or_wrong(values: tuple[str, ...], text: str):
    assert text in refusal(*values)


@needs_helm
def test_chart_hardens_each_pod():
    made = rendered(*EVERYTHING)
    pods = deployments(made)
    assert pods.keys() == {
        f"demo-{name}" for name in ("poll", "harmonise", "operator", "auditor", "eraser")
    }
    for name, pod in pods.items():
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        for container in [*pod["containers"], *pod["initContainers"]]:
            security = container["securityContext"]
            assert security["readOnlyRootFilesystem"] is True, name
            assert security["allowPrivilegeEscalation"] is False, name
            assert security["capabilities"] == {"drop": ["ALL"]}, name
            assert {"requests", "limits"} <= container["resources"].keys(), name
            assert "memory" in container["resources"]["limits"], name
            mounted = {mount["name"] for mount in container["volumeMounts"]}
            assert mounted <= {volume["name"] for volume in pod["volumes"]}


@needs_helm
@pytest.mark.parametrize("role", ["poll", "harmonise"])
def test_each_role_has_probes_a_budget_and_a_network_policy(role: str):
    made = rendered()
    kinds = {one["kind"]: one for one in made if one["metadata"]["name"] == f"demo-{role}"}
    assert kinds.keys() == {"Deployment", "PodDisruptionBudget", "NetworkPolicy"}
    container = kinds["Deployment"]["spec"]["template"]["spec"]["containers"][0]
    assert container["args"] == ["run", f"--roles={role}"]
    assert container["startupProbe"]["httpGet"]["path"] == "/livez"
    assert container["livenessProbe"]["httpGet"]["path"] == "/livez"
    assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
    labels = kinds["Deployment"]["spec"]["template"]["metadata"]["labels"]
    for selector in (
        kinds["Deployment"]["spec"]["selector"],
        kinds["PodDisruptionBudget"]["spec"]["selector"],
        kinds["NetworkPolicy"]["spec"]["podSelector"],
    ):
        assert selector["matchLabels"].items() <= labels.items()
    assert kinds["PodDisruptionBudget"]["spec"]["maxUnavailable"] == 1
    leads_out = any("ipBlock" in to for to in destinations(kinds["NetworkPolicy"]))
    assert leads_out is (role == "poll")


def destinations(policy: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for rule in policy["spec"]["egress"]:
        yield from rule["to"]


@needs_helm
def test_commands_have_a_pod_with_the_configuration_of_the_workers():
    made = rendered(ALL_COMMANDS, *VOLUMES)
    pods = deployments(made)
    worker = environment(pods["demo-harmonise"])
    for name, values in VALUES["commands"].items():
        pod = pods[f"demo-{name}"]
        assert pod["containers"][0]["name"] == "gateway"
        assert pod["containers"][0]["command"] == ["sleep", "infinity"]
        variables = environment(pod)
        assert variables.pop("GATEWAY_KAFKA_USERNAME") == values["kafkaUser"]
        assert variables.items() <= worker.items()
        assert files_of(pod)["/run/kafka-user/password"] == (values["kafkaUser"], "password")
        mounts = {one["mountPath"] for one in pod["containers"][0]["volumeMounts"]}
        assert {"/srv/gateway/connectors", "/srv/gateway/mappings"} <= mounts
        policy = next(
            one
            for one in made
            if (one["kind"], one["metadata"]["name"]) == ("NetworkPolicy", f"demo-{name}")
        )
        assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
        assert "ingress" not in policy["spec"]
        reaches_registries = any("ipBlock" in to for to in destinations(policy))
        assert reaches_registries is (name == "auditor")


@needs_helm
def test_only_pods_that_need_secrets_of_registries_mount_them():
    secrets = "--set=registrySecrets[0].secret=s,registrySecrets[0].key=k"
    made = rendered(ALL_COMMANDS, f"{secrets},registrySecrets[0].path=aa-awards/key")
    mounting = {
        name
        for name, pod in deployments(made).items()
        if "/run/secrets/gateway"
        in {one["mountPath"] for one in pod["containers"][0]["volumeMounts"]}
    }
    assert mounting == {"demo-poll", "demo-harmonise", "demo-auditor", "demo-eraser"}


@needs_helm
def test_pods_of_commands_belong_to_no_service_and_no_budget():
    made = rendered(ALL_COMMANDS, "--set=receive.enabled=true")
    labels = [
        one["spec"]["template"]["metadata"]["labels"]
        for one in made
        if one["kind"] == "Deployment"
        and one["metadata"]["name"] not in {"demo-poll", "demo-harmonise"}
    ]
    selectors = [one["spec"]["selector"] for one in made if one["kind"] == "Service"]
    selectors += [
        one["spec"]["selector"]["matchLabels"]
        for one in made
        if one["kind"] == "PodDisruptionBudget"
    ]
    assert len(labels) == 3
    assert len(selectors) == 5
    assert not any(one.items() <= pod.items() for one in selectors for pod in labels)


@needs_helm
@pytest.mark.parametrize("accept", ["new-key", "new-cluster"])
def test_one_worker_accepts_a_key_or_a_cluster(accept: str):
    from typer.main import get_command

    from gateway.cli import app

    pods = deployments(rendered(f"--set=accept={accept},roles.poll.replicas=1"))
    assert f"--accept-{accept}" in pods["demo-poll"]["containers"][0]["args"]
    assert f"--accept-{accept}" not in pods["demo-harmonise"]["containers"][0]["args"]
    run_command = get_command(app).commands["run"]
    assert any(f"--accept-{accept}" in option.opts for option in run_command.params)


@needs_helm
def test_only_the_pod_of_the_operator_is_there_by_default():
    assert deployments(rendered()).keys() == {"demo-poll", "demo-harmonise", "demo-operator"}


@needs_helm
def test_secrets_are_files_and_no_variables():
    made = rendered(*EVERYTHING, "--set=kafka.security=SASL_SSL")
    assert all(one["kind"] != "Secret" for one in made)
    for name, pod in deployments(made).items():
        for container in [*pod["containers"], *pod["initContainers"]]:
            from_secrets = [
                one["name"]
                for one in container["env"]
                if "secretKeyRef" in one.get("valueFrom", ())
            ]
            # git-sync has no file for the name of the user, and a name is not the secret.
            assert from_secrets in ([], ["GITSYNC_USERNAME"]), name
        variables, files = environment(pod), files_of(pod)
        user = variables["GATEWAY_KAFKA_USERNAME"]
        assert files[variables["GATEWAY_KAFKA_PASSWORD_FILE"]] == (user, "password")
        for variable, key in (
            ("GATEWAY_PSEUDONYM_KEY_FILE", "key"),
            ("GATEWAY_PERMANENT_KEY_FILE", "permanent"),
            ("GATEWAY_PSEUDONYM_KEY_PREVIOUS_FILE", "previous"),
        ):
            assert files[variables[variable]] == ("pseudonyms", key)


@needs_helm
def test_further_pseudonym_keys_are_absent_until_they_are_named():
    for pod in deployments(rendered()).values():
        assert not {"GATEWAY_PERMANENT_KEY_FILE", "GATEWAY_PSEUDONYM_KEY_PREVIOUS_FILE"} & (
            environment(pod).keys()
        )
        assert "/run/pseudonym-keys/previous" not in files_of(pod)


@needs_helm
@pytest.mark.parametrize(
    ("values", "files"),
    [
        (
            "kafka.security=SSL",
            {
                "GATEWAY_KAFKA_CERT_FILE": ("gateway-poll", "user.crt"),
                "GATEWAY_KAFKA_KEY_FILE": ("gateway-poll", "user.key"),
            },
        ),
        (
            "kafka.mechanism=OAUTHBEARER,kafka.passwordKey=token",
            {"GATEWAY_KAFKA_TOKEN_FILE": ("gateway-poll", "token")},
        ),
        ("kafka.security=PLAINTEXT,stage=acceptance,kafka.caSecret=", {}),
    ],
)
def test_pods_prove_who_they_are_in_each_way_that_kafka_knows(
    values: str, files: dict[str, tuple[str, str]]
):
    pod = deployments(rendered(f"--set={values}"))["demo-poll"]
    variables = environment(pod)
    proofs = {"PASSWORD_FILE", "TOKEN_FILE", "CERT_FILE", "KEY_FILE"}
    assert {
        name: files_of(pod)[path]
        for name, path in variables.items()
        if name.startswith("GATEWAY_KAFKA_") and name.removeprefix("GATEWAY_KAFKA_") in proofs
    } == files


@needs_helm
def test_connectors_and_tables_come_from_volumes():
    for pod in deployments(rendered(*VOLUMES)).values():
        volumes = {one["name"]: one for one in pod["volumes"]}
        assert volumes["connectors"]["configMap"] == {"name": "our-connectors"}
        assert volumes["mappings"]["persistentVolumeClaim"]["claimName"] == "tables"
        mounts = {one["name"]: one["mountPath"] for one in pod["containers"][0]["volumeMounts"]}
        dockerfile = (DEPLOY / "Dockerfile").read_text()
        assert f"GATEWAY_CONNECTORS={mounts['connectors']} " in dockerfile
        assert f"GATEWAY_MAPPINGS={mounts['mappings']} " in dockerfile


@needs_helm
def test_connectors_and_tables_come_from_git():
    for pod in deployments(rendered(*GIT)).values():
        (first,) = pod["initContainers"]
        sidecar = pod["containers"][1]
        assert "--one-time" in first["args"]
        assert "--period=60s" in sidecar["args"]
        for container in (first, sidecar):
            assert "--repo=https://git.example/files.git" in container["args"]
            assert container["image"] == "git-sync:4"
        arguments = dict(word.partition("=")[::2] for word in sidecar["args"])
        folder = f"{arguments['--root']}/{arguments['--link']}"
        variables = environment(pod)
        assert variables["GATEWAY_CONNECTORS"] == f"{folder}/connectors"
        assert variables["GATEWAY_MAPPINGS"] == f"{folder}/tables/now"
        mounts = {one["name"]: one["mountPath"] for one in pod["containers"][0]["volumeMounts"]}
        assert mounts["files"] == arguments["--root"]
        assert "git-password" not in mounts


@needs_helm
def test_network_policies_permit_the_git_server():
    for policy in (one for one in rendered(*GIT) if one["kind"] == "NetworkPolicy"):
        assert {"ipBlock": {"cidr": "203.0.113.7/32"}} in list(destinations(policy))


@needs_helm
def test_chart_mounts_the_token_of_the_health_port():
    made = rendered("--set=metrics.tokenSecret=health,metrics.tokenKey=key,metrics.hosts=a.example")
    for role in ("poll", "harmonise"):
        pod = deployments(made)[f"demo-{role}"]
        names = environment(pod)
        assert files_of(pod)[names["GATEWAY_HEALTH_TOKEN_FILE"]] == ("health", "key")
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
@needs("promtool", "Debian package prometheus")
def test_promtool_accepts_the_rules_of_the_chart(tmp_path: Path):
    made = rendered("--set=metrics.prometheusRule=true,metrics.runbooks=https://wiki.example/gw")
    rules = tmp_path / "rules.yml"
    rules.write_text(
        yaml.safe_dump(next(one["spec"] for one in made if one["kind"] == "PrometheusRule"))
    )
    assert "SUCCESS" in run("promtool", "check", "rules", rules)
