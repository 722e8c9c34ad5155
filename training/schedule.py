"""Learning rates: a linear warm-up, then constant, linear, half a cosine, or lowered whenever the loss no longer falls.

schedule = build_schedule(parameters, steps)
rate = schedule.rate(step)      # before a step, counted from 0
schedule.observe(step, loss)    # after it

Only `plateau` remembers anything; the others follow from the step's number.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from torch.optim.lr_scheduler import ReduceLROnPlateau

from training.parameters import OptimizerParameters


class Schedule(ABC):
    """The learning rate of each step.

    Args:
        parameters: peak and warm-up.
    """

    def __init__(self, parameters: OptimizerParameters) -> None:
        self._parameters = parameters

    def rate(self, step: int) -> float:
        """Learning rate of a step counted from 0.

        The warm-up leads in `warmup_steps` steps of equal size from `warmup_from` of the peak to the peak (LDM's
        `LambdaLinearScheduler`); without `warmup_from` it starts one such step above nothing.
        """
        peak, steps = self._parameters.learning_rate, self._parameters.warmup_steps
        if step >= steps:
            return self.after_warmup(step)
        first = self._parameters.warmup_from
        if first is None:
            return peak * (step + 1) / steps
        return peak * (first + (1.0 - first) * step / steps)

    @abstractmethod
    def after_warmup(self, step: int) -> float:
        """Learning rate of a step that no longer belongs to the warm-up."""

    def observe(self, step: int, loss: float) -> None:  # noqa: B027 - most have no use for it
        """Take note of the loss of a step that was taken."""

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run must know beside the step's number."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:  # noqa: B027 - most have no state
        """Go on as the schedule whose state it is."""


class Fixed(Schedule):
    """A schedule that follows from the step's number.

    Args:
        parameters: peak, warm-up, kind and floor.
        steps: of the whole run, at whose end linear and cosine reach the floor.
    """

    def __init__(self, parameters: OptimizerParameters, steps: int) -> None:
        super().__init__(parameters)
        self._steps = steps

    def after_warmup(self, step: int) -> float:
        """Constant, or down to the floor along a line or half a cosine."""
        peak, floor, warmup = (getattr(self._parameters, key) for key in ("learning_rate", "floor", "warmup_steps"))
        done = (step - warmup) / max(1, self._steps - warmup)
        match self._parameters.schedule:
            case "linear":
                share = 1.0 - done
            case "cosine":
                share = 0.5 * (1.0 + math.cos(math.pi * done))
            case _:
                return float(peak)
        return float(peak * (floor + (1.0 - floor) * share))


class Plateau(Schedule):
    """PyTorch's `ReduceLROnPlateau` on the mean loss of each `window` steps after the warm-up.

    Args:
        parameters: peak, warm-up, floor and `plateau`.
    """

    def __init__(self, parameters: OptimizerParameters) -> None:
        super().__init__(parameters)
        settings = parameters.plateau
        # It lowers the rate of an optimiser; ours has groups with rates of their own, so that it gets one to itself.
        self._holder = torch.optim.SGD([torch.zeros(1)], lr=parameters.learning_rate)
        self._scheduler = ReduceLROnPlateau(
            self._holder,
            factor=settings.factor,
            patience=settings.patience,
            threshold=settings.threshold,
            min_lr=parameters.floor * parameters.learning_rate,
        )
        self._sum, self._count = 0.0, 0

    def after_warmup(self, step: int) -> float:  # noqa: ARG002 - follows from the losses instead
        """The peak, lowered as often as the loss has stood still."""
        return float(self._holder.param_groups[0]["lr"])

    def observe(self, step: int, loss: float) -> None:
        """Count the loss; one that is no number says nothing."""
        if step < self._parameters.warmup_steps or not math.isfinite(loss):
            return
        self._sum, self._count = self._sum + loss, self._count + 1
        if self._count == self._parameters.plateau.window:
            self._scheduler.step(self._sum / self._count)
            self._sum, self._count = 0.0, 0

    def state_dict(self) -> dict[str, Any]:
        """The learning rate, what PyTorch remembers, and the observation that is not complete."""
        rate = self._holder.param_groups[0]["lr"]
        return {"rate": rate, "scheduler": self._scheduler.state_dict(), "sum": self._sum, "count": self._count}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on as the schedule whose state it is; an empty one is the beginning."""
        if not state:
            return
        self._holder.param_groups[0]["lr"] = state["rate"]
        self._scheduler.load_state_dict(state["scheduler"])
        self._sum, self._count = state["sum"], state["count"]


def build_schedule(parameters: OptimizerParameters, steps: int) -> Schedule:
    """The schedule of a run of so many steps."""
    return Plateau(parameters) if parameters.schedule == "plateau" else Fixed(parameters, steps)
