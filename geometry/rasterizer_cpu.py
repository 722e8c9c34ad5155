"""Rasterising in PyTorch alone, on any device: geometry.projection, geometry.tiles and geometry.compositing, one view at a time.

What a view keeps for the backward pass is small, so batches may be large: the projection is made again there, and the
compositing round by round. Both leave their derivatives to autograd.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from geometry.cameras import Intrinsics, invert_rigid, opencv_from_opengl
from geometry.compositing import back_to_front, front_to_back, splat_table
from geometry.gaussian_tensors import GaussianTensors
from geometry.projection import project
from geometry.tiles import TileGrid
from geometry.view_features import colours_seen, normals_seen


def composite_on_cpu(
    gaussians: GaussianTensors, c2w: Float[np.ndarray, "v 4 4"], lenses: Sequence[Intrinsics]
) -> tuple[Float[Tensor, "v h w 7"], Float[Tensor, "v h w"]]:
    """RGB, normals and depth composited on zeros, and coverage.

    Args:
        gaussians: any number, on any device.
        c2w: camera-to-world of each camera, OpenGL axes.
        lenses: the intrinsics of each, all of one width and height.
    """
    fields = (gaussians.means, gaussians.quaternions, gaussians.scales, gaussians.opacities, gaussians.colours)
    views = [_View.apply(*camera, *fields, gaussians.harmonics) for camera in zip(c2w, lenses, strict=True)]
    pictures = torch.stack([_grid(lens).picture(tiles) for tiles, lens in zip(views, lenses, strict=True)])
    return pictures[..., :-1], pictures[..., -1]


class _View(torch.autograd.Function):
    """Tiles (t p 8) of RGB, normal, depth and coverage of one view, from a camera and the fields of GaussianTensors."""

    @staticmethod
    def forward(ctx: Any, c2w: np.ndarray, lens: Intrinsics, *fields: Tensor | None) -> Tensor:  # noqa: ANN401
        with _one_thread():
            table, reach = _table(GaussianTensors(*fields), c2w, lens)  # type: ignore[arg-type]
            tiles, ctx.rounds = front_to_back(table, reach, _grid(lens))
        ctx.camera = (c2w, lens)
        ctx.save_for_backward(table, *fields)
        return tiles

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        table, *fields = ctx.saved_tensors
        needed = ctx.needs_input_grad[2:]
        leaves = [None if field is None else field.detach() for field in fields]
        wanted = [
            leaf.requires_grad_() for leaf, need in zip(leaves, needed, strict=True) if need and leaf is not None
        ]
        with _one_thread():
            of_table = back_to_front(table, ctx.rounds, _grid(ctx.camera[1]), gradient)
            with torch.enable_grad():
                again, _ = _table(GaussianTensors(*leaves), *ctx.camera)  # type: ignore[arg-type]
            found = iter(torch.autograd.grad(again, wanted, of_table))
        return None, None, *(next(found) if need else None for need in needed)


def _table(
    gaussians: GaussianTensors, c2w: Float[np.ndarray, "4 4"], lens: Intrinsics
) -> tuple[Float[Tensor, "n d"], Float[Tensor, "n 2"]]:
    """What compositing takes: the table of the splats that may show, with their features, and their reach."""
    means = gaussians.means
    eye, world_to_camera = means.new_tensor(c2w[:3, 3]), means.new_tensor(invert_rigid(opencv_from_opengl(c2w)))
    splats = project(gaussians, world_to_camera, lens)
    seen = torch.cat([colours_seen(gaussians, eye), normals_seen(gaussians, eye)], dim=1)[splats.indices]
    depths = splats.depths[:, None]
    return splat_table(splats, torch.cat([seen, depths, torch.ones_like(depths)], dim=1)), splats.reach


def _grid(lens: Intrinsics) -> TileGrid:
    return TileGrid(lens.width, lens.height)


@contextmanager
def _one_thread() -> Iterator[None]:
    """One core for the operations within.

    Most take a fraction of a millisecond, and to split one PyTorch waits for all its threads: on a machine that others use
    as well, two threads were ten and more times slower than one.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
