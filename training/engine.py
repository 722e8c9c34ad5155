"""The training loop: every system runs on it, one process or many.

What a step learns from follows from the seed, the plan of reading and the step's number alone, so N steps, a kill and M steps
equal N + M steps.
"""

import math
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list, gather_object

from stage.errors import StagePreemptedError
from stage.progress import Progress
from stage.seeds import derive_seed
from systems.trainable import Stateful, StepLoss, TrainableSystem
from training.average import WeightAverage
from training.checkpoint import Checkpoint, Checkpoints
from training.curve import CurvePoint
from training.data.batches import ViewBatch
from training.feed import Feed
from training.guard import Guard
from training.launching.heartbeat import Pulse
from training.look_ahead import LookAhead
from training.optimizer import build_optimizer, learning_rates, set_rate
from training.optimizer_state import OptimizerState
from training.parameters import TrainParameters
from training.preemption import Notice
from training.processes import placed_as, prepare, shard, whole
from training.randomness import Randomness
from training.report import Reporter, StepOutcome
from training.sample_grid import SampleGrid
from training.schedule import build_schedule
from training.tracking.tracker import Tracker

_CPU = torch.device("cpu")


@dataclass(frozen=True)
class _Figures:
    """What all processes know of a step."""

    loss: float
    norm: float
    stop: bool

    @property
    def finite(self) -> bool:
        """Whether the step can be taken."""
        return math.isfinite(self.loss) and math.isfinite(self.norm)


class Engine:
    """Trains one system from wherever its checkpoints left off.

    Args:
        parameters: the run.
        seed: the run's seed.
        system: what is trained.
        feed: this process' part of the pairs of each step.
        folder: checkpoints and loss curve.
        accelerator: processes and precision.
        tracker: where the main process reports figures.
        notice: whether this process was asked to stop.
        samples: pictures that the main process samples on the way; None for none.
        pulse: is told where the run is.

    Raises:
        InputError: when there are checkpoints and none can be used.
    """

    def __init__(
        self,
        parameters: TrainParameters,
        seed: int,
        system: TrainableSystem,
        feed: Feed,
        folder: Path,
        accelerator: Accelerator,
        tracker: Tracker,
        notice: Notice,
        samples: SampleGrid | None = None,
        pulse: Pulse | None = None,
    ) -> None:
        self._pulse = pulse or Pulse()
        self.parameters, self.seed, self.folder = parameters, seed, folder
        self.accelerator, self.tracker, self.notice = accelerator, tracker, notice
        self.system, self.samples = system, samples
        self._batches = LookAhead(feed, system, parameters.steps)
        if parameters.launch.sharding == "full":
            shard(system, accelerator)
        # By name, and the parameters that the optimiser has: sharding makes others of them.
        self._trained = {name: p for name, p in system.named_parameters() if p.requires_grad}
        self._schedule = build_schedule(parameters.optimizer, parameters.steps)
        optimizer = build_optimizer(parameters.optimizer, system, accelerator.device)
        self._model, self._optimizer = prepare(accelerator, system, optimizer)
        self._average = WeightAverage(self._trained, parameters.ema_decay)
        self._guard = Guard(parameters.guard)
        self._stateful = self._all_stateful(optimizer)
        self._checkpoints = Checkpoints(folder / "checkpoints", parameters.checkpoints_kept)
        self.done = self._resume()
        """Steps that the checkpoint holds which the run goes on from."""

    def _all_stateful(self, optimizer: torch.optim.Optimizer) -> dict[str, Stateful]:
        """What a checkpoint holds beside the weights and their averages; all processes ask for the states."""
        scaler = {"scaler": self.accelerator.scaler} if self.accelerator.scaler else {}
        return {
            "optimizer": OptimizerState(optimizer, self._trained),
            "schedule": self._schedule,
            "average": self._average,
            "data": self._batches,
            "guard": self._guard,
            "random": Randomness(self.accelerator),
            **scaler,
            **self.system.states(),
        }

    def run(self) -> None:
        """Take the remaining steps.

        Raises:
            StageFailedError: when too many steps had no finite loss or gradient.
            StagePreemptedError: when a process was asked to stop, after a checkpoint.
            ViewforgeError: when the data cannot be read.
        """
        self._model.train()
        batches = self._batches.after(self.done)
        # One process tells the progress of all.
        main = self.accelerator.is_main_process
        progress = Progress("train", self.parameters.steps, "steps", done=self.done) if main else None
        with self._reporting() as report, progress or nullcontext():
            for step in range(self.done, self.parameters.steps):
                self._pulse.enter("data", step + 1)
                started = time.monotonic()
                batch, coming = next(batches)
                arrived = time.monotonic()
                if coming:
                    self.system.prepare([each.part(slice(None), _CPU) for each in coming])
                self._pulse.enter("step", step + 1)
                outcome, stop = self._step(step, batch)
                self._pulse.enter("save", step + 1)
                report.step(outcome, time.monotonic() - started, arrived - started)
                if progress:
                    progress.advance(loss=round(outcome.point.loss, 4))
                self._save_if_due(step + 1, stop)

    def averages(self) -> Mapping[str, torch.Tensor]:
        """The moving average of the trained weights by their names, whole; all processes have to call this."""
        return self._average.tensors()

    def _reporting(self) -> AbstractContextManager[Reporter]:
        parameters, timesteps = self.parameters, self.system.timesteps_total
        reporter = Reporter(
            *(parameters, self.folder, self.done, self.tracker, self.accelerator, timesteps),
            averaged=self._average.applied,
            samples=self.samples,
        )
        return closing(reporter)

    def _step(self, step: int, batch: ViewBatch) -> tuple[StepOutcome, bool]:
        """One optimiser step, counted from 0, on this process' part of its pairs; and whether some process has to stop."""
        rate = self._schedule.rate(step)
        set_rate(self._optimizer, rate)
        self._optimizer.zero_grad()
        seen = self._descend(step, batch)
        trained = list(self._trained.values())
        limit = self.parameters.optimizer.max_grad_norm
        norm = self.accelerator.clip_grad_norm_(trained, math.inf if limit is None else limit)
        figures = self._figures([part.loss for part in seen], whole(norm))
        if figures.finite:
            self._optimizer.step()
        self.system.stepped(step + 1, self.averages)
        if figures.finite:
            self._average.step()
            self._guard.taken()
            self._schedule.observe(step, figures.loss)
        else:
            self._leave_out(step, figures, rate, batch)
        errors, timesteps = (torch.cat([getattr(part, name) for part in seen]) for name in ("errors", "timesteps"))
        point = CurvePoint(step + 1, figures.loss, rate, figures.norm)
        rates = dict(zip(self.system.parameter_groups(), learning_rates(self._optimizer), strict=True))
        return StepOutcome(point, errors, timesteps, rates, self._guard.skipped), figures.stop

    def _descend(self, step: int, batch: ViewBatch) -> list[StepLoss]:
        """Gradients of a step's loss, added up over its parts."""
        parts = self._parts(len(batch.uids))
        seen = []
        for rows in parts:
            with self._synchronising(rows is parts[-1]):
                outcome = self._loss(step, batch, rows)
                self.accelerator.backward(outcome.loss / len(parts))
            seen.append(outcome)
        return seen

    def _figures(self, losses: list[torch.Tensor], norm: torch.Tensor) -> _Figures:
        """The losses of all parts and processes, and whether one has to stop: one exchange, and one wait for the device."""
        stop = torch.tensor(float(self.notice.given), device=norm.device)
        parts = torch.stack([loss.detach().float() / len(losses) for loss in losses])
        told = self.accelerator.reduce(torch.cat([parts, stop[None]]), "mean")
        *means, stopping, length = torch.cat([told, norm.detach().float()[None]]).tolist()
        return _Figures(sum(means), length, stopping > 0)

    def _leave_out(self, step: int, figures: _Figures, rate: float, batch: ViewBatch) -> None:
        """Keep weights, average and optimiser as they are; count the step."""
        scaler = self.accelerator.scaler
        if scaler:
            # It knows of the overflow since the gradients were clipped.
            scaler.update()
        if scaler and math.isfinite(figures.loss) and scaler.get_scale() >= 1:
            self._guard.overflowed()
            return
        lost = f"loss {figures.loss}" if not math.isfinite(figures.loss) else f"gradient {figures.norm}"
        self._guard.left_out(step + 1, lost, rate, gather_object(list(batch.uids)))

    def _synchronising(self, last: bool) -> AbstractContextManager[None]:
        """Gradients are exchanged between processes with the last part of a step alone; those of sharded weights with each."""
        return nullcontext() if last else self.accelerator.no_sync(self._model)

    def _parts(self, pairs: int) -> list[slice]:
        """This process' pairs of a step, cut for accumulation."""
        size = pairs // self.parameters.launch.accumulate
        return [slice(start, start + size) for start in range(0, pairs, size)]

    def _loss(self, step: int, batch: ViewBatch, rows: slice) -> StepLoss:
        # Numbers in the sequence of all pairs, which does not depend on how many processes share it.
        first = step * self.parameters.batch_size + self.accelerator.process_index * len(batch.uids)
        seeds = [derive_seed(self.seed, f"pair {first + row}", "noise") for row in range(rows.start, rows.stop)]
        device = self.accelerator.device
        pairs = self.system.batch(batch.part(rows, device))
        return self._model(pairs, self.system.draw(seeds).to(device))

    def _save_if_due(self, step: int, stop: bool) -> None:
        steps = self.parameters.steps
        if stop or step % self.parameters.checkpoint_every == 0 or step == steps:
            self._save(step)
        if stop and step < steps:
            raise StagePreemptedError(f"a checkpoint holds step {step} of {steps}", "run again: it goes on there")

    def _save(self, step: int) -> None:
        states = {name: thing.state_dict() for name, thing in self._stateful.items()}
        weights = {name: whole(parameter.detach()).cpu() for name, parameter in self._trained.items()}
        averages = self._average.tensors()
        if self.accelerator.is_main_process:
            self._checkpoints.save(Checkpoint(step, weights, averages, states))
        # Whoever ends now would end the process that writes.
        self.accelerator.wait_for_everyone()

    def _resume(self) -> int:
        """Go on where the newest whole checkpoint was; the steps done."""
        # One process looks: another look could find another one.
        chosen = [self._checkpoints.newest() if self.accelerator.is_main_process else 0]
        (step,) = broadcast_object_list(chosen)
        if step:
            self._restore(self._checkpoints.load(step, {name: p.shape for name, p in self._trained.items()}))
        return int(step)

    def _restore(self, checkpoint: Checkpoint) -> None:
        with torch.no_grad():
            for name, parameter in self._trained.items():
                parameter.copy_(placed_as(checkpoint.weights[name], parameter))
        self._average.set(checkpoint.averages)
        for name, thing in self._stateful.items():
            thing.load_state_dict(checkpoint.states[name])
