"""Colours of a mesh from pictures of the field that it was made of: for fields whose features are no colours, as latents."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from blender_render.camera_sets import View
from geometry.cameras import Intrinsics, invert_rigid, opencv_from_opengl
from geometry.triangle_mesh import TriangleMesh
from reconstruction.colouring import colours_at
from reconstruction.depth_views import DepthView
from reconstruction.fields.field import Field
from reconstruction.marching.picture import picture_of
from reconstruction.marching.rays import camera_rays
from reconstruction.surrounding_cameras import cameras_around

_CAMERAS, _SAMPLES = 24, 128
# Models know objects from about 1.5 to 2.2 away through a lens of 49°.
_FOV = 0.857
_SEEN = 0.5
# Of the box's longest side: how far before or behind the mesh a soft field's depth may lie.
_REACH = 0.08


def painted(
    mesh: TriangleMesh, field: Field, seen: Callable[[View], Float[Tensor, "3 h w"]], size: int = 64
) -> TriangleMesh:
    """The mesh with the colours that pictures of the field show at its vertices.

    Args:
        mesh: of the field, world units.
        field: tells depths and normals.
        seen: its picture from a camera, RGB in [0, 1].
        size: of the pictures in which depths are told, pixels; colours are brought to it.
    """
    lens = Intrinsics.from_fov(_FOV, size)
    views = [_view(View(c2w, lens), field, seen) for c2w in cameras_around(field.extent, _CAMERAS, _FOV)]
    return TriangleMesh(mesh.vertices, mesh.faces, colours_at(mesh.vertices, views, _REACH * field.extent.longest))


@torch.no_grad()
def _view(camera: View, field: Field, seen: Callable[[View], Float[Tensor, "3 h w"]]) -> DepthView:
    lens = camera.intrinsics
    picture = picture_of(field, camera, _SAMPLES, with_normals=True)
    assert picture.normals is not None  # noqa: S101 - asked for
    rgb = torch.nn.functional.interpolate(
        seen(camera)[None].to(picture.depth), size=(lens.height, lens.width), mode="bilinear", antialias=True
    )[0]
    directions = camera_rays(camera.c2w, lens, picture.depth).directions.reshape(lens.height, lens.width, 3)
    shown = picture.opacity > _SEEN
    cosines = (picture.normals * directions).sum(dim=-1).abs()
    weight = torch.where(shown, cosines, 0.0)
    # Of what an outline's pixel shows a part is background.
    weight = -torch.nn.functional.max_pool2d(-weight[None], 3, stride=1, padding=1)[0]
    return DepthView(
        picture.depth.new_tensor(invert_rigid(opencv_from_opengl(camera.c2w))),
        lens,
        rgb.permute(1, 2, 0),
        torch.where(shown, picture.depth, 0.0),
        weight,
        torch.zeros_like(weight),
    )
