"""An object whose signed distance is known in closed form: its renders by sphere tracing, and its mesh.

A box, a ball beside it and a ring on top, of different colours, lit from above; its longest side is about 1. World: Z up.
"""

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from blender_render.camera_sets import View
from geometry.cameras import Intrinsics, look_at_origin
from geometry.triangle_mesh import TriangleMesh
from reconstruction.fields.field import box_about_origin
from reconstruction.fusion import VoxelGrid
from reconstruction.marching.rays import camera_rays
from reconstruction.surface import surface_of

FOV = float(np.deg2rad(49.1))
RADIUS = 1.5
COLOURS = torch.tensor([[0.85, 0.25, 0.2], [0.2, 0.5, 0.85], [0.9, 0.75, 0.2]])
_LIGHT = torch.nn.functional.normalize(torch.tensor([0.4, 0.3, 0.9]), dim=0)
_FINER = 3


def distances(points: Tensor) -> Tensor:
    """To each part, positive outside; (n, 3) points to (n, 3) distances (Quilez, "Distance functions")."""
    beyond = (points - points.new_tensor([-0.12, 0.0, -0.17])).abs() - points.new_tensor([0.3, 0.25, 0.2])
    box = beyond.clamp(min=0.0).norm(dim=-1) + beyond.amax(dim=-1).clamp(max=0.0)
    ball = (points - points.new_tensor([0.27, 0.05, -0.1])).norm(dim=-1) - 0.22
    low = points - points.new_tensor([-0.1, 0.0, 0.2])
    across = torch.stack([low[:, [0, 2]].norm(dim=-1) - 0.2, low[:, 1]], dim=-1)
    ring = across.norm(dim=-1) - 0.08
    return torch.stack([box, ball, ring], dim=-1)


def mesh(resolution: int = 128) -> TriangleMesh:
    """Its surface."""
    grid = VoxelGrid.around(box_about_origin(), resolution)
    points = grid.middles(0, grid.shape[0], torch.zeros(1))
    return surface_of(distances(points).amin(dim=-1).reshape(grid.shape).numpy(), grid)


def cameras(count: int, size: int, elevations_deg: tuple[float, ...] = (30.0, -10.0)) -> list[View]:
    """Evenly around the object, at alternating elevations, looking at the origin."""
    lens = Intrinsics.from_fov(FOV, size)
    polars = [np.pi / 2 - np.deg2rad(elevation) for elevation in elevations_deg]
    return [View(look_at_origin(polars[n % len(polars)], 2 * np.pi * n / count, RADIUS), lens) for n in range(count)]


def render(camera: View) -> Image.Image:
    """RGBA with straight alpha, antialiased."""
    lens = camera.intrinsics
    rays = camera_rays(camera.c2w, lens.resized(lens.width * _FINER, lens.height * _FINER), torch.zeros(1))
    points = rays.origins
    for _ in range(64):
        points = points + distances(points).amin(dim=-1, keepdim=True) * rays.directions
    found = distances(points)
    alpha = (found.amin(dim=-1) < 1e-3).float()
    places = points.clone().requires_grad_()
    (normals,) = torch.autograd.grad(distances(places).amin(dim=-1).sum(), places)
    shading = 0.55 + 0.45 * (normals @ _LIGHT).clamp(min=0.0)
    rgb = COLOURS[found.argmin(dim=-1)] * shading[:, None] * alpha[:, None]
    shape = (lens.height, _FINER, lens.width, _FINER, 4)
    rgba = torch.cat([rgb, alpha[:, None]], dim=-1).reshape(shape).mean(dim=(1, 3))
    rgba[..., :3] /= rgba[..., 3:].clamp(min=1e-6)
    return Image.fromarray((rgba * 255).round().to(torch.uint8).numpy(), "RGBA")
