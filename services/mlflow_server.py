"""MLflow's server of an installation: `mlflow/server.yaml` as typed parameters, and the service that they make.

    service = mlflow_service(Workspace(Path(".")), "127.0.0.1", 5000)

Artifacts go through the server, so that clients need no key of the store. Beyond loopback users have names and passwords. What is
secret is in the service's environment, or in files of mode 0600 below `.services/`, and never in its command.
"""

import os
import secrets
import sys
from collections.abc import Mapping
from configparser import ConfigParser
from pathlib import Path
from typing import Literal

from pydantic import Field

from services.exposure import MLFLOW_PASSWORD, check_secret, is_loopback, refuse_exposed, secret_of
from services.mlflow_http import HTTP, MOST_ARTIFACT, MOST_REQUEST
from services.prefect_services import address_of
from services.service import Service
from stage.errors import InputError
from stage.files import replacing
from stage.parameters import Parameters, read_parameters, validated
from stage.workspace import Workspace

CONFIGURATION = "server.yaml"
AUTH_DATABASE = "VIEWFORGE_MLFLOW_AUTH_DATABASE_URI"
_KEY = "MLFLOW_FLASK_SERVER_SECRET_KEY"
_ANYWHERE = {"0.0.0.0", "::", "[::]"}  # noqa: S104 - told apart, not bound
_LOOPBACK = ("localhost", "127.0.0.1", "[::1]")


class AuthenticationParameters(Parameters):
    """Who may use the server."""

    required: Literal["beyond_loopback", "always"] = "beyond_loopback"
    """Whether this machine's own users need a password too."""
    admin: str = Field(default="admin", min_length=1)
    """Name of the first user."""
    default_permission: Literal["READ", "USE", "EDIT", "MANAGE", "NO_PERMISSIONS"] = "READ"
    """Of users who were given nothing, on what others made."""
    password_cache_seconds: int = Field(default=60, ge=0)
    """How long a password that was right counts without being hashed again, which takes most of a request's time."""


class MlflowServerParameters(Parameters):
    """The content of `mlflow/server.yaml`."""

    backend_store: str | None = None
    """URI of the database; the workspace's SQLite file when null."""
    artifacts_destination: str | None = None
    """Folder or URL; the workspace's `mlflow/artifacts` when null."""
    allowed_hosts: tuple[str, ...] = ()
    """Names by which clients reach the server, without a port."""
    allowed_origins: tuple[str, ...] = ()
    """Pages of other addresses that may send requests."""
    workers: int = Field(default=1, ge=1)
    """Processes that answer."""
    most_requests: int | None = Field(default=256, ge=1)
    """Requests at once; any number when null."""
    most_request_mib: int = Field(default=32, ge=1)
    """MiB of a request, which MLflow holds in memory whole; uploads of artifacts are not."""
    most_artifact_gib: int | None = Field(default=16, ge=1)
    """GiB of an artifact; any number when null."""
    frames: Literal["SAMEORIGIN", "DENY", "NONE"] = "SAMEORIGIN"
    """Which pages may show the server's in a frame."""
    authentication: AuthenticationParameters = AuthenticationParameters()
    """Names and passwords."""


def server_parameters(place: Workspace) -> MlflowServerParameters:
    """The workspace's `mlflow/server.yaml`; the defaults where it has none.

    Raises:
        ParameterError: naming the first mistake.
    """
    path = place.mlflow / CONFIGURATION
    return validated(MlflowServerParameters, read_parameters(path) if path.is_file() else {}, place=str(path))


def mlflow_service(place: Workspace, host: str, port: int) -> Service:
    """The server as a service. Writes what it reads of secrets into `.services/`, mode 0600.

    Args:
        place: whose configuration, and by default whose database and artifacts.
        host: address to listen on.
        port: of it.

    Raises:
        InputError: when it would be exposed without credentials, or no client could reach it.
        ParameterError: when a parameter or the password will not do.
    """
    parameters = server_parameters(place)
    refuse_exposed("MLflow", host, MLFLOW_PASSWORD)
    hosts = allowed_hosts(parameters, host, port)
    command = [sys.executable, "-m", "mlflow", "server", "--host", host.strip("[]"), "--port", str(port)]
    command += ["--workers", str(parameters.workers), "--allowed-hosts", ",".join(hosts)]
    command += ["--x-frame-options", parameters.frames]
    if parameters.allowed_origins:
        command += ["--cors-allowed-origins", ",".join(parameters.allowed_origins)]
    at_once = f" --limit-concurrency {parameters.most_requests}" if parameters.most_requests else ""
    command += ["--uvicorn-opts", f"--http {HTTP}{at_once}"]
    environment = _environment(place, parameters)
    if parameters.authentication.required == "always" or not is_loopback(host):
        command += ["--app-name", "basic-auth"]
        environment |= _authentication(place, parameters.authentication)
    address = address_of(host, port)
    return Service("mlflow", command, environment, address, f"{address}/health")


def allowed_hosts(parameters: MlflowServerParameters, host: str, port: int) -> list[str]:
    """What the header Host may say. MLflow compares all of it, the port too.

    Raises:
        InputError: when the server listens on every address and no name of it is given.
    """
    of_environment = (name.strip() for name in os.environ.get("MLFLOW_SERVER_ALLOWED_HOSTS", "").split(","))
    names = [*parameters.allowed_hosts, *filter(None, of_environment)]
    if host in _ANYWHERE and not names:
        raise InputError(
            f"MLflow would listen on {host}, and {CONFIGURATION} does not say by which name clients reach it",
            "add the names to allowed_hosts",
        )
    bare = host.strip("[]")
    # As it stands in the header.
    own = [] if host in _ANYWHERE or is_loopback(host) else [f"[{bare}]" if ":" in bare else bare]
    inside = [f"{name}:{port}" for name in _LOOPBACK]
    return list(dict.fromkeys([*inside, *(form for name in (*own, *names) for form in (name, f"{name}:{port}"))]))


def _environment(place: Workspace, parameters: MlflowServerParameters) -> dict[str, str]:
    """In the environment rather than the command, since a database's address may hold a password."""
    folder = place.mlflow.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    store = os.environ.get("MLFLOW_BACKEND_STORE_URI") or parameters.backend_store
    artifacts = os.environ.get("MLFLOW_ARTIFACTS_DESTINATION") or parameters.artifacts_destination
    return {
        "MLFLOW_BACKEND_STORE_URI": store or f"sqlite:///{folder / 'mlflow.db'}",
        "MLFLOW_ARTIFACTS_DESTINATION": artifacts or (folder / "artifacts").as_uri(),
        "MLFLOW_SERVE_ARTIFACTS": "true",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        # Its job workers take 2 GB and serve nothing that is used here.
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        MOST_REQUEST: str(parameters.most_request_mib * 2**20),
        MOST_ARTIFACT: str(parameters.most_artifact_gib * 2**30) if parameters.most_artifact_gib else "",
    }


def _authentication(place: Workspace, parameters: AuthenticationParameters) -> dict[str, str]:
    """What MLflow's basic authentication reads. The password makes the first user; later it changes nothing.

    Raises:
        InputError: when there is no password.
        ParameterError: when it will not do.
    """
    password = secret_of(MLFLOW_PASSWORD)
    if password is None:
        raise InputError(
            "MLflow's authentication has no password for its first user",
            f"set {MLFLOW_PASSWORD}, or {MLFLOW_PASSWORD}_FILE to a file of mode 0600",
        )
    check_secret(MLFLOW_PASSWORD, password)
    folder = place.root.resolve() / ".services"
    database = secret_of(AUTH_DATABASE) or f"sqlite:///{place.mlflow.resolve() / 'auth.db'}"
    values = {
        "default_permission": parameters.default_permission,
        "database_uri": database,
        "admin_username": parameters.admin,
        "auth_cache_ttl_seconds": str(parameters.password_cache_seconds),
        "authorization_function": "mlflow.server.auth:authenticate_request_basic_auth",
    }
    return {
        "MLFLOW_AUTH_CONFIG_PATH": str(_written(folder / "mlflow-auth.ini", values)),
        MLFLOW_PASSWORD: password,
        _KEY: secret_of(_KEY) or _kept_key(folder / "mlflow-flask-key"),
    }


def _written(path: Path, values: Mapping[str, str]) -> Path:
    configuration = ConfigParser()
    # A per cent sign, as in an escaped password, is one of ConfigParser's own.
    configuration["mlflow"] = {key: value.replace("%", "%%") for key, value in values.items()}
    with replacing(path) as temporary:
        temporary.touch(mode=0o600)
        with temporary.open("w") as stream:
            configuration.write(stream)
    return path


def _kept_key(path: Path) -> str:
    """Signs the forms of MLflow's pages: any, but the same for all workers and after a restart."""
    if not path.is_file():
        with replacing(path) as temporary:
            temporary.touch(mode=0o600)
            temporary.write_text(secrets.token_hex(32))
    return path.read_text()
