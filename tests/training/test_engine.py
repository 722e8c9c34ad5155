"""The engine in one process: resuming bit for bit, steps that cannot be taken, the average, a notice to stop."""

import math
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from engine_support import SmallSystem, Told, engine, killed_after, losses, parameters, trained

from stage.errors import InputError, ParameterError, StageFailedError, StagePreemptedError
from stage.workspace import Workspace
from training.average import WeightAverage
from training.curve import read_curve
from training.preemption import SIGNALS, Notice
from training.processes import accelerator_of


@pytest.fixture(autouse=True)
def _own_processes() -> Iterator[None]:
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


def equal(one: Told, other: Told) -> bool:
    same = [torch.equal(other.averages[name], value) for name, value in one.averages.items()]
    return one.losses == other.losses and one.averages.keys() == other.averages.keys() and all(same)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"launch": {"accumulate": 2}},
        {"launch": {"mixed_precision": "bf16"}},
        {"optimizer": {"schedule": "constant", "warmup_steps": 4}},
    ],
)
def test_a_resumed_run_equals_an_undisturbed_one(sharded: Workspace, tmp_path: Path, changes: dict[str, Any]) -> None:
    """Also where layers draw from the framework's generator."""
    run, whole, cut = parameters(**changes), tmp_path / "whole", tmp_path / "cut"
    undisturbed = trained(engine(run, sharded.shards, whole, SmallSystem(dropout=0.5)), whole)
    killed_after(3, whole, cut)
    torch.manual_seed(99)
    resumed = trained(engine(run, sharded.shards, cut, SmallSystem(dropout=0.5)), cut)
    assert (undisturbed.done, resumed.done) == (0, 3)
    assert equal(undisturbed, resumed)


def test_dropout_follows_the_generator(sharded: Workspace, tmp_path: Path) -> None:
    """Else the test above would tell nothing of it."""
    one, other = tmp_path / "one", tmp_path / "other"
    first = engine(parameters(), sharded.shards, one, SmallSystem(dropout=0.5))
    assert trained(first, one).losses != trained(engine(parameters(), sharded.shards, other), other).losses


def test_a_damaged_checkpoint_gives_way_to_the_one_before(
    sharded: Workspace, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    run = parameters(checkpoint_every=2)
    undisturbed = trained(engine(run, sharded.shards, whole), whole)
    killed_after(6, whole, cut)
    path = cut / "checkpoints" / "step-00000006" / "training_state" / "optimizer.pt"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    resumed = trained(engine(run, sharded.shards, cut), cut)
    assert resumed.done == 4
    assert equal(undisturbed, resumed)
    (line,) = capfd.readouterr().err.splitlines()
    assert "step-00000006 is damaged: training_state/optimizer.pt is not what was written" in line


def test_no_whole_checkpoint_is_an_error(sharded: Workspace, tmp_path: Path) -> None:
    trained(engine(parameters(), sharded.shards, tmp_path), tmp_path)
    for path in tmp_path.glob("checkpoints/*/ema.safetensors"):
        path.unlink()
    with pytest.raises(InputError, match=r"no older one is whole; delete .* to start anew"):
        engine(parameters(), sharded.shards, tmp_path)


def weights(system: SmallSystem) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in system.parameters()]


def test_a_step_without_a_number_changes_nothing_and_is_counted(sharded: Workspace, tmp_path: Path) -> None:
    """The run is as long as its good steps, the learning rate being constant."""
    run = parameters(optimizer={"schedule": "constant", "warmup_steps": 0})
    system = SmallSystem(broken=(5,))
    told = trained(engine(run, sharded.shards, tmp_path / "broken", system), tmp_path / "broken")
    assert [math.isfinite(loss) for loss in told.losses] == [True] * 5 + [False]
    shorter = parameters(steps=5, optimizer={"schedule": "constant", "warmup_steps": 0})
    good = SmallSystem()
    expected = trained(engine(shorter, sharded.shards, tmp_path / "good", good), tmp_path / "good")
    assert all(torch.equal(one, other) for one, other in zip(weights(system), weights(good), strict=True))
    assert all(torch.equal(told.averages[name], value) for name, value in expected.averages.items())
    state = torch.load(tmp_path / "broken/checkpoints/step-00000006/training_state/guard.pt", weights_only=True)
    assert state["skipped"] == 1


def test_one_part_without_a_number_spoils_the_whole_step(sharded: Workspace, tmp_path: Path) -> None:
    run = parameters(launch={"accumulate": 2})
    told = trained(engine(run, sharded.shards, tmp_path, SmallSystem(broken=(3,))), tmp_path)
    assert [math.isfinite(loss) for loss in told.losses] == [True, False, True, True, True, True]


def test_too_many_bad_steps_in_a_row_end_the_run_and_name_the_first(sharded: Workspace, tmp_path: Path) -> None:
    limits = {"max_skipped_in_a_row": 2, "max_skipped_share": 1.0}
    run = parameters(guard=limits, optimizer={"schedule": "constant", "warmup_steps": 0})
    with pytest.raises(StageFailedError) as caught:
        engine(run, sharded.shards, tmp_path, SmallSystem(broken=(1, 3, 4, 5))).run()
    message = str(caught.value)
    assert message.startswith(
        "4 of 6 steps were left out, 3 in a row; the first was step 4: loss inf at learning rate 0.001"
    )
    assert message.count("train") >= 4
    assert "\n" not in message
    assert [point.step for point in read_curve(tmp_path / "loss.csv")] == [1, 2, 3, 4, 5]


def test_more_bad_steps_than_the_share_end_the_run(sharded: Workspace, tmp_path: Path) -> None:
    run = parameters(guard={"max_skipped_in_a_row": 1, "max_skipped_share": 0.4})
    with pytest.raises(StageFailedError, match="2 of 4 steps were left out, 1 in a row"):
        engine(run, sharded.shards, tmp_path, SmallSystem(broken=(1, 3))).run()
    trained(
        engine(
            parameters(guard={"max_skipped_in_a_row": 1, "max_skipped_share": 0.5}),
            sharded.shards,
            tmp_path / "more",
            SmallSystem(broken=(1, 3)),
        ),
        tmp_path / "more",
    )


def scaled() -> Accelerator:
    """fp16 with a gradient scaler, on the CPU, where accelerate itself makes none."""
    AcceleratorState._reset_state(reset_partial_state=True)
    accelerator = Accelerator(cpu=True, mixed_precision="fp16")
    accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**26, growth_interval=4)
    accelerator.native_amp = True
    return accelerator


def test_fp16_tries_smaller_scales_until_gradients_fit(sharded: Workspace, tmp_path: Path) -> None:
    """Steps that overflow leave weights and average alone; the scale goes on after a kill."""
    run = parameters(steps=40, checkpoint_every=20)
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    undisturbed = trained(engine(run, sharded.shards, whole, accelerator=scaled()), whole)
    state = torch.load(whole / "checkpoints/step-00000040/training_state/guard.pt", weights_only=True)
    average = torch.load(whole / "checkpoints/step-00000040/training_state/average.pt", weights_only=True)
    first = [math.isfinite(norm) for norm in norms(whole)].index(True)
    assert 3 < first < state["skipped"] < 30, "it overflows at first, and again each time that the scale has grown"
    assert average["taken"] == 40 - state["skipped"]
    killed_after(20, whole, cut)
    resumed = trained(engine(run, sharded.shards, cut, accelerator=scaled()), cut)
    assert equal(undisturbed, resumed)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU")
@pytest.mark.parametrize("precision", ["no", "bf16", "fp16"])
def test_a_gpu_learns_what_the_cpu_does(sharded: Workspace, tmp_path: Path, precision: str) -> None:
    run = parameters(launch={"mixed_precision": precision})
    expected = trained(engine(parameters(), sharded.shards, tmp_path / "cpu"), tmp_path / "cpu")
    AcceleratorState._reset_state(reset_partial_state=True)
    found = engine(run, sharded.shards, tmp_path / "gpu", accelerator=accelerator_of(run.launch))
    assert trained(found, tmp_path / "gpu").losses == pytest.approx(
        expected.losses, rel=1e-4 if precision == "no" else 0.05
    )


def test_fp16_needs_a_gpu() -> None:
    if torch.cuda.is_available():
        pytest.skip("there is one")
    with pytest.raises(ParameterError, match="fp16 needs a CUDA GPU; set it to bf16"):
        accelerator_of(parameters(launch={"mixed_precision": "fp16"}).launch)


def test_the_average_by_hand() -> None:
    """By LDM's formula: n from 1, and the weights before the first step are what is averaged into."""
    weight = torch.nn.Parameter(torch.tensor([3.0], dtype=torch.float64))
    average = WeightAverage({"weight": weight}, decay=0.5)
    expected = 3.0
    for n in range(1, 13):
        with torch.no_grad():
            weight.fill_(float(n * n + 1))
        average.step()
        decay = min(0.5, (1 + n) / (10 + n))
        expected = decay * expected + (1 - decay) * (n * n + 1)
        assert average.tensors()["weight"].item() == pytest.approx(expected, rel=1e-12)
    assert average.state_dict() == {"taken": 12}


@pytest.mark.parametrize("number", SIGNALS)
def test_a_notice_ends_the_run_after_its_step_with_a_checkpoint(
    sharded: Workspace, tmp_path: Path, number: signal.Signals
) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    undisturbed = trained(engine(parameters(), sharded.shards, whole), whole)
    stopped = engine(parameters(), sharded.shards, cut, Signalling(number))
    before = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        stopped.notice = Notice().heed()
        with pytest.raises(
            StagePreemptedError, match="killed: asked to stop: a checkpoint holds step 2 of 6; run again"
        ):
            stopped.run()
    finally:
        for known, handler in before.items():
            signal.signal(known, handler)
    assert losses(cut) == undisturbed.losses[:2]
    resumed = trained(engine(parameters(), sharded.shards, cut), cut)
    assert resumed.done == 2
    assert equal(undisturbed, resumed)


def norms(folder: Path) -> list[float]:
    return [point.gradient_norm for point in read_curve(folder / "loss.csv")]


class Signalling(SmallSystem):
    """Gets a signal in the middle of the second step."""

    def __init__(self, number: signal.Signals) -> None:
        super().__init__()
        self.number = number

    def forward(self, batch: Any, draws: Any) -> Any:  # noqa: D102
        if self.calls == 1:
            os.kill(os.getpid(), self.number)
        return super().forward(batch, draws)
