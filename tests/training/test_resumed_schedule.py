"""A training whose learning rate follows from its losses goes on as if not interrupted; what is in force is tracked."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.state import AcceleratorState
from mlflow.tracking import MlflowClient

from stage.files import folder_sha256
from stage.workspace import Workspace
from training.curve import read_curve
from training.parameters import TrainParameters
from training.run import train_here

# Nothing is an improvement of nine tenths, so the rate is halved at every second observation.
CHANGES: dict[str, Any] = {
    "steps": 8,
    "checkpoint_every": 3,
    "checkpoints_kept": 9,
    "optimizer": {
        "learning_rate": 1e-3,
        "warmup_steps": 1,
        "schedule": "plateau",
        "plateau": {"window": 2, "patience": 0, "threshold": 0.9, "factor": 0.5},
    },
    "hardware": {"channels_last": True, "compile": "default"},
}


def train(workspace: Workspace, section: dict[str, Any]) -> str:
    AcceleratorState._reset_state(reset_partial_state=True)
    train_here(TrainParameters.model_validate(section), 7, workspace)
    return folder_sha256(workspace.model)


def lose_after(workspace: Workspace, step: int) -> None:
    """As if the machine had gone away after a checkpoint."""
    shutil.rmtree(workspace.model)
    for folder in workspace.scratch.glob("training/*/checkpoints/step-*"):
        if int(folder.name.removeprefix("step-")) > step:
            shutil.rmtree(folder)


@pytest.mark.skipif(not shutil.which("g++"), reason="torch.compile needs a C++ compiler")
def test_a_plateau_goes_on_where_it_was(
    trainable: Callable[..., Workspace], tiny_train: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    # Everything around the compiler runs; compiling this network itself is a matter of minutes and of another test.
    monkeypatch.setattr(torch._dynamo.config, "disable", True)
    section = {**tiny_train, **CHANGES}
    workspace = trainable(**CHANGES)
    undisturbed = train(workspace, section)
    rates = [point.learning_rate for point in read_curve(workspace.training_report / "loss.csv")]
    # The first observation is the best so far; those after it each halve the rate.
    assert rates == pytest.approx([1e-3] * 5 + [5e-4] * 2 + [2.5e-4])
    lose_after(workspace, 6)
    assert train(workspace, section) == undisturbed
    assert [point.learning_rate for point in read_curve(workspace.training_report / "loss.csv")] == rates
    client = MlflowClient(f"sqlite:///{workspace.mlflow / 'mlflow.db'}")
    (run,) = client.search_runs([experiment.experiment_id for experiment in client.search_experiments()])
    facts = {name.removeprefix("hardware."): value for name, value in run.data.params.items() if "hardware." in name}
    assert facts["device"] == "cpu"
    assert facts["compile"] == "default"
    assert float(facts["compile_difference"]) == 0
    assert (facts["attention"], facts["fused"], facts["mixed_precision"]) == ("sdpa", "False", "no")
