"""Rays a second through a field, with occupancy skipping and without: `python -m benchmarks.reconstruct`.

The field is a grid encoding with a small network (`ImplicitField`), taught the density and colours of a ball, a box and a ring in
the box from −0.6 to 0.6, whose pictures by sphere tracing are the truth. Both marches take the same 128 even pieces of each ray
between where it enters and leaves the box; the naive one asks the field at all of them, the other where an occupancy grid of 64³
that was updated as in training says that something may be. Rays that miss the box cost neither anything. Pictures of 4 cameras on
a ring at 1.5 are compared with the truth (PSNR). A step of learning, forward and backward, on some of their rays is timed too.

Goal: 4 times as many rays a second, the PSNR no more than 0.1 dB lower. On a CPU seconds are CPU-seconds of one thread; `--device
cuda` measures wall-clock time on a GPU. `--quick` takes smaller pictures and teaches the field less.
"""

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from blender_render.camera_sets import View
from geometry.cameras import Intrinsics, look_at_origin
from reconstruction.fields.encodings import GridEncoding
from reconstruction.fields.field import box_about_origin
from reconstruction.fields.implicit_field import ImplicitField
from reconstruction.marching.march import march
from reconstruction.marching.occupancy import OccupancyGrid
from reconstruction.marching.picture import picture_of
from reconstruction.marching.rays import camera_rays, joined, near_far

_GOAL, _LOST_DECIBELS = 4.0, 0.1
_SAMPLES, _CELLS, _UPDATES, _RADIUS, _CAMERAS = 128, 64, 16, 1.5, 4
# A density that rises at the surface would show a larger object: so far inside it is half of what it becomes.
_SHARPNESS, _INSET = 150.0, 0.02
_COLOURS = torch.tensor([[0.2, 0.5, 0.85], [0.85, 0.25, 0.2], [0.9, 0.75, 0.2]])


@dataclass(frozen=True)
class Timing:
    """Of one way to march."""

    rays: float
    """A second, forward."""
    learning_rays: float
    """A second, forward and backward."""
    psnr: float
    """Of the pictures against the truth, dB."""
    share: float
    """Of the pieces at which the field was asked."""


def parts(points: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
    """Signed distances to a ball, a box and a ring (Quilez, "Distance functions")."""
    ball = (points - points.new_tensor([0.27, 0.05, -0.1])).norm(dim=-1) - 0.22
    beyond = (points - points.new_tensor([-0.12, 0.0, -0.17])).abs() - points.new_tensor([0.3, 0.25, 0.2])
    box = beyond.clamp(min=0.0).norm(dim=-1) + beyond.amax(dim=-1).clamp(max=0.0)
    low = points - points.new_tensor([-0.1, 0.0, 0.2])
    ring = torch.stack([low[:, [0, 2]].norm(dim=-1) - 0.2, low[:, 1]], dim=-1).norm(dim=-1) - 0.08
    return torch.stack([ball, box, ring], dim=-1)


def truth(camera: View, device: torch.device) -> Float[Tensor, "h w 3"]:
    """What a camera sees, on white: sphere tracing."""
    rays = camera_rays(camera.c2w, camera.intrinsics, torch.zeros(1, device=device))
    points = rays.origins
    for _ in range(64):
        points = points + parts(points).amin(dim=-1, keepdim=True) * rays.directions
    found = parts(points)
    colours = torch.where(found.amin(dim=-1, keepdim=True) < 1e-3, _COLOURS.to(device)[found.argmin(dim=-1)], 1.0)
    return colours.reshape(camera.intrinsics.height, camera.intrinsics.width, 3)


def taught(steps: int, device: torch.device) -> ImplicitField:
    """A field that has learnt density and colours at points, half of them near the surface."""
    torch.manual_seed(0)
    encoding = GridEncoding(levels=8, table=1 << 16, coarsest=8, finest=128)
    field = ImplicitField(box_about_origin(), encoding=encoding).to(device)
    optimizer = torch.optim.Adam(field.parameters(), lr=1e-2)
    for _ in range(steps):
        points = (2.0 * torch.rand(8192, 3, device=device) - 1.0) * 0.6
        with torch.no_grad():
            found = parts(points)
            nearest = found.amin(dim=-1)
            density = _SHARPNESS * torch.sigmoid(-_SHARPNESS * (nearest + _INSET))
        values = field(points)
        near = (nearest < 0.05).float()[:, None]
        # By logarithms, so that what is empty becomes as empty as what is full becomes full.
        error = (torch.log(values.density + 1e-2) - torch.log(density + 1e-2)).square().mean()
        colour = (near * (values.features - _COLOURS.to(device)[found.argmin(dim=-1)])).square().mean()
        optimizer.zero_grad()
        (error + 30.0 * colour).backward()
        optimizer.step()
    return field


def occupied(field: ImplicitField) -> OccupancyGrid:
    """The grid after a few updates at drawn points."""
    grid = OccupancyGrid(field.extent, _CELLS).to(next(field.parameters()).device)
    for number in range(_UPDATES):
        grid.update(field, torch.Generator().manual_seed(number))
    return grid


def clock(device: torch.device) -> float:
    """Seconds of this thread's work, or of the wall on a GPU that has finished."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        return time.perf_counter()
    return time.process_time()


def best(work: Callable[[], object], repeats: int, device: torch.device) -> float:
    """Seconds of the quickest of some runs, after one that warms up."""
    work()
    spent = []
    for _ in range(repeats):
        begun = clock(device)
        work()
        spent.append(clock(device) - begun)
    return min(spent)


def measured(field: ImplicitField, occupancy: OccupancyGrid | None, cameras: list[View], repeats: int) -> Timing:
    """Pictures and steps of learning by one way to march."""
    device = next(field.parameters()).device
    white = torch.ones(3, device=device)
    pictures = [picture_of(field, camera, _SAMPLES, white, occupancy) for camera in cameras]
    error = torch.stack(
        [
            (picture.features - truth(camera, device)).square().mean()
            for picture, camera in zip(pictures, cameras, strict=True)
        ]
    ).mean()
    rays = joined([camera_rays(camera.c2w, camera.intrinsics, white) for camera in cameras])
    ends = near_far(rays, field.extent)

    def pictured() -> None:
        for camera in cameras:
            picture_of(field, camera, _SAMPLES, white, occupancy)

    chosen = torch.randperm(len(rays), generator=torch.Generator().manual_seed(0))[:2048].to(device)

    def learnt() -> None:
        field.zero_grad()
        generator = torch.Generator().manual_seed(1)
        shown = march(field, rays[chosen], ends[chosen], _SAMPLES, white, generator, occupancy)
        shown.features.square().mean().backward()

    pieces = int((ends[:, 1] > ends[:, 0]).sum()) * _SAMPLES
    return Timing(
        len(rays) / best(pictured, repeats, device),
        len(chosen) / best(learnt, repeats, device),
        float(-10.0 * torch.log10(error)),
        sum(picture.evaluated for picture in pictures) / pieces,
    )


def main() -> int:
    """Measure; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="smaller pictures, a field that was taught less")
    parser.add_argument("--device", default="cpu", help="a torch device")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    device = torch.device(arguments.device)
    size, steps, repeats = (48, 150, 1) if arguments.quick else (96, 600, 3)
    lens = Intrinsics.from_fov(float(np.deg2rad(49.1)), size)
    cameras = [View(look_at_origin(1.1, 2.0 * np.pi * n / _CAMERAS, _RADIUS), lens) for n in range(_CAMERAS)]
    field = taught(steps, device)
    grid = occupied(field)
    naive, skipping = (measured(field, occupancy, cameras, repeats) for occupancy in (None, grid))
    for name, timing in (("naive", naive), ("skipping", skipping)):
        print(
            f"{name:9} {timing.rays:9.0f} rays/s, {timing.learning_rays:8.0f} learning, "
            f"PSNR {timing.psnr:.3f} dB, {timing.share:.1%} of pieces"
        )
    ratio, lost = skipping.rays / naive.rays, naive.psnr - skipping.psnr
    print(f"cells that may hold something: {grid.share:.1%}")
    print(f"learning: {skipping.learning_rays / naive.learning_rays:.2f} times the rays a second")
    print(f"psnr lost: {lost:.4f} dB (goal at most {_LOST_DECIBELS:g})")
    print(f"reconstruct: {ratio:.2f} times the rays a second of a dense march (goal {_GOAL:g})")
    return int(ratio < _GOAL or lost > _LOST_DECIBELS)


if __name__ == "__main__":
    sys.exit(main())
