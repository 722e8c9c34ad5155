"""The train stage as a person starts it: outputs, MLflow, kill and resume, errors in one line."""

import json
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from typing import Any

import pytest
import torch
import yaml
from mlflow.entities import Run
from mlflow.tracking import MlflowClient
from safetensors.torch import load_file
from shard_support import damage
from train_support import PATIENCE, checkpoints, curve, processes_of, trainers, wait_until

from stage.errors import ViewforgeError
from stage.files import file_sha256, folder_sha256
from stage.seeds import derive_seed
from stage.workspace import Workspace
from systems.zero123.parameters import Zero123Parameters
from systems.zero123.pipeline import load_pipeline
from systems.zero123.training import Zero123Training
from training.curve import read_curve
from training.data.index import INDEX, read_index
from training.data.reader import ShardReader
from training.parameters import load_training
from training.run import train_here

Trainable = Callable[..., Workspace]
Train = Callable[[Workspace], "subprocess.Popen[str]"]
# What other systems want beside Zero-1-to-3's; a checkpoint of a cascade falls between two refreshes of its Base.
SECTIONS: dict[str, dict[str, Any]] = {
    "zeronvs": {"mode": "7dof"},
    "cascade_zero123": {
        "image_encoder": {"image_size": 16, "patch_size": 8, "train": False},
        "prompts": {"inference_steps": 3, "prompt_batch": 8, "look_ahead": 2},
        "refresh_every": 3,
    },
}


def runs(workspace: Workspace) -> list[Run]:
    client = MlflowClient(f"sqlite:///{workspace.mlflow / 'mlflow.db'}")
    return client.search_runs([experiment.experiment_id for experiment in client.search_experiments()])


def test_train_makes_a_pipeline_a_curve_and_one_mlflow_run(trainable: Trainable, finish: Callable[..., str]) -> None:
    workspace = trainable()
    errors = finish(workspace)
    assert "Traceback" not in errors
    assert processes_of(workspace) == []
    check_curve(workspace)
    check_model(workspace)
    check_tracking(workspace)
    before = {folder: folder_sha256(folder) for folder in (workspace.model, workspace.training_report)}
    check_frozen(workspace)
    finish(workspace)
    assert {folder: folder_sha256(folder) for folder in before} == before
    assert len(runs(workspace)) == 1


def check_curve(workspace: Workspace) -> None:
    points = curve(workspace)
    assert [point.step for point in points] == list(range(1, 13))
    assert all(point.loss > 0 and point.gradient_norm > 0 for point in points)
    metrics = json.loads((workspace.training_report / "metrics.json").read_text())
    assert metrics["steps"] == 12
    assert metrics["loss_mean_of_last_12"] == pytest.approx(sum(point.loss for point in points) / 12)


def check_model(workspace: Workspace) -> None:
    pipeline = load_pipeline(workspace.model)
    assert pipeline.image_size == 16
    pipeline.set_progress_bar_config(disable=True)
    views = torch.zeros(1, 3, 16, 16)
    assert pipeline(views, torch.tensor([[0.0, 0, 1, 0]]), num_inference_steps=2).images.isfinite().all()
    provenance = json.loads((workspace.model / "provenance.json").read_text())
    assert provenance["shards_sha256"] == {"objects": file_sha256(workspace.shards / INDEX)}
    assert provenance["seed"] == 7
    suffixes = {path.suffix for path in workspace.model.rglob("*") if path.is_file()}
    assert suffixes == {".json", ".safetensors"}


def check_tracking(workspace: Workspace) -> None:
    (run,) = runs(workspace)
    assert run.info.status == "FINISHED"
    assert run.data.tags["viewforge.model_sha256"] == folder_sha256(workspace.model)
    provenance = json.loads((workspace.model / "provenance.json").read_text())
    assert run.data.tags["viewforge.fingerprint"] == provenance["fingerprint"]
    assert run.data.params["train.zero123.autoencoder.factor"] == "4"
    assert run.data.params["seed"] == "7"
    assert run.data.metrics["loss"] == pytest.approx(curve(workspace)[-1].loss, rel=1e-6)
    client = MlflowClient(f"sqlite:///{workspace.mlflow / 'mlflow.db'}")
    assert [m.step for m in client.get_metric_history(run.info.run_id, "loss")] == [3, 6, 9, 12]
    check_details(run, workspace)


def check_details(run: Run, workspace: Workspace) -> None:
    metrics = run.data.metrics
    assert metrics["learning_rate/cc_projection"] == pytest.approx(10 * metrics["learning_rate/denoiser"])
    assert metrics["seconds_per_step/compute"] > 0
    assert any(key.startswith("loss/t") for key in metrics)
    assert metrics["samples_val/psnr"] > 0
    assert run.data.tags["environment.torch"] == torch.__version__
    assert {tag.value for used in run.inputs.dataset_inputs for tag in used.tags if tag.key == "index_sha256"} == {
        file_sha256(workspace.shards / INDEX)
    }
    assert {used.dataset.name for used in run.inputs.dataset_inputs} == {"objects.train", "objects.val"}
    assert (workspace.training_report / "samples" / "last.png").is_file()


def check_frozen(workspace: Workspace) -> None:
    """What is not trained is what it was at first; what is trained is not."""
    section = yaml.safe_load(workspace.parameters.read_text())["train"]["zero123"]
    initial = Zero123Training(
        Zero123Parameters(**section), derive_seed(7, "training", "weights") % 2**32, image_size=16
    )
    trained = load_pipeline(workspace.model)
    assert not changed(initial.vae, trained.vae)
    for name in ("unet", "cc_projection", "image_encoder"):
        assert changed(getattr(initial, name), getattr(trained, name))


def changed(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    state = other.state_dict()
    return any(not torch.equal(value, state[key]) for key, value in one.state_dict().items())


@pytest.mark.parametrize(
    "system",
    [
        "zero123",
        *(
            pytest.param(name, marks=[pytest.mark.slow, pytest.mark.minutes(1)])
            for name in ("zeronvs", "cascade_zero123")
        ),
    ],
)
def test_a_killed_training_resumes_to_the_same_bytes(
    system: str, tiny_train: dict[str, Any], trainable: Trainable, start: Train, finish: Callable[..., str]
) -> None:
    section = {system: tiny_train["zero123"] | SECTIONS.get(system, {})}
    undisturbed, killed = (
        trainable(name, system=system, checkpoint_every=2, **section) for name in ("undisturbed", "killed")
    )
    finish(undisturbed)
    process = start(killed)
    wait_until(lambda: checkpoints(killed))
    process.send_signal(signal.SIGKILL)
    wait_until(lambda: not processes_of(killed))
    assert not killed.model.exists()
    assert 2 <= len(read_curve(next(killed.scratch.glob("training/*/loss.csv")))) < 12
    finish(killed)
    for name in ("model", "training_report"):
        assert folder_sha256(getattr(killed, name)) == folder_sha256(getattr(undisturbed, name))
    (run,) = runs(killed)
    assert run.info.status == "FINISHED"
    assert run.data.tags["viewforge.model_sha256"] == folder_sha256(killed.model)


def test_a_trainer_that_is_still_starting_dies_with_its_stage(trainable: Trainable, start: Train) -> None:
    workspace = trainable()
    process = start(workspace)
    wait_until(lambda: trainers(workspace))
    process.send_signal(signal.SIGKILL)
    process.wait()
    deadline = time.monotonic() + 5
    while processes_of(workspace) and time.monotonic() < deadline:
        time.sleep(0.05)
    orphans = processes_of(workspace)
    for orphan in orphans:
        orphan.kill()
    assert orphans == []


def test_an_unknown_parameter_names_the_nearest(trainable: Trainable, refused: Callable[..., str]) -> None:
    workspace = trainable(optimizer={"learning_rat": 0.1})
    assert refused(workspace).endswith("train.optimizer.learning_rat; did you mean learning_rate?")


def test_missing_shards_say_which_stage_to_run(trainable: Trainable, refused: Callable[..., str]) -> None:
    workspace = trainable()
    (workspace.shards / INDEX).unlink()
    assert refused(workspace).endswith(f"no shard index {workspace.shards / INDEX}; run viewforge shard first")


def failure(workspace: Workspace) -> str:
    """Train in vain in this process: why. That the stage says it in one line is shown with a damaged shard."""
    with pytest.raises(ViewforgeError) as caught:
        train_here(load_training(workspace), 7, workspace)
    assert not workspace.model.exists()
    return str(caught.value)


def test_a_batch_that_cannot_be_split_is_refused(trainable: Trainable) -> None:
    workspace = trainable(batch_size=5, launch={"accumulate": 2}, tracking={"trackers": []})
    assert "train.batch_size = 5 cannot be split into 2 equal parts" in failure(workspace)


def test_a_diverging_loss_ends_the_training(trainable: Trainable) -> None:
    workspace = trainable(optimizer={"learning_rate": 1e25, "warmup_steps": 0}, tracking={"trackers": []})
    message = failure(workspace)
    assert "6 of 7 steps were left out, 6 in a row; the first was step 2: loss " in message
    assert " at learning rate 9.82963e+24, samples 0" in message
    assert "; lower train.optimizer.learning_rate" in message


def test_a_damaged_shard_is_one_line(trainable: Trainable, refused: Callable[..., str]) -> None:
    workspace = trainable()
    damage(workspace.shards, read_index(workspace.shards)[0])
    message = refused(workspace)
    assert "1 of 6 objects failed, over the limit of 1%" in message
    assert "train-000000.tar is damaged at byte 0, object 00train" in message


@pytest.mark.slow
def test_frozen_encoder_keeps_every_bit(
    trainable: Trainable, finish: Callable[..., str], tiny_train: dict[str, Any]
) -> None:
    system = tiny_train["zero123"]
    encoder = {**system["image_encoder"], "train": False}
    workspace = trainable(zero123={**system, "image_encoder": encoder})
    finish(workspace)
    initial = Zero123Training(
        Zero123Parameters(**{**system, "image_encoder": encoder}),
        derive_seed(7, "training", "weights") % 2**32,
        image_size=ShardReader(workspace.shards, "train")[0].rgba.shape[1],
    )
    stored = load_file(workspace.model / "image_encoder" / "model.safetensors")
    assert all(torch.equal(value, stored[key]) for key, value in initial.image_encoder.state_dict().items())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("launch", "workers"),
    [
        ({"accumulate": 2}, 1),
        ({"processes": 2, "accumulate": 2}, 2),
        ({"processes": 2, "accumulate": 2, "sharding": "full"}, 0),
    ],
)
def test_processes_accumulation_and_workers_give_the_same_curve(
    trained_once: Trainable, trainable: Trainable, finish: Callable[..., str], launch: dict[str, Any], workers: int
) -> None:
    """Two processes without accumulation: two machines of one each, below, and the engine's own tests."""
    single, split = trained_once(), trainable("split", launch=launch, data={"workers": workers})
    finish(split)
    for one, other in zip(curve(single), curve(split), strict=True):
        assert other.loss == pytest.approx(one.loss, abs=1e-5)
        assert other.learning_rate == one.learning_rate
    check_same_timestep_losses(single, split)


def check_same_timestep_losses(one: Workspace, other: Workspace) -> None:
    """Whatever processes share the samples, each counts once."""
    losses = [{k: v for k, v in runs(w)[0].data.metrics.items() if k.startswith("loss/t")} for w in (one, other)]
    assert losses[0].keys() == losses[1].keys()
    assert all(losses[1][key] == pytest.approx(value, rel=1e-4) for key, value in losses[0].items())


@pytest.mark.slow
def test_two_machines_in_one_workspace_give_the_same_curve(
    trained_once: Trainable, trainable: Trainable, start: Callable[..., "subprocess.Popen[str]"]
) -> None:
    """Two launchers that find one another over the loopback, as a cluster's variables tell them."""
    single, split = trained_once(), trainable("split", launch={"processes": 2, "machines": 2})
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = str(probe.getsockname()[1])
    machines = [start(split, NODE_RANK=str(n), MASTER_ADDR="127.0.0.1", MASTER_PORT=port) for n in range(2)]
    for machine in machines:
        _, errors = machine.communicate(timeout=PATIENCE)
        assert machine.returncode == 0, errors
    for one, other in zip(curve(single), curve(split), strict=True):
        assert other.loss == pytest.approx(one.loss, abs=1e-5)


@pytest.mark.slow
def test_killing_one_of_two_processes_ends_the_stage(trainable: Trainable, start: Train) -> None:
    """Where it may not go on by itself; where it may: test_dead_rank."""
    workspace = trainable(steps=2000, launch={"processes": 2, "restarts": 0})
    process = start(workspace)
    wait_until(lambda: checkpoints(workspace))
    first, _ = trainers(workspace)
    first.kill()
    _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    assert "Traceback" not in errors
    assert "killed: a training process (rank 0) ended by SIGKILL; run again" in errors.splitlines()[-1]
    wait_until(lambda: not processes_of(workspace))
    (run,) = runs(workspace)
    assert run.data.tags["viewforge.exit_reason"] == "killed"
