"""The image, compose.yaml and the kustomize base are in step with the project, and their configurations run.

`make test-systemd` builds and runs the image itself (tests/systemd/test_image.py).
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import yaml
from daemon_process import SECRET, Start
from ports import free_port
from uv_program import ROOT

from notifier.cli.on_demand import MODULES
from notifier.config import load
from notifier.web.guard import HEALTH_PATHS

CONTAINER = ROOT / "deploy" / "container"
KUSTOMIZE = ROOT / "deploy" / "kustomize"
DOCKERFILE = re.sub(r"\\\n", " ", (CONTAINER / "Dockerfile").read_text())
USER = 10001
PORT = 8780
VALUES = {
    "VIDU_TOKEN": "t",
    "APP_URL": "https://example.com/hooks",
    "APP_WEBHOOK_SECRET": SECRET,
    "NOTIFIER_TOKEN": "n",
    "POSTGRES_PASSWORD": "p",
    "DATABASE_URL": "postgresql://u:p@127.0.0.1/n",
    "NODE_NAME": "notifier-5d9c7",
}


def instructions(name: str) -> list[str]:
    return re.findall(rf"^{name} +(.*)$", DOCKERFILE, re.MULTILINE)


def document(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def variables(path: Path) -> set[str]:
    return set(re.findall(r"\$\{(\w+)\}", path.read_text(encoding="utf-8")))


def pod() -> Any:
    return document(KUSTOMIZE / "deployment.yaml")["spec"]["template"]["spec"]


def durations(text: str) -> int:
    """Read seconds."""
    found = re.fullmatch(r"(\d+)s", text)
    assert found, text
    return int(found[1])


def test_the_image_is_made_of_what_the_project_says() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (base,) = re.findall(r"^ARG BASE=python:(3\.\d+)-slim-\w+$", DOCKERFILE, re.MULTILINE)
    assert f"Programming Language :: Python :: {base}" in project["classifiers"]
    assert instructions("FROM") == ["${BASE} AS build", "${BASE}"]
    syncs = [line for line in instructions("RUN") if "uv sync" in line]
    assert len(syncs) == 2
    assert all({"--frozen", "--no-default-groups", "--all-extras"} <= set(line.split()) for line in syncs)
    copied = {name for line in instructions("COPY") for name in line.split()[:-1] if not line.startswith("--from")}
    assert {project["readme"], *project["license-files"], "pyproject.toml", "uv.lock", "notifier"} == copied
    assert [name for name in copied if not (ROOT / name).exists()] == []
    taken = [line[1:] for line in (CONTAINER / "Dockerfile.dockerignore").read_text().splitlines() if line[:1] == "!"]
    assert set(taken) == copied


def test_the_image_runs_the_program_without_root() -> None:
    assert instructions("USER") == [f"{USER}:{USER}"]
    assert f"useradd --uid {USER} " in DOCKERFILE
    assert instructions("EXPOSE") == [str(PORT)]
    assert instructions("ENTRYPOINT") == ['["notifier"]']
    (check,) = re.findall(r'CMD \["notifier", "(\w+)"\]', " ".join(instructions("HEALTHCHECK")))
    (command,) = re.findall(r'^\["(\w+)"\]', instructions("CMD")[0])
    assert {check, command} <= set(MODULES)
    assert instructions("VOLUME") == instructions("WORKDIR")[-1:] == ["/var/lib/notifier"]


@pytest.mark.parametrize(
    "path", [CONTAINER / "config.yaml", KUSTOMIZE / "config.yaml"], ids=lambda path: path.parent.name
)
def test_the_configuration_is_valid(path: Path) -> None:
    loaded = load(path, env={name: VALUES[name] for name in variables(path)})
    assert (set(loaded.sources), set(loaded.endpoints)) == ({"vidu"}, {"app"})
    assert document(path)["http"]["listen"] == f"0.0.0.0:{PORT}"


def test_compose_hands_over_what_the_configuration_names() -> None:
    service = document(CONTAINER / "compose.yaml")["services"]["notifier"]
    assert variables(CONTAINER / "config.yaml") <= set(service["environment"])
    assert service["ports"] == [f"127.0.0.1:{PORT}:{PORT}"]
    assert service["volumes"] == ["./config.yaml:/etc/notifier/config.yaml:ro"]
    assert service["environment"]["NOTIFIER_CONFIG"] == "/etc/notifier/config.yaml"
    assert (ROOT / "deploy/container" / service["build"]["context"]).resolve() == ROOT
    assert (ROOT / service["build"]["dockerfile"]).exists()
    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]
    assert durations(service["stop_grace_period"]) > 30  # shutdown_timeout


def test_the_base_is_whole() -> None:
    base = document(KUSTOMIZE / "kustomization.yaml")
    named = {*base["resources"], *(name for made in base["configMapGenerator"] for name in made["files"])}
    assert named | {"kustomization.yaml"} == {path.name for path in KUSTOMIZE.iterdir()}
    kinds = {document(KUSTOMIZE / name)["kind"] for name in base["resources"]}
    assert kinds == {"Deployment", "Service", "ServiceAccount", "PodDisruptionBudget"}
    assert {document(KUSTOMIZE / name)["metadata"]["name"] for name in base["resources"]} == {"notifier"}


def test_a_pod_is_confined_and_has_time_to_stop() -> None:
    spec = pod()
    (container,) = spec["containers"]
    assert spec["securityContext"]["runAsNonRoot"]
    assert {spec["securityContext"][key] for key in ("runAsUser", "runAsGroup", "fsGroup")} == {USER}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert spec["terminationGracePeriodSeconds"] > 30  # shutdown_timeout
    assert not spec["automountServiceAccountToken"]
    mounted = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    assert mounted == {"/etc/notifier": "config", "/tmp": "tmp"}
    assert {volume["name"] for volume in spec["volumes"]} == set(mounted.values())
    assert container["ports"] == [{"name": "http", "containerPort": PORT}]


def test_what_the_pods_configuration_names_comes_from_the_secret_or_the_pod() -> None:
    (container,) = pod()["containers"]
    needed = variables(KUSTOMIZE / "config.yaml") - {variable["name"] for variable in container["env"]}
    told = (KUSTOMIZE / "kustomization.yaml").read_text()
    assert set(re.findall(r"--from-literal=(\w+)=", told)) == needed
    assert container["envFrom"] == [{"secretRef": {"name": "notifier"}}]


def probes() -> Iterator[str]:
    (container,) = pod()["containers"]
    for name in ("startupProbe", "livenessProbe", "readinessProbe"):
        yield container[name]["httpGet"]["path"]


async def test_the_pods_configuration_runs_and_answers_probes(daemons: Start, shared_url: str) -> None:
    """Kubelets name the pod's address as Host, and have no token. The start makes the tables itself."""
    settings = document(KUSTOMIZE / "config.yaml")
    settings["http"]["listen"] = f"127.0.0.1:{free_port()}"
    daemon = daemons(settings, env=VALUES | {"DATABASE_URL": shared_url})
    await daemon.start("--migrate")
    paths = list(probes())
    assert set(paths) <= set(HEALTH_PATHS)
    for path in paths:
        assert (await daemon.get(path, Host=f"10.1.2.3:{PORT}"))[0] == 200
    status = await daemon.get("/v1/status", Host=f"10.1.2.3:{PORT}")
    assert status[0] == 401
    assert await daemon.stop() == 0


def test_no_image_takes_more_than_it_needs() -> None:
    """The build's context holds no secret of whoever builds: everything is left out but what is named."""
    lines = (CONTAINER / "Dockerfile.dockerignore").read_text().splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    assert not any(
        fnmatch(name, rule[1:]) for rule in rules if rule[0] == "!" for name in (".env", ".git", "environment")
    )
