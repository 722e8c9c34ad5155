"""The training loop: every system runs on it, one process or many.

What a step learns from follows from the seed, the plan of reading and the step's number alone, so N steps, a kill and M steps
equal N + M steps.
"""

import math
import time
from contextlib import AbstractContextManager, closing, nullcontext
from pathlib import Path

import torch
from accelerate import Accelerator
from diffusers.training_utils import EMAModel

from stage.errors import ViewforgeError
from stage.progress import Progress
from stage.seeds import derive_seed
from systems.trainable import StepLoss, TrainableSystem
from training.checkpoint import Checkpoints
from training.curve import CurvePoint
from training.data.batches import ViewBatch
from training.feed import Feed
from training.optimizer import build_optimizer, set_rate
from training.parameters import TrainParameters
from training.report import Reporter, StepOutcome
from training.schedule import build_schedule
from training.tracking import Tracker


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
    ) -> None:
        self.parameters, self.seed, self.folder = parameters, seed, folder
        self.feed, self.accelerator, self.tracker = feed, accelerator, tracker
        self.system = system
        self._trained = [p for p in system.parameters() if p.requires_grad]
        self._ema = EMAModel(self._trained, decay=parameters.ema_decay, foreach=True)
        self._schedule = build_schedule(parameters.optimizer, parameters.steps)
        self._optimizer = build_optimizer(parameters.optimizer, system, accelerator.device)
        self._checkpoints = Checkpoints(folder / "checkpoints", parameters.checkpoints_kept)
        resumed = self._checkpoints.load(system, self._ema, self._optimizer)
        self._schedule.load_state_dict(resumed.schedule)
        self._done = resumed.step
        if resumed.data:
            feed.load_state_dict(resumed.data)
        self._model, self._optimizer = accelerator.prepare(system, self._optimizer)
        self._ema.to(accelerator.device)

    def run(self) -> None:
        """Take the remaining steps, then put the moving average of the weights in their place.

        Raises:
            ViewforgeError: when the loss is no longer finite, or the data cannot be read.
        """
        self._model.train()
        batches = iter(self.feed)
        with (
            self._reporting() as report,
            Progress("train", self.parameters.steps, "steps", done=self._done) as progress,
        ):
            for step in range(self._done, self.parameters.steps):
                started = time.monotonic()
                outcome = self._step(step, next(batches))
                if report:
                    report.step(outcome, time.monotonic() - started)
                    progress.advance(loss=round(outcome.point.loss, 4))
                self._save_if_due(step + 1)
        self._ema.copy_to(self._trained)

    def _reporting(self) -> AbstractContextManager[Reporter | None]:
        if not self.accelerator.is_main_process:
            return nullcontext()
        return closing(Reporter(self.parameters, self.folder, self._done, self.tracker))

    def _step(self, step: int, batch: ViewBatch) -> StepOutcome:
        """One optimiser step, counted from 0, on this process' part of its pairs."""
        rate = self._schedule.rate(step)
        set_rate(self._optimizer, rate)
        self._optimizer.zero_grad()
        loss, seen = 0.0, []
        parts = self._parts(len(batch.uids))
        for rows in parts:
            with self._synchronising(rows is parts[-1]):
                outcome = self._loss(step, batch, rows)
                part = outcome.loss / len(parts)
                self.accelerator.backward(part)
            seen.append(outcome)
            loss += float(self.accelerator.reduce(part.detach(), "mean"))
        if not math.isfinite(loss):
            raise ViewforgeError(f"the loss of step {step + 1} is {loss}", "lower train.optimizer.learning_rate")
        norm = float(self.accelerator.clip_grad_norm_(self._trained, self.parameters.optimizer.max_grad_norm))
        # Under fp16 the scaler leaves out steps whose gradient overflowed, and tries a smaller scale.
        if not math.isfinite(norm) and self.parameters.launch.mixed_precision != "fp16":
            raise ViewforgeError(f"the gradient of step {step + 1} is {norm}", "lower train.optimizer.learning_rate")
        self._optimizer.step()
        self._ema.step(self._trained)
        self._schedule.observe(step, loss)
        errors, timesteps = (torch.cat([getattr(part, name) for part in seen]) for name in ("errors", "timesteps"))
        return StepOutcome(CurvePoint(step + 1, loss, rate, norm), errors, timesteps)

    def _synchronising(self, last: bool) -> AbstractContextManager[None]:
        """Gradients are exchanged between processes with the last part of a step alone."""
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
        pairs = self.system.batch(batch.rgba[rows].to(device), batch.c2w[rows])
        return self._model(pairs, self.system.draw(seeds).to(device))

    def _save_if_due(self, step: int) -> None:
        if step % self.parameters.checkpoint_every == 0 or step == self.parameters.steps:
            self.accelerator.wait_for_everyone()
            if self.accelerator.is_main_process:
                self._checkpoints.save(
                    step,
                    self.system,
                    self._ema,
                    self._optimizer,
                    self.feed.state_dict(),
                    self._schedule.state_dict(),
                )
