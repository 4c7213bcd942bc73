"""Check the manifests of the chart and of Strimzi with the schemas of Kubernetes and Strimzi."""

from __future__ import annotations

import atexit
import functools
import json
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
import yaml

from tests.support.deploy_tools import (
    ALL_COMMANDS,
    DEPLOY,
    EVERYTHING,
    ROOT,
    VOLUMES,
    needs,
    needs_helm,
    rendered,
    run,
)


@functools.cache
def kubernetes_schemas(version: str) -> Path:
    """Return a folder with the strict schemas of kubernetes-validate, in the form for kubeconform."""
    root = Path(shutil.which("kubernetes-validate") or "").resolve().parents[1]
    folder = f"kubernetes-json-schema/v{version}-local-strict"
    source = next(root.glob(f"lib/python*/site-packages/kubernetes_validate/{folder}"))
    copy = Path(tempfile.mkdtemp(prefix="schemas-"))
    atexit.register(shutil.rmtree, copy)
    kinds = {one["kind"].lower() for one in rendered(*EVERYTHING)}
    for path in source.glob("*.json"):
        if path.stem.partition("-")[0] in kinds | {"_definitions"}:
            schema = json.loads(path.read_text())
            # The ids and references begin at a web server, which is not asked.
            del schema["$id"]
            text = json.dumps(schema).replace('"/api/_definitions.json', '"_definitions.json')
            (copy / path.name).write_text(text)
    return copy


CASES = pytest.mark.parametrize(
    "values", [(), EVERYTHING, (ALL_COMMANDS, *VOLUMES)], ids=["default", "all", "volumes"]
)


@needs_helm
@needs("kubernetes-validate", "make deploy-check; PyPI package kubernetes-validate")
@CASES
def test_kubernetes_validate_accepts_the_manifests(values: tuple[str, ...], tmp_path: Path):
    file = tmp_path / "all.yaml"
    file.write_text(yaml.safe_dump_all(rendered(*values)))
    run("kubernetes-validate", "--strict", file)


def kubeconform(file: Path, version: str) -> subprocess.CompletedProcess[str]:
    folders = (
        f"{kubernetes_schemas(version)}/{{{{.ResourceKind}}}}{{{{.KindSuffix}}}}.json",
        f"{ROOT}/tests/deploy/crds/{{{{.ResourceKind}}}}_{{{{.ResourceAPIVersion}}}}.json",
    )
    return subprocess.run(
        [
            *("kubeconform", "-strict", "-summary", f"-kubernetes-version={version}"),
            *(f"-schema-location={folder}" for folder in folders),
            str(file),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


needs_kubeconform = needs("kubeconform", "make deploy-check; a Go program")


@needs_helm
@needs_kubeconform
@needs("kubernetes-validate", "make deploy-check; it contains the schemas")
@CASES
@pytest.mark.parametrize("version", ["1.27.0", "1.33.0", "1.37.0"])
def test_kubeconform_accepts_the_manifests(values: tuple[str, ...], version: str, tmp_path: Path):
    file = tmp_path / "all.yaml"
    file.write_text(yaml.safe_dump_all(rendered(*values)))
    done = kubeconform(file, version)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Invalid: 0, Errors: 0, Skipped: 0" in done.stdout


@needs_helm
@needs_kubeconform
@needs("kubernetes-validate", "make deploy-check; it contains the schemas")
def test_kubeconform_refuses_an_unknown_field(tmp_path: Path):
    file = tmp_path / "all.yaml"
    file.write_text(yaml.safe_dump_all(rendered()).replace("maxUnavailable", "maxUnavailible"))
    assert kubeconform(file, "1.33.0").returncode == 1


@needs_kubeconform
@needs("kubernetes-validate", "make deploy-check; it contains the schemas")
@pytest.mark.parametrize("name", ["topics.yaml", "users.yaml"])
def test_kubeconform_accepts_the_strimzi_files(name: str):
    done = kubeconform(DEPLOY / "strimzi" / name, "1.33.0")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Invalid: 0, Errors: 0, Skipped: 0" in done.stdout
