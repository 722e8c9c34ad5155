"""Gaussians moved inside the surface, so that the silhouette of their pictures is that of the surface.

A rasteriser widens every Gaussian by 0.3 px² and composites what lies behind one another. At a silhouette many Gaussians
of the surface project to nearly one place, and however faint the tail of each, together they are opaque a pixel and
more beyond the centres. Gaussians on the surface therefore make every object fatter by that much. So centres go inside
along the normal, by a number of pixels of their own view, and what is seen head-on stays as it is.

How far there is room says the tangent plane of whatever surface lies within: a Gaussian at p with normal n goes no
deeper than ρ = (q − p)·m / (1 − n·m), where the ball that touches the surface at p touches the plane through q with
normal m as well, and stops a tenth short of it. This is the medial ball (Ma et al. 2012, "3D medial axis point
approximation using nearest neighbors and the normal field") with planes in the place of points, so that a sheet thinner
than the distance of samples has half its thickness as room, and a place next to an edge its distance from it. What
finds less room than asked for stands out at silhouettes none the less, and is fainter for it.

World units; all arrays are those of `geometry.splatter.SplatterView`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.ndimage import distance_transform_edt
from scipy.spatial import cKDTree

from geometry.cameras import project
from geometry.splatter import SplatterView

_ROUNDS = 2
# How far beside its pixel's centre a Gaussian of a splatter image may lie, in pixels, so that a slant leaves no gaps.
_BESIDE = 0.75
# In units of the inset. A sample's own neighbours, with its normal, are √5 away; beyond lies nothing that limits it.
_FARTHEST = 2.2
# Of a surface that bends less than this the curvature is none of an edge.
_MOST_ALIKE = 0.7
# What rises above the tangent plane by more, as a share of the ball's radius, lies outside the solid.
_LEAST_BEHIND = 0.2
# Below this cosine of the normals a sample is the far side of a sheet or rod, and no edge's other face.
_OPPOSITE = -0.5
# Of the radius, so that the two sides of a sheet do not meet, and the nearer one covers the other.
_SHORT_OF = 0.9
# Sheets and rods keep this share of their opacity beside their outline.
_FAINTEST_SHEET = 0.15
# So many insets from the outline are beside it.
_BAND = 2.0
# A surface ends where the next pixel's depth differs by more, in pixels at that depth.
_JUMP = 6.0


@dataclass(frozen=True)
class _Surface:
    """Samples of a surface: places, and unit normals of the outside."""

    points: Float[np.ndarray, "n 3"]
    normals: Float[np.ndarray, "n 3"]


def inset_views(
    views: Sequence[SplatterView], depth: float = 1.6
) -> tuple[list[SplatterView], list[Float[np.ndarray, "h w"]]]:
    """The views with their Gaussians moved inside and, where there is no room for it, made fainter.

    Args:
        views: all views of an object, as `splatter_from_passes` makes them.
        depth: how far the centres go in, pixels of their own view; 0 changes nothing. At 1.6 and a footprint of 0.5 the
            picture of a sphere has the sphere's silhouette at the views' own resolution.

    Returns:
        The views, and of each the share of `depth` that there is room for, in [0, 1]; 1 on the background.
    """
    if depth == 0.0 or not any(view.valid.any() for view in views):
        return list(views), [np.ones(view.valid.shape) for view in views]
    surface = _Surface(
        np.concatenate([view.points[view.valid] for view in views]),
        np.concatenate([view.normals[view.valid] for view in views]),
    )
    wanted = depth * np.concatenate([view.pitch[view.valid] for view in views])
    room, sheet = _room(surface, wanted)
    outline = np.concatenate([_near_outline(view, _BAND * depth)[view.valid] for view in views])
    # Away from an outline nothing shows in the place of a sheet, while an edge has its other face.
    least = np.where(sheet, np.where(outline, _FAINTEST_SHEET, 1.0), 0.0)
    fade = np.maximum((room / wanted) ** 2, least)
    ends = np.cumsum([view.valid.sum() for view in views])[:-1]
    parts = zip(views, np.split(room, ends), np.split(fade, ends), strict=True)
    moved = [_moved(view, inwards, share) for view, inwards, share in parts]
    shares = [_on_grid(view, share) for view, share in zip(views, np.split(room / wanted, ends), strict=True)]
    return moved, shares


def sorted_by_pixel(view: SplatterView) -> SplatterView:
    """The view with each Gaussian in the place of the pixel that its centre, moved inside, projects to: a splatter image.

    A pixel takes the Gaussian that lies nearest to its centre, at most 0.75 pixels from it in either direction, and one of
    opacity 0 where there is none: at a silhouette its ray misses what has gone inside. Where a slant stretches the grid one
    Gaussian may stand in two pixels.
    """
    height, width = view.valid.shape
    pixels, _ = project(view.gaussians.means.astype(np.float64), view.c2w, view.intrinsics)
    landed = np.where(view.valid[..., None], pixels.reshape(height, width, 2), np.inf)
    here = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1)
    source = here
    for _ in range(_ROUNDS):
        miss = here + 0.5 - landed[source[..., 1], source[..., 0]]
        step = np.rint(np.nan_to_num(miss, posinf=0.0, neginf=0.0)).astype(np.int64)
        source = np.clip(source + step, 0, [width - 1, height - 1])
    miss = here + 0.5 - landed[source[..., 1], source[..., 0]]
    found = (np.abs(miss) <= _BESIDE).all(axis=-1).ravel()
    order = np.where(found, (source[..., 1] * width + source[..., 0]).ravel(), np.arange(height * width))
    gaussians = view.gaussians.select(order)
    return replace(
        view,
        gaussians=replace(gaussians, opacities=np.where(found, gaussians.opacities, 0.0)),
        valid=found.reshape(height, width),
        points=_reordered(view.points, order),
        normals=_reordered(view.normals, order),
        facing=_reordered(view.facing, order),
        pitch=_reordered(view.pitch, order),
    )


def _reordered(values: Float[np.ndarray, "h w ..."], order: Int[np.ndarray, " n"]) -> Float[np.ndarray, "h w ..."]:
    return values.reshape(len(order), *values.shape[2:])[order].reshape(values.shape)


def _room(
    surface: _Surface, wanted: Float[np.ndarray, " n"]
) -> tuple[Float[np.ndarray, " n"], Bool[np.ndarray, " n"]]:
    """How far inside each sample may go, at most as far as wanted, and whether an opposite side limits it."""
    # Normals take part in what is near, so that of the two sides of a thin sheet the other one is found.
    weight = float(np.median(wanted))
    tree = cKDTree(np.hstack([surface.points, weight * surface.normals]))
    room, sheet = wanted.copy(), np.zeros(len(wanted), dtype=bool)
    active = np.arange(len(wanted))
    for _ in range(_ROUNDS):
        normals = surface.normals[active]
        centres = np.hstack([surface.points[active] - room[active, None] * normals, -weight * normals])
        distance, nearest = tree.query(centres, distance_upper_bound=_FARTHEST * weight)
        active, nearest = active[np.isfinite(distance)], nearest[np.isfinite(distance)]
        least, alike = _contact(surface, active, nearest, wanted[active])
        tighter = least < room[active]
        active = active[tighter]
        room[active], sheet[active] = least[tighter], alike[tighter] < _OPPOSITE
    return room, sheet


def _contact(
    surface: _Surface, here: Int[np.ndarray, " k"], there: Int[np.ndarray, " k"], wanted: Float[np.ndarray, " k"]
) -> tuple[Float[np.ndarray, " k"], Float[np.ndarray, " k"]]:
    """Radius of the ball that touches both samples' planes, infinite where the other bounds nothing; cosine of the normals."""
    normals, others = surface.normals[here], surface.normals[there]
    between = surface.points[there] - surface.points[here]
    alike = np.sum(normals * others, axis=1)
    bounds = (alike < _MOST_ALIKE) & (np.sum(between * normals, axis=1) < _LEAST_BEHIND * wanted)
    radius = np.maximum(np.sum(between * others, axis=1), 0.0) / np.maximum(1.0 - alike, 1.0 - _MOST_ALIKE)
    return np.where(bounds, _SHORT_OF * radius, np.inf), alike


def _near_outline(view: SplatterView, band: float) -> Bool[np.ndarray, "h w"]:
    """Pixels within a band of pixels of where the surface ends for their camera, at the background or another surface."""
    distance = np.linalg.norm(view.points - view.c2w[:3, 3], axis=-1)
    ends = ~view.valid
    for axis in (0, 1):
        jump = np.abs(np.diff(distance, axis=axis)) > _JUMP * np.delete(view.pitch, -1, axis=axis)
        for side in (0, -1):
            ends |= np.insert(jump, jump.shape[axis] * -side, False, axis=axis)
    return np.asarray(distance_transform_edt(np.pad(~ends, 1, constant_values=True))[1:-1, 1:-1] <= band)


def _moved(view: SplatterView, inwards: Float[np.ndarray, " k"], fade: Float[np.ndarray, " k"]) -> SplatterView:
    old, valid = view.gaussians, view.valid.ravel()
    means, opacities = old.means.copy(), old.opacities.copy()
    means[valid] -= (inwards[:, None] * view.normals[view.valid]).astype(np.float32)
    opacities[valid] *= fade.astype(np.float32)
    return replace(view, gaussians=replace(old, means=means, opacities=opacities))


def _on_grid(view: SplatterView, values: Float[np.ndarray, " k"]) -> Float[np.ndarray, "h w"]:
    grid = np.ones(view.valid.shape)
    grid[view.valid] = values
    return grid
