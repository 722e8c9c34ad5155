"""The loop of an optimisation: seeds of steps, checkpoints, resuming, failures, figures and previews.

steps = optimise(task, folder, parameters.loop, tracker)

`folder` receives `checkpoints/step-00000500/` (`training.checkpoint`) and `previews/step-00000500.png`. A run that is started
again goes on from its newest whole checkpoint, and ends with the same bits as one that nobody disturbed: every draw derives from
run, object and step, and whatever else a step depends on is in the checkpoint.
"""

import math
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from reconstruction.optimisation.fingerprint import differences
from reconstruction.optimisation.memory import enough_memory
from reconstruction.optimisation.parameters import LoopParameters
from reconstruction.optimisation.task import Task
from stage.errors import InputError, StageFailedError
from stage.files import replacing
from stage.progress import Progress
from stage.seeds import derive_seed
from training.checkpoint import Checkpoint, Checkpoints
from training.tracking.tracker import Silence, Tracker


class Watch(Protocol):
    """What is told of every step, as a page that shows progress; what it raises ends the run, its checkpoints kept."""

    def __call__(self, step: int, figures: Mapping[str, float]) -> None:
        """A step was taken.

        Args:
            step: how many there are now.
            figures: its loss and terms.
        """


def optimise(
    task: Task,
    folder: Path,
    parameters: LoopParameters,
    tracker: Tracker | None = None,
    watch: Watch | None = None,
    *,
    progress: bool = True,
) -> int:
    """Take the remaining steps of an optimisation; the task's modules have learnt then.

    Args:
        task: what is minimised.
        folder: its own, for checkpoints and previews.
        parameters: how many steps, and what is kept when.
        tracker: where figures and previews are reported.
        watch: is told of every step.
        progress: whether the steps are counted; not by a stage that counts objects.

    Returns:
        How many steps were taken in this attempt.

    Raises:
        InputError: when a checkpoint is of another optimisation, or none is whole.
        StageFailedError: when a term or the gradient is not finite, or memory does not suffice; checkpoints and previews
            stay.
    """
    run = _Run(task, folder, parameters, tracker or Silence())
    begun = run.resume()
    run.tracker.continue_after(begun)
    bar = Progress(f"reconstruct {task.name}", parameters.steps, "steps", begun) if progress else nullcontext()
    with bar as counted:
        for step in range(begun, parameters.steps):
            figures = run.step(step)
            if counted:
                counted.advance(loss=f"{figures['loss']:.4g}")
            if watch:
                watch(step + 1, figures)
    return parameters.steps - begun


@dataclass
class _Run:
    """One attempt."""

    task: Task
    folder: Path
    parameters: LoopParameters
    tracker: Tracker

    @property
    def checkpoints(self) -> Checkpoints:
        return Checkpoints(self.folder / "checkpoints", self.parameters.checkpoints_kept)

    @cached_property
    def identity(self) -> dict[str, Any]:
        """What a checkpoint must be of."""
        known = {"method": self.task.name, "subject": self.task.subject, "seed": self.parameters.seed}
        known["clip_norm"] = self.parameters.clip_norm
        return known | dict(self.task.fingerprint)

    def resume(self) -> int:
        """Load the newest whole checkpoint; the number of steps that it holds."""
        done = self.checkpoints.newest()
        if not done:
            return 0
        if done > self.parameters.steps:
            raise InputError(
                f"{self.folder} holds a checkpoint of step {done}, of {self.parameters.steps} that are asked for",
                "ask for more steps, or for another folder",
            )
        tensors = _tensors(self.task)
        found = self.checkpoints.load(done, {name: t.shape for name, t in tensors.items()}, averaged=False)
        changed = differences(found.states.get("identity", {}), self.identity)
        if changed:
            raise InputError(
                f"{self.folder} holds checkpoints of another run: {'; '.join(changed)}",
                "name another folder, or delete this one",
            )
        with torch.no_grad():
            for name, tensor in tensors.items():
                tensor.copy_(found.weights[name])
        self.task.optimizer().load_state_dict(found.states["optimizer"])
        self.task.load_state_dict(found.states["task"])
        return done

    def step(self, step: int) -> dict[str, float]:
        """Take one step; its loss and terms."""
        with self._memory(step):
            optimizer = self.task.optimizer()
            optimizer.zero_grad(set_to_none=True)
            terms = self.task.losses(step, step_generator(self.parameters.seed, self.task.subject, step))
            total = torch.stack(list(terms.values())).sum()
            figures = self._finite(step, {name: float(term.detach()) for name, term in terms.items()})
            total.backward()
            self._clip(step)
            optimizer.step()
            self.task.stepped(step)
            self._keep(step + 1, figures)
        return figures

    def _finite(self, step: int, terms: dict[str, float]) -> dict[str, float]:
        for name, value in terms.items():
            if not math.isfinite(value):
                raise self._broken(step, f"the {name} term is {value}")
        return {"loss": sum(terms.values()), **terms}

    def _clip(self, step: int) -> None:
        gradients = [p for module in self.task.modules().values() for p in module.parameters() if p.grad is not None]
        longest = self.parameters.clip_norm or math.inf
        norm = float(torch.nn.utils.clip_grad_norm_(gradients, longest))
        if not math.isfinite(norm):
            raise self._broken(step, f"the gradient is {norm}")

    def _broken(self, step: int, what: str) -> StageFailedError:
        return StageFailedError(
            f"{self.task.name} of {self.task.subject}, step {step}: {what}",
            f"lower its learning rate or that term's weight; {self._kept()}",
            "not_finite",
        )

    def _kept(self) -> str:
        steps = self.checkpoints.steps()
        return f"the checkpoint of step {steps[-1]} is kept in {self.folder}" if steps else "no checkpoint yet"

    def _memory(self, step: int) -> AbstractContextManager[None]:
        what = f"{self.task.name} of {self.task.subject}, step {step}"
        return enough_memory(what, lambda: f"{self.task.memory_remedy}; {self._kept()}")

    def _keep(self, done: int, figures: dict[str, float]) -> None:
        """Report, preview and save where it is time; always at the end."""
        chosen, last = self.parameters, done == self.parameters.steps
        if last or done % chosen.report_every == 0:
            self.tracker.metrics({f"reconstruct/{name}": value for name, value in figures.items()}, done)
        if chosen.preview_every and (last or done % chosen.preview_every == 0):
            self._preview(done)
        if last or done % chosen.checkpoint_every == 0:
            states = {
                "identity": self.identity,
                "optimizer": self.task.optimizer().state_dict(),
                "task": self.task.state_dict(),
            }
            self.checkpoints.save(Checkpoint(done, _tensors(self.task), {}, states))

    def _preview(self, done: int) -> None:
        path = self.folder / "previews" / f"step-{done:08d}.png"
        with replacing(path) as temporary:
            self.task.preview(done).save(temporary, format="PNG")
        self.tracker.image("reconstruct/preview", path, done)


def step_generator(seed: int, subject: str, step: int) -> torch.Generator:
    """A generator on the CPU for one step's draws."""
    return torch.Generator().manual_seed(derive_seed(seed, f"{subject}\0{step}", "reconstruction"))


def _tensors(task: Task) -> dict[str, Tensor]:
    """What learns, and persistent buffers."""
    return {
        f"{name}.{key}": tensor
        for name, module in task.modules().items()
        for key, tensor in module.state_dict(keep_vars=True).items()
    }
