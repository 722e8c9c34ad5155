"""What ViewFusion is for: `python -m benchmarks.viewfusion_ablation`.

A ball is grey in front and either red or blue behind, and the input's camera sees the front alone: one picture, two answers.
A tiny Zero-1-to-3 learns both balls from all sides. Then all 16 views of an orbit are sampled often, each from the input by
itself, each by itself from the same noise, and fused with the paper's and with the released weights. A view alone can say
either colour, and the views of one object have to say the same.

Measured, RMSE of pictures in [0, 1], mean over pairs and objects: between neighbouring views (the balls' own beside it: the
object turns), and from the ball that a whole orbit is nearer to. Blur would lower the first figure, and not the second.

Goal: fused with the paper's weights, what neighbours differ more than those of the balls is at most half of that of views
sampled by themselves, and views are nearer to a ball. `--quick` takes few steps, to try the script; `--picture FILE` writes
orbits as a PNG.
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
_SIZE, _VIEWS = 16, 16
_STEP_DEG = 360.0 / _VIEWS
_FRONT, _BACKS = (0.6, 0.6, 0.6), ((0.9, 0.1, 0.1), (0.1, 0.1, 0.9))
_BATCH, _RATE = 32, 2e-3
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
    optimizer = torch.optim.AdamW(trained, lr=_RATE, betas=(0.9, 0.99))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _RATE, steps, pct_start=0.1)
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
    options: dict[str, Any] = {"num_inference_steps": 20, "guidance_scale": 1.0, "eta": eta}

    def chance(seed: int) -> torch.Generator:
        return torch.Generator().manual_seed(seed)

    def alone(seed: int) -> Orbit:
        return pipeline(front, poses, generator=chance(seed), **options).images

    def same_noise(seed: int) -> Orbit:
        return pipeline(front, poses, generator=[chance(seed) for _ in poses], **options).images

    def fused(parameters: ViewFusionParameters) -> Callable[[int], Orbit]:
        fusion = ViewFusionPipeline(pipeline, parameters)
        return lambda seed: fusion(front, poses, generator=chance(seed), **options).images

    return {
        "by themselves": alone,
        "by themselves, one noise": same_noise,
        "fused, paper": fused(ViewFusionParameters()),
        "fused, paper, no window": fused(ViewFusionParameters(window_deg=None)),
        "fused, released": fused(ViewFusionParameters(weights="released")),
        "fused, released, own noise": fused(ViewFusionParameters(weights="released", noise="each")),
    }


def rmse(one: Tensor, other: Tensor) -> Float[Tensor, " n"]:
    """Of each pair of pictures."""
    return (one - other).square().flatten(1).mean(1).sqrt()


def neighbours(orbit: Orbit) -> float:
    """Mean RMSE of neighbouring views, those of the input's side too."""
    around = torch.cat([ball(_BACKS[0])[:1], orbit])
    return float(rmse(around, around.roll(1, 0)).mean())


def from_truth(orbit: Orbit) -> float:
    """Mean RMSE of the views from those of the ball that they are nearer to as a whole."""
    return min(float(rmse(orbit, ball(back)[1:]).mean()) for back in _BACKS)


def measure(steps: int, objects: int, eta: float = 1.0, picture: Path | None = None) -> dict[str, tuple[float, float]]:
    """By way of sampling: how far neighbours are apart, and views from the truth, after saying so."""
    pipeline = learnt(steps)
    own = neighbours(ball(_BACKS[0])[1:])
    print(f"neighbours of the balls themselves: {own:.4f}", flush=True)
    found, rows = {}, []
    for name, way in ways(pipeline, eta).items():
        orbits = [way(seed) for seed in range(objects)]
        rows += orbits[:3]
        found[name] = (
            float(np.mean([neighbours(orbit) for orbit in orbits])),
            float(np.mean([from_truth(orbit) for orbit in orbits])),
        )
        print(f"{name}: neighbours {found[name][0]:.4f}, from the truth {found[name][1]:.4f}", flush=True)
    if picture:
        sheet = torch.cat([row.permute(2, 0, 3, 1).flatten(1, 2) for row in rows])
        Image.fromarray((sheet * 255).round().byte().numpy()).resize((1200, len(rows) * 80), 0).save(picture)
    return found | {"the balls": (own, 0.0)}


def main() -> int:
    """Measure; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="try the script with few steps")
    parser.add_argument("--picture", type=Path, help="write three orbits of each way")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    steps, objects = (20, 2) if arguments.quick else (1500, 16)
    found = measure(steps, objects, picture=arguments.picture)
    own = found["the balls"][0]
    (plain, plain_error), (fused, fused_error) = found["by themselves"], found["fused, paper"]
    ratio = (fused - own) / (plain - own)
    print(f"viewfusion_ablation: {ratio:.2f} of the neighbours' needless difference (goal: {_GOAL:g}),", end=" ")
    print(f"error {fused_error:.4f} of {plain_error:.4f}")
    return 0 if arguments.quick else int(ratio > _GOAL or fused_error > plain_error)


if __name__ == "__main__":
    sys.exit(main())
