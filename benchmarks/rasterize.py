"""The differentiable rasteriser's time and memory: `python -m benchmarks.rasterize`.

6 × 128² Gaussians (98,304), nearly all in the picture, at 256 × 256 pixels; two kinds of them. `surface`: one flat Gaussian per
cell of the six faces of a cube, as splatter images have them, half hidden by the other half. `volume`: a ball full of
overlapping Gaussians of all shapes and opacities, 3 to 18 pixels wide. Goals for either, on two cores: forward in 2 s, forward
and backward (colour, coverage, depth and normals, by every field) in 6 s, the whole process under 4 GiB. Each is measured in
a process of its own; times are the best of five.

Expected: a surface splat reaches 3.4 pixels, so it meets three or four tiles of 64 pixels; half the tiles never come to the far
side. That makes some 16 million pairs of pixel and splat, at 7 ns each forward, and three to four times as much with the backward
pass, which makes each round again. A loop over all Gaussians, each on all pixels, has n × pixels pairs instead: the ratio is
measured at 6 × 26² Gaussians and 64 × 64 pixels, which both can do, and either's pictures and gradients are compared.

`--quick` measures once. `--backend gsplat` runs the same on a GPU, the naive loop in PyTorch on that GPU as well.
"""

import argparse
import dataclasses
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from typing import TypeVar

import numpy as np
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

from geometry.cameras import Intrinsics, invert_rigid, look_at_origin, opencv_from_opengl
from geometry.gaussian_tensors import GaussianTensors
from geometry.gaussians import Gaussians
from geometry.projection import project
from geometry.rasterizer import rasterize

_SIDE, _PICTURE = 128, 256
_SMALL_SIDE, _SMALL_PICTURE = 26, 64
_FORWARD_GOAL, _BOTH_GOAL, _MEMORY_GOAL, _RATIO_GOAL, _ERROR_GOAL = 2.0, 6.0, 4.0, 10.0, 1e-4
_FIELDS = ("means", "quaternions", "scales", "opacities", "colours")
_CAMERA = look_at_origin(1.1, 0.6, 1.7)

Picture = Callable[[GaussianTensors], tuple[Tensor, Tensor]]
Result = TypeVar("Result")


def surface(side: int) -> Gaussians:
    """Six faces of a cube of edge 1, side² flat Gaussians each, 0.6 cells wide, nearly opaque."""
    steps = (np.arange(side) + 0.5) / side - 0.5
    u, v = (values.ravel() for values in np.meshgrid(steps, steps))
    top = np.stack([u, v, np.full_like(u, 0.5)], axis=1)
    turns = Rotation.from_euler(
        "xyz", [[0, 0, 0], [180, 0, 0], [90, 0, 0], [-90, 0, 0], [0, 90, 0], [0, -90, 0]], degrees=True
    )
    means = np.concatenate([turn.apply(top) for turn in turns])
    quaternions = np.repeat(np.roll(turns.as_quat(), 1, axis=1), side * side, axis=0)
    scales = np.tile([0.6 / side, 0.6 / side, 0.06 / side], (len(means), 1))
    colours = 0.5 + 0.4 * np.sin(means * [17.0, 23.0, 29.0])
    return Gaussians(means, quaternions, scales, np.full(len(means), 0.97), colours)


def volume(side: int) -> Gaussians:
    """As many in a ball of diameter 1, of scales from 0.01 to 0.06 in any direction, of opacities from 0.05 to 1."""
    rng, count = np.random.default_rng(0), 6 * side * side
    directions = rng.normal(size=(count, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    return Gaussians(
        means=0.5 * directions * rng.uniform(size=(count, 1)) ** (1 / 3),
        quaternions=rng.normal(size=(count, 4)),
        scales=np.exp(rng.uniform(np.log(0.01), np.log(0.06), (count, 3))),
        opacities=rng.uniform(0.05, 1.0, count),
        colours=rng.uniform(size=(count, 3)),
    )


_CLOUDS = {"surface": surface, "volume": volume}


def naive(gaussians: GaussianTensors, lens: Intrinsics) -> tuple[Tensor, Tensor]:
    """Colour on black and coverage by a loop over all Gaussians, each on all pixels."""
    world_to_camera = gaussians.means.new_tensor(invert_rigid(opencv_from_opengl(_CAMERA)))
    splats = project(gaussians, world_to_camera, lens)
    y, x = (torch.tensor(values + 0.5).to(splats.centres) for values in np.mgrid[: lens.height, : lens.width])
    colours = gaussians.colours[splats.indices]
    through, total, ended = torch.ones_like(x), x.new_zeros(*x.shape, 3), torch.zeros_like(x, dtype=torch.bool)
    for index in range(len(splats.indices)):
        dx, dy = x - splats.centres[index, 0], y - splats.centres[index, 1]
        across = dx - splats.slopes[index] * dy
        distance2 = splats.precisions[index, 0] * across * across + splats.precisions[index, 1] * dy * dy
        alpha = (splats.opacities[index] * torch.exp(-0.5 * distance2)).clamp(max=0.999)
        ended = ended | ((alpha >= 1 / 255) & (through * (1.0 - alpha) <= 1e-4))
        alpha = torch.where(ended | (alpha < 1 / 255), 0.0, alpha)
        total = total + (alpha * through)[..., None] * colours[index]
        through = through * (1.0 - alpha)
    return total, 1.0 - through


def leaves(gaussians: Gaussians, device: str) -> GaussianTensors:
    """Tensors that gradients flow to."""
    tensors = GaussianTensors.of(gaussians, device)
    return dataclasses.replace(tensors, **{name: getattr(tensors, name).requires_grad_() for name in _FIELDS})


def fastest(work: Callable[[], Result], repeats: int, device: str) -> tuple[float, Result]:
    """Seconds of the fastest of some repetitions, and what the last one gave."""
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        result = work()
        if device == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - started)
    return min(times), result


def measure(cloud: str, backend: str, repeats: int) -> dict[str, float]:
    """Seconds forward, and forward and backward, and GiB at most, of this whole process or of the GPU's allocations."""
    device = "cuda" if backend == "gsplat" else "cpu"
    gaussians, lens = _CLOUDS[cloud](_SIDE), Intrinsics.from_fov(np.radians(49.1), _PICTURE)
    tensors = leaves(gaussians, device)

    @torch.no_grad()
    def forward() -> None:
        rasterize(tensors, _CAMERA[None], lens, backend=backend)  # type: ignore[arg-type]

    def both() -> None:
        seen = rasterize(tensors, _CAMERA[None], lens, backend=backend)  # type: ignore[arg-type]
        parts = (seen.rgb, seen.alpha, seen.depth, seen.normals)
        loss = torch.stack([part.square().mean() for part in parts]).sum()
        torch.autograd.grad(loss, [getattr(tensors, name) for name in _FIELDS])

    both()
    times = {"forward": fastest(forward, repeats, device)[0], "both": fastest(both, repeats, device)[0]}
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return times | {"memory": torch.cuda.max_memory_allocated() / 2**30 if device == "cuda" else kilobytes / 2**20}


def measured_apart(cloud: str, backend: str, repeats: int) -> dict[str, float]:
    """The same, in a process of its own, whose memory is its alone."""
    options = ["--measure", cloud, "--backend", backend, "--repeats", str(repeats)]
    child = [sys.executable, "-m", "benchmarks.rasterize", *options]
    output = subprocess.run(child, check=True, stdout=subprocess.PIPE, text=True).stdout
    answer: dict[str, float] = json.loads(output.splitlines()[-1])
    return answer


def compare(backend: str, repeats: int) -> tuple[float, float, float]:
    """Against the naive loop: times as fast forward, and with backward; the largest difference, relative to the largest value."""
    device = "cuda" if backend == "gsplat" else "cpu"
    gaussians, lens = surface(_SMALL_SIDE), Intrinsics.from_fov(np.radians(49.1), _SMALL_PICTURE)

    def ours(tensors: GaussianTensors) -> tuple[Tensor, Tensor]:
        seen = rasterize(tensors, _CAMERA[None], lens, (0.0, 0.0, 0.0), backend)  # type: ignore[arg-type]
        return seen.rgb[0], seen.alpha[0]

    def theirs(tensors: GaussianTensors) -> tuple[Tensor, Tensor]:
        return naive(tensors, lens)

    fast, slow = _timed(ours, gaussians, device, repeats + 1), _timed(theirs, gaussians, device, 1)
    errors = [float((a - b).abs().max() / b.abs().max()) for a, b in zip(fast[2], slow[2], strict=True)]
    return slow[0] / fast[0], slow[1] / fast[1], max(errors)


def _timed(picture: Picture, gaussians: Gaussians, device: str, repeats: int) -> tuple[float, float, list[Tensor]]:
    """Seconds forward, and forward and backward; the pictures and the gradients."""
    tensors = leaves(gaussians, device)

    def both() -> list[Tensor]:
        rgb, alpha = picture(tensors)
        loss = rgb.square().sum() + alpha.square().sum()
        gradients = torch.autograd.grad(loss, [getattr(tensors, name) for name in _FIELDS])
        return [rgb.detach(), alpha.detach(), *gradients]

    with torch.no_grad():
        forward, _ = fastest(lambda: picture(tensors), repeats, device)
    return forward, *fastest(both, repeats, device)


def report(cloud: str, figures: dict[str, float]) -> bool:
    """Print a cloud's figures and goals; whether they fall short."""
    goals = {"forward": (_FORWARD_GOAL, "s"), "both": (_BOTH_GOAL, "s"), "memory": (_MEMORY_GOAL, "GiB")}
    for name, (goal, unit) in goals.items():
        print(f"rasterize {cloud} {name}: {figures[name]:.3g} {unit} (goal {goal:g} {unit})")
    return any(figures[name] >= goal for name, (goal, _) in goals.items())


def main() -> int:
    """Measure; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="time everything once")
    parser.add_argument("--backend", choices=("cpu", "gsplat"), default="cpu")
    parser.add_argument("--measure", choices=_CLOUDS, help=argparse.SUPPRESS)
    parser.add_argument("--repeats", type=int, default=5, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    repeats = 1 if arguments.quick else arguments.repeats
    if arguments.measure:
        print(json.dumps(measure(arguments.measure, arguments.backend, repeats)))
        return 0
    print(f"{6 * _SIDE**2:,} Gaussians at {_PICTURE} × {_PICTURE} pixels, {torch.get_num_threads()} threads")
    short = [report(cloud, measured_apart(cloud, arguments.backend, repeats)) for cloud in _CLOUDS]
    forward, both, error = compare(arguments.backend, repeats)
    print(f"rasterize against the naive loop, forward: {forward:.0f} times as fast (goal {_RATIO_GOAL:g})")
    print(f"rasterize against the naive loop, both: {both:.0f} times as fast (goal {_RATIO_GOAL:g})")
    print(f"rasterize difference from the naive loop: {error:.1e} of the largest value (goal {_ERROR_GOAL:g})")
    return int(any(short) or min(forward, both) < _RATIO_GOAL or error > _ERROR_GOAL)


if __name__ == "__main__":
    sys.exit(main())
