"""The service that mlflow/server.yaml makes: its command, its environment, and what it refuses.

tests/registry/test_authenticated_server.py starts such a server.
"""

import stat
from configparser import ConfigParser
from pathlib import Path

import pytest

from services.mlflow_server import mlflow_service, server_parameters
from services.service import Service
from stage.errors import InputError, ParameterError
from stage.workspace import Workspace

PROJECT = Path(__file__).resolve().parents[2]
PASSWORD = "correct-horse-battery-staple"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """An empty workspace, and nothing about MLflow in the environment."""
    for name in ("MLFLOW_AUTH_ADMIN_PASSWORD", "MLFLOW_BACKEND_STORE_URI", "MLFLOW_ARTIFACTS_DESTINATION"):
        monkeypatch.delenv(name, raising=False)
    return Workspace(tmp_path)


def _configured(place: Workspace, text: str) -> Workspace:
    place.mlflow.mkdir(exist_ok=True)
    (place.mlflow / "server.yaml").write_text(text)
    return place


def _option(service: Service, name: str) -> str:
    return service.command[service.command.index(name) + 1]


def test_the_file_of_the_repository_says_what_the_defaults_are(tmp_path: Path):
    assert server_parameters(Workspace(PROJECT)) == server_parameters(Workspace(tmp_path))


def test_on_loopback_it_serves_the_workspace_s_own_database_and_artifacts(place: Workspace):
    service = mlflow_service(place, "127.0.0.1", 5001)
    assert (service.name, service.address) == ("mlflow", "http://127.0.0.1:5001")
    assert service.health == "http://127.0.0.1:5001/health"
    assert service.environment["MLFLOW_BACKEND_STORE_URI"] == f"sqlite:///{place.mlflow.resolve()}/mlflow.db"
    assert service.environment["MLFLOW_ARTIFACTS_DESTINATION"] == (place.mlflow.resolve() / "artifacts").as_uri()
    assert service.environment["MLFLOW_SERVE_ARTIFACTS"] == "true"
    assert service.environment["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] == "false"
    assert _option(service, "--allowed-hosts") == "localhost:5001,127.0.0.1:5001,[::1]:5001"
    assert "--app-name" not in service.command


def test_requests_have_limits_in_number_and_in_length(place: Workspace):
    service = mlflow_service(place, "127.0.0.1", 5001)
    assert _option(service, "--uvicorn-opts") == "--http services.mlflow_http:LimitedHttp --limit-concurrency 256"
    assert service.environment["VIEWFORGE_MLFLOW_MOST_REQUEST_BYTES"] == str(32 * 2**20)
    assert service.environment["VIEWFORGE_MLFLOW_MOST_ARTIFACT_BYTES"] == str(16 * 2**30)
    any_number = "most_requests: null\nmost_artifact_gib: null\nmost_request_mib: 1\n"
    service = mlflow_service(_configured(place, any_number), "127.0.0.1", 5001)
    assert _option(service, "--uvicorn-opts") == "--http services.mlflow_http:LimitedHttp"
    assert service.environment["VIEWFORGE_MLFLOW_MOST_REQUEST_BYTES"] == str(2**20)
    assert service.environment["VIEWFORGE_MLFLOW_MOST_ARTIFACT_BYTES"] == ""


def test_a_name_is_allowed_with_its_port_and_as_a_proxy_sends_it(place: Workspace, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MLFLOW_AUTH_ADMIN_PASSWORD", PASSWORD)
    monkeypatch.setenv("MLFLOW_SERVER_ALLOWED_HOSTS", "mlflow, tracking.example,")
    service = mlflow_service(_configured(place, "allowed_hosts: [mlflow.example]\n"), "0.0.0.0", 5001)
    hosts = _option(service, "--allowed-hosts").split(",")
    assert {"mlflow.example", "mlflow.example:5001", "127.0.0.1:5001"} <= set(hosts)
    assert {"mlflow", "mlflow:5001", "tracking.example", "tracking.example:5001"} <= set(hosts)
    assert "" not in hosts
    assert not any("*" in host or "0.0.0.0" in host for host in hosts)
    assert _option(service, "--app-name") == "basic-auth"
    assert service.address == "http://127.0.0.1:5001"


def test_an_address_of_ipv6_is_in_brackets(place: Workspace, monkeypatch: pytest.MonkeyPatch):
    service = mlflow_service(place, "::1", 5001)
    assert service.address == "http://[::1]:5001"
    assert _option(service, "--host") == "::1"
    monkeypatch.setenv("MLFLOW_AUTH_ADMIN_PASSWORD", "correct horse battery")
    hosts = _option(mlflow_service(place, "fd00::7", 5001), "--allowed-hosts").split(",")
    assert {"[fd00::7]", "[fd00::7]:5001"} <= set(hosts)


def test_beyond_loopback_it_wants_a_password_and_a_name(place: Workspace, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(InputError, match="beyond this machine, without credentials; set MLFLOW_AUTH_ADMIN_PASSWORD"):
        mlflow_service(_configured(place, "allowed_hosts: [mlflow.example]\n"), "0.0.0.0", 5001)
    monkeypatch.setenv("MLFLOW_AUTH_ADMIN_PASSWORD", "password1234")
    with pytest.raises(ParameterError, match="known secret"):
        mlflow_service(place, "0.0.0.0", 5001)
    monkeypatch.setenv("MLFLOW_AUTH_ADMIN_PASSWORD", PASSWORD)
    with pytest.raises(InputError, match="add the names to allowed_hosts"):
        mlflow_service(_configured(place, "workers: 2\n"), "0.0.0.0", 5001)


def test_with_authentication_no_secret_is_in_the_command_and_files_are_the_owner_s(
    place: Workspace, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("MLFLOW_AUTH_ADMIN_PASSWORD", PASSWORD)
    monkeypatch.setenv("VIEWFORGE_MLFLOW_AUTH_DATABASE_URI", "postgresql://auth:p%40ss@db/auth")
    monkeypatch.setenv("MLFLOW_BACKEND_STORE_URI", "postgresql://mlflow:hunter2hunter2@db/mlflow")
    service = mlflow_service(_configured(place, "authentication: {required: always}\n"), "127.0.0.1", 5001)
    assert _option(service, "--app-name") == "basic-auth"
    told = " ".join(service.command)
    assert not any(secret in told for secret in (PASSWORD, "p%40ss", "hunter2"))
    path = Path(service.environment["MLFLOW_AUTH_CONFIG_PATH"])
    files = list(path.parent.iterdir())
    assert len(files) == 2
    assert all(stat.S_IMODE(file.stat().st_mode) == 0o600 for file in files)
    written = ConfigParser()
    written.read(path)
    assert written["mlflow"]["database_uri"] == "postgresql://auth:p%40ss@db/auth"
    assert PASSWORD not in path.read_text()
    again = mlflow_service(place, "127.0.0.1", 5001)
    key = "MLFLOW_FLASK_SERVER_SECRET_KEY"
    assert again.environment[key] == service.environment[key]
    assert len(service.environment[key]) == 64


def test_a_mistake_in_the_file_is_named_with_the_nearest_key(place: Workspace):
    with pytest.raises(ParameterError, match=r"server.yaml.allowed_host; did you mean allowed_hosts\?"):
        mlflow_service(_configured(place, "allowed_host: [a]\n"), "127.0.0.1", 5001)
