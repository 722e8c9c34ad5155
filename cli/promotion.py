"""`viewforge promote` and `viewforge rollback`: who is champion of a registered model, by the gate or by a person's word."""

import getpass
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.options import HERE, WorkspaceOption, opened
from stage.errors import ParameterError
from stage.lifeline import exclusive
from stage.parameters import load_section, validated
from stage.workspace import Workspace

_PANEL = "Models"
_ModelOption = Annotated[str | None, typer.Option(help="Registered model; register.model_name if absent.")]


def add_to(app: typer.Typer) -> None:
    """Add the subcommands."""
    app.command(rich_help_panel=_PANEL)(promote)
    app.command(rich_help_panel=_PANEL)(rollback)


def promote(
    version: Annotated[
        str | None, typer.Option(help="Version to decide on; registers the workspace's model if absent.")
    ] = None,
    model: _ModelOption = None,
    override: Annotated[str | None, typer.Option(help="Promote against the gate, for this reason.")] = None,
    approve: Annotated[str | None, typer.Option(help="Approve a version that awaits it, for this reason.")] = None,
    reject: Annotated[str | None, typer.Option(help="Reject a version that awaits approval, for this reason.")] = None,
    workspace: WorkspaceOption = HERE,
) -> None:
    """Decide whether a model becomes champion, and write the decision into the registry and the report."""
    if sum(reason is not None for reason in (override, approve, reject)) > 1:
        raise ParameterError("--override, --approve and --reject exclude one another", "give one of them")
    place = _opened(workspace)
    from registry.promote import promote as decide
    from registry.register import register
    from upkeep.remote_data import secure

    parameters = _parameters(place, model)
    # The registry's claim keeps other workspaces out, this one what `viewforge run` does here.
    with exclusive(place, "promotion"):
        if version is None:
            version = str(register(parameters, place).version)
            if said := secure(place, parameters.model_name, version, parameters.data):
                print(f"promote: {said}")
        decision = decide(parameters, place, version, override, _approval(approve, reject)).to_json()
    # A person may take a day: nobody else is kept from the workspace meanwhile.
    if decision["outcome"] == "awaiting approval" and sys.stdin.isatty() and (word := _asked(decision)):
        with exclusive(place, "promotion"):
            decision = decide(parameters, place, version, approval=word).to_json()
    _tell("promote", decision, place)


def rollback(
    reason: Annotated[str, typer.Option(help="Why the present champion must not serve.")],
    to: Annotated[str | None, typer.Option(help="Version; the one that the champion replaced if absent.")] = None,
    model: _ModelOption = None,
    workspace: WorkspaceOption = HERE,
) -> None:
    """Make an earlier champion the champion again."""
    place = _opened(workspace)
    from registry.rollback import roll_back

    # Without the lock of the workspace, which a promotion holds as long as it evaluates: the claim in the registry is enough.
    decision = roll_back(place, _parameters(place, model).model_name, reason, to).to_json()
    _tell("rollback", decision, place)


def _opened(root: Path) -> Workspace:
    """The workspace, whose databases are whole: MLflow says of a damaged one what nobody understands."""
    place = opened(root)
    from upkeep.databases import refuse_damaged

    refuse_damaged(place)
    return place


def _parameters(place: Workspace, model: str | None) -> Any:  # noqa: ANN401 - RegisterParameters, imported late
    """Those of the workspace; another model has the gate that the policy names for it."""
    from registry.parameters import RegisterParameters

    parameters = load_section(place.parameters, "register", RegisterParameters)
    if model is None or model == parameters.model_name:
        return parameters
    values = {**parameters.model_dump(), "model_name": model, "gate": None}
    return validated(RegisterParameters, values, place="--model")


def _approval(approve: str | None, reject: str | None) -> Any:  # noqa: ANN401 - Approval, imported late
    from registry.approval import Approval

    reason = approve if approve is not None else reject
    return None if reason is None else Approval(approve is not None, reason, _user())


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"user {os.getuid()}"


def _asked(decision: dict[str, Any]) -> Any:  # noqa: ANN401 - Approval, imported late
    """Ask the person at the terminal; no answer leaves the version waiting."""
    for line in decision["reasons"]:
        print(f"promote: {line}")
    answer = typer.prompt("Approve, reject or leave it?", type=str, default="leave").strip().lower()
    if answer not in {"approve", "reject"}:
        return None
    reason = typer.prompt("Why?")
    return _approval(reason, None) if answer == "approve" else _approval(None, reason)


def _tell(command: str, decision: dict[str, Any], place: Workspace) -> None:
    from evaluation.report import write_report

    # The report is of this workspace's evaluation, and another model's fate is no part of it.
    own = decision["model"] == _parameters(place, None).model_name
    if own and (place.evaluation / "metrics.json").is_file():
        write_report(place, place.report, decision)
    verdict = "is champion" if decision["promoted"] else "is not promoted"
    print(f"{command}: {decision['model']} version {decision['version']} {verdict}")
    for reason in decision["reasons"]:
        print(f"{command}: {reason}")
    print(f"{command}: see {place.root / 'promotion.md'}")
