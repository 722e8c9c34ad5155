"""`viewforge doctor` and `viewforge restore`: why stages would run again, and a registered version's data on this machine."""

from typing import TYPE_CHECKING, Annotated

import typer

from cli.options import HERE, WorkspaceOption, opened
from stage.errors import ViewforgeError
from stage.workspace import Workspace

if TYPE_CHECKING:
    from flows.drift import StageDrift

_PANEL = "Pipeline"
_MODELS = "Models"


def add_to(app: typer.Typer) -> None:
    """Add the subcommands."""
    app.command(rich_help_panel=_PANEL)(doctor)
    app.command(rich_help_panel=_MODELS)(restore)


def doctor(workspace: WorkspaceOption = HERE) -> None:
    """Say why each stage would run again, what that took last time, and whether what the pipeline needs is there."""
    from flows.drift import explain
    from upkeep.surroundings import checks

    place = opened(workspace)
    _print_drift(explain(place.root))
    faults = 0
    for check in checks(place):
        faults += not check.sound
        print(f"{check.name:<10} {'' if check.sound else 'FAULT: '}{check.text}")
    if faults:
        raise ViewforgeError(f"{faults} of the checks found a fault", "see the lines that begin with FAULT")


def restore(
    version: Annotated[str, typer.Argument(help="Alias or number of the version.")] = "champion",
    model: Annotated[str | None, typer.Option(help="Registered model; register.model_name if absent.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite what is changed and committed nowhere.")] = False,
    remote: Annotated[str | None, typer.Option(help="DVC remote to fetch from; the default one if absent.")] = None,
    workspace: WorkspaceOption = HERE,
) -> None:
    """Bring a registered version's data, model and evaluation here from the DVC remote; nothing is computed.

    MLFLOW_TRACKING_URI names the registry; the remote's credentials come from the environment. A folder that is no workspace yet
    becomes one.
    """
    from flows.drift import explain
    from flows.workspaces import prepare
    from stage.lifeline import exclusive
    from upkeep.restoring import restore as run

    place = opened(workspace)
    prepare(place)
    with exclusive(place, "pipeline"):
        done = run(place, model or _model_name(place), version, force, remote)
    print(f"restore: {done.model} version {done.version}, {done.fetched} files fetched, the others were here")
    drifts = explain(place.root)
    if not drifts:
        print("restore: every stage is as it was; nothing would run again")
    _print_drift(drifts)


def _model_name(place: Workspace) -> str:
    """Of the workspace's parameters; the default's before it has any."""
    from registry.parameters import RegisterParameters
    from stage.parameters import load_section

    if not place.parameters.is_file():
        return RegisterParameters().model_name
    return load_section(place.parameters, "register", RegisterParameters).model_name


def _print_drift(drifts: list["StageDrift"]) -> None:
    """The reasons of each stage; where all lie in stages before it, one line."""
    for drift in drifts:
        took = f"; last took {_duration(drift.seconds)}" if drift.seconds is not None else ""
        own = [reason for reason in drift.reasons if reason.kind != "upstream"]
        above = [reason.text for reason in drift.reasons if reason.kind == "upstream"]
        print(f"{drift.stage:<10} would run{' after ' + ', '.join(above) if above else ''}{took}")
        for reason in own:
            print(f"{'':<12}{reason}")


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    parts = ((hours, "h"), (minutes, "min"), (rest, "s"))
    return " ".join(f"{number} {unit}" for number, unit in parts if number) or "less than a second"
