"""What ViewFusion costs: `python -m benchmarks.viewfusion`.

An orbit by `ViewFusionPipeline` against a loop over conditions that makes the same pictures: for every view it encodes all
its conditions again, and in every step it asks the denoiser for each of them by itself, under guidance a batch of two, and
takes a DDIM step of each. On the CPU in CPU-seconds of one thread, where other work does not count. Random weights: they cost
what trained ones cost. The pictures of both are compared.

Predicted beside it from counts alone: rows of the denoiser a step, 2 n for n conditions against n + 1, because guidance leads
away from one null condition; and encoded views, one for every condition of every view against one a view. What batches gain
over single rows comes on top, and differs by machine.

Then the memory of the denoiser's rows at the published size, counted on tensors without storage: what skip connections keep,
and the largest layer's input and output, for all conditions of the last view of 36 and for parts of them.

Goal: twice as fast. `--quick` takes few steps and views. `--full` measures the published size on a CUDA GPU, with its memory.
"""

import argparse
import math
import sys
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.sample import Size, build, seconds
from geometry.cameras import Intrinsics, look_at_origin
from systems.viewfusion.parameters import ViewFusionParameters
from systems.viewfusion.pipeline import ViewFusionPipeline
from systems.viewfusion.trajectory import Position, orbit_turns_deg
from systems.viewfusion.weights import Place, condition_window, fusion_weights, offsets_from
from systems.zero123.conditioning import pose_between
from systems.zero123.guidance import Condition, conditioned, guided
from systems.zero123.modules import build_unet
from systems.zero123.parameters import UNetParameters
from systems.zero123.pipeline import Zero123Pipeline
from systems.zero123.schedulers import advance, noise, start

_GOAL = 2.0
_GUIDANCE = 3.0
_SMALL = Size(64, 128, 6, 64, "cpu", torch.float32)
_PUBLISHED = Size(320, 768, 24, 256, "cuda", torch.float32)
_PARAMETERS = ViewFusionParameters()
_START = Position(math.pi / 3, 0.0, 1.5)
# Both sum in different orders, and views are made of views.
_TOLERANCE = 1e-2


@dataclass(frozen=True)
class Eye:
    """The input's camera."""

    c2w: np.ndarray
    intrinsics: Intrinsics


def fused(pipeline: Zero123Pipeline, image: Tensor, views: int, steps: int, chunk: int | None = None) -> Tensor:
    """The orbit, as the project makes it."""
    eye = Eye(look_at_origin(*_START), Intrinsics.from_fov(0.857, image.shape[-1]))
    fusion = ViewFusionPipeline(pipeline, _PARAMETERS.model_copy(update={"chunk": chunk}))
    options: dict[str, Any] = {"num_inference_steps": steps, "guidance_scale": _GUIDANCE, "eta": 0.0}
    made: Tensor = fusion.orbit(image, eye, views, generator=torch.Generator().manual_seed(0), **options).images
    return made


@torch.no_grad()
def one_by_one(pipeline: Zero123Pipeline, image: Tensor, views: int, steps: int) -> Tensor:
    """The orbit, condition by condition."""
    turns = np.deg2rad(orbit_turns_deg(views))
    chance = torch.Generator().manual_seed(0)
    pictures, positions = [image], [_START]
    for index, turn in enumerate(turns):
        target = _START._replace(azimuth=float(turn))
        given = np.arange(len(positions)) == 0
        offsets = offsets_from(target, positions)
        chosen = condition_window(offsets, given, _PARAMETERS)
        weights = fusion_weights(offsets[chosen], given[chosen], Place(index, views), _PARAMETERS)
        conditions = [_encoded(pipeline, pictures[n], target, positions[n]) for n in chosen]
        latents = noise(conditions[0].latent.shape, chance).to(conditions[0].latent)
        for timestep in start(pipeline.scheduler, steps, latents.device):
            stepped = latents * 0
            for weight, condition in zip(weights.tolist(), conditions, strict=True):
                prediction = guided(pipeline.unet, latents, timestep, condition, _GUIDANCE)
                stepped += weight * advance(pipeline.scheduler, prediction, timestep, latents, 0.0, None)
            latents = stepped
        pictures.append(pipeline.decoded(latents) * 2 - 1)
        positions.append(target)
    order = np.argsort(np.mod([0.0, *turns], 2 * np.pi))
    return torch.cat([pictures[n] for n in order]) / 2 + 0.5


def _encoded(pipeline: Zero123Pipeline, picture: Tensor, target: Position, position: Position) -> Condition:
    seen = pipeline.encoded(picture)
    pose = torch.from_numpy(pose_between(target, position))[None].to(seen.embedding)
    row = torch.zeros(1, dtype=torch.long, device=seen.latent.device)
    return conditioned(pipeline.cc_projection, seen.embedding, seen.latent, pose, row, "after_projection")


def counts(views: int) -> list[int]:
    """How many conditions each view of an orbit has, in the order that they are made."""
    targets = [_START._replace(azimuth=math.radians(turn)) for turn in orbit_turns_deg(views)]
    positions = [_START, *targets]
    found = []
    for index, target in enumerate(targets):
        there = positions[: index + 1]
        found.append(len(condition_window(offsets_from(target, there), np.arange(len(there)) == 0, _PARAMETERS)))
    return found


def compare(size: Size, views: int, steps: int, repetitions: int) -> float:
    """Print the seconds of both ways and what counts predict; how many times faster the project's is."""
    image = torch.rand(1, 3, size.pixels, size.pixels, generator=torch.Generator().manual_seed(0)) * 2 - 1
    pipeline = build(size)
    numbers = counts(views)
    rows = sum(2 * n for n in numbers) / sum(n + 1 for n in numbers)
    print(f"{size}, {views} views, {steps} steps: {sum(numbers)} conditions in all, {max(numbers)} at most")
    print(f"predicted: {rows:.2f} times fewer rows of the denoiser, {sum(numbers)} encoded views against {views - 1}")
    difference = float(
        (fused(pipeline, image, views, steps) - one_by_one(pipeline, image, views, steps).cpu()).abs().max()
    )
    print(f"the pictures differ by {difference:.1e} at most")
    assert difference < _TOLERANCE
    loop = seconds(lambda: one_by_one(pipeline, image, views, steps), size.device, repetitions)
    ours = seconds(lambda: fused(pipeline, image, views, steps), size.device, repetitions)
    encoding = seconds(lambda: pipeline.encoded(image), size.device, repetitions)
    saved = encoding * (sum(numbers) - (views - 1)) / loop
    print(f"condition by condition: {loop:.2f} s; fused: {ours:.2f} s; encoding again is {saved:.0%} of the former")
    return loop / ours


def row_bytes() -> tuple[int, int]:
    """Of one float32 row of the published denoiser at 256 pixels: what is kept at its fullest, and weights for all rows."""
    with torch.device("meta"):
        unet = build_unet(
            UNetParameters(
                block_channels=(320, 640, 1280, 1280),
                layers_per_block=2,
                attention_heads=8,
                norm_groups=32,
                last_block_attention=False,
            ),
            latent_channels=4,
            cross_attention_dim=768,
        )
        largest = 0

        def note(_: nn.Module, given: tuple[object, ...], made: object) -> None:
            nonlocal largest
            tensors = [each for each in (*given, made) if isinstance(each, Tensor)]
            largest = max(largest, sum(each.numel() for each in tensors))

        skips = 0

        def keep(_: nn.Module, __: tuple[object, ...], made: tuple[Tensor, tuple[Tensor, ...]]) -> None:
            nonlocal skips
            skips += sum(each.numel() for each in made[1])

        for module in unet.modules():
            if not list(module.children()):
                module.register_forward_hook(note)
        for block in unet.down_blocks:
            block.register_forward_hook(keep)
        unet(torch.zeros(1, 8, 32, 32), torch.zeros(()), encoder_hidden_states=torch.zeros(1, 1, 768))
        weights = sum(each.numel() for each in unet.parameters())
    return 4 * (skips + largest), 4 * weights


def count_memory() -> None:
    """Print the bytes of the denoiser's rows at the published size."""
    row, weights = row_bytes()
    most = max(counts(36))
    print(f"published size, float32: weights {weights / 2**30:.2f} GiB, a row {row / 2**20:.0f} MiB")
    for name, rows in (
        (f"released, 2 × {most}", 2 * most),
        ("ours, all", most + 1),
        ("ours, chunk 8", 8),
        ("ours, chunk 2", 2),
    ):
        print(f"{name} rows: {rows * row / 2**30:.2f} GiB beside the weights")


def full() -> float:
    """Print seconds a view and the most memory of the published size, by chunk; how many times faster than the loop."""
    image = torch.rand(1, 3, 256, 256, generator=torch.Generator().manual_seed(0)) * 2 - 1
    pipeline = build(_PUBLISHED)
    for chunk in (None, 8, 2):
        torch.cuda.reset_peak_memory_stats()
        begun = time.perf_counter()
        fused(pipeline, image, 36, 50, chunk)
        torch.cuda.synchronize()
        taken, peak = (time.perf_counter() - begun) / 35, torch.cuda.max_memory_allocated() / 2**30
        print(f"{_PUBLISHED}, 36 views, 50 steps, chunk {chunk}: {taken:.2f} s a view, {peak:.2f} GiB", flush=True)
    return compare(_PUBLISHED, 36, 10, 1)


def main() -> int:
    """Measure; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few steps and views, one repetition")
    parser.add_argument("--full", action="store_true", help="the published size too, on a CUDA GPU")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    views, steps, repetitions = (8, 2, 1) if arguments.quick else (12, 4, 1)
    ratios = [compare(_SMALL, views, steps, repetitions)]
    count_memory()
    if arguments.full and torch.cuda.is_available():
        ratios.append(full())
    elif arguments.full:
        print("published size: no CUDA GPU")
    print(f"viewfusion: {min(ratios):.2f} times as fast (goal {_GOAL:.1f})")
    return int(min(ratios) < _GOAL)


if __name__ == "__main__":
    sys.exit(main())
