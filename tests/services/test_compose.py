"""docker-compose.yaml is valid, has no secret, and starts what `viewforge up` starts."""

import importlib.util
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from typer.testing import CliRunner

from cli.main import app
from services.foreground import NAMES, service_named
from services.store import PARTS
from stage.workspace import Workspace
from training.parameters import LaunchParameters

PROJECT = Path(__file__).parents[2]
FILE = PROJECT / "docker-compose.yaml"
COMPOSE: dict[str, Any] = yaml.safe_load(FILE.read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: entry for name, entry in SERVICES.items() if "build" in entry}
SECRETS = ("VIEWFORGE_POSTGRES_PASSWORD", "VIEWFORGE_PREFECT_AUTH", "VIEWFORGE_MLFLOW_PASSWORD")
SECRET = "canary-canary-canary"


def variables(text: str) -> dict[str, str]:
    """Variables that are filled in, with what follows the name: `:?message`, `:-default`."""
    return dict(re.findall(r"\$\{(\w+)([^}]*)\}", text))


def filled(value: object) -> str:
    """A value of the file with its variables filled in: what has a default by that, a secret by SECRET."""
    text = re.sub(r"\$\{\w+:\?[^}]*\}", SECRET, f"{'' if value is None else value}")
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text)


def listens(name: str) -> list[str]:
    """The arguments of `viewforge service`."""
    return [filled(part) for part in SERVICES[name]["command"][2:]]


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the containers of the file have."""
    for entry in SERVICES.values():
        for name, value in (entry.get("environment") or {}).items():
            monkeypatch.setenv(name, filled(value))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)


def test_the_schema_of_compose_holds() -> None:
    if importlib.util.find_spec("check_jsonschema") is None:
        pytest.skip("check-jsonschema, which has the schema of Compose, is not installed")
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(FILE)]
    verdict = subprocess.run(command, capture_output=True, text=True, check=False)
    assert verdict.returncode == 0, verdict.stdout


def test_docker_compose_takes_the_file() -> None:
    docker = shutil.which("docker")
    if docker is None or subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode:
        pytest.skip("docker compose is not installed")
    command = [
        docker,
        "compose",
        "--file",
        FILE,
        "--profile",
        "gpu",
        "--profile",
        "store",
        "config",
        "--format",
        "json",
    ]
    environment = {**dict.fromkeys(SECRETS, SECRET), "PATH": str(Path(docker).parent)}
    verdict = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert verdict.returncode == 0, verdict.stderr
    assert set(json.loads(verdict.stdout)["services"]) == set(SERVICES)


def test_every_service_of_an_installation_is_there() -> None:
    assert set(NAMES) <= set(SERVICES)
    assert SERVICES["worker-gpu"]["profiles"] == ["gpu"]
    assert SERVICES["store"]["profiles"] == ["store"]
    assert [name for name, entry in SERVICES.items() if "profiles" in entry] == ["worker-gpu", "store"]


@pytest.mark.parametrize("name", ["prefect", "mlflow", "worker-cpu", "worker-gpu"])
def test_a_container_runs_the_service_and_asks_where_it_answers(name: str, environment: None, tmp_path: Path) -> None:
    (kind, *options), entry = listens(name), SERVICES[name]
    assert entry["command"][:2] == ["viewforge", "service"]
    chosen = dict(zip(options[::2], options[1::2], strict=True))
    limit = int(chosen["--limit"]) if "--limit" in chosen else None
    service = service_named(kind, Workspace(tmp_path), chosen.get("--host"), int(chosen["--port"]), limit)
    assert service.name == name
    assert f"'{service.health}'" in entry["healthcheck"]["test"][-1]
    assert SECRET not in " ".join(service.command)


def test_servers_are_published_on_loopback_under_their_own_ports() -> None:
    published = {name: entry["ports"] for name, entry in SERVICES.items() if "ports" in entry}
    assert published == {
        name: [f"127.0.0.1:{port}:{port}"] for name, port in (("prefect", 4200), ("mlflow", 5000), ("store", 9000))
    }


def test_clients_reach_the_servers_by_their_names(environment: None, tmp_path: Path) -> None:
    for name, variable in (("prefect", "PREFECT_API_URL"), ("mlflow", "MLFLOW_TRACKING_URI")):
        address = urlsplit(COMPOSE["x-servers"][variable])
        assert (address.hostname, f"{address.port}") == (name, listens(name)[-1])
    # MLflow compares the header Host with the port.
    command = service_named("mlflow", Workspace(tmp_path), "0.0.0.0", 5000).command
    assert "mlflow:5000" in command[command.index("--allowed-hosts") + 1].split(",")
    for name in ("worker-cpu", "worker-gpu"):
        assert COMPOSE["x-servers"].items() <= SERVICES[name]["environment"].items()


@pytest.mark.parametrize(
    ("given", "status"),
    [
        ({}, 1),
        ({"AWS_ACCESS_KEY_ID": "key"}, 1),
        ({"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": SECRET}, 0),
    ],
)
def test_the_store_does_not_start_without_a_key(given: dict[str, str], status: int, tmp_path: Path) -> None:
    """It would let everybody in."""
    weed = tmp_path / "weed"
    weed.write_text('#!/bin/sh\necho "started $*"\n')
    weed.chmod(0o755)
    entry = SERVICES["store"]
    command = [part.replace("$$", "$") for part in (*entry["entrypoint"], *entry["command"])]
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", **given}
    answer = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (answer.returncode, "started" in answer.stdout) == (status, status == 0)
    assert status == 0 or "AWS_SECRET_ACCESS_KEY" in answer.stderr
    assert SECRET not in answer.stdout + answer.stderr


def test_others_reach_the_store_where_it_asks_for_the_key_alone() -> None:
    """Its other parts, which ask for none, keep to loopback; the image's user 1000 owns the folder."""
    options = dict(part.removeprefix("-").partition("=")[::2] for part in SERVICES["store"]["command"])
    assert (options["ip"], options["ip.bind"], options["s3.ip.bind"]) == ("127.0.0.1", "127.0.0.1", "0.0.0.0")
    assert (SERVICES["store"]["user"], SERVICES["store"]["cap_drop"]) == ("1000:1000", ["ALL"])


def test_the_store_is_that_of_viewforge_up(environment: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.store.program", lambda: "weed")
    own = set(service_named("store", Workspace(tmp_path)).command)
    there = set(SERVICES["store"]["command"])
    differing = {part.partition("=")[0] for part in own ^ there}
    # Parts have the ports that they want in a container of their own.
    assert differing - {"weed"} <= {"-dir", "-s3.ip.bind", *(f"-{name}" for name in PARTS)}


def test_secrets_have_to_be_given() -> None:
    wanted = variables(FILE.read_text())
    assert {name for name, rest in wanted.items() if rest.startswith(":?")} == set(SECRETS)
    for entry in SERVICES.values():
        for name, value in (entry.get("environment") or {}).items():
            if re.search("PASSWORD|SECRET|AUTH_STRING", name):
                assert value is None or ":?" in value, name


def test_every_variable_is_explained() -> None:
    page = (PROJECT / "docs" / "deployment.md").read_text()
    example = (PROJECT / "flows" / "deploy" / "environment.example").read_text()
    asked = {
        name
        for entry in SERVICES.values()
        for name, value in (entry.get("environment") or {}).items()
        if value is None
    }
    for name in {*variables(FILE.read_text()), *asked}:
        assert re.search(rf"^#?{name}=", example, re.MULTILINE), name
        if name.startswith("VIEWFORGE_"):
            assert name in page, name


def test_images_are_pinned_and_containers_have_no_privileges() -> None:
    for name, entry in SERVICES.items():
        image = re.sub(r"\$\{\w+:-(.+)\}", r"\1", entry["image"])
        assert re.fullmatch(r"[\w/.-]+:\d[\w.-]*", image), name
        assert "no-new-privileges:true" in entry["security_opt"]
        assert entry["restart"] in {"unless-stopped", "on-failure", "no"}
        assert not entry.get("privileged")
    assert all(entry["cap_drop"] == ["ALL"] for entry in OURS.values())
    dockerfile = (PROJECT / "flows" / "deploy" / "Dockerfile").read_text()
    assert re.search(r"^FROM python:3\.11\.\d+-slim-bookworm$", dockerfile, re.MULTILINE)
    assert re.search(r"^USER 10001:10001$", dockerfile, re.MULTILINE)


def test_a_worker_has_time_for_a_checkpoint(environment: None, tmp_path: Path) -> None:
    for name in ("worker-cpu", "worker-gpu"):
        command = service_named(*listens(name)[:1], Workspace(tmp_path)).command
        grace = float(command[command.index("--grace-seconds") + 1])
        # The worker schedules its runs anew after their time, and before it is killed.
        assert 2 * LaunchParameters().grace_seconds < grace <= int(SERVICES[name]["stop_grace_period"][:-1]) - 30


def test_what_others_wait_for_can_be_waited_for() -> None:
    for entry in SERVICES.values():
        for name, wanted in entry.get("depends_on", {}).items():
            healthy = wanted["condition"] == "service_healthy"
            assert ("healthcheck" in SERVICES[name]) == healthy
            assert "profiles" not in SERVICES[name]


def test_the_databases_are_those_that_are_made() -> None:
    made = set(re.findall(r"CREATE DATABASE (\w+);", (PROJECT / "flows" / "deploy" / "databases.sql").read_text()))
    addresses = [
        urlsplit(value)
        for entry in SERVICES.values()
        for value in (entry.get("environment") or {}).values()
        if f"{value}".startswith("postgresql")
    ]
    assert {address.path.removeprefix("/") for address in addresses} == made
    assert {address.netloc for address in addresses} == {"viewforge@postgres"}


def test_the_image_gets_no_data_and_no_secret() -> None:
    left_out = (PROJECT / ".dockerignore").read_text().splitlines()
    ignored = (PROJECT / ".gitignore").read_text().splitlines()
    assert "/.env" in ignored, "it has the secrets of docker-compose.yaml"
    for pattern in ignored:
        # What git leaves out lies in a working copy all the same.
        name = pattern.strip("/")
        assert {name, f"**/{name}", re.sub(r"^promotion\..*", "promotion.*", name)} & set(left_out), name
    for name in (".git", ".dvc/cache", ".dvc/tmp", ".dvc/config.local"):
        assert name in left_out
    # Assets that somebody put there, without the pages that a new workspace gets.
    assert left_out.index("inputs/*/*") < left_out.index("!inputs/*/README.md")


def test_a_folder_becomes_a_workspace_and_stays_one(tmp_path: Path) -> None:
    place = tmp_path / "workspace"
    run = CliRunner().invoke
    first = run(app, ["workspace", "-w", str(place), "--set", "train.steps=7"], catch_exceptions=False)
    assert first.exit_code == 0
    made = (place / "params.yaml").read_bytes()
    assert yaml.safe_load(made)["train"]["steps"] == 7
    run(app, ["workspace", "-w", str(place)], catch_exceptions=False)
    assert (place / "params.yaml").read_bytes() == made
    assert (place / "dvc.yaml").is_file()
