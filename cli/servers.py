"""`viewforge ui`: the pages of Prefect and MLflow over a workspace's local databases, on loopback."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Annotated

import typer

from cli.options import HERE, WorkspaceOption, opened
from stage.errors import ViewforgeError
from stage.lifeline import tied
from stage.workspace import Workspace

_HOST = "127.0.0.1"


def add_to(app: typer.Typer) -> None:
    """Add the subcommand."""
    app.command(rich_help_panel="Pipeline")(ui)


def ui(
    prefect_port: Annotated[int, typer.Option(help="Port of Prefect's page.")] = 4200,
    mlflow_port: Annotated[int, typer.Option(help="Port of MLflow's page.")] = 5000,
    workspace: WorkspaceOption = HERE,
) -> None:
    """Serve the pages of Prefect and MLflow until interrupted."""
    place = opened(workspace)
    for number in (signal.SIGINT, signal.SIGTERM):
        # A shell starts background processes with SIGINT ignored, and SIGTERM alone would leave the servers' own children.
        signal.signal(number, signal.default_int_handler)
    _check_free("Prefect", prefect_port, "--prefect-port")
    _check_free("MLflow", mlflow_port, "--mlflow-port")
    from training.tracking.mlflow_place import use_mlflow

    # By the environment: a command line is everybody's to read.
    stores = {"MLFLOW_BACKEND_STORE_URI": use_mlflow(place), "MLFLOW_ARTIFACTS_DESTINATION": _artifacts(place)}
    servers = [
        _start(["prefect", "server", "start", "--host", _HOST, "--port", str(prefect_port)]),
        _start(["mlflow", "server", "--host", _HOST, "--port", str(mlflow_port), "--workers", "1"], stores),
    ]
    print(
        f"Prefect  http://{_HOST}:{prefect_port}\nMLflow   http://{_HOST}:{mlflow_port}\nStop with Ctrl-C.", flush=True
    )
    try:
        while all(server.poll() is None for server in servers):
            time.sleep(0.5)
        raise ViewforgeError("a server ended by itself", "see its messages above")
    finally:
        for server in servers:
            with suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGKILL)


def _artifacts(place: Workspace) -> str:
    return (place.mlflow.resolve() / "artifacts").as_uri()


def _check_free(name: str, port: int, option: str) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_HOST, port))
        except OSError:
            raise ViewforgeError(f"port {port} for {name} is taken", f"choose another with {option}") from None


def _start(command: list[str], stores: Mapping[str, str] | None = None) -> "subprocess.Popen[bytes]":
    """A server in its own process group, without MLflow's job workers, which take 2 GB."""
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", **(stores or {})}
    return subprocess.Popen(tied([sys.executable, "-m", *command]), start_new_session=True, env=environment)
