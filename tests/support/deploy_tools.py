"""Run the tools that check the files of ``deploy``, and skip a test where its tool is missing."""

from __future__ import annotations

import functools
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
CHART = DEPLOY / "helm/qualification-gateway"
NEEDED = ("--set=kafka.bootstrap=k:9093,pseudonymKey.secret=pseudonyms",)
"""The values that have no default."""


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


needs_helm = needs("helm", "make deploy-check, or https://helm.sh")
ALL_COMMANDS = "--set=commands.auditor.enabled=true,commands.eraser.enabled=true"
SERVER = '{"to":[{"ipBlock":{"cidr":"203.0.113.7/32"}}],"ports":[{"port":443,"protocol":"TCP"}]}'
GIT = (
    "--set=files.git.repository=https://git.example/files.git,files.git.image=git-sync:4",
    "--set=files.git.secret=git,files.git.mappings=tables/now",
    f"--set-json=networkPolicy.extraEgress=[{SERVER}]",
)
VOLUMES = (
    '--set-json=files.connectors={"configMap":{"name":"our-connectors"}}',
    '--set-json=files.mappings={"persistentVolumeClaim":{"claimName":"tables","readOnly":true}}',
)
EVERYTHING = (
    ALL_COMMANDS,
    *GIT,
    "--set=kafka.security=SSL,metrics.tokenSecret=health,receive.enabled=true,traces=http://c:4318/v1/traces",
    "--set=pseudonymKey.permanentKey=permanent,pseudonymKey.previousKey=previous",
    "--set=registrySecrets[0].secret=s,registrySecrets[0].key=k,registrySecrets[0].path=aa-awards/key",
    "--set=settings.GATEWAY_STOP_AFTER_REJECTED=200",
    '--set-json=tolerations=[{"key":"a","operator":"Exists","effect":"NoSchedule"}]',
    '--set-json=nodeSelector={"kubernetes.io/os":"linux"}',
    '--set-json=podAnnotations={"note":"x"}',
    '--set-json=imagePullSecrets=[{"name":"pull"}]',
)


@functools.cache
def rendered(*more: str) -> list[dict]:
    """Return the manifests. No test changes them."""
    text = run("helm", "template", "demo", CHART, "--kube-version=1.33", *NEEDED, *more)
    return [one for one in yaml.safe_load_all(text) if one]
