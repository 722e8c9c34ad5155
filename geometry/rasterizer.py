"""Pictures of Gaussians from a batch of cameras, differentiable: one interface to two rasterisers of the same equations.

On CUDA it is gsplat (geometry.rasterizer_gsplat); elsewhere PyTorch alone (geometry.rasterizer_cpu), which is the oracle of the
other in tests. Either takes its colours and normals from geometry.view_features.

World: right-handed, Z up; pixel centres lie at half-integers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from geometry.cameras import Intrinsics
from geometry.gaussian_tensors import GaussianTensors
from geometry.rasterizer_cpu import composite_on_cpu
from geometry.rasterizer_gsplat import composite_with_gsplat, is_installed
from stage.errors import InputError

Backend = Literal["auto", "cpu", "gsplat"]


@dataclass(frozen=True, eq=False)
class Rendering:
    """What v cameras see of Gaussians."""

    rgb: Float[Tensor, "v h w 3"]
    """Composited on the background."""
    alpha: Float[Tensor, "v h w"]
    """Coverage, 1 − Π(1 − αᵢ), in [0, 1)."""
    depth: Float[Tensor, "v h w"]
    """Expected planar z, Σ wᵢ zᵢ / Σ wᵢ, world units; 0 where nothing is seen."""
    normals: Float[Tensor, "v h w 3"]
    """Unit mean of the normals, each a Gaussian's shortest axis turned to the camera, world axes; 0 where nothing is seen."""


def rasterize(
    gaussians: GaussianTensors,
    c2w: Float[np.ndarray, "v 4 4"],
    intrinsics: Intrinsics | Sequence[Intrinsics],
    background: Sequence[float] = (1.0, 1.0, 1.0),
    backend: Backend = "auto",
) -> Rendering:
    """Pictures of Gaussians from a batch of cameras, differentiable by every field of `gaussians`.

    Gaussians whose centre is nearer than 0.01 to the camera's plane, or behind it, are left out, and so are those of an
    opacity below 1/255. Of two at the same depth the earlier one covers the later.

    Args:
        gaussians: world units; the pictures have their device and precision.
        c2w: camera-to-world of each camera, OpenGL axes.
        intrinsics: of all cameras, or of each; all of one width and height.
        background: RGB that the pictures are composited on.
        backend: `cpu` is PyTorch alone and runs on any device; `gsplat` needs CUDA; `auto` takes gsplat where the Gaussians
            are on CUDA and it is installed.

    Raises:
        InputError: when the cameras do not fit together, or the backend cannot run.
    """
    lenses = [intrinsics] * len(c2w) if isinstance(intrinsics, Intrinsics) else list(intrinsics)
    _check_cameras(len(c2w), lenses)
    # Kernels are not launched on nothing.
    if len(gaussians) and _takes_gsplat(backend, gaussians.means.device):
        sums, alpha = composite_with_gsplat(gaussians, c2w, lenses)
    else:
        sums, alpha = composite_on_cpu(gaussians, c2w, lenses)
    return _rendering(sums, alpha, background)


def _check_cameras(count: int, lenses: Sequence[Intrinsics]) -> None:
    if count == 0 or count != len(lenses):
        raise InputError(f"rasterize: {count} cameras with {len(lenses)} intrinsics", "give one of each per picture")
    sizes = {(lens.width, lens.height) for lens in lenses}
    if len(sizes) > 1:
        raise InputError(f"rasterize: cameras of different sizes {sorted(sizes)}", "make one call for each size")


def _takes_gsplat(backend: Backend, device: torch.device) -> bool:
    return backend == "gsplat" or (backend == "auto" and device.type == "cuda" and is_installed())


def _rendering(
    sums: Float[Tensor, "v h w 7"], alpha: Float[Tensor, "v h w"], background: Sequence[float]
) -> Rendering:
    """Colours on the background, means of the rest."""
    colour, normals, depth = sums.split([3, 3, 1], dim=-1)
    shown = alpha > 0.0
    return Rendering(
        colour + (1.0 - alpha)[..., None] * colour.new_tensor(background),
        alpha,
        torch.where(shown, depth[..., 0] / torch.where(shown, alpha, 1.0), 0.0),
        torch.nn.functional.normalize(normals, dim=-1),
    )
