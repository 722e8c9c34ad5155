"""The smallest optimisation: a line through noisy points. As a script it can be killed: `tiny_task.py FOLDER STEPS [KILL_AT]`."""

import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from reconstruction.optimisation.loop import optimise
from reconstruction.optimisation.parameters import LoopParameters


class LineTask:
    """Fits y = 2x + 1; its draws come from the step's generator, and what it has seen is its state."""

    name, memory_remedy = "line", "lower line.points"

    def __init__(self, subject: str = "ruler", fault: Any = None) -> None:
        self.subject, self.fault, self.seen = subject, fault, 0.0
        self.line = nn.Linear(1, 1)
        with torch.no_grad():
            self.line.weight.zero_()
            self.line.bias.zero_()
        self._optimizer = torch.optim.Adam(self.line.parameters(), lr=0.05)

    @property
    def fingerprint(self) -> Mapping[str, Any]:
        """The rate."""
        return {"parameters": {"rate": self._optimizer.param_groups[0]["lr"]}}

    def modules(self) -> Mapping[str, nn.Module]:
        """The line."""
        return {"line": self.line}

    def optimizer(self) -> torch.optim.Optimizer:
        """Adam."""
        return self._optimizer

    def losses(self, step: int, generator: torch.Generator) -> Mapping[str, Tensor]:
        """The squared error, and a little of the slope."""
        x = torch.rand(16, 1, generator=generator)
        y = 2 * x + 1 + 0.1 * torch.randn(16, 1, generator=generator)
        self.seen += float(x.sum())
        terms = {"fit": (self.line(x) - y).square().mean(), "small": 1e-4 * self.line.weight.square().sum()}
        return self.fault(step, terms) if self.fault else terms

    def stepped(self, step: int) -> None:
        """Count."""
        self.seen += step

    def preview(self, step: int) -> Image.Image:
        """The step, in red."""
        return Image.new("RGB", (4, 4), (step % 256, 0, 0))

    def state_dict(self) -> dict[str, Any]:
        """What was seen."""
        return {"seen": self.seen}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on counting."""
        self.seen = state["seen"]


def main(folder: str, steps: str, kill_at: str = "-1") -> None:
    """Run it; with SIGKILL after a step."""
    task = LineTask()

    def watch(step: int, _: Mapping[str, float]) -> None:
        if step == int(kill_at):
            os.kill(os.getpid(), signal.SIGKILL)

    taken = optimise(
        task, Path(folder), LoopParameters(steps=int(steps), checkpoint_every=7, preview_every=10), watch=watch
    )
    print(f"{taken} steps, saw {task.seen!r}")


if __name__ == "__main__":
    main(*sys.argv[1:])
