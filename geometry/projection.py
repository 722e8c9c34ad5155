"""Gaussians as a picture's plane sees them: the EWA projection of 3D Gaussians to 2D ones.

The perspective is replaced by its local affine approximation, Σ' = J W Σ Wᵀ Jᵀ (Zwicker et al. 2001, "EWA Volume Splatting";
Kerbl et al. 2023, "3D Gaussian Splatting", eq. 5), and widened by 0.3 px². Bounds and constants are gsplat's (1.5, which are
the reference implementation's but for the greatest α), so that either rasterises the same picture.

World: right-handed, Z up; camera axes are OpenCV's; pixels x right, y down, pixel centres at half-integers.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from geometry.cameras import Intrinsics
from geometry.gaussian_tensors import GaussianTensors

# Below this α a Gaussian does not count at a pixel: half a step of an 8-bit picture.
ALPHA_CUT = 1.0 / 255.0
# Low-pass filter, px².
DILATION = 0.3
NEAR = 0.01
# The affine approximation breaks down far outside the picture; beyond this share of its half sides J is taken at the border.
_FRUSTUM_MARGIN = 0.3


@dataclass(frozen=True, eq=False)
class Splats:
    """The 2D Gaussians of n Gaussians that can show in a picture, nearest first.

    The squared Mahalanobis distance is precisions[0]·(dx − slope·dy)² + precisions[1]·dy², which is the inverse covariance with
    the square completed: x given y, and y. Unlike its three entries it does not cancel for long and thin Gaussians.
    """

    indices: Int[Tensor, " n"]
    """Which of the Gaussians each one is."""
    centres: Float[Tensor, "n 2"]
    """Pixels."""
    slopes: Float[Tensor, " n"]
    """By how much the mean of x moves with y: Σ'xy / Σ'yy."""
    precisions: Float[Tensor, "n 2"]
    """Inverse variances of x given y and of y, 1/px²."""
    opacities: Float[Tensor, " n"]
    """Peak α, at least 1/255."""
    depths: Float[Tensor, " n"]
    """Planar z, world units."""
    reach: Float[Tensor, "n 2"]
    """Half width and height of the box outside of which α is below 1/255, pixels; without gradient."""


def project(gaussians: GaussianTensors, world_to_camera: Float[Tensor, "4 4"], intrinsics: Intrinsics) -> Splats:
    """The splats of all Gaussians that may show: not too near, not too faint, and with a box that meets the picture.

    Of two at the same depth the earlier comes first.
    """
    camera = gaussians.means @ world_to_camera[:3, :3].T + world_to_camera[:3, 3]
    indices = _by_depth(camera[:, 2].detach(), gaussians.opacities.detach())
    camera, opacities = camera[indices], gaussians.opacities[indices]
    roots = rotation_matrices(gaussians.quaternions[indices]) * gaussians.scales[indices, None, :]
    flat = _jacobians(camera, intrinsics) @ (world_to_camera[:3, :3] @ roots)
    slopes, precisions, variances = _plane_gaussians(flat)
    splats = Splats(
        indices,
        _centres(camera, intrinsics),
        slopes,
        precisions,
        opacities,
        camera[:, 2],
        _reach(variances, opacities),
    )
    return _meeting_picture(splats, intrinsics)


def rotation_matrices(quaternions: Float[Tensor, "n 4"]) -> Float[Tensor, "n 3 3"]:
    """Rotations of quaternions wxyz of any length but zero."""
    w, x, y, z = torch.nn.functional.normalize(quaternions, dim=1).unbind(1)
    rows = [
        torch.stack([1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)], dim=1),
        torch.stack([2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)], dim=1),
        torch.stack([2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)], dim=1),
    ]
    return torch.stack(rows, dim=1)


def _by_depth(depths: Float[Tensor, " n"], opacities: Float[Tensor, " n"]) -> Int[Tensor, " k"]:
    """Indices of the Gaussians in front of the camera that are not too faint, nearest first."""
    order = torch.argsort(depths, stable=True)
    return order[((depths >= NEAR) & (opacities >= ALPHA_CUT))[order]]


def _centres(camera: Float[Tensor, "n 3"], intrinsics: Intrinsics) -> Float[Tensor, "n 2"]:
    focal = camera.new_tensor([intrinsics.fx, intrinsics.fy])
    return camera[:, :2] / camera[:, 2:] * focal + camera.new_tensor([intrinsics.cx, intrinsics.cy])


def _jacobians(camera: Float[Tensor, "n 3"], intrinsics: Intrinsics) -> Float[Tensor, "n 2 3"]:
    """J, the derivative of the pixel by the camera-space point (Zwicker et al. 2002, eq. 29)."""
    z = camera[:, 2]
    extent = camera.new_tensor([intrinsics.width / intrinsics.fx, intrinsics.height / intrinsics.fy])
    first = camera.new_tensor([-intrinsics.cx / intrinsics.fx, -intrinsics.cy / intrinsics.fy])
    margin = 0.5 * _FRUSTUM_MARGIN * extent
    x, y = (camera[:, :2] / z[:, None]).clamp(min=first - margin, max=first + extent + margin).unbind(1)
    zero = torch.zeros_like(z)
    x_row = torch.stack([intrinsics.fx / z, zero, -intrinsics.fx * x / z], dim=1)
    y_row = torch.stack([zero, intrinsics.fy / z, -intrinsics.fy * y / z], dim=1)
    return torch.stack([x_row, y_row], dim=1)


def _plane_gaussians(
    flat: Float[Tensor, "n 2 3"],
) -> tuple[Float[Tensor, " n"], Float[Tensor, "n 2"], Float[Tensor, "n 2"]]:
    """Slopes, precisions and variances of Σ' = M Mᵀ + 0.3 px², M = J W R S."""
    x_row, y_row = flat.unbind(1)
    sharp = flat.square().sum(dim=2)
    variances = sharp + DILATION
    covariance = (x_row * y_row).sum(dim=1)
    # det(M Mᵀ) as a sum of squares (Cauchy-Binet): xx·yy − xy² would cancel for thin Gaussians.
    minors = torch.linalg.cross(x_row, y_row).square().sum(dim=1)
    determinant = minors + DILATION * sharp.sum(dim=1) + DILATION**2
    precisions = torch.stack([variances[:, 1] / determinant, 1.0 / variances[:, 1]], dim=1)
    return covariance / variances[:, 1], precisions, variances


def _reach(variances: Float[Tensor, "n 2"], opacities: Float[Tensor, " n"]) -> Float[Tensor, "n 2"]:
    """Half sides of the box around the ellipse α = 1/255, that is of Mahalanobis distance² 2·ln(255·opacity)."""
    distance2 = 2.0 * torch.log(opacities.detach() / ALPHA_CUT)
    return torch.sqrt(distance2[:, None] * variances.detach())


def _meeting_picture(splats: Splats, intrinsics: Intrinsics) -> Splats:
    centres = splats.centres.detach()
    size = centres.new_tensor([intrinsics.width, intrinsics.height])
    meets = ((centres + splats.reach > 0.0) & (centres - splats.reach < size)).all(dim=1)
    chosen = torch.nonzero(meets).squeeze(1)
    return Splats(
        splats.indices[chosen],
        splats.centres[chosen],
        splats.slopes[chosen],
        splats.precisions[chosen],
        splats.opacities[chosen],
        splats.depths[chosen],
        splats.reach[chosen],
    )
