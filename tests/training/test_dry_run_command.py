"""`viewforge train --plan` as a person runs it: figures and problems of a workspace, nothing of which is changed."""

import json
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from stage.errors import ParameterError
from stage.files import folder_sha256
from stage.parameters import load_section
from stage.workspace import Workspace
from training.dry_run.dry_run import dry_run
from training.dry_run.questions import Questions
from training.parameters import TrainParameters

Trainable = Callable[..., Workspace]
Viewforge = Callable[..., "subprocess.CompletedProcess[str]"]


def test_a_plan_says_what_a_training_takes_and_times_real_steps(trainable: Trainable, viewforge: Viewforge) -> None:
    workspace = trainable()
    model = workspace.model
    model.mkdir(parents=True)
    (model / "weights").write_text("of an earlier run")
    before = folder_sha256(workspace.root)
    result = viewforge("train", "--plan", "--measure", "--gpu-hour-price", "3", "--json", "-w", workspace.root)
    assert result.returncode == 0, result.stderr
    assert folder_sha256(workspace.root) == before
    found = json.loads(result.stdout)
    assert found["problems"] == []
    assert found["batch"] == {"effective": 4, "at_once": 4, "accumulate": 1, "processes": 1, "machines": 1}
    assert (found["reading"]["steps_per_epoch"], found["reading"]["epochs"]) == (2, 6.0)
    trained = sum(module["trained"] for module in found["modules"])
    assert found["checkpoint_bytes"] == 16 * trained
    assert found["memory"]["parts"]["total"] >= 20 * trained
    cost = found["cost"]
    assert 0 < cost["step"]["seconds"] < 60
    assert cost["hours"] == pytest.approx(12 * cost["step"]["seconds"] / 3600)
    assert cost["price"] == pytest.approx(3 * cost["hours"])
    assert "mean of 10 steps" in cost["step"]["source"]


def test_a_plan_of_a_training_that_would_fail_says_why_and_fails(
    trainable: Trainable, viewforge: Viewforge, tiny_train: dict[str, Any]
) -> None:
    workspace = trainable(
        batch_size=9,
        launch={"processes": 2},
        zero123={**tiny_train["zero123"], "pretrained": "weights/nowhere"},
    )
    tar = next(workspace.shards.glob("train-*.tar"))
    tar.unlink()
    result = viewforge("train", "--plan", "--measure", "-w", workspace.root)
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    lines = result.stdout.splitlines()
    assert f"problem: data objects: the shard {tar} is missing; restore it with dvc pull" in result.stdout
    assert any(line.startswith("problem: batch: train.batch_size = 9 cannot be split into 2") for line in lines)
    assert any(line.startswith("problem: model: weights/nowhere is no diffusers pipeline; ") for line in lines)
    # What does not depend on any of them is there.
    assert any(line.split()[:2] == ["unet", "859,532,484"] for line in lines)
    assert "time: step time unknown: pass --measure or --step-seconds" not in lines
    assert "time: not measured: solve the problems first" in lines


def test_a_step_of_more_pairs_than_objects_is_a_warning_and_a_small_gpu_a_problem(trainable: Trainable) -> None:
    workspace = trainable(batch_size=8)
    parameters = load_section(workspace.parameters, "train", TrainParameters)
    found = dry_run(parameters, 7, workspace, Questions(step_seconds=0.5, gpu_memory=1e-4))
    warning, problem = found.problems
    assert warning.place == "data objects"
    assert warning.what.startswith("6 objects for about 8 pairs of each step")
    assert (warning.fatal, problem.fatal, found.failed) == (False, True, True)
    assert problem.what.startswith("about 0.0 GB on a GPU, it was said to have 0.0 GB")
    assert problem.remedy.startswith("not even one pair at once fits")
    assert found.cost
    assert found.cost.hours == pytest.approx(12 * 0.5 / 3600)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"step_seconds": -1.0}, "--step-seconds -1; give a positive number"),
        ({"gpu_hour_price": float("nan")}, "--gpu-hour-price nan; give a positive number"),
        ({"step_seconds": 1.0, "measure": 10}, "--measure and --step-seconds; give one of them"),
    ],
)
def test_questions_that_make_no_sense_are_refused(asked: dict[str, Any], said: str) -> None:
    with pytest.raises(ParameterError) as raised:
        Questions(**asked)
    assert str(raised.value) == said


def test_an_option_of_the_plan_does_not_start_a_training(trainable: Trainable, viewforge: Viewforge) -> None:
    result = viewforge("train", "--measure", "-w", trainable().root)
    assert result.returncode == 1
    assert result.stderr == "viewforge: an option of the plan without --plan; add --plan, or leave the option out\n"
