"""TensorBoard and Weights & Biases, really written and read back where their packages are."""

from importlib.util import find_spec
from pathlib import Path

import pytest
from accelerate import PartialState
from PIL import Image
from train_support import wait_until

from stage.errors import InputError
from stage.workspace import Workspace
from training.tracking.other_trackers import tensorboard_run, wandb_run
from training.tracking.parameters import TrackingParameters, WandbParameters
from training.tracking.tracker import DatasetInput, Tracker
from training.tracking.trackers import open_trackers


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """Empty, in a process that accelerate knows."""
    PartialState(cpu=True)
    return Workspace(tmp_path)


def reported(run: Tracker, workspace: Workspace, steps: range) -> None:
    """A run as the engine makes one."""
    picture = workspace.root / "grid.png"
    Image.new("RGB", (8, 8), (255, 0, 0)).save(picture)
    run.parameters({"train.steps": 3, "train.system": "zero123", "train.optimizer.betas": [0.9, 0.999], "size": None})
    run.inputs([DatasetInput("objects.train", "data/shards", "ab" * 32, "training", {"objects": "6"})])
    run.continue_after(steps.start - 1)
    for step in steps:
        run.metrics({"loss": step / 10, "loss/t000-099": 1.0}, step)
    run.image("samples_val", picture, steps[-1])
    run.tag("viewforge.model_sha256", "ff")
    run.finish()


def test_tensorboard_has_figures_pictures_and_labels(workspace: Workspace) -> None:
    pytest.importorskip("tensorboard", reason="an option: pip install 'viewforge[tracking]'")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    parameters = TrackingParameters()
    reported(tensorboard_run(parameters, workspace, "one"), workspace, range(1, 6))
    reported(tensorboard_run(parameters, workspace, "one"), workspace, range(4, 8))
    events = EventAccumulator(str(workspace.root / "scratch" / "tensorboard" / "one"))
    events.Reload()
    assert [event.step for event in events.Scalars("loss")] == list(range(1, 8)), "what is taken again is there once"
    assert events.Scalars("loss/t000-099")
    assert [event.step for event in events.Images("samples_val")] == [7]
    assert any("viewforge.model_sha256" in tag for tag in events.Tags()["tensors"])


def test_wandb_writes_offline(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb", reason="an option: pip install 'viewforge[tracking]'")
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    reported(wandb_run(WandbParameters(mode="offline"), workspace, "one"), workspace, range(1, 4))
    (log,) = workspace.scratch.glob("wandb/wandb/offline-run-*-one/*.wandb")
    expected = (b"loss/t000-099", b"train.optimizer.betas", b"viewforge.model_sha256", b"samples_val")
    # Its own process writes the file, and the end does not wait for the last of it.
    wait_until(lambda: all(noted in log.read_bytes() for noted in expected))


@pytest.mark.parametrize("name", ["tensorboard", "wandb"])
def test_a_missing_package_is_one_line(workspace: Workspace, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def without(package: str) -> object:
        return None if package in {"tensorboard", "tensorboardX", "wandb"} else find_spec(package)

    monkeypatch.setattr("training.tracking.other_trackers.find_spec", without)
    parameters = TrackingParameters.model_validate({"trackers": [name]})
    with pytest.raises(
        InputError, match=rf"names {name}, which is not installed; pip install 'viewforge\[tracking\]'"
    ):
        open_trackers(parameters, workspace, "train", "one")
