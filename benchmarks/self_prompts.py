"""What a training step of Cascade-Zero123 costs with its Base's sampling: `python -m benchmarks.self_prompts`.

The published script samples four views of each pair in 25 steps under guidance inside every training step. Here the engine trains
on the same pairs three times: so; with prompts sampled ahead and kept until the Base's next refresh; and once more with all of
them kept, as with a fixed Base from the second pass on. Beside each figure what the counts of work predict: rows that pass
the denoiser, a row of a training step counting three, for it goes back too. Without keeping that is 4·25·2 rows to 3 of training;
with it the distinct pictures between two refreshes to the steps between them. Seconds are CPU seconds of one thread. Goal: a
tenth of the seconds, everything that is sampled ahead counted.

`--quick` takes fewer objects and steps. How much a GPU gains from large batches needs one, and is said to be missing without.
"""

import argparse
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState

from geometry.cameras import look_at_origin
from systems.cascade_zero123.parameters import CascadeParameters
from systems.cascade_zero123.training import CascadeTraining
from training.data.batches import ViewChoice
from training.data.loader import PlannedLoader
from training.data.mixture import Mixed
from training.data.plan import Plan
from training.data.views import ObjectViews
from training.engine import Engine
from training.feed import Feed
from training.parameters import TrainParameters
from training.preemption import Notice
from training.tracking.tracker import Silence

_GOAL = 10.0
_SIZE, _PAIRS, _VIEWS = 32, 8, 4
_ROWS_A_TRAINED_PAIR, _ROWS_A_PICTURE = 3, 25 * 2
_SYSTEM = CascadeParameters.model_validate(
    {
        "unet": {"block_channels": [32, 64]},
        "autoencoder": {"factor": 4},
        "image_encoder": {"image_size": 32, "hidden_size": 64, "layers": 1, "embedding_dim": 32, "train": False},
        "base": "fixed",
        # Many times as many pictures are prepared together as the Base samples at once: a last batch that is filled up is little.
        "prompts": {"prompt_batch": 2 * _PAIRS, "look_ahead": 32},
    }
)


@dataclass(frozen=True)
class Cost:
    """A training's."""

    name: str
    steps: int
    seconds: float
    pictures: int
    """Sampled by the Base."""
    filled_up: int
    """Beside them, in its last batches."""

    @property
    def per_step(self) -> float:
        """CPU seconds."""
        return self.seconds / self.steps

    @property
    def rows(self) -> float:
        """Of the denoiser in a step, as predicted."""
        return _PAIRS * _ROWS_A_TRAINED_PAIR + self.pictures * _ROWS_A_PICTURE / self.steps


def objects(count: int) -> list[ObjectViews]:
    """Views of noise from all around: what they show costs nothing and saves nothing."""
    chance = np.random.default_rng(0)
    made = []
    for number in range(count):
        angles = chance.uniform([0.4, 0.0], [2.6, 6.2], (_VIEWS, 2))
        rgba = chance.integers(0, 256, (_VIEWS, _SIZE, _SIZE, 4), dtype=np.uint8)
        c2w = np.stack([look_at_origin(polar, azimuth, 2.0) for polar, azimuth in angles])
        made.append(ObjectViews(f"object {number}", rgba, c2w, np.ones((_VIEWS, 4))))
    return made


def trained(name: str, views: list[ObjectViews], steps: int, kept: Path | None) -> Cost:
    """Train so many steps through the engine from its first one on."""
    AcceleratorState._reset_state(reset_partial_state=True)
    accelerator = Accelerator(cpu=not torch.cuda.is_available())
    parameters = TrainParameters(
        system="cascade_zero123", cascade_zero123=_SYSTEM, steps=steps, batch_size=_PAIRS, checkpoint_every=steps
    )
    plan = Plan((Mixed("objects", len(views)),), batch_size=_PAIRS, seed=0)
    feed = Feed(PlannedLoader(plan, {"objects": views}, ViewChoice(drawn=2)), accelerator)
    system = CascadeTraining(_SYSTEM, 0, _SIZE)
    if kept:
        system.keep_in(kept)
    with tempfile.TemporaryDirectory() as folder:
        engine = Engine(parameters, 0, system, feed, Path(folder), accelerator, Silence(), Notice())
        started = time.process_time()
        engine.run()
        seconds = time.process_time() - started
    asked = system.prompter
    return Cost(name, steps, seconds, asked.sampled, asked.batches * _SYSTEM.prompts.prompt_batch - asked.sampled)


def measure(count: int, steps: int, plain_steps: int) -> float:
    """How many times the seconds of a step fall with what is kept and sampled ahead, after saying how it went."""
    torch.set_num_threads(1)
    views = objects(count)
    trained("warm-up", views, 1, None)
    with tempfile.TemporaryDirectory() as folder:
        kept = Path(folder)
        costs = [
            trained("sampled in every step", views, plain_steps, None),
            trained(f"kept and sampled ahead, a refresh every {steps} steps", views, steps, kept),
            trained("all kept", views, steps, kept),
        ]
        size = sum(path.stat().st_size for path in kept.rglob("*.safetensors"))
    print(f"{count} objects of {_VIEWS} views, {_PAIRS} pairs a step; kept: {size / 1e6:.1f} MB")
    plain = costs[0]
    for cost in costs:
        print(
            f"{cost.name}: {1e3 * cost.per_step:.1f} ms a step, {cost.pictures} pictures and {cost.filled_up} to fill up "
            f"in {cost.steps} steps; "
            f"{plain.per_step / cost.per_step:.1f} times less, predicted {plain.rows / cost.rows:.1f}"
        )
    return plain.per_step / costs[1].per_step


def main() -> int:
    """Measure; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer objects and steps")
    quick = parser.parse_args().quick
    gain = measure(8, 100, 2) if quick else measure(16, 300, 5)
    if not torch.cuda.is_available():
        print("no CUDA GPU: what large batches of the Base save there is not measured")
    print(f"self_prompts: {gain:.1f} times fewer seconds a step (goal {_GOAL:g})")
    return int(gain < _GOAL)


if __name__ == "__main__":
    sys.exit(main())
