"""What cameras see of Gaussians for fusion: colour, outline, and the depth of the nearest surface with how far to trust it.

The rasteriser's depth is the mean of all that a ray meets, weighted by what shows. Of a surface that is not quite opaque it
lies between the surface and what is behind: one that hides 95 % of a wall 0.8 further back is told 0.04 too far. So a view is
rendered twice, the second time without the Gaussians that lie behind the depth of the first.

That depth is one of centres, the nearer ones weighted more, so a slanted surface of overlapping Gaussians is told to be nearer
than it is. Therefore the centres themselves are rendered, and a pixel's depth is where its ray meets the plane through its mean
centre that the pixels around it span: on a flat surface that is exact.

Depth is told for a pixel's centre and changes across it; where it jumps, at outlines and where one part covers another, it is
no place at all. The cosine between ray and the depth map's own normal says both: it is small at a jump and on a surface seen
at a grazing angle, and it is the weight of the pixel.
"""

from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from geometry.cameras import Intrinsics, invert_rigid, opencv_from_opengl
from geometry.gaussian_tensors import GaussianTensors
from geometry.rasterizer import Rendering, rasterize

# Flatter views of a surface tell nothing.
_LEAST_COSINE = 0.15
# Outlines are found on a grid so many times finer.
_FINER = 4
_FAINT = 1e-6
_BLACK = (0.0, 0.0, 0.0)


@dataclass(frozen=True, eq=False)
class DepthView:
    """One camera's pictures, on the device of the Gaussians."""

    world_to_camera: Float[Tensor, "4 4"]
    """OpenCV axes: x right, y down, z forward."""
    lens: Intrinsics
    rgb: Float[Tensor, "h w 3"]
    """Colour of what is seen, without background."""
    depth: Float[Tensor, "h w"]
    """Planar z of the nearest surface, world units; 0 where there is none."""
    weight: Float[Tensor, "h w"]
    """Cosine between ray and surface; 0 where the depth is not to be trusted, the neighbours of such pixels included."""
    clearance: Float[Tensor, "h w"]
    """Signed distance to the outline of what is covered, pixels, positive on the background."""

    def project(self, points: Float[Tensor, "n 3"]) -> tuple[Float[Tensor, "n 2"], Float[Tensor, " n"]]:
        """Pixel coordinates and planar depth of world points before the camera."""
        camera = points @ self.world_to_camera[:3, :3].T + self.world_to_camera[:3, 3]
        focal, middle = (
            points.new_tensor([self.lens.fx, self.lens.fy]),
            points.new_tensor([self.lens.cx, self.lens.cy]),
        )
        return camera[:, :2] / camera[:, 2:] * focal + middle, camera[:, 2]


def depth_view(
    gaussians: GaussianTensors, c2w: Float[np.ndarray, "4 4"], lens: Intrinsics, least_alpha: float, gap: float
) -> DepthView:
    """What a camera sees.

    Args:
        gaussians: world units.
        c2w: camera-to-world, OpenGL axes; all Gaussians lie before it.
        lens: its intrinsics.
        least_alpha: coverage from which a pixel shows a surface.
        gap: what lies farther than this behind a surface, world units, is another one.
    """
    with torch.inference_mode():
        world_to_camera = gaussians.means.new_tensor(invert_rigid(opencv_from_opengl(c2w)))
        seen = rasterize(gaussians, c2w[None], lens, _BLACK)
        nearest = _in_front(gaussians, seen, world_to_camera, lens, gap)
        points, coverage = _mean_points(nearest, c2w, lens)
        alpha = seen.alpha[0]
        shown = (alpha >= least_alpha) & (coverage >= least_alpha)
        depth, weight = _surface(points @ world_to_camera[:3, :3].T + world_to_camera[:3, 3], shown, lens)
        rgb = seen.rgb[0] / alpha.clamp(min=_FAINT)[..., None]
        return DepthView(world_to_camera, lens, rgb, depth, weight, _clearance(alpha, least_alpha))


def _in_front(
    gaussians: GaussianTensors, seen: Rendering, world_to_camera: Float[Tensor, "4 4"], lens: Intrinsics, gap: float
) -> GaussianTensors:
    """The Gaussians whose centre is not behind the depth that is seen there."""
    camera = gaussians.means @ world_to_camera[:3, :3].T + world_to_camera[:3, 3]
    column = (camera[:, 0] / camera[:, 2] * lens.fx + lens.cx).long().clamp(0, lens.width - 1)
    row = (camera[:, 1] / camera[:, 2] * lens.fy + lens.cy).long().clamp(0, lens.height - 1)
    depth = seen.depth[0, row, column]
    kept = (depth == 0.0) | (camera[:, 2] <= depth + gap)
    tensors = {field.name: getattr(gaussians, field.name) for field in fields(gaussians)}
    return replace(gaussians, **{name: values[kept] for name, values in tensors.items() if values is not None})


def _mean_points(
    gaussians: GaussianTensors, c2w: Float[np.ndarray, "4 4"], lens: Intrinsics
) -> tuple[Float[Tensor, "h w 3"], Float[Tensor, "h w"]]:
    """Σ wᵢ μᵢ / Σ wᵢ of each pixel, world units, and its coverage: the centres, rendered in place of colours."""
    if not len(gaussians):
        empty = gaussians.means.new_zeros(lens.height, lens.width)
        return empty[..., None].expand(-1, -1, 3), empty
    # Colours are clamped at 0.
    lowest = gaussians.means.amin(dim=0)
    placed = replace(gaussians, colours=gaussians.means - lowest, harmonics=None)
    seen = rasterize(placed, c2w[None], lens, _BLACK)
    return seen.rgb[0] / seen.alpha[0].clamp(min=_FAINT)[..., None] + lowest, seen.alpha[0]


def _surface(
    points: Float[Tensor, "h w 3"], shown: Bool[Tensor, "h w"], lens: Intrinsics
) -> tuple[Float[Tensor, "h w"], Float[Tensor, "h w"]]:
    """Depth where each pixel's ray meets the plane through its mean point, and the cosine between the two.

    Args:
        points: mean points, camera axes.
        shown: where they mean something.
        lens: of the camera.

    Returns:
        Planar z, and the least cosine of the 3 × 3 pixels around; 0 where the depth is not to be trusted.
    """
    rays = _rays(points, lens)
    directions = torch.nn.functional.normalize(rays, dim=-1)
    normals = _normals(torch.where(shown[..., None], points, 0.0))
    cosine = (normals * directions).sum(dim=-1)
    trusted = shown & (cosine.abs() >= _LEAST_COSINE)
    depth = (normals * points).sum(dim=-1) / torch.where(trusted, (normals * rays).sum(dim=-1), 1.0)
    weight = torch.where(trusted, cosine.abs(), 0.0)
    return torch.where(trusted, depth, 0.0), -torch.nn.functional.max_pool2d(-weight[None], 3, stride=1, padding=1)[0]


def _normals(points: Float[Tensor, "h w 3"]) -> Float[Tensor, "h w 3"]:
    """Unit normals of a map of points by central differences; those of jumps are square to the ray."""
    padded = torch.nn.functional.pad(points.permute(2, 0, 1)[None], (1, 1, 1, 1), mode="replicate")[0].permute(1, 2, 0)
    across, down = padded[1:-1, 2:] - padded[1:-1, :-2], padded[2:, 1:-1] - padded[:-2, 1:-1]
    return torch.nn.functional.normalize(torch.linalg.cross(across, down), dim=-1)


def _rays(like: Float[Tensor, "h w"], lens: Intrinsics) -> Float[Tensor, "h w 3"]:
    """Rays through the pixels' centres with z = 1, camera axes."""
    y = (torch.arange(lens.height, device=like.device, dtype=like.dtype) + 0.5 - lens.cy) / lens.fy
    x = (torch.arange(lens.width, device=like.device, dtype=like.dtype) + 0.5 - lens.cx) / lens.fx
    rows, columns = torch.meshgrid(y, x, indexing="ij")
    return torch.stack([columns, rows, torch.ones_like(rows)], dim=-1)


def _clearance(alpha: Float[Tensor, "h w"], least_alpha: float) -> Float[Tensor, "h w"]:
    """Signed distance of each pixel's middle to the outline, pixels, positive on the background."""
    finer = torch.nn.functional.interpolate(alpha[None, None], scale_factor=_FINER, mode="bilinear")[0, 0]
    background = (finer < least_alpha).cpu().numpy()
    if background.all() or not background.any():
        return torch.full_like(alpha, max(alpha.shape) * (1.0 if background.all() else -1.0))
    outside, inside = distance_transform_edt(background), distance_transform_edt(~background)
    # The outline runs half a pixel before the next pixel's middle.
    signed = torch.tensor(np.where(background, outside - 0.5, 0.5 - inside), dtype=alpha.dtype, device=alpha.device)
    return torch.nn.functional.avg_pool2d(signed[None], _FINER)[0] / _FINER
