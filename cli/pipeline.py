"""`viewforge run` and `viewforge status`: the whole pipeline, and where it stands."""

import json
import os
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.options import HERE, WorkspaceOption, opened
from stage.telemetry import quiet
from stage.workspace import Workspace

_PANEL = "Pipeline"


def add_to(app: typer.Typer) -> None:
    """Add the subcommands."""
    app.command(rich_help_panel=_PANEL)(run)
    app.command(rich_help_panel=_PANEL)(status)


def run(
    source: Annotated[
        str | None, typer.Option(help="procedural, scene, folder, gso, gso_fuel, objaverse or objaverse_xl.")
    ] = None,
    path: Annotated[Path | None, typer.Option(help="Folder of assets for the sources folder and gso.")] = None,
    gso: Annotated[Path | None, typer.Option(help="Evaluate on the Google Scanned Objects in this folder.")] = None,
    config: Annotated[Path | None, typer.Option(help="Parameters laid over params.yaml, as in configs/.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="One parameter, as train.steps=100.")] = None,
    workspace: Annotated[
        Path | None, typer.Option("--workspace", "-w", help="Where to work; runs/… when parameters differ.")
    ] = None,
    promote: Annotated[bool, typer.Option(help="Register the model and put it before the gate.")] = True,
) -> None:
    """Bring the whole pipeline up to date, register the model and decide on its promotion.

    With other parameters than params.yaml's the run gets a workspace of its own below runs/.
    """
    from flows.workspaces import chosen_parameters, prepare, workspace_for

    assignments = [*(set_ or []), *_source_assignments(source, path, gso)]
    project = Workspace(HERE)
    base = workspace / "params.yaml" if workspace and (workspace / "params.yaml").is_file() else project.parameters
    place = Workspace(workspace) if workspace else project
    parameters = chosen_parameters(base, config, assignments) if assignments or config or workspace else None
    if parameters is not None and workspace is None:
        place = workspace_for(parameters, project)
    quiet(place)
    _check(parameters, place)
    prepare(place, parameters)
    from flows.pipeline import pipeline
    from flows.stage_loop import refuse_recursion

    refuse_recursion()
    print(f"workspace: {place.root.resolve()}")
    decision = pipeline(str(place.root.resolve()), promote)
    _closing_lines(place, decision)


def _source_assignments(source: str | None, path: Path | None, gso: Path | None) -> list[str]:
    """--source, --path and --gso as assignments; paths are made absolute, as a workspace lies elsewhere."""
    assignments = [f"catalog.source={source}"] if source else []
    assignments += [f"catalog.path={path.resolve()}"] if path else []
    return [*assignments, "evaluate.source=gso", f"evaluate.path={gso.resolve()}"] if gso else assignments


def _check(parameters: dict[str, Any] | None, place: Workspace) -> None:
    from flows.parameters import check_parameters
    from stage.parameters import read_parameters

    check_parameters(parameters if parameters is not None else read_parameters(place.parameters), "params.yaml")


def _closing_lines(place: Workspace, decision: dict[str, Any] | None) -> None:
    """Where everything is."""
    from training.tracking.mlflow_place import use_mlflow

    root = place.root.resolve()
    prefect = os.environ.get("PREFECT_API_URL", "").removesuffix("/api")
    option = "" if root == Path.cwd() else f" --workspace {root}"
    print()
    print(f"report      {place.report.resolve() if decision else place.evaluation.resolve() / 'report.html'}")
    print(f"pipeline    {place.model.resolve()}")
    if decision:
        alias = "champion" if decision["promoted"] else decision["alias"]
        print(f"model       models:/{decision['model']}@{alias} (version {decision['version']})")
        for reason in decision["reasons"]:
            print(f"            {reason}")
    print(f"MLflow      {use_mlflow(place)}")
    print(f"Prefect     {prefect or root / '.prefect' / 'prefect.db'}")
    print(f"both UIs    viewforge ui{option}  →  http://127.0.0.1:5000 and http://127.0.0.1:4200")


def status(workspace: WorkspaceOption = HERE) -> None:
    """Show which stages are stale and why, what was measured, and which model is champion."""
    from evaluation.headline import figures_line
    from flows.graph import stage_order, stale_stages

    place = opened(workspace)
    stale = stale_stages(place.root)
    for stage in stage_order(place.root):
        print(f"{stage:<10} {'stale: ' + '; '.join(stale[stage]) if stage in stale else 'fresh'}")
    metrics = place.evaluation / "metrics.json"
    if metrics.is_file():
        for method, figures in json.loads(metrics.read_text())["unseen"].items():
            print(f"{method:<12} {figures_line(figures)} on unseen objects")
    promotion = place.root / "promotion.json"
    if promotion.is_file():
        decision = json.loads(promotion.read_text())
        verdict = "champion" if decision["promoted"] else "not champion"
        print(
            f"model      {decision['model']} version {decision['version']} is {verdict}: {'; '.join(decision['reasons'])}"
        )
