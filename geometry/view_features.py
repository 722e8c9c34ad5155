"""What a Gaussian shows to a camera: its colour, which may depend on the direction, and its normal.

World: right-handed, Z up. Tensors of any device and precision, differentiable.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from geometry.gaussian_tensors import GaussianTensors
from geometry.projection import rotation_matrices
from geometry.spherical_harmonics import basis_functions, degree_of


def colours_seen(gaussians: GaussianTensors, eye: Float[Tensor, "3"]) -> Float[Tensor, "n 3"]:
    """RGB, not below 0: the constant part plus the harmonics in the direction from the eye to the Gaussian's centre."""
    colours = gaussians.colours
    if gaussians.harmonics is not None and gaussians.harmonics.shape[1]:
        x, y, z = torch.nn.functional.normalize(gaussians.means - eye, dim=1).unbind(1)
        basis = torch.stack(basis_functions(x, y, z, degree_of(gaussians.harmonics.shape[1])), dim=1)
        colours = colours + (basis[:, None] @ gaussians.harmonics).squeeze(1)
    return colours.clamp(min=0.0)


def normals_seen(gaussians: GaussianTensors, eye: Float[Tensor, "3"]) -> Float[Tensor, "n 3"]:
    """The shortest axis of each Gaussian, unit, in the world; of its two directions that towards the eye."""
    shortest = gaussians.scales.argmin(dim=1)
    rotations = rotation_matrices(gaussians.quaternions)
    normals = rotations[torch.arange(len(shortest), device=shortest.device), :, shortest]
    away = ((eye - gaussians.means) * normals).sum(dim=1, keepdim=True) < 0.0
    return torch.where(away, -normals, normals)
