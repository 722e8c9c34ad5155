"""`viewforge service` and `viewforge workspace`: what systemd and Docker Compose start."""

from pathlib import Path
from typing import Annotated

import typer

from cli.options import HERE, WorkspaceOption, opened

_PANEL = "Installation"


def add_to(app: typer.Typer) -> None:
    """Add the subcommands."""
    app.command(rich_help_panel=_PANEL)(service)
    app.command(rich_help_panel=_PANEL)(workspace)


def service(
    name: Annotated[str, typer.Argument(help="prefect, mlflow, store, worker-cpu or worker-gpu.")],
    host: Annotated[str | None, typer.Option(help="Address to listen on; 127.0.0.1 if absent.")] = None,
    port: Annotated[int | None, typer.Option(help="Port; of a worker that of its health.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Flow runs at once of a worker.")] = None,
    grace: Annotated[
        float | None,
        typer.Option(min=1, help="Seconds that a worker's runs have to stop when it ends; 120 if absent."),
    ] = None,
    workspace: WorkspaceOption = HERE,
) -> None:
    """Run one service of an installation in the foreground, as viewforge up would start it.

    Beyond loopback Prefect needs PREFECT_SERVER_API_AUTH_STRING and MLflow MLFLOW_AUTH_ADMIN_PASSWORD. A worker needs
    PREFECT_API_URL and MLFLOW_TRACKING_URI.
    """
    place = opened(workspace)
    from services.foreground import become, service_named

    become(service_named(name, place, host, port, limit, grace))


def workspace(
    workspace: WorkspaceOption = HERE,
    config: Annotated[Path | None, typer.Option(help="Parameters laid over params.yaml, as in configs/.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="One parameter, as train.steps=100.")] = None,
) -> None:
    """Make a folder a workspace without running anything; one that is there keeps its parameters and outputs."""
    place = opened(workspace)
    from flows.workspaces import PROJECT, chosen_parameters, prepare

    new = not place.parameters.is_file()
    base = PROJECT / "params.yaml" if new else place.parameters
    prepare(place, chosen_parameters(base, config, set_ or []) if new or config or set_ else None)
    print(f"workspace: {place.root.resolve()}")
