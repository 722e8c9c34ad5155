"""What ViewFusion is for: `python -m benchmarks.viewfusion_ablation`.

A ball is grey in front and either red or blue behind, and the input's camera sees the front alone: one picture, two answers.
A tiny Zero-1-to-3 learns both balls from all sides. Then all eight views of an orbit are sampled often, each from the input by
itself, and fused with the paper's and with the released weights; also with one noise for all views. A view alone can say
either colour, and the views of one object have to say the same.

Measured, RMSE of pictures in [0, 1], mean over views and objects, against the ball that a whole orbit is nearer to: the error of
a view, and how far the errors of neighbouring views are apart, which is what does not go together. Blur that all views share
would lower neither.

Goal: fused with the paper's weights, neighbours disagree at most half as much as views sampled by themselves, and views have no
larger an error. `--quick` takes few steps, to try the script; `--picture FILE` writes orbits as a PNG.
"""

import argparse
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from systems.viewfusion.parameters import ViewFusionParameters
from systems.viewfusion.pipeline import ViewFusionPipeline
from systems.zero123.conditioning import poses_from_degrees
from systems.zero123.loss import TrainingBatch
from systems.zero123.parameters import Zero123Parameters
from systems.zero123.pipeline import Zero123Pipeline
from systems.zero123.training import Zero123Training

_GOAL = 0.5
_SIZE, _VIEWS = 16, 8
_STEP_DEG = 360.0 / _VIEWS
_FRONT, _BACKS = (0.6, 0.6, 0.6), ((0.9, 0.1, 0.1), (0.1, 0.1, 0.9))
_BATCH, _RATE = 24, 2e-3
_SECTION: dict[str, Any] = {
    "unet": {"block_channels": [64, 64], "attention_heads": 2},
    "autoencoder": {"factor": 4, "scaling_factor": 0.5},
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

Orbit = Float[Tensor, "v 3 h w"]


def ball(back: tuple[float, float, float]) -> Orbit:
    """A ball from all sides at its own height, on white, in [0, 1]; the first view sees the front alone."""
    rows, columns = np.mgrid[:_SIZE, :_SIZE] + 0.5
    right, up = (columns / _SIZE * 2 - 1) / 0.8, (1 - rows / _SIZE * 2) / 0.8
    towards = 1 - right**2 - up**2
    turned = np.arctan2(right, np.sqrt(np.maximum(towards, 0)))
    views = []
    for number in range(_VIEWS):
        azimuth = turned + math.radians(_STEP_DEG * number)
        colour = np.where((np.cos(azimuth) > 0)[..., None], _FRONT, back)
        views.append(np.where((towards > 0)[..., None], colour, 1.0))
    return torch.from_numpy(np.stack(views)).float().permute(0, 3, 1, 2)


def learnt(steps: int) -> Zero123Pipeline:
    """Zero-1-to-3 after a training on pairs of views of both balls."""
    made = Zero123Training(Zero123Parameters.model_validate(_SECTION), 0, _SIZE)
    made.unet.register_to_config(sample_size=made.latent_shape[-1])
    trained = [weights for weights in made.parameters() if weights.requires_grad]
    factors, groups = {"denoiser": 1.0} | made.learning_rate_factors(), made.parameter_groups()
    rates = [_RATE * factors[name] for name in groups]
    optimizer = torch.optim.AdamW(
        [{"params": parameters} for parameters in groups.values()], lr=_RATE, betas=(0.9, 0.99)
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rates, steps, pct_start=0.1)
    balls = torch.stack([ball(back) for back in _BACKS]) * 2 - 1
    chance = np.random.default_rng(0)
    for step in range(steps):
        which, seen, wanted = chance.integers(0, [[2], [_VIEWS], [_VIEWS]], (3, _BATCH))
        pose = poses_from_degrees((_STEP_DEG * (wanted - seen)).tolist())
        batch = TrainingBatch(balls[which, wanted], balls[which, seen], pose)
        made(batch, made.draw(range(step * _BATCH, (step + 1) * _BATCH))).loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
    pipeline = made.eval().pipeline(made.scheduler)
    pipeline.set_progress_bar_config(disable=True)
    assert isinstance(pipeline, Zero123Pipeline)
    return pipeline


def ways(pipeline: Zero123Pipeline, eta: float) -> dict[str, Callable[[int], Orbit]]:
    """How the orbit of a seed can be sampled."""
    front = ball(_BACKS[0])[:1] * 2 - 1
    poses = poses_from_degrees([_STEP_DEG * number for number in range(1, _VIEWS)])
    options: dict[str, Any] = {"num_inference_steps": 10, "guidance_scale": 1.0, "eta": eta}

    def chance(seed: int) -> torch.Generator:
        return torch.Generator().manual_seed(seed)

    def alone(seed: int) -> Orbit:
        return pipeline(front, poses, generator=chance(seed), **options).images

    def one_noise(seed: int) -> list[torch.Generator]:
        return [chance(seed) for _ in poses]

    def fused(parameters: ViewFusionParameters, noise: Callable[[int], Any] = chance) -> Callable[[int], Orbit]:
        fusion = ViewFusionPipeline(pipeline, parameters)
        return lambda seed: fusion(front, poses, generator=noise(seed), **options).images

    return {
        "by themselves": alone,
        "by themselves, one noise": lambda seed: pipeline(front, poses, generator=one_noise(seed), **options).images,
        "fused, paper": fused(ViewFusionParameters()),
        "fused, paper, one noise": fused(ViewFusionParameters(), one_noise),
        "fused, released": fused(ViewFusionParameters(weights="released")),
        "fused, released, own noise": fused(ViewFusionParameters(weights="released", noise="each")),
    }


def errors_of(orbit: Orbit) -> Orbit:
    """The orbit less that of the ball that it is nearer to."""
    return min((orbit - ball(back)[1:] for back in _BACKS), key=lambda errors: float(rmse(errors).mean()))


def rmse(errors: Orbit) -> Float[Tensor, " v"]:
    """Of each picture."""
    return errors.square().flatten(1).mean(1).sqrt()


def scores(orbit: Orbit) -> tuple[float, float]:
    """How far neighbours disagree, the input's neighbours with the input too, and the error of a view."""
    errors = errors_of(orbit)
    around = torch.cat([torch.zeros_like(errors[:1]), errors])
    return float(rmse(around - around.roll(1, 0)).mean()), float(rmse(errors).mean())


def measure(
    pipeline: Zero123Pipeline, objects: int, eta: float, picture: Path | None
) -> dict[str, tuple[float, float]]:
    """By way of sampling: how far neighbours disagree, and the error of a view, after saying so."""
    found, rows = {}, []
    for name, way in ways(pipeline, eta).items():
        orbits = [way(seed) for seed in range(objects)]
        rows += orbits[:3]
        disagreement, error = np.mean([scores(orbit) for orbit in orbits], axis=0)
        found[name] = (float(disagreement), float(error))
        print(f"η {eta:g}, {name}: neighbours disagree by {disagreement:.4f}, error {error:.4f}", flush=True)
    if picture:
        sheet = torch.cat([row.permute(2, 0, 3, 1).flatten(1, 2) for row in rows])
        pixels = (sheet * 255).round().byte().repeat_interleave(4, 0).repeat_interleave(4, 1)
        Image.fromarray(pixels.numpy()).save(picture)
    return found


def main() -> int:
    """Measure; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="try the script with few steps")
    parser.add_argument("--picture", type=Path, help="write three orbits of each way")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    steps, objects = (20, 2) if arguments.quick else (900, 8)
    found = measure(learnt(steps), objects, 1.0, arguments.picture)
    (plain, plain_error), (fused, fused_error) = found["by themselves"], found["fused, paper"]
    ratio = fused / plain
    print(f"viewfusion_ablation: neighbours disagree {ratio:.2f} times as much (goal: {_GOAL:g}),", end=" ")
    print(f"error {fused_error:.4f} against {plain_error:.4f}")
    return 0 if arguments.quick else int(ratio > _GOAL or fused_error > plain_error)


if __name__ == "__main__":
    sys.exit(main())
