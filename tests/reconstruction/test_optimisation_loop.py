"""The loop: resuming is exact, failures name their reason, and what was reached stays."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from tiny_task import LineTask

from reconstruction.optimisation.loop import optimise, step_generator
from reconstruction.optimisation.parameters import LoopParameters
from stage.errors import InputError, StageFailedError
from training.tracking.tracker import Silence


def loop(**values) -> LoopParameters:
    return LoopParameters(**{"steps": 20, "checkpoint_every": 5, "preview_every": 0} | values)


class Recorder(Silence):
    """Keeps what it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.figures: list[tuple[int, dict]] = []
        self.images: list[tuple[str, Path, int]] = []

    def metrics(self, values, step):
        """Keep them."""
        self.figures.append((step, dict(values)))

    def image(self, name, path, step):
        """Keep it."""
        self.images.append((name, path, step))


def run_script(folder: Path, steps: int, kill_at: int = -1) -> "subprocess.CompletedProcess[str]":
    script = Path(__file__).with_name("tiny_task.py")
    command = [sys.executable, str(script), str(folder), str(steps), str(kill_at)]
    root = script.parents[2]
    return subprocess.run(
        command, cwd=root, env={"PYTHONPATH": str(root)}, capture_output=True, text=True, check=False
    )


def newest_bytes(folder: Path) -> dict[str, bytes]:
    newest = max((folder / "checkpoints").glob("step-*"))
    return {str(path.relative_to(folder)): path.read_bytes() for path in newest.rglob("*.safetensors")}


def test_a_killed_run_ends_like_an_undisturbed_one(tmp_path):
    assert run_script(tmp_path / "killed", 25, kill_at=17).returncode == -signal.SIGKILL
    resumed, whole = run_script(tmp_path / "killed", 25), run_script(tmp_path / "whole", 25)
    assert resumed.returncode == whole.returncode == 0, resumed.stderr + whole.stderr
    assert resumed.stdout.startswith("11 steps")
    assert whole.stdout.startswith("25 steps")
    assert resumed.stdout.split("saw")[1] == whole.stdout.split("saw")[1]
    assert newest_bytes(tmp_path / "killed") == newest_bytes(tmp_path / "whole")
    names = [sorted(path.name for path in (tmp_path / run / "previews").iterdir()) for run in ("killed", "whole")]
    assert names[0] == names[1] == ["step-00000010.png", "step-00000020.png", "step-00000025.png"]


def test_it_learns_reports_and_keeps(tmp_path):
    tracker, told, task = Recorder(), [], LineTask()
    parameters = loop(steps=300, report_every=100, preview_every=150, checkpoint_every=100, checkpoints_kept=2)
    taken = optimise(task, tmp_path, parameters, tracker, lambda step, figures: told.append((step, figures["loss"])))
    assert taken == 300
    assert task.line.weight.item() == pytest.approx(2.0, abs=0.15)
    assert [step for step, _ in tracker.figures] == [100, 200, 300]
    assert set(tracker.figures[0][1]) == {"reconstruct/loss", "reconstruct/fit", "reconstruct/small"}
    assert [step for step, _ in told] == list(range(1, 301))
    assert told[-1][1] < 0.1 < told[0][1]
    assert [step for *_, step in tracker.images] == [150, 300]
    assert Image.open(tracker.images[-1][1]).size == (4, 4)
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["step-00000200", "step-00000300"]
    assert optimise(LineTask(), tmp_path, parameters) == 0


def test_more_steps_go_on(tmp_path):
    optimise(LineTask(), tmp_path, loop(steps=6))
    task, whole = LineTask(), LineTask()
    assert optimise(task, tmp_path, loop(steps=12)) == 6
    optimise(whole, tmp_path / "whole", loop(steps=12))
    assert torch.equal(task.line.weight, whole.line.weight)
    assert task.seen == whole.seen


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_term_that_is_not_finite_is_named(tmp_path, value):
    def broken(step, terms):
        return {**terms, "small": terms["small"] + (value if step == 12 else 0.0)}

    with pytest.raises(
        StageFailedError, match=r"line of ruler, step 12: the small term is (nan|inf); .*step 10 is kept"
    ):
        optimise(LineTask(fault=broken), tmp_path, loop())
    task, whole = LineTask(), LineTask()
    assert optimise(task, tmp_path, loop()) == 10
    optimise(whole, tmp_path / "whole", loop())
    assert torch.equal(task.line.weight, whole.line.weight)


def test_a_gradient_that_is_not_finite_is_told(tmp_path):
    """The root of 0 is 0, its slope is not."""

    def broken(step, terms):
        return {**terms, "root": (0.0 * terms["fit"]).sqrt()} if step == 3 else terms

    task = LineTask(fault=broken)
    with pytest.raises(StageFailedError, match=r"step 3: the gradient is nan; .*no checkpoint yet"):
        optimise(task, tmp_path, loop())
    assert torch.isfinite(task.line.weight).all()


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), "gpu_memory"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried 99 bytes"), "host_memory"),
        (MemoryError(), "host_memory"),
    ],
)
def test_out_of_memory_says_what_to_lower(tmp_path, error, kind):
    def broken(step, terms):
        if step == 7:
            raise error
        return terms

    with pytest.raises(
        StageFailedError, match=r"step 7: out of memory; lower line\.points; the checkpoint of step 5"
    ) as caught:
        optimise(LineTask(fault=broken), tmp_path, loop())
    assert caught.value.kind == kind
    assert optimise(LineTask(), tmp_path, loop()) == 15


def test_other_errors_are_not_disguised(tmp_path):
    def broken(step, terms):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="mat1"):
        optimise(LineTask(fault=broken), tmp_path, loop())


def test_a_watch_may_stop_the_run(tmp_path):
    class CancelledError(Exception):
        pass

    def watch(step, figures):
        if step == 8:
            raise CancelledError

    with pytest.raises(CancelledError):
        optimise(LineTask(), tmp_path, loop(), watch=watch)
    assert optimise(LineTask(), tmp_path, loop()) == 15


def test_checkpoints_of_something_else_are_refused(tmp_path):
    optimise(LineTask(), tmp_path, loop())
    with pytest.raises(InputError, match=r"another run: subject ruler, now pencil; name another folder"):
        optimise(LineTask(subject="pencil"), tmp_path, loop())
    with pytest.raises(InputError, match="another run: seed 0, now 1; "):
        optimise(LineTask(), tmp_path, loop(seed=1))
    faster = LineTask()
    faster._optimizer = torch.optim.Adam(faster.line.parameters(), lr=0.1)
    with pytest.raises(InputError, match=r"another run: parameters\.rate 0\.05, now 0\.1; "):
        optimise(faster, tmp_path, loop(steps=40))
    assert not faster.line.weight.any()
    with pytest.raises(InputError, match="checkpoint of step 20, of 10"):
        optimise(LineTask(), tmp_path, loop(steps=10))


def test_long_gradients_are_shortened(tmp_path):
    free, clipped = LineTask(), LineTask()
    for task, norm in ((free, 0.0), (clipped, 1e-3)):
        task._optimizer = torch.optim.SGD(task.line.parameters(), lr=1.0)
        optimise(task, tmp_path / str(norm), loop(steps=1, clip_norm=norm))
    moved = [torch.cat([p.flatten() for p in task.line.parameters()]).norm().item() for task in (free, clipped)]
    assert moved[0] > 0.1
    assert moved[1] == pytest.approx(1e-3, rel=1e-3)


def test_draws_follow_from_run_object_and_step():
    draws = {
        torch.rand(1, generator=step_generator(*key)).item()
        for key in [(0, "a", 1), (1, "a", 1), (0, "b", 1), (0, "a", 2)]
    }
    assert len(draws) == 4
    again = torch.rand(1, generator=step_generator(0, "a", 1)).item()
    assert again in draws
