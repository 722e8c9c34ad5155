"""Gaussians in, a coloured triangle mesh out: depth from cameras all around, fused and cut at its zero.

    mesh = mesh_from_gaussians(gaussians, FusionParameters())

The frame is that of the Gaussians.
"""

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import torch

from geometry.cameras import Intrinsics
from geometry.gaussian_operations import prune
from geometry.gaussian_tensors import GaussianTensors
from geometry.gaussians import Gaussians
from geometry.triangle_mesh import TriangleMesh
from reconstruction.colouring import colours_at
from reconstruction.depth_views import DepthView, depth_view
from reconstruction.fusion import VoxelGrid, fuse
from reconstruction.parameters import FusionParameters
from reconstruction.surface import largest_components, surface_of
from reconstruction.surrounding_cameras import Extent, cameras_around, extent_of
from stage.errors import InputError
from stage.progress import Progress

# What the rasteriser leaves out.
_FAINTEST = 1.0 / 255.0


def mesh_from_gaussians(
    gaussians: Gaussians,
    parameters: FusionParameters,
    device: torch.device | str = "cpu",
    *,
    progress: bool = True,
) -> TriangleMesh:
    """The surface of Gaussians as a closed mesh with a colour at each vertex.

    The same Gaussians give the same mesh on the same device.

    Args:
        gaussians: world units.
        parameters: resolution, cameras, what is dropped.
        device: where pictures are made and fused.
        progress: whether the views are counted; not by a stage that counts objects.

    Raises:
        InputError: when there are no Gaussians, all are transparent, or no camera sees a surface.
    """
    visible = _visible(gaussians)
    extent = extent_of(visible)
    grid = VoxelGrid.around(extent, parameters.resolution)
    truncation = parameters.truncation * grid.edge
    views = []
    with Progress("mesh", parameters.views, "views") if progress else nullcontext() as counted:
        for view in _views(visible, extent, parameters, truncation, device):
            views.append(view)
            if counted:
                counted.advance()
    fused = fuse(views, grid, truncation)
    inset = fused.inset() if parameters.surface == "outline" else 0.0
    mesh = largest_components(surface_of(fused.signed(inset), grid), parameters.least_component)
    if not len(mesh.faces):
        raise InputError(
            f"the {len(gaussians)} Gaussians cover no pixel by {parameters.least_alpha:g}, so they have no surface",
            "look at them with viewforge splatter view",
        )
    return replace(mesh, colours=colours_at(mesh.vertices, views, truncation))


def _visible(gaussians: Gaussians) -> Gaussians:
    if not len(gaussians):
        raise InputError("there are no Gaussians, so they have no surface", "give a file or an object that has some")
    visible = prune(gaussians, least_opacity=_FAINTEST)
    if not len(visible):
        raise InputError(
            f"all {len(gaussians)} Gaussians are transparent, so they have no surface",
            "look at them with viewforge splatter view",
        )
    return visible


def _views(
    gaussians: Gaussians, extent: Extent, parameters: FusionParameters, gap: float, device: torch.device | str
) -> Iterator[DepthView]:
    fov = float(np.radians(parameters.fov_deg))
    lens = Intrinsics.from_fov(fov, parameters.view_size)
    tensors = GaussianTensors.of(gaussians, device)
    for c2w in cameras_around(extent, parameters.views, fov):
        yield depth_view(tensors, c2w, lens, parameters.least_alpha, gap)
