"""Checkpoints: everything comes back, the newest few are kept, and a kill leaves none that is half."""

import copy
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from diffusers.training_utils import EMAModel
from torch import nn

from stage.errors import InputError
from training.checkpoint import Checkpoints


class Learner:
    """A small module with one frozen part, its moving average and its optimiser."""

    def __init__(self, seed: int, width: int = 8) -> None:
        torch.manual_seed(0)
        frozen = nn.Linear(2, 2)
        torch.manual_seed(seed)
        self.modules = nn.ModuleDict({"one": nn.Linear(4, width), "two": nn.Linear(width, 2), "frozen": frozen})
        self.modules["frozen"].requires_grad_(False)
        self.trained = [p for p in self.modules.parameters() if p.requires_grad]
        self.ema = EMAModel(self.trained, decay=0.9)
        self.optimizer = torch.optim.AdamW(self.trained, lr=0.1)

    def step(self, seed: int) -> None:
        """One optimiser step."""
        inputs = torch.randn(5, 4, generator=torch.Generator().manual_seed(seed))
        self.optimizer.zero_grad()
        self.modules["frozen"](self.modules["two"](self.modules["one"](inputs))).square().sum().backward()
        self.optimizer.step()
        self.ema.step(self.trained)

    def weights(self) -> list[torch.Tensor]:
        """Trained weights and their averages."""
        return [p.detach().clone() for p in (*self.trained, *self.ema.shadow_params)]

    def save(self, checkpoints: Checkpoints, step: int) -> None:
        """Write a checkpoint."""
        checkpoints.save(step, self.modules, self.ema, self.optimizer, {"epoch": 0, "batch": step})

    def load(self, checkpoints: Checkpoints) -> int:
        """Resume."""
        resumed = checkpoints.load(self.modules, self.ema, self.optimizer)
        assert resumed.data.get("batch", 0) == resumed.step, "the data go on where the weights do"
        return resumed.step


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
    assert resumed.ema.optimization_step == undisturbed.ema.optimization_step == 6


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
    assert torch.equal(fresh.trained[0], learner.trained[0])


def test_no_file_is_a_plain_pickle(checkpoints: Checkpoints) -> None:
    Learner(0).save(checkpoints, 1)
    folder = checkpoints.folder / "step-00000001"
    files = {path.name for path in folder.iterdir()}
    assert files == {"weights.safetensors", "ema.safetensors", "optimizer.pt", "data.json"}
    torch.load(folder / "optimizer.pt", weights_only=True)


@pytest.mark.parametrize("width", [1, 16])
def test_a_checkpoint_of_another_model_is_one_line_and_changes_nothing(checkpoints: Checkpoints, width: int) -> None:
    Learner(0, width).save(checkpoints, 1)
    other = Learner(1)
    before = other.weights()
    with pytest.raises(InputError, match=r"step-00000001 does not fit: .*; delete it to start anew") as caught:
        other.load(checkpoints)
    assert "\n" not in str(caught.value)
    assert all(torch.equal(a, b) for a, b in zip(before, other.weights(), strict=True))


@pytest.mark.parametrize("name", ["weights.safetensors", "ema.safetensors", "optimizer.pt", "data.json"])
@pytest.mark.parametrize("kept", [0, 0.5])
def test_a_damaged_file_is_one_line(checkpoints: Checkpoints, name: str, kept: float) -> None:
    Learner(0).save(checkpoints, 1)
    path = checkpoints.folder / "step-00000001" / name
    data = path.read_bytes()
    path.write_bytes(data[: int(kept * len(data))])
    with pytest.raises(InputError, match="does not fit") as caught:
        Learner(0).load(checkpoints)
    assert "\n" not in str(caught.value)


KILLED_WHILE_SAVING = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
import torch
from test_checkpoints import Learner
from training.checkpoint import Checkpoints

learner, checkpoints = Learner(0), Checkpoints(Path(sys.argv[1]), 2)
learner.save(checkpoints, 4)
torch.save = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
learner.save(checkpoints, 8)
"""


def test_a_killed_save_leaves_no_half_checkpoint(checkpoints: Checkpoints) -> None:
    here = Path(__file__)
    process = subprocess.run(
        [sys.executable, "-c", KILLED_WHILE_SAVING, str(checkpoints.folder), str(here.parent)],
        cwd=here.parents[2],
        check=False,
    )
    assert process.returncode == -signal.SIGKILL
    assert list(checkpoints.folder.glob(".step-00000008.*.tmp"))
    assert checkpoints.steps() == [4]
    learner = Learner(1)
    assert learner.load(checkpoints) == 4
    learner.save(checkpoints, 8)
    assert sorted(path.name for path in checkpoints.folder.iterdir()) == ["step-00000004", "step-00000008"]
