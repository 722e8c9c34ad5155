"""What cross-view attention is for: `python -m benchmarks.zero_1_to_g_ablation`.

Two boxes look the same from the input's camera, a thin one and a deep one behind the same front, so that one picture has two
answers. Zero-1-to-G's denoiser learns the position images of both at a tiny size, once with cross-view attention and once
without, from the same weights, in the same order, from the same noise. Then both are sampled often. Each view alone can say
either of the boxes, and the views of one object have to say the same.

How far they do not is measured where two views see the same place of an object: the mean distance of the two places that the
sampled position images name (`geometry.view_agreement`), for the box with which a sample agrees better, and of these the median
over the samples. The boxes themselves are not at 0, because a pixel sees a place beside that of another view's pixel.

Goal: without cross-view attention at least twice the disagreement. `--quick` takes few steps, to try the script.
"""

import argparse
import sys
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from geometry.cameras import Intrinsics, look_at_origin, opencv_from_opengl
from geometry.splatter import SplatterView, splatter_from_passes
from geometry.splatter_tensor import channels_from_gaussians
from geometry.view_agreement import disagreement, shared_pixels
from systems.trainable import SplatterImages, Views
from systems.zero_1_to_g.batch import Zero1ToGBatch
from systems.zero_1_to_g.diffusion_training import Zero1ToGDiffusion
from systems.zero_1_to_g.parameters import ViewLayout, Zero1ToGParameters

_GOAL = 2.0
_SIZE, _RADIUS, _FOV = 16, 1.5, np.deg2rad(49.1)
_FRONT, _HALF = 0.3, 0.3
_BACKS = (0.1, -0.6)
_LENS = Intrinsics.from_fov(float(_FOV), _SIZE)
_LAYOUT = ViewLayout()
_COLOURS = np.array(
    [[0.8, 0.2, 0.2], [0.9, 0.9, 0.2], [0.2, 0.7, 0.2], [0.2, 0.2, 0.8], [0.7, 0.2, 0.7], [0.2, 0.7, 0.7]]
)
_POSITION = 0
_BATCH, _RATE = 8, 3e-3
SECTION: dict[str, Any] = {
    "stage": "attributes",
    "unet": {"block_channels": [64], "attention_heads": 2},
    # Large beside the noise, so that a view's own noise decides for a box at most timesteps.
    "autoencoder": {"factor": 4, "scaling_factor": 1.0},
    "image_encoder": {
        "image_size": 16,
        "patch_size": 8,
        "hidden_size": 16,
        "layers": 1,
        "heads": 2,
        "embedding_dim": 16,
    },
    "prediction_type": "sample",
    "snr_gamma": None,
    "embedding_factor": 1.0,
}


@dataclass(frozen=True, eq=False)
class Box:
    """One of the two boxes as all views see it."""

    views: list[SplatterView]
    rgba: Float[np.ndarray, "h w 4"]
    """From the input's camera, at azimuth and elevation 0."""

    @property
    def pairs(self) -> Int[np.ndarray, "m 2"]:
        """Pixels of different views that see the same place of it."""
        points, valid, c2w = (
            np.stack([getattr(view, name) for view in self.views]) for name in ("points", "valid", "c2w")
        )
        return shared_pixels(points, valid, c2w, [_LENS] * len(self.views))

    @property
    def own_disagreement(self) -> float:
        """That of the true positions."""
        return disagreement(np.stack([view.points for view in self.views]), self.pairs)


def box(back: float) -> Box:
    """The box from a front that all have in common to a back.

    Args:
        back: x of its far side, world units; the input's camera stands on +X.
    """
    low, high = np.array([back, -_HALF, -_HALF]), np.array([_FRONT, _HALF, _HALF])
    cameras = [
        look_at_origin(np.deg2rad(90.0 - elevation), np.deg2rad(azimuth), _RADIUS)
        for azimuth, elevation in zip(_LAYOUT.azimuths_deg, _LAYOUT.elevations_deg, strict=True)
    ]
    rgb, _, depth, _ = cast(look_at_origin(np.pi / 2, 0.0, _RADIUS), low, high)
    rgba = np.concatenate([rgb, (depth > 0)[..., None]], axis=-1)
    return Box([splatter_from_passes(*cast(c2w, low, high), c2w, _LENS) for c2w in cameras], rgba)


def cast(
    c2w: Float[np.ndarray, "4 4"], low: Float[np.ndarray, "3"], high: Float[np.ndarray, "3"]
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Colour, position, depth and normal of a box with its faces along the axes; depth 0 where nothing is seen."""
    axes = opencv_from_opengl(c2w)
    rows, columns = np.mgrid[:_SIZE, :_SIZE] + 0.5
    x, y = (columns - _LENS.cx) / _LENS.fx, (rows - _LENS.cy) / _LENS.fy
    rays = np.stack([x, y, np.ones_like(x)], axis=-1) @ axes[:3, :3].T
    with np.errstate(divide="ignore"):
        crossings = (np.stack([low, high])[:, None, None] - axes[:3, 3]) / rays
    near, far = crossings.min(axis=0), crossings.max(axis=0)
    depth = near.max(axis=-1)
    hit = depth < far.min(axis=-1)
    axis = near.argmax(axis=-1)
    sign = -np.sign(np.take_along_axis(rays, axis[..., None], axis=-1)[..., 0])
    normal = np.eye(3)[axis] * sign[..., None]
    rgb = np.where(hit[..., None], _COLOURS[2 * axis + (sign > 0)], 0.0)
    return rgb, axes[:3, 3] + depth[..., None] * rays, np.where(hit, depth, 0.0), normal


def views_of(boxes: list[Box]) -> Views:
    """As the system takes them: the input alone, and the splatter images."""
    count = len(boxes)
    channels = [[channels_from_gaussians(view.gaussians, _SIZE, _SIZE) for view in each.views] for each in boxes]
    c2w = np.stack([view.c2w for view in boxes[0].views])
    lens = torch.tensor([_LENS.fx, _LENS.fy, _LENS.cx, _LENS.cy])
    given = torch.from_numpy(look_at_origin(np.pi / 2, 0.0, _RADIUS)).float()
    return Views(
        uids=tuple(f"box {number}" for number in range(count)),
        numbers=np.zeros((count, 1), dtype=np.int64),
        rgba=torch.from_numpy(np.stack([np.rint(each.rgba * 255.0).astype(np.uint8) for each in boxes]))[:, None],
        c2w=given.expand(count, 1, 4, 4),
        intrinsics=lens.expand(count, 1, 4),
        scales=torch.full((count, 1, 3), torch.nan),
        splatters=SplatterImages(
            torch.from_numpy(np.array(channels)).half(),
            torch.from_numpy(c2w).float().expand(count, -1, -1, -1),
            lens.expand(count, len(c2w), 4),
        ),
    )


def learnt(boxes: list[Box], steps: int, cross_view: bool) -> Zero1ToGDiffusion:
    """The system after a training on the boxes' position images."""
    parameters = Zero1ToGParameters.model_validate({**SECTION, "cross_view": cross_view})
    made = Zero1ToGDiffusion(parameters, 0, _SIZE)
    batch = made.batch(views_of(boxes * (_BATCH // len(boxes))))
    trained = [weights for weights in made.parameters() if weights.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=_RATE, betas=(0.9, 0.99))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _RATE, steps, pct_start=0.1)
    for step in range(steps):
        draws = made.draw(range(step * _BATCH, (step + 1) * _BATCH))
        # All samples learn positions: nothing else is compared.
        draws = replace(draws, attributes=torch.full_like(draws.attributes, _POSITION))
        made(batch, draws).loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
    return made.eval()


def sampled(made: Zero1ToGDiffusion, boxes: list[Box], count: int) -> Float[Tensor, "k v 3 h w"]:
    """Position images of so many samples of the one picture, world units."""
    batch: Zero1ToGBatch = made.batch(views_of(boxes[:1]))
    pipeline = made.pipeline(made.scheduler)
    pipeline.set_progress_bar_config(disable=True)
    splatters = pipeline.sample_splatters(
        batch.condition.expand(count, -1, -1, -1),
        batch.elevation.expand(count),
        num_inference_steps=20,
        guidance_scale=1.0,
        eta=0.0,
        generator=[torch.Generator().manual_seed(seed) for seed in range(count)],
    )
    return splatters[:, :, :3]


def disagreements(positions: Float[Tensor, "k v 3 h w"], boxes: list[Box]) -> Float[np.ndarray, " k"]:
    """Of each sample, for the box with which it agrees better, world units."""
    pairs = [each.pairs for each in boxes]
    points = positions.movedim(2, -1).double().numpy()
    return np.array([min(disagreement(one, of_box) for of_box in pairs) for one in points])


def measure(steps: int, samples: int) -> dict[bool, float]:
    """The median disagreement with cross-view attention (True) and without, world units, after saying how it went."""
    boxes = [box(back) for back in _BACKS]
    print(f"the boxes themselves: {np.mean([each.own_disagreement for each in boxes]):.4f}", flush=True)
    found = {}
    for cross_view in (True, False):
        values = disagreements(sampled(learnt(boxes, steps, cross_view), boxes, samples), boxes)
        found[cross_view] = float(np.median(values))
        name = "with" if cross_view else "without"
        print(f"{name} cross-view attention: median {found[cross_view]:.4f}, mean {values.mean():.4f}", flush=True)
    return found


def main() -> int:
    """Measure; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="try the script with few steps")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    found = measure(20 if arguments.quick else 800, 4 if arguments.quick else 32)
    ratio = found[False] / found[True]
    print(f"zero_1_to_g_ablation: {ratio:.2f} times the disagreement without cross-view attention (goal: {_GOAL:g})")
    return 0 if arguments.quick else int(ratio < _GOAL)


if __name__ == "__main__":
    sys.exit(main())
