"""Pictures of Gaussians: a reference rasteriser in PyTorch, exact in the equations and small enough for a CPU.

Each Gaussian is projected to a 2D Gaussian by the local affine approximation of the perspective, Σ' = J W Σ Wᵀ Jᵀ
(Zwicker et al. 2001, "EWA Volume Splatting"; Kerbl et al. 2023, "3D Gaussian Splatting", eq. 5), widened by 0.3 px²,
and composited front to back in the order of the depth of the centres, C = Σ cᵢ αᵢ Π(1 − αⱼ) (Kerbl et al., eq. 3).
The picture is made tile by tile; a tile takes all Gaussians that reach α = 1/255 anywhere in it, so tiles do not show.

World: right-handed, Z up; camera axes below are OpenCV's; pixel centres lie at half-integers. All tensors are float32.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from geometry.cameras import Intrinsics, invert_rigid, opencv_from_opengl
from geometry.gaussian_tensors import GaussianTensors

# Kerbl et al., reference implementation: low-pass filter, px²; least and greatest α.
_DILATION = 0.3
_ALPHA_CUT = 1.0 / 255.0
_ALPHA_CAP = 0.99
# A pixel that lets less than this through has its final colour.
_OPAQUE = 1e-4
_NEAR = 0.01
# The affine approximation breaks down far outside the picture; beyond this share of it J is taken at the border.
_FRUSTUM_MARGIN = 0.3
_TILE = 8
# Gaussians composited at a time in one tile, so that a chunk's matrices stay in the processor's cache.
_CHUNK = 512


@dataclass(frozen=True, eq=False)
class _Splats:
    """Gaussians as the picture sees them, nearest first."""

    centres: Float[Tensor, "n 2"]
    """Pixels, x right, y down."""
    conics: Float[Tensor, "n 3"]
    """Inverse of the 2D covariance, entries xx, xy, yy, 1/px²."""
    reach: Float[Tensor, "n 2"]
    """Half width and height of the box outside of which alpha is below 1/255, pixels."""
    opacities: Float[Tensor, " n"]
    features: Float[Tensor, "n c"]
    """What is composited: colours."""

    def select(self, chosen: Tensor) -> "_Splats":
        return _Splats(
            self.centres[chosen],
            self.conics[chosen],
            self.reach[chosen],
            self.opacities[chosen],
            self.features[chosen],
        )


@dataclass(frozen=True, eq=False)
class Rendering:
    """What v cameras see of Gaussians."""

    rgb: Float[Tensor, "v h w 3"]
    """Composited on the background."""
    alpha: Float[Tensor, "v h w"]
    """Coverage, 1 − Π(1 − αᵢ), in [0, 1]."""
    depth: Float[Tensor, "v h w"]
    """Expected planar z, Σ wᵢ zᵢ / Σ wᵢ, world units; 0 where nothing is seen."""
    normals: Float[Tensor, "v h w 3"]
    """Unit mean of the normals, each a Gaussian's shortest axis turned to the camera, world axes; 0 where nothing is seen."""


def rasterize(
    gaussians: GaussianTensors,
    c2w: Float[np.ndarray, "v 4 4"],
    intrinsics: Intrinsics | Sequence[Intrinsics],
    background: Sequence[float] = (1.0, 1.0, 1.0),
    backend: Literal["auto", "cpu", "gsplat"] = "auto",
) -> Rendering:
    """Pictures of Gaussians from a batch of cameras, differentiable by every field of `gaussians`.

    Gaussians whose centre is nearer than 0.01 to the camera's plane, or behind it, are left out. Of two at the same
    depth the earlier one covers the later.

    Args:
        gaussians: world units; the pictures have their device and precision.
        c2w: camera-to-world of each camera, OpenGL axes.
        intrinsics: of all cameras, or of each; all of one width and height.
        background: RGB that the pictures are composited on.
        backend: `gsplat` needs CUDA; `auto` takes it where the Gaussians are on CUDA and it is installed.
    """
    lenses = [intrinsics] * len(c2w) if isinstance(intrinsics, Intrinsics) else list(intrinsics)
    views = [_rasterize_view(gaussians, matrix, lens) for matrix, lens in zip(c2w, lenses, strict=True)]
    colour, depth, normals, transmittance = (torch.stack(parts) for parts in zip(*views, strict=True))
    alpha = 1.0 - transmittance
    shown = alpha > 0.0
    return Rendering(
        colour + transmittance[..., None] * colour.new_tensor(background),
        alpha,
        torch.where(shown, depth / torch.where(shown, alpha, 1.0), 0.0),
        torch.nn.functional.normalize(normals, dim=-1),
    )


def _rasterize_view(
    gaussians: GaussianTensors, c2w: Float[np.ndarray, "4 4"], lens: Intrinsics
) -> tuple[Float[Tensor, "h w 3"], Float[Tensor, "h w"], Float[Tensor, "h w 3"], Float[Tensor, "h w"]]:
    """Colour on black, depth and normals weighted by coverage, and transmittance, from one camera."""
    means = gaussians.means
    world_to_camera = means.new_tensor(invert_rigid(opencv_from_opengl(c2w)))
    quaternions = torch.nn.functional.normalize(gaussians.quaternions, dim=1)
    depth = means @ world_to_camera[2, :3] + world_to_camera[2, 3]
    normals = _facing_normals(quaternions, gaussians.scales, means, means.new_tensor(c2w[:3, 3]))
    features = torch.cat([gaussians.colours, depth[:, None], normals], dim=1)
    covariances = covariances_from(quaternions, gaussians.scales)
    splats = _project(means, covariances, gaussians.opacities, features, world_to_camera, lens)
    picture, transmittance = _composite_tiles(splats, lens)
    return picture[..., :3], picture[..., 3], picture[..., 4:], transmittance


def _facing_normals(
    quaternions: Float[Tensor, "n 4"], scales: Float[Tensor, "n 3"], means: Float[Tensor, "n 3"], eye: Float[Tensor, "3"]
) -> Float[Tensor, "n 3"]:
    """The shortest axis of each Gaussian, of its two directions that towards the eye."""
    shortest = scales.argmin(dim=1)
    normals = _rotations(quaternions)[torch.arange(len(shortest)), :, shortest]
    away = ((eye - means) * normals).sum(dim=1, keepdim=True) < 0.0
    return torch.where(away, -normals, normals)


def covariances_from(quaternions: Float[Tensor, "n 4"], scales: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3 3"]:
    """Σ = R S Sᵀ Rᵀ (Kerbl et al. 2023, eq. 6) of unit quaternions wxyz and standard deviations."""
    axes = _rotations(quaternions) * scales[:, None, :]
    return axes @ axes.transpose(1, 2)


def _rotations(quaternions: Float[Tensor, "n 4"]) -> Float[Tensor, "n 3 3"]:
    """Rotation matrices of unit quaternions wxyz."""
    w, x, y, z = quaternions.unbind(1)
    rows = [
        torch.stack([1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)], dim=1),
        torch.stack([2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)], dim=1),
        torch.stack([2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)], dim=1),
    ]
    return torch.stack(rows, dim=1)


def _project(
    means: Float[Tensor, "n 3"],
    covariances: Float[Tensor, "n 3 3"],
    opacities: Float[Tensor, " n"],
    features: Float[Tensor, "n c"],
    world_to_camera: Float[Tensor, "4 4"],
    intrinsics: Intrinsics,
) -> _Splats:
    """Splats of the Gaussians that can show, sorted by depth."""
    camera = means @ world_to_camera[:3, :3].T + world_to_camera[:3, 3]
    depth = camera[:, 2].detach()
    order = torch.argsort(depth, stable=True)
    shown = order[((depth > _NEAR) & (opacities >= _ALPHA_CUT))[order]]
    camera, opacities = camera[shown], opacities[shown]
    flatten = _jacobians(camera, intrinsics) @ world_to_camera[:3, :3]
    conics, variances = _conics(flatten @ covariances[shown] @ flatten.transpose(1, 2))
    focal = camera.new_tensor([intrinsics.fx, intrinsics.fy])
    centres = camera[:, :2] / camera[:, 2:] * focal + camera.new_tensor([intrinsics.cx, intrinsics.cy])
    return _Splats(centres, conics, _reach(variances, opacities), opacities, features[shown])


def _jacobians(camera: Float[Tensor, "n 3"], intrinsics: Intrinsics) -> Float[Tensor, "n 2 3"]:
    """J, the derivative of the pixel by the camera-space point (Zwicker et al. 2002, eq. 29), OpenCV axes."""
    z = camera[:, 2]
    margin = camera.new_tensor([intrinsics.width / intrinsics.fx, intrinsics.height / intrinsics.fy])
    first = camera.new_tensor([-intrinsics.cx / intrinsics.fx, -intrinsics.cy / intrinsics.fy])
    slopes = camera[:, :2] / z[:, None]
    share = 0.5 * _FRUSTUM_MARGIN
    slopes = slopes.clamp(min=first - share * margin, max=first + (1.0 + share) * margin)
    zero = torch.zeros_like(z)
    x_row = torch.stack([intrinsics.fx / z, zero, -intrinsics.fx * slopes[:, 0] / z], dim=1)
    y_row = torch.stack([zero, intrinsics.fy / z, -intrinsics.fy * slopes[:, 1] / z], dim=1)
    return torch.stack([x_row, y_row], dim=1)


def _conics(covariances: Float[Tensor, "n 2 2"]) -> tuple[Float[Tensor, "n 3"], Float[Tensor, "n 2"]]:
    """Inverses (xx, xy, yy) and diagonals of 2D covariances after the low-pass filter."""
    xx, xy, yy = covariances[:, 0, 0], covariances[:, 0, 1], covariances[:, 1, 1]
    # The filter's share is added to the determinant apart, because xx·yy − xy² cancels for thin splats.
    sharp = (xx * yy - xy * xy).clamp(min=0.0)
    determinant = sharp + _DILATION * (xx + yy) + _DILATION**2
    xx, yy = xx + _DILATION, yy + _DILATION
    return torch.stack([yy, -xy, xx], dim=1) / determinant[:, None], torch.stack([xx, yy], dim=1)


def _reach(variances: Float[Tensor, "n 2"], opacities: Float[Tensor, " n"]) -> Float[Tensor, "n 2"]:
    """Half sides of the box around the ellipse α = 1/255, that is of Mahalanobis distance² 2·ln(255·opacity)."""
    distance2 = 2.0 * torch.log(opacities.detach() / _ALPHA_CUT)
    return torch.sqrt(distance2[:, None] * variances.detach())


def _composite_tiles(splats: _Splats, intrinsics: Intrinsics) -> tuple[Float[Tensor, "h w c"], Float[Tensor, "h w"]]:
    """Composited features on black and remaining transmittance of the whole picture."""
    across, down = -(-intrinsics.width // _TILE), -(-intrinsics.height // _TILE)
    tiles = []
    for index, members in enumerate(_tile_members(splats, across, down)):
        pixels = _tile_pixels(index % across, index // across)
        tiles.append(torch.cat(_composite(splats.select(members), pixels), dim=1))
    channels = splats.features.shape[1] + 1
    grid = torch.stack(tiles).reshape(down, across, _TILE, _TILE, channels)
    picture = grid.transpose(1, 2).reshape(down * _TILE, across * _TILE, channels)
    picture = picture[: intrinsics.height, : intrinsics.width]
    return picture[..., :-1], picture[..., -1]


def _tile_members(splats: _Splats, across: int, down: int) -> tuple[Int[Tensor, " k"], ...]:
    """For each tile, row-major, the indices of the splats whose box meets it, nearest first."""
    limits = torch.tensor([across, down])
    centres = splats.centres.detach()
    # Clamped before they become integers, because a splat beside the camera may lie anywhere.
    first = torch.floor((centres - splats.reach) / _TILE).clamp(min=0).minimum(limits).long()
    stop = (torch.floor((centres + splats.reach) / _TILE) + 1).clamp(min=0).minimum(limits).long()
    size = (stop - first).clamp(min=0)
    counts = size.prod(dim=1)
    owner = torch.repeat_interleave(torch.arange(len(counts)), counts)
    within = torch.arange(len(owner)) - (counts.cumsum(0) - counts)[owner]
    column = first[owner, 0] + within % size[owner, 0]
    row = first[owner, 1] + within // size[owner, 0]
    tile = row * across + column
    # Stable, so that each tile keeps the order of depth.
    owner = owner[torch.argsort(tile, stable=True)]
    return torch.split(owner, torch.bincount(tile, minlength=across * down).tolist())


def _tile_pixels(column: int, row: int) -> Float[Tensor, "p 2"]:
    """Centres of a tile's pixels, row-major, in pixels of the picture."""
    steps = torch.arange(_TILE) + 0.5
    y, x = torch.meshgrid(steps + row * _TILE, steps + column * _TILE, indexing="ij")
    return torch.stack([x.flatten(), y.flatten()], dim=1)


def _composite(splats: _Splats, pixels: Float[Tensor, "p 2"]) -> tuple[Float[Tensor, "p c"], Float[Tensor, "p 1"]]:
    """Front-to-back compositing (Kerbl et al. 2023, eq. 3) of splats, nearest first: features and transmittance.

    It stops at the first chunk after which no pixel lets more than 1e-4 through.
    """
    total = pixels.new_zeros(len(pixels), splats.features.shape[1])
    transmittance = pixels.new_ones(len(pixels), 1)
    for start in range(0, len(splats.opacities), _CHUNK):
        part = splats.select(torch.arange(start, min(start + _CHUNK, len(splats.opacities))))
        alphas = _alphas(part, pixels)
        through = torch.cumprod(torch.cat([transmittance, 1.0 - alphas], dim=1), dim=1)
        total = total + (alphas * through[:, :-1]) @ part.features
        transmittance = through[:, -1:]
        if float(transmittance.detach().max()) < _OPAQUE:
            break
    return total, transmittance


def _alphas(splats: _Splats, pixels: Float[Tensor, "p 2"]) -> Float[Tensor, "p n"]:
    """α = opacity·exp(−½ dᵀ Σ'⁻¹ d), at most 0.99, and 0 below 1/255 (Kerbl et al. 2023, eq. 4, appendix C)."""
    dx = pixels[:, None, 0] - splats.centres[None, :, 0]
    dy = pixels[:, None, 1] - splats.centres[None, :, 1]
    xx, xy, yy = splats.conics.unbind(1)
    alphas = splats.opacities * torch.exp(-0.5 * (xx * dx * dx + yy * dy * dy) - xy * dx * dy)
    return torch.where(alphas < _ALPHA_CUT, 0.0, alphas.clamp(max=_ALPHA_CAP))
