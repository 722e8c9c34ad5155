"""The training loop: every system runs on it, one process or many.

What a step learns from follows from the seed, the plan of reading and the step's number alone, so N steps, a kill and M steps
equal N + M steps.
"""

import math
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from pathlib import Path
from typing import Any

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
from training.parameters import OptimizerParameters, TrainParameters
from training.report import Reporter, StepOutcome
from training.sample_grid import SampleGrid
from training.tracking import Tracker


def learning_rate(parameters: OptimizerParameters, step: int, steps: int) -> float:
    """Learning rate of a step counted from 0: linear warm-up, then constant or half a cosine to 0."""
    if step < parameters.warmup_steps:
        return parameters.learning_rate * (step + 1) / parameters.warmup_steps
    if parameters.schedule == "constant":
        return parameters.learning_rate
    done = (step - parameters.warmup_steps) / max(1, steps - parameters.warmup_steps)
    return parameters.learning_rate * 0.5 * (1.0 + math.cos(math.pi * done))


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
        samples: pictures that the main process samples on the way; None for none.
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
        samples: SampleGrid | None = None,
    ) -> None:
        self.parameters, self.seed, self.folder = parameters, seed, folder
        self.feed, self.accelerator, self.tracker = feed, accelerator, tracker
        self.system, self.samples = system, samples
        self._trained = [p for p in system.parameters() if p.requires_grad]
        self._ema = EMAModel(self._trained, decay=parameters.ema_decay, foreach=True)
        self._optimizer = torch.optim.AdamW(
            self._groups(), betas=parameters.optimizer.betas, weight_decay=parameters.optimizer.weight_decay
        )
        self._checkpoints = Checkpoints(folder / "checkpoints", parameters.checkpoints_kept)
        resumed = self._checkpoints.load(system, self._ema, self._optimizer)
        self._done = resumed.step
        if resumed.data:
            feed.load_state_dict(resumed.data)
        self._model, self._optimizer = accelerator.prepare(system, self._optimizer)
        self._ema.to(accelerator.device)

    def _groups(self) -> list[dict[str, object]]:
        factors = {"cc_projection": self.parameters.optimizer.cc_projection_factor}
        return [
            {"params": members, "factor": factors.get(name, 1.0)}
            for name, members in self.system.parameter_groups().items()
        ]

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
                batch = next(batches)
                arrived = time.monotonic()
                outcome = self._step(step, batch)
                report.step(outcome, time.monotonic() - started, arrived - started)
                if self.accelerator.is_main_process:
                    progress.advance(loss=round(outcome.point.loss, 4))
                self._save_if_due(step + 1)
        self._ema.copy_to(self._trained)

    def _reporting(self) -> AbstractContextManager[Reporter]:
        parameters, timesteps = self.parameters, self.system.timesteps_total
        reporter = Reporter(
            *(parameters, self.folder, self._done, self.tracker, self.accelerator, timesteps),
            averaged=self._averaged,
            samples=self.samples,
        )
        return closing(reporter)

    @contextmanager
    def _averaged(self) -> Iterator[None]:
        """The moving average of the weights in their place; then they are back, bit for bit."""
        self._ema.store(self._trained)
        self._ema.copy_to(self._trained)
        try:
            yield
        finally:
            self._ema.restore(self._trained)

    def _step(self, step: int, batch: ViewBatch) -> StepOutcome:
        """One optimiser step, counted from 0, on this process' part of its pairs."""
        rate = learning_rate(self.parameters.optimizer, step, self.parameters.steps)
        for group in self._optimizer.param_groups:
            group["lr"] = rate * group["factor"]
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
        errors, timesteps = (torch.cat([getattr(part, name) for part in seen]) for name in ("errors", "timesteps"))
        rates = {name: rate * group["factor"] for name, group in self._named_groups()}
        return StepOutcome(CurvePoint(step + 1, loss, rate, norm), errors, timesteps, rates)

    def _named_groups(self) -> Iterator[tuple[str, dict[str, Any]]]:
        return zip(self.system.parameter_groups(), self._optimizer.param_groups, strict=True)

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
                self._checkpoints.save(step, self.system, self._ema, self._optimizer, self.feed.state_dict())
