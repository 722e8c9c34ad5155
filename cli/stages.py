"""Subcommands of the stages behind the renderings; `dvc.yaml` calls them. Each reads its section of params.yaml."""

from pathlib import Path
from typing import Annotated

import typer

from cli.evaluation_folders import FolderRequest, score_folders
from cli.options import HERE, WorkspaceOption, opened
from stage.changes import Changes
from stage.errors import ParameterError
from stage.lifeline import exclusive
from stage.parameters import load_section, load_seed
from upkeep.under_dvc import under_dvc

_PANEL = "Stages"
_FOLDERS = "Folders of pictures or meshes, by any program"
_MEASURED_STEPS = 10


def add_to(app: typer.Typer) -> None:
    """Add the subcommands."""
    for command in (shard, train, evaluate):
        app.command(rich_help_panel=_PANEL)(command)


def shard(
    workspace: WorkspaceOption = HERE,
    compact: Annotated[
        bool, typer.Option("--compact", help="Write all shards anew, without what is no longer in the set.")
    ] = False,
) -> None:
    """Write the rendered objects as WebDataset shards with an index; what is there and unchanged stays."""
    from training.data.shard_parameters import ShardParameters
    from training.data.writer import write_shards

    place = opened(workspace)
    parameters = load_section(place.parameters, "shard", ShardParameters)
    changes = Changes()
    with exclusive(place, "shard"), under_dvc(place, "shard"):
        rows = write_shards(parameters, place, compact, changes=changes)
    print(f"shard: {changes.line('shards', 'written')}")
    print(f"shard: {len(rows)} objects in {len({row.shard for row in rows})} shards")


def train(
    workspace: WorkspaceOption = HERE,
    plan: Annotated[
        bool, typer.Option("--plan", help="Train nothing: say what it would take, and look at data and machine.")
    ] = False,
    measure: Annotated[bool, typer.Option("--measure", help="Of the plan: take some steps to time them.")] = False,
    step_seconds: Annotated[float | None, typer.Option(help="Of the plan: seconds of a step, where known.")] = None,
    gpu_hour_price: Annotated[float | None, typer.Option(help="Of the plan: price of a GPU for an hour.")] = None,
    gpu_memory: Annotated[
        float | None, typer.Option(help="Of the plan: GB of each GPU, where it is for another machine.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The plan as JSON.")] = False,
) -> None:
    """Train the model, from its last checkpoint if there is one."""
    if plan:
        from cli.training_plan import show_plan
        from training.dry_run.questions import Questions

        asked = Questions(step_seconds, _MEASURED_STEPS if measure else 0, gpu_hour_price, gpu_memory)
        show_plan(opened(workspace), asked, as_json=as_json)
        return
    if measure or as_json or any(value is not None for value in (step_seconds, gpu_hour_price, gpu_memory)):
        raise ParameterError("an option of the plan without --plan", "add --plan, or leave the option out")
    from training.launch import train as run
    from training.parameters import load_training
    from training.rendezvous import machine_share

    place = opened(workspace)
    parameters = load_training(place)
    with exclusive(place, "train", machine_share(parameters.launch)), under_dvc(place, "train"):
        run(parameters, place)
    print(f"train: the pipeline is in {place.model}")


def evaluate(
    workspace: WorkspaceOption = HERE,
    predictions: Annotated[
        Path | None,
        typer.Option(
            help="Score this folder of pictures or meshes, by whatever program, and no model.",
            rich_help_panel=_FOLDERS,
        ),
    ] = None,
    ground_truth: Annotated[
        Path | None, typer.Option(help="The true pictures or meshes.", rich_help_panel=_FOLDERS)
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="Where figures and report are written.", rich_help_panel=_FOLDERS)
    ] = None,
    input_view: Annotated[
        str | None,
        typer.Option(help="View that the system was given, as 0; it is not scored.", rich_help_panel=_FOLDERS),
    ] = None,
    resize: Annotated[
        str | None,
        typer.Option(
            help="Filter for pictures of another size: bilinear, bicubic, lanczos, box.", rich_help_panel=_FOLDERS
        ),
    ] = None,
    sample: Annotated[
        int | None, typer.Option(min=0, help="Which strip of views of an object.", rich_help_panel=_FOLDERS)
    ] = None,
    align: Annotated[
        str | None, typer.Option(help="Frame of meshes: none, or true_box as SyncDreamer.", rich_help_panel=_FOLDERS)
    ] = None,
    metric: Annotated[
        list[str] | None, typer.Option(help="A figure; may be repeated.", rich_help_panel=_FOLDERS)
    ] = None,
    max_missing: Annotated[
        int | None,
        typer.Option(min=0, help="Objects that may lack figures without exit status 1.", rich_help_panel=_FOLDERS),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes; one a core if absent.", rich_help_panel=_FOLDERS)
    ] = None,
    parameters: Annotated[
        Path | None, typer.Option(help="YAML of FolderParameters.", rich_help_panel=_FOLDERS)
    ] = None,
    compare: Annotated[
        Path | None,
        typer.Option(help="Another output, of the same truth, to compare object by object.", rich_help_panel=_FOLDERS),
    ] = None,
) -> None:
    """Score the model and the baselines on objects it has not seen; or a folder of pictures that any program made."""
    chosen = {
        "input_view": input_view,
        "resize": resize,
        "sample": sample,
        "align": align,
        "metric": metric,
        "max_missing": max_missing,
    }
    request = FolderRequest(predictions, ground_truth, output, parameters, compare, chosen, workers)
    if request.asked:
        score_folders(request)
        return
    from evaluation.evaluate import evaluate as run
    from evaluation.metrics.definitions import figures_line
    from evaluation.parameters import EvaluateParameters
    from evaluation.reconstruction_figures import reconstruction_lines

    place = opened(workspace)
    settings = load_section(place.parameters, "evaluate", EvaluateParameters)
    with exclusive(place, "evaluate"), under_dvc(place, "evaluate"):
        metrics = run(settings, load_seed(place.parameters), place)
    for method, figures in metrics["unseen"].items():
        print(f"evaluate: {method}: {figures_line(figures)}")
    for line in reconstruction_lines(metrics):
        print(f"evaluate: reconstructions, {line}")
