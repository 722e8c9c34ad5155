"""Primitives as arrays: the meshes of procedural objects, made without Blender's slow operators.

Every surface is a set of smooth patches; patches do not share vertices, so their common borders are sharp edges.
Frame: the part's own, Z up, centred on the origin, in the units of `size`.

What `profile` means: tapered – width of the top over that of the bottom; wedge – where the ridge stands along x (0.5
the middle, 0 the −x side); cylinder – radius of the top over that of the bottom; cup – wall over radius; pillow –
squareness (0 an ellipsoid, 1 nearly a box); torus – tube radius over outer radius. The others ignore it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from catalog.procedural_parts import Shape, Vector

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class MeshArrays:
    """Triangles with a texture coordinate per corner."""

    vertices: Floats
    """[V, 3]."""
    faces: NDArray[np.int32]
    """[F, 3], counter-clockwise seen from outside."""
    uvs: Floats
    """[F, 3, 2]; the image spans the longest side of the part once, so that patterns are not stretched."""


def build_mesh(shape: Shape, size: Vector, profile: float) -> MeshArrays:
    """The triangles of a primitive.

    Args:
        shape: kind of primitive.
        size: extents along x, y, z.
        profile: the shape's own ratio, see the module's docstring.
    """
    return _BUILDERS[shape](np.asarray(size, dtype=float), profile)


def _grid(points: Floats, uv: Floats) -> MeshArrays:
    """A smooth patch from a grid of points; coinciding points become one, slivers without area vanish.

    Args:
        points: [R, C, 3]; columns × rows points outwards.
        uv: [R, C, 2].
    """
    rows, columns = points.shape[:2]
    index = np.arange(rows * columns).reshape(rows, columns)
    a, b, c, d = index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1]
    faces = np.stack([np.stack([a, b, c], -1), np.stack([a, c, d], -1)], 2).reshape(-1, 3)
    _, first, welded = np.unique(points.reshape(-1, 3).round(6), axis=0, return_index=True, return_inverse=True)
    joined = welded.reshape(-1)[faces]
    whole = (joined != np.roll(joined, 1, axis=1)).all(axis=1)
    return MeshArrays(points.reshape(-1, 3)[first], joined[whole].astype(np.int32), uv.reshape(-1, 2)[faces[whole]])


def _join(patches: Sequence[MeshArrays]) -> MeshArrays:
    """All patches in one mesh, their borders sharp."""
    offsets = np.cumsum([0, *(len(patch.vertices) for patch in patches[:-1])])
    return MeshArrays(
        np.concatenate([patch.vertices for patch in patches]),
        np.concatenate([patch.faces + offset for patch, offset in zip(patches, offsets, strict=True)]).astype(
            np.int32
        ),
        np.concatenate([patch.uvs for patch in patches]),
    )


def _quad(corners: Floats, longest: float) -> MeshArrays:
    """A flat patch from four corners [4, 3], counter-clockwise seen from outside, the first two at the bottom."""
    width = max(np.linalg.norm(corners[1] - corners[0]), np.linalg.norm(corners[2] - corners[3]))
    height = np.linalg.norm((corners[2] + corners[3] - corners[0] - corners[1]) / 2)
    uv = np.array([[[0, 0], [width, 0]], [[0, height], [width, height]]]) / longest
    return _grid(corners[[0, 1, 3, 2]].reshape(2, 2, 3), uv)


def _hexahedron(corners: Floats, size: Floats) -> MeshArrays:
    """Six quads from eight corners: bottom then top, each counter-clockwise seen from above."""
    sides = [[i, (i + 1) % 4, (i + 1) % 4 + 4, i + 4] for i in range(4)]
    quads = [[3, 2, 1, 0], [4, 5, 6, 7], *sides]
    return _join([_quad(corners[quad], float(size.max())) for quad in quads])


_SQUARE = np.array([[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5]])


def _tapered(size: Floats, profile: float) -> MeshArrays:
    """A box whose top is `profile` times as wide as its bottom (the wider of the two has the full size)."""
    bottom, top = 1 / max(profile, 1), min(profile, 1)
    corners = [np.column_stack([_SQUARE * ratio, np.full(4, z)]) for ratio, z in ((bottom, -0.5), (top, 0.5))]
    return _hexahedron(np.concatenate(corners) * size, size)


def _wedge(size: Floats, profile: float) -> MeshArrays:
    """A triangle in the xz plane, extruded along y."""
    corners = np.column_stack([np.tile(_SQUARE, (2, 1)), np.repeat([-0.5, 0.5], 4)])
    corners[4:, 0] = profile - 0.5
    return _hexahedron(corners * size, size)


def _segments(size: Floats) -> int:
    """Corners of a circle: more for larger parts, a multiple of four so that the extents are exact."""
    return round(float(np.clip(np.sqrt(size.max()) * 8, 3, 8))) * 4


def _revolve(size: Floats, runs: Sequence[Floats]) -> MeshArrays:
    """A surface of revolution around z; each run [R, 2] of (radius, height) in [0, 1] × [−0.5, 0.5] is smooth.

    A run is followed so that the outside lies to its right: upwards on the outer wall.
    """
    count = _segments(size)
    angles = np.linspace(0, 2 * np.pi, count + 1)
    angles[-1] = 0.0
    longest = float(size.max())
    # A whole number of images around the wall makes the seam invisible.
    around = max(1, round(float(np.pi * size[:2].mean() / longest)))
    patches = []
    for run in runs:
        radius, height = run[:, :1] / 2, np.repeat(run[:, 1:], count + 1, axis=1)
        points = np.stack([radius * np.cos(angles), radius * np.sin(angles), height], -1) * size
        lengths = np.linalg.norm(np.diff(points[:, 0], axis=0), axis=1)
        v = np.concatenate([[0.0], np.cumsum(lengths)]) / max(longest, lengths.sum())
        u = np.linspace(0, around, count + 1)
        patches.append(_grid(points, np.stack(np.broadcast_arrays(u[None, :], v[:, None]), -1)))
    return _join(patches)


def _cylinder(size: Floats, profile: float) -> MeshArrays:
    """A cylinder or, with `profile` other than 1, a truncated cone."""
    bottom, top = 1 / max(profile, 1), min(profile, 1)
    outline = np.array([[0, -0.5], [bottom, -0.5], [top, 0.5], [0, 0.5]])
    return _revolve(size, [outline[0:2], outline[1:3], *([outline[2:4]] if top > 0 else [])])


def _cone(size: Floats, _profile: float) -> MeshArrays:
    # A blunt tip: at a sharp one there is no normal to shade with.
    return _cylinder(size, 0.03)


def _cup(size: Floats, profile: float) -> MeshArrays:
    """A cylinder hollow from above, its wall and bottom `profile` times the radius."""
    inner, floor = 1 - profile, -0.5 + profile / 2
    outline = np.array([[0, -0.5], [0.92, -0.5], [1, 0.5], [inner, 0.5], [inner * 0.92, floor], [0, floor]])
    return _revolve(size, [outline[i : i + 2] for i in range(5)])


def _half_circle(start: float, count: int) -> Floats:
    """Points (cos, sin / 2) on a circle from latitude `start` to the pole."""
    latitude = np.linspace(start, np.pi / 2, count)
    return np.column_stack([np.cos(latitude).clip(0), np.sin(latitude) / 2])


def _sphere(size: Floats, _profile: float) -> MeshArrays:
    return _revolve(size, [_half_circle(-np.pi / 2, _segments(size) // 2 + 1)])


def _dome(size: Floats, _profile: float) -> MeshArrays:
    """The upper half of an ellipsoid, closed below."""
    arc = _half_circle(0.0, _segments(size) // 3 + 1) * (1, 2) - (0, 0.5)
    return _revolve(size, [np.array([[0, -0.5], [1, -0.5]]), arc])


def _capsule(size: Floats, _profile: float) -> MeshArrays:
    """A cylinder along z with round ends."""
    cap = min(float(size[:2].mean()) / 2 / size[2], 0.5)
    upper = _half_circle(0.0, _segments(size) // 4 + 1) * (1, 2 * cap) + (0, 0.5 - cap)
    return _revolve(size, [np.concatenate([upper[::-1] * (1, -1), upper])])


def _pillow(size: Floats, profile: float) -> MeshArrays:
    """A rounded box: a sphere pushed towards the cube around it."""
    ball = build_mesh("sphere", (float(size.max()),) * 3, 0.0)
    unit = ball.vertices / (size.max() / 2)
    exponent = 2 + 8 * profile
    norm = (np.abs(unit) ** exponent).sum(axis=1, keepdims=True) ** (1 / exponent)
    return MeshArrays(unit / norm * size / 2, ball.faces, ball.uvs)


def _sweep(angles: Floats, path_radii: Floats, tube: float, longest: float) -> MeshArrays:
    """A tube of radius `tube` along an ellipse in the xz plane with `path_radii` (x, z)."""
    turns = np.linspace(0, 2 * np.pi, 9)
    turns[-1] = 0.0
    out = np.column_stack([np.cos(angles), np.zeros_like(angles), np.sin(angles)])
    path = out * (path_radii[0], 0, path_radii[1])
    ring = np.cos(turns)[None, :, None] * out[:, None, :] + np.sin(turns)[None, :, None] * np.array([0.0, 1.0, 0.0])
    u = np.linspace(0, 1, len(turns))
    v = np.linspace(0, max(1, round(float(np.pi * path_radii.mean() * 2 / longest))), len(angles))
    return _grid(path[:, None] + tube * ring, np.stack(np.broadcast_arrays(u[None, :], v[:, None]), -1))


def _torus(size: Floats, profile: float) -> MeshArrays:
    """A ring around z: swept in the xz plane, then laid down."""
    angles = np.linspace(0, 2 * np.pi, _segments(size) + 1)
    angles[-1] = 0.0
    tube = profile / 2
    ring = _sweep(angles, np.array([0.5 - tube, 0.5 - tube]), tube, 1.0)
    laid = np.column_stack([ring.vertices[:, 0], -ring.vertices[:, 2], ring.vertices[:, 1] / (2 * tube)])
    return MeshArrays(laid * size, ring.faces, ring.uvs)


def _arc(size: Floats, _profile: float) -> MeshArrays:
    """Half a ring in the xz plane, bulging to +x: a handle `size[1]` thick whose ends stand `size[2]` apart."""
    tube = size[1] / 2
    if tube * 2 >= min(size[0], size[2] / 2):
        raise ValueError(f"an arc of size {size.tolist()} leaves no room inside its bow; make its y smaller")
    angles = np.linspace(-np.pi / 2, np.pi / 2, 11)
    return _sweep(angles, np.array([size[0] - tube, size[2] / 2 - tube]), tube, float(size.max()))


_BUILDERS: dict[Shape, Callable[[Floats, float], MeshArrays]] = {
    "box": lambda size, _: _tapered(size, 1.0),
    "tapered": _tapered,
    "wedge": _wedge,
    "cylinder": _cylinder,
    "cone": _cone,
    "cup": _cup,
    "sphere": _sphere,
    "dome": _dome,
    "capsule": _capsule,
    "pillow": _pillow,
    "torus": _torus,
    "arc": _arc,
}
