"""Checkpoints: everything comes back, the newest few are kept, and a kill leaves none that is half."""

import copy
import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from stage.errors import InputError
from training.average import WeightAverage
from training.checkpoint import Checkpoint, Checkpoints
from training.optimizer_state import OptimizerState

FILES = (
    "weights.safetensors",
    "ema.safetensors",
    "training_state/optimizer.pt",
    "training_state/place.pt",
    "manifest.json",
)


class Learner:
    """A small module with one frozen part, its moving average and its optimiser."""

    def __init__(self, seed: int, width: int = 8) -> None:
        torch.manual_seed(0)
        frozen = nn.Linear(2, 2)
        torch.manual_seed(seed)
        self.modules = nn.ModuleDict({"one": nn.Linear(4, width), "two": nn.Linear(width, 2), "frozen": frozen})
        self.modules["frozen"].requires_grad_(False)
        self.trained = {name: p for name, p in self.modules.named_parameters() if p.requires_grad}
        self.average = WeightAverage(self.trained, decay=0.9)
        self.optimizer = torch.optim.AdamW(self.trained.values(), lr=0.1)
        self.stateful = {"optimizer": OptimizerState(self.optimizer, self.trained), "average": self.average}

    def step(self, seed: int) -> None:
        """One optimiser step."""
        inputs = torch.randn(5, 4, generator=torch.Generator().manual_seed(seed))
        self.optimizer.zero_grad()
        self.modules["frozen"](self.modules["two"](self.modules["one"](inputs))).square().sum().backward()
        self.optimizer.step()
        self.average.step()

    def weights(self) -> list[torch.Tensor]:
        """Trained weights and their averages."""
        return [tensor.detach().clone() for tensor in (*self.trained.values(), *self.average.tensors().values())]

    def save(self, checkpoints: Checkpoints, step: int) -> None:
        """Write a checkpoint."""
        states = {name: thing.state_dict() for name, thing in self.stateful.items()}
        checkpoints.save(
            Checkpoint(step, self.trained, self.average.tensors(), {**states, "place": {"epoch": 0, "batch": step}})
        )

    def load(self, checkpoints: Checkpoints) -> int:
        """Resume."""
        step = checkpoints.newest()
        if not step:
            return 0
        loaded = checkpoints.load(step, {name: parameter.shape for name, parameter in self.trained.items()})
        assert loaded.states["place"] == {"epoch": 0, "batch": step}
        with torch.no_grad():
            for name, parameter in self.trained.items():
                parameter.copy_(loaded.weights[name])
        self.average.set(loaded.averages)
        for name, thing in self.stateful.items():
            thing.load_state_dict(loaded.states[name])
        return step


@pytest.fixture
def checkpoints(tmp_path: Path) -> Checkpoints:
    return Checkpoints(tmp_path / "checkpoints", kept=2)


def test_without_checkpoints_a_run_starts_at_0(checkpoints: Checkpoints) -> None:
    assert Learner(0).load(checkpoints) == 0


def test_a_resumed_learner_equals_an_undisturbed_one(checkpoints: Checkpoints) -> None:
    undisturbed, resumed = Learner(0), Learner(1)
    for step in range(3):
        undisturbed.step(step)
    undisturbed.save(checkpoints, 3)
    assert resumed.load(checkpoints) == 3
    for step in range(3, 6):
        undisturbed.step(step)
        resumed.step(step)
    assert all(torch.equal(a, b) for a, b in zip(undisturbed.weights(), resumed.weights(), strict=True))
    assert resumed.average.state_dict() == undisturbed.average.state_dict() == {"taken": 6}


def test_frozen_weights_are_neither_saved_nor_touched(checkpoints: Checkpoints) -> None:
    Learner(0).save(checkpoints, 1)
    other = Learner(1)
    other.modules["frozen"].weight.fill_(3.0)
    before = copy.deepcopy(other.modules["frozen"].state_dict())
    other.load(checkpoints)
    assert all(torch.equal(before[key], value) for key, value in other.modules["frozen"].state_dict().items())


def test_the_newest_few_are_kept_and_the_newest_is_loaded(checkpoints: Checkpoints) -> None:
    learner = Learner(0)
    for step in (50, 100, 150, 1000):
        learner.step(step)
        learner.save(checkpoints, step)
    assert checkpoints.steps() == [150, 1000]
    fresh = Learner(1)
    assert fresh.load(checkpoints) == 1000
    assert torch.equal(fresh.trained["one.weight"], learner.trained["one.weight"])


def test_no_file_is_a_plain_pickle(checkpoints: Checkpoints) -> None:
    Learner(0).save(checkpoints, 1)
    folder = checkpoints.folder / "step-00000001"
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert files == {*FILES, "training_state/average.pt"}
    for path in folder.glob("training_state/*"):
        torch.load(path, weights_only=True)


def test_the_manifest_lists_every_other_file(checkpoints: Checkpoints) -> None:
    Learner(0).save(checkpoints, 1)
    folder = checkpoints.folder / "step-00000001"
    listed = json.loads((folder / "manifest.json").read_text())
    assert {*listed, "manifest.json"} == {*FILES, "training_state/average.pt"}
    assert all(entry["bytes"] == (folder / name).stat().st_size for name, entry in listed.items())


def test_the_optimiser_is_saved_by_the_names_of_weights(checkpoints: Checkpoints) -> None:
    learner = Learner(0)
    learner.step(0)
    learner.save(checkpoints, 1)
    state = torch.load(checkpoints.folder / "step-00000001/training_state/optimizer.pt", weights_only=True)
    assert state["state"].keys() == learner.trained.keys()


@pytest.mark.parametrize("width", [1, 16])
def test_a_checkpoint_of_another_model_is_one_line_and_changes_nothing(checkpoints: Checkpoints, width: int) -> None:
    Learner(0, width).save(checkpoints, 1)
    other = Learner(1)
    before = other.weights()
    with pytest.raises(InputError, match=r"step-00000001 does not fit: .*; delete it to start anew") as caught:
        other.load(checkpoints)
    assert "\n" not in str(caught.value)
    assert all(torch.equal(a, b) for a, b in zip(before, other.weights(), strict=True))


def damage(path: Path, kept: float | None) -> None:
    """Cut a file down to a share of it; None flips a bit."""
    data = bytearray(path.read_bytes())
    if kept is None:
        data[len(data) // 2] ^= 4
    path.write_bytes(data if kept is None else data[: int(kept * len(data))])


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("kept", [0, 0.5, None])
def test_a_damaged_file_leaves_the_checkpoint_before(
    checkpoints: Checkpoints, capsys: pytest.CaptureFixture[str], name: str, kept: float | None
) -> None:
    learner = Learner(0)
    learner.save(checkpoints, 1)
    before = learner.weights()
    learner.step(1)
    learner.save(checkpoints, 2)
    damage(checkpoints.folder / "step-00000002" / name, kept)
    resumed = Learner(1)
    assert resumed.load(checkpoints) == 1
    assert all(torch.equal(a, b) for a, b in zip(before, resumed.weights(), strict=True))
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"train: the checkpoint {checkpoints.folder / 'step-00000002'} is damaged: ")
    assert checkpoints.steps() == [1]


def test_damaged_checkpoints_do_not_count_among_the_newest(tmp_path: Path) -> None:
    checkpoints, learner = Checkpoints(tmp_path, kept=1), Learner(0)
    learner.save(checkpoints, 4)
    shutil.copytree(tmp_path / "step-00000004", tmp_path / "step-00000008")
    damage(tmp_path / "step-00000008" / "ema.safetensors", None)
    assert checkpoints.newest() == 4
    learner.save(checkpoints, 6)
    assert checkpoints.newest() == 6


@pytest.mark.parametrize("name", FILES)
def test_without_a_whole_one_nothing_starts_anew(checkpoints: Checkpoints, name: str) -> None:
    for step in (1, 2):
        Learner(0).save(checkpoints, step)
        (checkpoints.folder / f"step-{step:08d}" / name).unlink()
    with pytest.raises(InputError, match=r"no older one is whole; delete .* to start anew") as caught:
        Learner(0).load(checkpoints)
    assert "\n" not in str(caught.value)
    assert checkpoints.steps() == [1, 2]


KILLED_WHILE_SAVING = """
import os, signal, sys
from pathlib import Path
import torch
from training.checkpoint import Checkpoint, Checkpoints

checkpoints, tensors = Checkpoints(Path(sys.argv[1]), 2), {"weight": torch.ones(3)}
checkpoints.save(Checkpoint(4, tensors, tensors, {"place": {"batch": 4}}))
torch.save = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
checkpoints.save(Checkpoint(8, tensors, tensors, {"place": {"batch": 8}}))
"""


def test_a_killed_save_leaves_no_half_checkpoint(checkpoints: Checkpoints) -> None:
    process = subprocess.run(
        [sys.executable, "-c", KILLED_WHILE_SAVING, str(checkpoints.folder)],
        cwd=Path(__file__).parents[2],
        check=False,
    )
    assert process.returncode == -signal.SIGKILL
    assert list(checkpoints.folder.glob(".step-00000008.*.tmp"))
    assert checkpoints.steps() == [4]
    assert checkpoints.newest() == 4
    assert checkpoints.load(4, {"weight": torch.Size([3])}).states == {"place": {"batch": 4}}
    assert [path.name for path in checkpoints.folder.iterdir()] == ["step-00000004"], "what was begun is gone"
