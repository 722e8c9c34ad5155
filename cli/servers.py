"""`viewforge up`, `viewforge down` and `viewforge ui`: the servers and workers of a workspace."""

import os
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from cli.options import HERE, WORKSPACE_VARIABLE, WorkspaceOption, opened
from services.patience import GRACE_SECONDS, START_SECONDS
from stage.errors import InputError, ViewforgeError
from stage.lifeline import tied
from stage.workspace import Workspace

_PANEL = "Pipeline"
_HOST = "127.0.0.1"


def add_to(app: typer.Typer) -> None:
    """Add the subcommands."""
    app.command(rich_help_panel=_PANEL)(up)
    app.command(rich_help_panel=_PANEL)(down)
    app.command(rich_help_panel=_PANEL)(ui)


def up(
    workspace: WorkspaceOption = HERE,
    host: Annotated[str | None, typer.Option(help="Where Prefect and MLflow listen; 127.0.0.1 if absent.")] = None,
    prefect_port: Annotated[int | None, typer.Option(help="Port of Prefect; 4200 if absent.")] = None,
    mlflow_port: Annotated[int | None, typer.Option(help="Port of MLflow; 5000 if absent.")] = None,
    store: Annotated[
        bool | None, typer.Option("--store/--no-store", help="An S3-speaking store on loopback, too; none if absent.")
    ] = None,
    store_port: Annotated[
        int | None, typer.Option(help="The same, on this port and the seven after it; 9000 if absent.")
    ] = None,
    cpu_workers: Annotated[
        int | None, typer.Option(min=0, help="Flow runs at once of the pool cpu; 2 if absent, 0 for no worker.")
    ] = None,
    gpu_workers: Annotated[
        int | None, typer.Option(min=0, help="Flow runs at once of the pool gpu; 1 if absent, 0 for no worker.")
    ] = None,
    patience: Annotated[float, typer.Option(min=1, help="Seconds until all must answer.")] = START_SECONDS,
    status: Annotated[
        bool, typer.Option("--status", help="Only say what runs; exit status 1 if not all is well.")
    ] = False,
) -> None:
    """Start Prefect, MLflow and a worker per pool, and return when they answer; they go on without this command.

    A supervisor starts again what dies. What runs already is left alone, and what is missing started. Logs are in .services/.
    """
    from services import installation, starting
    from services.plan import plan, settled
    from services.state import read

    place = _existing(workspace)
    if status:
        _print_status(place)
        return
    asked: dict[str, str | int | None] = {
        "host": host,
        "prefect_port": prefect_port,
        "mlflow_port": mlflow_port,
        "store_port": store_port,
        "cpu_workers": cpu_workers,
        "gpu_workers": gpu_workers,
    }
    with installation.commanding(place):
        before = read(place)
        options = settled(asked, before, with_store=store)
        planned = plan(place, options, before)
        os.environ.update({**planned.environment, WORKSPACE_VARIABLE: str(place.root.resolve())})
        start = starting.Start(place, planned, options, lambda: _deploy(place), _say, patience)
        if not starting.up(start):
            print("runs already")
    _print_addresses(place)


def down(
    workspace: WorkspaceOption = HERE,
    grace: Annotated[
        float,
        typer.Option(min=0, help="Seconds that flow runs have to stop; then they are killed."),
    ] = GRACE_SECONDS,
) -> None:
    """End what `viewforge up` started in this workspace, and nothing else."""
    from services import installation
    from services.ending import end_all

    place = _existing(workspace)
    with installation.commanding(place):
        print("ended" if end_all(place, _say, grace) else "nothing runs here")


def _existing(workspace: Path) -> Workspace:
    if not workspace.is_dir():
        raise InputError(f"no folder {workspace}", "name a workspace with --workspace")
    return opened(workspace)


def _deploy(place: Workspace) -> None:
    from flows.deploying import deploy

    deploy(place.root.resolve())


def _say(line: str) -> None:
    print(line, flush=True)


def _print_addresses(place: Workspace) -> None:
    from services.installation import overview

    statuses = overview(place)
    for status in statuses:
        print(f"{status.name:<11} {status.address or f'process {status.pid}'}")
    names = ["PREFECT_API_URL", "MLFLOW_TRACKING_URI"]
    if any(status.name == "store" for status in statuses):
        names.append("AWS_ENDPOINT_URL")
    print("\n".join(f"export {name}={os.environ[name]}" for name in names))


def _print_status(place: Workspace) -> None:
    from services.installation import overview

    statuses = overview(place)
    for each in statuses:
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(each.since)) if each.since else "-"
        health = "healthy" if each.healthy else "does not answer" if each.pid else each.condition
        columns = f"{each.name:<11} {health:<15} {each.pid or '-':<8} {since:<19} {each.deaths} deaths"
        print(f"{columns}  {each.address or ''}".rstrip())
    if not statuses:
        print("nothing runs here: viewforge up starts it")
    if not statuses or not all(each.healthy for each in statuses):
        raise typer.Exit(1)


def ui(
    prefect_port: Annotated[int, typer.Option(help="Port of Prefect's page.")] = 4200,
    mlflow_port: Annotated[int, typer.Option(help="Port of MLflow's page.")] = 5000,
    workspace: WorkspaceOption = HERE,
) -> None:
    """Serve the pages of Prefect and MLflow until interrupted, without workers."""
    from services.plan import check_ports, plan
    from services.state import Options

    place = _existing(workspace)
    for number in (signal.SIGINT, signal.SIGTERM):
        # A shell starts background processes with SIGINT ignored, and SIGTERM alone would leave the servers' own children.
        signal.signal(number, signal.default_int_handler)
    options = Options(host=_HOST, prefect_port=prefect_port, mlflow_port=mlflow_port, cpu_workers=0, gpu_workers=0)
    check_ports(options, {"prefect", "mlflow"})
    services = plan(place, options, None).servers
    servers = [
        subprocess.Popen(tied(service.command), start_new_session=True, env={**os.environ, **service.environment})
        for service in services
    ]
    addresses = [f"{service.name:<8} {service.address}" for service in services]
    print("\n".join([*addresses, "Stop with Ctrl-C."]), flush=True)
    try:
        while all(server.poll() is None for server in servers):
            time.sleep(0.5)
        raise ViewforgeError("a server ended by itself", "see its messages above")
    finally:
        for server in servers:
            with suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGKILL)
