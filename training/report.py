"""What a training run says of its steps: the loss curve on disk, and figures to the tracker."""

from dataclasses import dataclass
from pathlib import Path

from jaxtyping import Float, Int
from torch import Tensor

from training.curve import CurvePoint, LossCurve
from training.parameters import TrainParameters
from training.tracking import Tracker


@dataclass(frozen=True)
class StepOutcome:
    """One optimiser step as a process saw it."""

    point: CurvePoint
    """Figures over all processes."""
    errors: Float[Tensor, " b"]
    """Loss of each of this process' samples."""
    timesteps: Int[Tensor, " b"]
    """Their diffusion times."""
    skipped: int = 0
    """Steps of the run that were left out so far, for want of a finite loss or gradient."""


class Reporter:
    """Reports the steps of a run; made by the main process alone.

    Args:
        parameters: the run.
        folder: where `loss.csv` lies.
        done: steps that the run resumes after.
        tracker: where figures go.
    """

    def __init__(self, parameters: TrainParameters, folder: Path, done: int, tracker: Tracker) -> None:
        self._parameters, self._tracker = parameters, tracker
        self._curve = LossCurve(folder / "loss.csv", done)

    def step(self, outcome: StepOutcome, seconds: float) -> None:
        """Note a step that took so long."""
        point = outcome.point
        self._curve.append(point)
        if point.step % self._parameters.log_every == 0 or point.step == self._parameters.steps:
            figures = {
                "loss": point.loss,
                "learning_rate": point.learning_rate,
                "gradient_norm": point.gradient_norm,
                "skipped_steps": outcome.skipped,
                "samples_per_second": self._parameters.batch_size / seconds,
            }
            self._tracker.metrics(figures, point.step)

    def close(self) -> None:
        """Close the curve."""
        self._curve.close()
