"""`viewforge tracking`: what trainings have told of themselves."""

from typing import Annotated

import typer

from cli.options import HERE, WorkspaceOption, opened
from stage.errors import InputError, StageFailedError


def add_to(app: typer.Typer) -> None:
    """Add the group."""
    group = typer.Typer(help="What trainings tell MLflow.", no_args_is_help=True)
    group.callback()(_group)
    group.command()(flush)
    app.add_typer(group, name="tracking", rich_help_panel="Pipeline")


def _group() -> None:
    """Keep `flush` a subcommand, though it is the only one."""


def flush(
    workspace: WorkspaceOption = HERE,
    patience: Annotated[float, typer.Option(help="Seconds to wait for a server that is away, for each run.")] = 60.0,
    again: Annotated[
        bool, typer.Option("--again", help="All that is kept, also what the server once had: its database was lost.")
    ] = False,
) -> None:
    """Send what MLflow's server lacks of earlier trainings, because it was away or they were killed."""
    from training.tracking.journals import flush as send

    outcome = send(opened(workspace), patience, again)
    if outcome.left:
        raise StageFailedError(
            f"MLflow's server is away: {outcome.left} runs are not sent, {outcome.sent} are",
            "run viewforge tracking flush again when it is back",
        )
    if outcome.elsewhere:
        raise InputError(outcome.elsewhere[0], "set MLFLOW_TRACKING_URI to it, or delete the folder")
    print(f"tracking: {outcome.sent} runs sent, {outcome.running} in training send their own")
