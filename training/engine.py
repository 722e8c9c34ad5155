"""The training loop: every system runs on it, one process or many.

What a step learns from follows from (seed, step) alone, so N steps, a kill and M steps equal N + M steps.
"""

import math
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch
from accelerate import Accelerator
from diffusers.training_utils import EMAModel

from stage.errors import ViewforgeError
from stage.progress import Progress
from stage.seeds import derive_seed
from systems.zero123.loss import batch_from_views
from systems.zero123.training import Zero123Training
from training.checkpoint import Checkpoints
from training.curve import CurvePoint, LossCurve
from training.data.pairs import PairSampler
from training.parameters import OptimizerParameters, TrainParameters
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
        sampler: pairs of a step over all processes.
        folder: checkpoints and loss curve.
        accelerator: processes and precision.
        tracker: where figures are reported.
    """

    def __init__(
        self,
        parameters: TrainParameters,
        seed: int,
        system: Zero123Training,
        sampler: PairSampler,
        folder: Path,
        accelerator: Accelerator,
        tracker: Tracker,
    ) -> None:
        self.parameters, self.seed, self.folder = parameters, seed, folder
        self.sampler, self.accelerator, self.tracker = sampler, accelerator, tracker
        self.system = system
        self._trained = [p for p in system.parameters() if p.requires_grad]
        self._ema = EMAModel(self._trained, decay=parameters.ema_decay, foreach=True)
        self._optimizer = torch.optim.AdamW(
            self._groups(), betas=parameters.optimizer.betas, weight_decay=parameters.optimizer.weight_decay
        )
        self._checkpoints = Checkpoints(folder / "checkpoints", parameters.checkpoints_kept)
        self._done = self._checkpoints.load(system, self._ema, self._optimizer)
        self._model, self._optimizer = accelerator.prepare(system, self._optimizer)
        self._ema.to(accelerator.device)

    def _groups(self) -> list[dict[str, object]]:
        fast = {id(p) for p in self.system.fast_parameters()}
        factor = self.parameters.optimizer.cc_projection_factor
        return [
            {"params": [p for p in self._trained if id(p) not in fast], "factor": 1.0},
            {"params": [p for p in self._trained if id(p) in fast], "factor": factor},
        ]

    def run(self) -> None:
        """Take the remaining steps, then put the moving average of the weights in their place.

        Raises:
            ViewforgeError: when the loss is no longer finite.
        """
        self._model.train()
        curve = LossCurve(self.folder / "loss.csv", self._done) if self.accelerator.is_main_process else None
        with Progress("train", self.parameters.steps, "steps", done=self._done) as progress:
            for step in range(self._done, self.parameters.steps):
                started = time.monotonic()
                point = self._step(step)
                self._report(point, curve, time.monotonic() - started)
                if self.accelerator.is_main_process:
                    progress.advance(loss=round(point.loss, 4))
        if curve:
            curve.close()
        self._ema.copy_to(self._trained)

    def _step(self, step: int) -> CurvePoint:
        """One optimiser step, counted from 0."""
        rate = learning_rate(self.parameters.optimizer, step, self.parameters.steps)
        for group in self._optimizer.param_groups:
            group["lr"] = rate * group["factor"]
        self._optimizer.zero_grad()
        loss = 0.0
        parts = list(self._parts(step))
        for number, (start, stop) in enumerate(parts):
            with self._synchronising(number == len(parts) - 1):
                part = self._loss(start, stop) / len(parts)
                self.accelerator.backward(part)
            loss += float(self.accelerator.reduce(part.detach(), "mean"))
        if not math.isfinite(loss):
            raise ViewforgeError(f"the loss of step {step + 1} is {loss}", "lower train.optimizer.learning_rate")
        norm = float(self.accelerator.clip_grad_norm_(self._trained, self.parameters.optimizer.max_grad_norm))
        # Under fp16 the scaler leaves out steps whose gradient overflowed, and tries a smaller scale.
        if not math.isfinite(norm) and self.parameters.launch.mixed_precision != "fp16":
            raise ViewforgeError(f"the gradient of step {step + 1} is {norm}", "lower train.optimizer.learning_rate")
        self._optimizer.step()
        self._ema.step(self._trained)
        return CurvePoint(step + 1, loss, rate, norm)

    def _synchronising(self, last: bool) -> AbstractContextManager[None]:
        """Gradients are exchanged between processes with the last part of a step alone."""
        return nullcontext() if last else self.accelerator.no_sync(self._model)

    def _parts(self, step: int) -> Iterator[tuple[int, int]]:
        """The places of the endless sequence of pairs that this process takes in a step, cut for accumulation."""
        world, rank = self.accelerator.num_processes, self.accelerator.process_index
        count = self.parameters.batch_size // (world * self.parameters.launch.accumulate)
        for part in range(self.parameters.launch.accumulate):
            start = step * self.parameters.batch_size + (part * world + rank) * count
            yield start, start + count

    def _loss(self, start: int, stop: int) -> torch.Tensor:
        pairs = self.sampler.pairs(start, stop)
        batch = batch_from_views(pairs.target, pairs.condition, pairs.target_c2w, pairs.condition_c2w)
        draws = self.system.draw([derive_seed(self.seed, f"pair {place}", "noise") for place in range(start, stop)])
        device = self.accelerator.device
        return self._model(batch.to(device), draws.to(device))

    def _report(self, point: CurvePoint, curve: LossCurve | None, seconds: float) -> None:
        if curve:
            curve.append(point)
        if point.step % self.parameters.log_every == 0 or point.step == self.parameters.steps:
            figures = {
                "loss": point.loss,
                "learning_rate": point.learning_rate,
                "gradient_norm": point.gradient_norm,
                "samples_per_second": self.parameters.batch_size / seconds,
            }
            self.tracker.metrics(figures, point.step)
        if point.step % self.parameters.checkpoint_every == 0 or point.step == self.parameters.steps:
            self.accelerator.wait_for_everyone()
            if self.accelerator.is_main_process:
                self._checkpoints.save(point.step, self.system, self._ema, self._optimizer)
