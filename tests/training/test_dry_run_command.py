"""`viewforge train --plan` as a person runs it: figures and problems of a workspace, nothing of which is changed."""

import json
import subprocess
from collections.abc import Callable
from typing import Any

import pytest
import yaml

from stage.files import folder_sha256
from stage.workspace import Workspace

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


def test_a_step_of_more_pairs_than_objects_is_a_warning(trainable: Trainable, viewforge: Viewforge) -> None:
    workspace = trainable(batch_size=8)
    result = viewforge("train", "--plan", "--step-seconds", "0.5", "--gpu-memory", "0.0001", "-w", workspace.root)
    warning = "warning: data objects: 6 objects for about 8 pairs of each step"
    assert any(line.startswith(warning) for line in result.stdout.splitlines()), result.stdout + result.stderr
    assert "time: 0.5 s a step (as given), 16 pairs/s, 0.001667 hours, 0.001667 GPU hours" in result.stdout
    assert "problem: gpu: about " in result.stdout
    assert "not even one pair at once fits" in result.stdout
    assert result.returncode == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--measure"], "an option of the plan without --plan"),
        (["--plan", "--step-seconds", "-1"], "--step-seconds -1; give a positive number"),
        (["--plan", "--step-seconds", "1", "--measure"], "--measure and --step-seconds; give one of them"),
    ],
)
def test_options_that_contradict_each_other_are_refused(
    options: list[str], said: str, tmp_path: Any, viewforge: Viewforge
) -> None:
    (tmp_path / "params.yaml").write_text(yaml.safe_dump({"train": {}}))
    result = viewforge("train", *options, "-w", tmp_path)
    assert result.returncode == 1
    assert said in result.stderr
    assert len(result.stderr.splitlines()) == 1
