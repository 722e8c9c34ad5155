"""What a training step costs: `python -m benchmarks.train_step`.

`overhead`: the engine's step beside a bare PyTorch loop of the same model on the same pairs, decoded ahead: noise, forward,
backward, clipping, AdamW, moving average. The bare loop has its pairs composited and their poses computed, and draws all its
noise at once; the engine composites, seeds each pair by itself, looks at loss and norm, and writes its curve. Steps of both
alternate in one process with one thread. Goal: 3 % of the median CPU seconds of a step, which do not count what else the machine
does; on a GPU of the median wall-clock.

`full size`, on a CUDA GPU alone: Zero-1-to-3's published network, VAE and CLIP at 256 px through the engine, with random weights,
which cost what trained ones do: plain float32 as zero123-hf trains, and ours. Samples/s, share of the GPU's dense bf16 peak
(MFU; operations counted by `torch.utils.flop_counter`, without those that gradient checkpointing repeats), peak memory. Goals:
3 times the samples/s, 40 % MFU.

`--quick` takes few steps and, on a GPU, few variants; `--compile` adds the compiled ones.
"""

import argparse
import gc
import math
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from diffusers.training_utils import EMAModel
from torch.utils.flop_counter import FlopCounterMode

from geometry.cameras import look_at_origin
from stage.parameters import load_section
from systems.trainable import TrainableSystem
from systems.zero123.loss import Draws
from systems.zero123.outline import published_modules
from systems.zero123.parameters import ImageEncoderParameters, Zero123Parameters
from systems.zero123.training import Zero123Training
from training.data.batches import ViewBatch
from training.dry_run.devices import peak_flops
from training.engine import Engine
from training.hardware import use_hardware
from training.optimizer import build_optimizer
from training.parameters import HardwareParameters, TrainParameters
from training.preemption import Notice
from training.schedule import build_schedule
from training.tracking.tracker import Silence

_GOAL_OVERHEAD, _GOAL_SPEED, _GOAL_MFU = 0.03, 3.0, 0.4
_WARM_UP = 5


@dataclass
class Timed:
    """Seconds of single steps."""

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    def begin(self) -> None:
        """A step begins."""
        self._began = time.perf_counter(), time.process_time()

    def end(self) -> None:
        """It ends."""
        self.wall.append(time.perf_counter() - self._began[0])
        self.cpu.append(time.process_time() - self._began[1])

    def median(self, clock: str) -> float:
        """Seconds of a step after the warm-up."""
        return statistics.median(getattr(self, clock)[_WARM_UP:])


class ReadyFeed:
    """A feed whose batches are there already.

    It times the engine from one batch to the next, and lets another loop step in between.
    """

    def __init__(self, batch: ViewBatch, between: Callable[[int], None] = lambda _step: None) -> None:
        self._batch, self._between = batch, between
        self.engine = Timed()

    def __iter__(self) -> Iterator[ViewBatch]:
        """The same batch for ever."""
        step = 0
        while True:
            self.engine.begin()
            yield self._batch
            self.engine.end()
            self._between(step)
            step += 1

    def state_dict(self) -> dict[str, Any]:
        """It has no place."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """It has no place."""


class BareLoop:
    """The training step of a PyTorch tutorial."""

    def __init__(
        self, parameters: TrainParameters, system: Zero123Training, views: ViewBatch, device: torch.device
    ) -> None:
        self._parameters, self._system, self._device = parameters, system.to(device), device
        self._trained = [p for p in system.parameters() if p.requires_grad]
        self._optimizer = build_optimizer(parameters.optimizer, system, device)
        self._schedule = build_schedule(parameters.optimizer, parameters.steps)
        self._ema = EMAModel(self._trained, decay=parameters.ema_decay, foreach=True)
        self._batch = system.batch(views.part(slice(None), device))
        self.timed = Timed()

    def step(self, step: int) -> None:
        """One step, timed."""
        self.timed.begin()
        for group in self._optimizer.param_groups:
            group["lr"] = self._schedule.rate(step) * group["factor"]
        self._optimizer.zero_grad()
        loss = self._system(self._batch, self._draws()).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self._trained, self._parameters.optimizer.max_grad_norm or math.inf)
        self._optimizer.step()
        self._ema.step(self._trained)
        loss.item()
        self.timed.end()

    def _draws(self) -> Draws:
        size, shape = len(self._batch.pose), self._system.latent_shape
        noise, posterior = torch.randn(2, size, *shape, device=self._device)
        timesteps = torch.randint(self._system.timesteps_total, (size,), device=self._device)
        return Draws(noise, timesteps, torch.rand(size, device=self._device), posterior)


@dataclass(frozen=True)
class Variant:
    """One way to train the full-size model."""

    name: str
    precision: str
    hardware: dict[str, Any]
    fused: bool = True
    batch: int = 32


_BEST = {"channels_last": True}
PLAIN = Variant("float32 eager", "no", {"attention": "sdpa", "tf32": False, "cudnn_benchmark": False}, fused=False)
OURS = (
    Variant("bf16, TF32, channels last, fused", "bf16", _BEST),
    Variant("the same with gradient checkpointing", "bf16", {**_BEST, "gradient_checkpointing": True}),
    Variant("the same, batch 128", "bf16", {**_BEST, "gradient_checkpointing": True}, batch=128),
)
COMPILED = (
    Variant("bf16, SDPA, compiled", "bf16", {**_BEST, "attention": "sdpa", "compile": "default"}),
    Variant("bf16, SDPA, compiled, batch 64", "bf16", {**_BEST, "attention": "sdpa", "compile": "default"}, batch=64),
)


@dataclass(frozen=True)
class Speed:
    """What a variant came to."""

    variant: Variant
    attention: str
    samples_per_second: float
    peak_gib: float
    mfu: float

    def line(self) -> str:
        """A row of the report."""
        return (
            f"{self.variant.name} (batch {self.variant.batch}, attention {self.attention}): "
            f"{self.samples_per_second:.1f} samples/s, MFU {self.mfu:.1%}, {self.peak_gib:.1f} GiB"
        )


def pairs(count: int, size: int) -> ViewBatch:
    """Pairs of views of noise."""
    chance = np.random.default_rng(0)
    rgba = torch.from_numpy(chance.integers(0, 256, (count, 2, size, size, 4), dtype=np.uint8))
    angles = chance.uniform([0.2, 0.0], [2.9, 6.2], (2 * count, 2))
    c2w = torch.from_numpy(np.stack([look_at_origin(polar, azimuth, 2.0) for polar, azimuth in angles])).float()
    intrinsics = torch.ones(count, 2, 4)
    numbers = np.zeros(count, dtype=np.int64)
    views = np.tile(np.arange(2), (count, 1))
    c2w = c2w.reshape(count, 2, 4, 4)
    scales = torch.ones(count, 2, 3)
    return ViewBatch(0, 0, numbers, ("noise",) * count, views, rgba, c2w, intrinsics, scales)


def engine_of(
    parameters: TrainParameters, system: TrainableSystem, feed: ReadyFeed, folder: Path, accelerator: Accelerator
) -> Engine:
    """The project's engine on ready batches, without a tracker."""
    return Engine(parameters, 0, system, feed, folder, accelerator, Silence(), Notice())  # type: ignore[arg-type]


def overhead(steps: int, device: torch.device) -> float:
    """Share of a step's seconds that the engine adds to a bare loop."""
    torch.set_num_threads(1)
    # The last step ends with a checkpoint, which no batch follows, so it is not counted.
    chosen = load_section(Path("params.yaml"), "train", TrainParameters)
    parameters = chosen.model_copy(update={"steps": steps + 1, "checkpoint_every": steps + 1})
    size = 64
    views = pairs(parameters.batch_size, size)
    systems = [Zero123Training(parameters.zero123, 0, size).train() for _ in range(2)]
    for system in systems:
        use_hardware(parameters.hardware, system.denoiser, device)
    bare = BareLoop(parameters, systems[0], views, device)
    feed = ReadyFeed(views, bare.step)
    AcceleratorState._reset_state(reset_partial_state=True)
    with tempfile.TemporaryDirectory() as folder:
        engine_of(parameters, systems[1], feed, Path(folder), Accelerator(cpu=device.type == "cpu")).run()
    for clock in ("cpu", "wall") if device.type == "cuda" else ("wall", "cpu"):
        ours, theirs = feed.engine.median(clock), bare.timed.median(clock)
        sides = f"engine {1e3 * ours:.1f} ms, bare loop {1e3 * theirs:.1f} ms a step"
        print(f"{device.type}, {clock}: {sides}: {ours / theirs - 1:+.1%}")
    return ours / theirs - 1


def published_system() -> Zero123Training:
    """Zero-1-to-3 in its published size, with random weights."""
    parameters = Zero123Parameters(
        prediction_type="epsilon", zero_terminal_snr=False, image_encoder=ImageEncoderParameters(train=False)
    )
    return Zero123Training(parameters, 0, 256, published_modules())


def operations(build: Callable[[], Zero123Training], size: int, device: torch.device) -> float:
    """Floating-point operations of one sample, forward and backward; two a multiplication with addition."""
    system = build().to(device).train()
    use_hardware(HardwareParameters(attention="sdpa"), system.denoiser, device)
    views = pairs(1, size)
    with FlopCounterMode(display=False) as counter:
        system(system.batch(views.part(slice(None), device)), system.draw([0]).to(device)).loss.backward()
    return float(counter.get_total_flops())


def speed(
    variant: Variant, build: Callable[[], Zero123Training], size: int, steps: int, sample_operations: float, cpu: bool
) -> Speed:
    """Train some steps through the engine."""
    AcceleratorState._reset_state(reset_partial_state=True)
    accelerator = Accelerator(cpu=cpu, mixed_precision=variant.precision)
    system = build()
    settings = HardwareParameters(**variant.hardware)
    facts = use_hardware(settings, system.denoiser, accelerator.device)
    parameters = TrainParameters.model_validate(
        {
            "steps": steps + 1,
            "checkpoint_every": steps + 1,
            "batch_size": variant.batch,
            "optimizer": {"learning_rate": 1e-4, "fused": variant.fused},
            "launch": {"mixed_precision": variant.precision},
        }
    )
    feed = ReadyFeed(pairs(variant.batch, size))
    if not cpu:
        torch.cuda.reset_peak_memory_stats()
    with tempfile.TemporaryDirectory() as folder:
        engine_of(parameters, system, feed, Path(folder), accelerator).run()
    seconds = feed.engine.median("wall")
    peak = 0.0 if cpu else torch.cuda.max_memory_allocated() / 2**30
    # The peak of 16 bits for all: float32 falls short of it for its format too.
    limit = (None if cpu else peak_flops(torch.cuda.get_device_name(), "bf16")) or float("nan")
    rate = variant.batch / seconds
    return Speed(variant, str(facts["attention"]), rate, peak, rate * sample_operations / limit)


def full_size(quick: bool, compiled: bool) -> int:
    """Measure the variants on the GPU; the exit status."""
    steps = 5 if quick else 20
    device = torch.device("cuda")
    sample_operations = operations(published_system, 256, device)
    print(
        f"full size: {torch.cuda.get_device_name()}, {sample_operations / 1e12:.2f} T operations a sample; random weights"
    )
    speeds = []
    for variant in (PLAIN, *(OURS[:1] if quick else OURS), *(COMPILED if compiled else ())):
        gc.collect()
        torch.cuda.empty_cache()
        try:
            speeds.append(speed(variant, published_system, 256, steps, sample_operations, cpu=False))
        except torch.cuda.OutOfMemoryError:
            print(f"{variant.name} (batch {variant.batch}): out of memory")
            continue
        print(speeds[-1].line())
    plain = [each for each in speeds if each.variant is PLAIN]
    best = max((each for each in speeds if each.variant is not PLAIN), key=lambda each: each.samples_per_second)
    gain = best.samples_per_second / plain[0].samples_per_second if plain else float("nan")
    print(
        f"full size: {gain:.2f} times plain float32 (goal {_GOAL_SPEED:g}), MFU {best.mfu:.1%} (goal {_GOAL_MFU:.0%})"
    )
    return int(not (gain >= _GOAL_SPEED and best.mfu >= _GOAL_MFU))


def main() -> int:
    """Measure; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few steps and variants")
    parser.add_argument("--compile", action="store_true", help="also with torch.compile, which takes minutes")
    arguments = parser.parse_args()
    failed, steps = 0, 15 if arguments.quick else 100
    shares = [overhead(steps, torch.device("cpu"))]
    if torch.cuda.is_available():
        failed = full_size(arguments.quick, arguments.compile)
        shares.append(overhead(10 * steps, torch.device("cuda")))
    else:
        print("no CUDA GPU: overhead, samples/s, MFU and peak memory there are not measured")
    print(f"train_step: {max(shares):+.1%} engine overhead (goal {_GOAL_OVERHEAD:.0%})")
    return int(failed or max(shares) > _GOAL_OVERHEAD)


if __name__ == "__main__":
    sys.exit(main())
