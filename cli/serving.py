"""`viewforge serve`: a registered model behind HTTP, with a limit on what a request may weigh."""

from typing import Annotated

import typer

from cli.options import HERE, WorkspaceOption, opened

_MIB = 2**20
_HOST = "127.0.0.1"


def add_to(app: typer.Typer) -> None:
    """Add the subcommand."""
    app.command(rich_help_panel="Models")(serve)


def serve(
    model: Annotated[str, typer.Argument(help="As MLflow knows it, such as models:/viewforge-zero123@champion.")],
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port.")] = 5001,
    max_body_mib: Annotated[int, typer.Option(min=1, help="MiB that a request may have.")] = 8,
    timeout: Annotated[int, typer.Option(min=1, help="Seconds that a request may take.")] = 60,
    workspace: WorkspaceOption = HERE,
) -> None:
    """Serve a registered model on loopback until interrupted; a proxy lets others in (docs/serving.md)."""
    import uvicorn

    from registry.limited_server import limited_server
    from services.ports import check_free
    from training.tracking.mlflow_place import use_mlflow

    place = opened(workspace)
    check_free("the model's server", _HOST, port, "--port")
    use_mlflow(place)
    application = limited_server(model, max_body_mib * _MIB, timeout)
    print(f"serve: {model} at http://{_HOST}:{port}/invocations", flush=True)
    uvicorn.run(application, host=_HOST, port=port, log_level="warning")
