"""Rasterising on CUDA with gsplat (Ye et al. 2024, "gsplat: An Open-Source Library for Gaussian Splatting"), the extra `gpu`.

gsplat compiles its kernels at the first call, which takes minutes and needs the CUDA toolkit, or finds them in a wheel built
for the installed PyTorch. Its constants are the defaults of `gsplat.rasterization`, and geometry.projection has the same.
"""

from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from geometry.cameras import Intrinsics, invert_rigid, opencv_from_opengl
from geometry.gaussian_tensors import GaussianTensors
from geometry.view_features import colours_seen, normals_seen
from stage.errors import InputError


def is_installed() -> bool:
    """Whether gsplat can be imported; it may still lack its kernels."""
    return find_spec("gsplat") is not None


def composite_with_gsplat(
    gaussians: GaussianTensors, c2w: Float[np.ndarray, "v 4 4"], lenses: Sequence[Intrinsics]
) -> tuple[Float[Tensor, "v h w 7"], Float[Tensor, "v h w"]]:
    """RGB, normals and depth composited on zeros, and coverage.

    Args:
        gaussians: at least one, on CUDA; computed in float32, gsplat's only precision, and given back in theirs.
        c2w: camera-to-world of each camera, OpenGL axes.
        lenses: the intrinsics of each, all of one width and height.

    Raises:
        InputError: when the Gaussians are not on CUDA, or gsplat or its kernels are missing.
    """
    _require_gsplat(gaussians.means.device)
    import gsplat

    sums, alpha, _ = gsplat.rasterization(**rasterization_arguments(gaussians, c2w, lenses))
    dtype = gaussians.means.dtype
    return sums.to(dtype), alpha[..., 0].to(dtype)


def rasterization_arguments(
    gaussians: GaussianTensors, c2w: Float[np.ndarray, "v 4 4"], lenses: Sequence[Intrinsics]
) -> dict[str, Any]:
    """The arguments of `gsplat.rasterization`: colours and normals are features that each camera sees its own of."""
    means = gaussians.means
    features = [_features(gaussians, means.new_tensor(matrix[:3, 3])) for matrix in c2w]
    matrices = np.stack([invert_rigid(opencv_from_opengl(matrix)) for matrix in c2w])
    return {
        "means": means.float(),
        "quats": gaussians.quaternions.float(),
        "scales": gaussians.scales.float(),
        "opacities": gaussians.opacities.float(),
        "colors": torch.stack(features).float(),
        "viewmats": means.new_tensor(matrices, dtype=torch.float32),
        "Ks": means.new_tensor(np.stack([lens.matrix() for lens in lenses]), dtype=torch.float32),
        "width": lenses[0].width,
        "height": lenses[0].height,
        "render_mode": "RGB+D",
        # Every camera sees nearly all Gaussians of an object.
        "packed": False,
    }


def _features(gaussians: GaussianTensors, eye: Float[Tensor, "3"]) -> Float[Tensor, "n 6"]:
    return torch.cat([colours_seen(gaussians, eye), normals_seen(gaussians, eye)], dim=1)


def _require_gsplat(device: torch.device) -> None:
    if device.type != "cuda":
        raise InputError(
            f"rasteriser gsplat: the Gaussians are on {device.type}", "move them to CUDA, or take backend cpu"
        )
    if not is_installed():
        raise InputError("rasteriser gsplat: it is not installed", "pip install 'viewforge[gpu]', or take backend cpu")
    if not _has_kernels():
        remedy = "install the CUDA toolkit of PyTorch's version, or a gsplat wheel built for it, or take backend cpu"
        raise InputError("rasteriser gsplat: its CUDA kernels are not compiled and cannot be", remedy)


def _has_kernels() -> bool:
    """Whether gsplat's compiled module loads; where a compiler is, this compiles it."""
    try:
        return import_module("gsplat.cuda._backend")._C is not None
    except (ImportError, OSError, RuntimeError):
        return False
