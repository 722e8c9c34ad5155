"""What a training run says of its steps: the loss curve on disk, figures and sampled pictures to the tracker.

Every process has a reporter, since figures are of all of them; the main one writes.
"""

import math
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

from accelerate import Accelerator
from jaxtyping import Float, Int
from torch import Tensor

from training.curve import CurvePoint, LossCurve
from training.gpu_figures import gpu_figures
from training.parameters import TrainParameters
from training.sample_grid import SampleGrid
from training.timestep_losses import TimestepLosses
from training.tracking.tracker import Tracker


@dataclass(frozen=True)
class StepOutcome:
    """One optimiser step as a process saw it."""

    point: CurvePoint
    """Figures over all processes."""
    errors: Float[Tensor, " b"]
    """Loss of each of this process' samples."""
    timesteps: Int[Tensor, " b"]
    """Their diffusion times."""
    learning_rates: Mapping[str, float] = field(default_factory=dict)
    """That of each parameter group."""
    skipped_steps: int = 0
    """Steps of the run that were left out so far, for want of a finite loss or gradient."""


@dataclass
class _Spent:
    """Time of the steps since figures were last logged; checkpoints and sampled pictures do not count."""

    steps: int = 0
    seconds: float = 0.0
    data_seconds: float = 0.0


class Reporter:
    """Reports the steps of a run.

    Args:
        parameters: the run.
        folder: where `loss.csv` lies.
        done: steps that the run resumes after.
        tracker: where the main process' figures go.
        accelerator: the processes.
        timesteps: T of the diffusion.
        averaged: puts the moving average of the weights in place for as long as it is entered.
        samples: pictures that this process samples on the way; None for none.
    """

    def __init__(
        self,
        parameters: TrainParameters,
        folder: Path,
        done: int,
        tracker: Tracker,
        accelerator: Accelerator,
        timesteps: int,
        averaged: Callable[[], AbstractContextManager[None]],
        samples: SampleGrid | None = None,
    ) -> None:
        self._parameters, self._tracker, self._accelerator = parameters, tracker, accelerator
        self._curve = LossCurve(folder / "loss.csv", done) if accelerator.is_main_process else None
        self._losses = TimestepLosses(timesteps, parameters.tracking.timestep_buckets)
        self._spent = _Spent()
        self._averaged, self._samples = averaged, samples
        tracker.continue_after(done)

    def step(self, outcome: StepOutcome, seconds: float, data_seconds: float = 0.0) -> None:
        """Note a step that took so long, part of it waiting for data; every process has to call it."""
        point = outcome.point
        if self._curve:
            self._curve.append(point)
        if math.isfinite(point.loss):
            self._losses.add(outcome.errors, outcome.timesteps)
        self._spent.steps += 1
        self._spent.seconds += seconds
        self._spent.data_seconds += data_seconds
        if point.step % self._parameters.log_every == 0 or point.step == self._parameters.steps:
            self._tracker.metrics(self._figures(outcome), point.step)
        if self._samples and self._samples.due(point.step):
            self._show(self._samples, point.step)

    def close(self) -> None:
        """Close the curve."""
        if self._curve:
            self._curve.close()

    def _figures(self, outcome: StepOutcome) -> dict[str, float]:
        """Of the step itself, and of those since the last time."""
        point, spent = outcome.point, self._spent
        self._spent = _Spent()
        sums = self._losses.take().to(self._accelerator.device)
        return {
            "loss": point.loss,
            "learning_rate": point.learning_rate,
            "gradient_norm": point.gradient_norm,
            "samples_per_second": self._parameters.batch_size * spent.steps / spent.seconds,
            "seconds_per_step/data": spent.data_seconds / spent.steps,
            "seconds_per_step/compute": (spent.seconds - spent.data_seconds) / spent.steps,
            **{f"learning_rate/{name}": rate for name, rate in outcome.learning_rates.items()},
            **self._losses.means(self._accelerator.reduce(sums, "sum")),
            **gpu_figures(self._accelerator),
            "skipped_steps": outcome.skipped_steps,
        }

    def _show(self, samples: SampleGrid, step: int) -> None:
        sampled = samples.sample(step, self._averaged())
        self._tracker.metrics({f"{samples.name}/psnr": sampled.psnr}, step)
        self._tracker.image(samples.name, sampled.path, step)
