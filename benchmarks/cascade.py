"""Whether a cascade sees its training objects better than its own Base: `python -m benchmarks.cascade`.

Coloured boxes, of which a tiny Base learns all pairs of views. Then a Refiner is trained on from the Base's weights with prompts
of the Base, which stays fixed; and, for comparison, the Base alone for as many steps without prompts, for longer training by
itself makes pictures better. All are asked for the training pairs. Goal: the cascade above its Base; whether it is also above
the Base that was trained on is said beside it.

`--quick` takes fewer boxes and steps.
"""

import argparse
import copy
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from jaxtyping import Float, UInt8
from torch import Generator, Tensor

from blender_render.protocols import cameras
from geometry.cameras import Intrinsics, opencv_from_opengl
from geometry.picture_metrics import psnr
from stage.seeds import generator
from systems.cascade_zero123.parameters import CascadeParameters
from systems.cascade_zero123.training import CascadeTraining
from systems.zero123.conditioning import relative_poses
from systems.zero123.loss import TrainingBatch, batch_from_pairs
from systems.zero123.parameters import Zero123Parameters
from systems.zero123.training import Zero123Training
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

_SIZE = 16
_MODULES: dict[str, Any] = {
    "unet": {"block_channels": [64, 64], "attention_heads": 2},
    "autoencoder": {"factor": 4, "scaling_factor": 0.3},
    "image_encoder": {
        "image_size": 16,
        "patch_size": 4,
        "hidden_size": 32,
        "layers": 1,
        "heads": 2,
        "embedding_dim": 32,
    },
    "prediction_type": "sample",
}
_FROZEN = {**_MODULES, "image_encoder": {**_MODULES["image_encoder"], "train": False}}
_PROMPTS = {"inference_steps": 8, "guidance_scale": 1.0, "eta": 0.0}
_RUN: dict[str, Any] = {
    "batch_size": 24,
    "optimizer": {"learning_rate": 0.002, "factors": {"cc_projection": 1.0}},
    "ema_decay": 0.98,
}
_SAMPLER: dict[str, Any] = {"guidance_scale": 1.0, "num_inference_steps": 10, "eta": 0.0}


def boxes(count: int, views: int) -> list[ObjectViews]:
    """Boxes around the origin, each face in a colour of its own, seen from Zero-1-to-3's cameras."""
    made = []
    for number in range(count):
        shape = generator(0, f"box {number}", "shape")
        half, colours = shape.uniform(0.2, 0.5, 3), shape.integers(0, 256, (6, 3))
        protocol = cameras("zero123", generator(0, f"box {number}", "cameras"), views, _SIZE)
        rgba = np.stack([_cast(view.c2w, view.intrinsics, half, colours) for view in protocol])
        lenses = [[i.fx, i.fy, i.cx, i.cy] for i in (view.intrinsics for view in protocol)]
        made.append(ObjectViews(f"box {number}", rgba, np.stack([view.c2w for view in protocol]), np.array(lenses)))
    return made


def _cast(
    c2w: Float[np.ndarray, "4 4"], camera: Intrinsics, half: Float[np.ndarray, "3"], colours: np.ndarray
) -> UInt8[np.ndarray, "h w 4"]:
    """A picture of a box: the last of the three slabs that a ray enters is the face that it sees."""
    axes = opencv_from_opengl(c2w)
    rows, columns = np.mgrid[: camera.height, : camera.width] + 0.5
    through = [(columns - camera.cx) / camera.fx, (rows - camera.cy) / camera.fy, np.ones(rows.shape)]
    rays = np.stack(through, axis=-1) @ axes[:3, :3].T
    with np.errstate(divide="ignore"):
        crossings = (np.stack([-half, half])[:, None, None] - axes[:3, 3]) / rays
    entered, left = crossings.min(axis=0), crossings.max(axis=0)
    face = entered.argmax(axis=-1)
    towards = np.take_along_axis(rays, face[..., None], axis=-1)[..., 0] < 0
    hit = (entered.max(axis=-1) < left.min(axis=-1))[..., None]
    return np.concatenate([np.where(hit, colours[2 * face + towards], 0), 255 * hit], axis=-1).astype(np.uint8)


def trained(made: Zero123Training, objects: list[ObjectViews], steps: int, **section: Any) -> None:  # noqa: ANN401
    """Train a system and leave it with the moving average of its weights."""
    AcceleratorState._reset_state(reset_partial_state=True)
    accelerator = Accelerator(cpu=True)
    parameters = TrainParameters.model_validate({**_RUN, "steps": steps, "checkpoint_every": steps, **section})
    plan = Plan((Mixed("boxes", len(objects), draws=12),), batch_size=parameters.batch_size, seed=0)
    feed = Feed(PlannedLoader(plan, {"boxes": objects}, ViewChoice(drawn=2)), accelerator)
    with tempfile.TemporaryDirectory() as folder:
        made.keep_in(Path(folder) / "kept")
        engine = Engine(parameters, 0, made, feed, Path(folder), accelerator, Silence(), Notice())
        engine.run()
        averages = engine.averages()
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            if name in averages:
                parameter.copy_(averages[name])
    made.eval()


def every_pair(objects: list[ObjectViews]) -> TrainingBatch:
    """All ordered pairs of views of all objects."""
    rgba, c2w = [], []
    for each in objects:
        for target, condition in np.argwhere(~np.eye(len(each.rgba), dtype=bool)):
            rgba.append(each.rgba[[target, condition]])
            c2w.append(each.c2w[[target, condition]])
    poses = relative_poses(torch.from_numpy(np.stack(c2w)).float())
    return batch_from_pairs(torch.from_numpy(np.stack(rgba)), poses)


def score(system: Zero123Training, pairs: TrainingBatch, **options: Any) -> float:  # noqa: ANN401
    """Mean PSNR over the pairs, dB."""
    pipeline = system.pipeline(system.scheduler)
    pipeline.set_progress_bar_config(disable=True)
    chance = Generator().manual_seed(0)
    images = pipeline.sample_poses(pairs.condition, pairs.pose, generator=chance, **_SAMPLER, **options).images
    return compared(images, pairs.target)


def compared(pictures: Float[Tensor, "n 3 h w"], target: Float[Tensor, "n 3 h w"]) -> float:
    """Mean PSNR against targets in [−1, 1], dB."""
    wanted = ((target + 1) / 2).numpy()
    return float(np.mean([psnr(one, other) for one, other in zip(pictures.numpy(), wanted, strict=True)]))


def measure(count: int, views: int, steps: int, more: int) -> float:
    """How far the cascade is above its Base, dB, after saying how it went."""
    torch.set_num_threads(1)
    objects = boxes(count, views)
    pairs = every_pair(objects)
    base = Zero123Training(Zero123Parameters.model_validate(_MODULES), 0, _SIZE)
    trained(base, objects, steps, zero123=_MODULES)
    scores = {"copy the input": compared((pairs.condition + 1) / 2, pairs.target), "Base": score(base, pairs)}
    # A training changes the modules that it is given.
    alone = Zero123Training(Zero123Parameters.model_validate(_FROZEN), 0, _SIZE, copy.deepcopy(base.system))
    trained(alone, objects, more, zero123=_FROZEN)
    scores["Base, trained on"] = score(alone, pairs)
    section = {**_FROZEN, "base": "fixed", "prompts": _PROMPTS}
    cascade = CascadeTraining(CascadeParameters.model_validate(section), 0, _SIZE, base.system)
    trained(cascade, objects, more, system="cascade_zero123", cascade_zero123=section)
    scores |= {f"cascade of {depth} stages": score(cascade, pairs, depth=depth) for depth in (1, 2, 3)}
    print(
        f"{count} boxes, {len(pairs.pose)} training pairs; Base {steps} steps, then {more} more with and without prompts"
    )
    for name, decibels in scores.items():
        print(f"{name}: {decibels:.2f} dB")
    print(
        f"against the Base that was trained on: {scores['cascade of 2 stages'] - scores['Base, trained on']:+.2f} dB"
    )
    return scores["cascade of 2 stages"] - scores["Base"]


def main() -> int:
    """Measure; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer boxes and steps")
    quick = parser.parse_args().quick
    gain = measure(4, 4, 150, 100) if quick else measure(8, 6, 1000, 1000)
    print(f"cascade: {gain:+.2f} dB against its own Base on the training objects (goal: above 0)")
    return int(gain <= 0)


if __name__ == "__main__":
    sys.exit(main())
