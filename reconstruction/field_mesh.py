"""From a field to a coloured mesh: marching cubes where its density crosses a threshold, or its signed distance 0.

mesh = mesh_of(field, parameters)
write_textured(Path("model.glb"), mesh, TextureParameters())
"""

import numpy as np
import torch
from jaxtyping import Float
from scipy.ndimage import grey_erosion, uniform_filter

from geometry.triangle_mesh import TriangleMesh
from reconstruction.fields.distance_field import DistanceField
from reconstruction.fields.field import Field
from reconstruction.fusion import VoxelGrid
from reconstruction.optimisation.parameters import FieldMeshParameters
from reconstruction.surface import largest_components, surface_of
from stage.errors import InputError, StageFailedError

# Points asked at a time.
_CHUNK = 1 << 16
# Over which the published threshold's mean is taken: SJC's box, from −1 to 1.
_PUBLISHED_VOLUME = 8.0


def mesh_of(field: Field, parameters: FieldMeshParameters) -> TriangleMesh:
    """The surface of a field with the field's colours, world units; closed, as beyond the field's box nothing is.

    Args:
        field: of RGB; of latents a mesh has no colours.
        parameters: resolution and threshold.

    Raises:
        InputError: when the field has no surface.
        StageFailedError: when the field is not finite.
    """
    grid = VoxelGrid.around(field.extent, parameters.resolution)
    values, level = _outside(field, grid, parameters)
    mesh = largest_components(surface_of(values, grid), parameters.least_component)
    if not len(mesh.faces):
        raise InputError(
            f"the field is empty: {level}",
            "look at the previews; more steps, other views or a lower mesh.threshold may help",
        )
    return TriangleMesh(mesh.vertices, mesh.faces, colours_of(field, mesh.vertices) if field.channels == 3 else None)


@torch.no_grad()
def colours_of(field: Field, points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
    """RGB in [0, 1] at world points, as seen from outside."""
    like = next(field.parameters())
    places = torch.tensor(points, dtype=like.dtype).split(_CHUNK)
    parts = [field(part.to(like.device)).features.clamp(0.0, 1.0).cpu().numpy() for part in places]
    return np.concatenate(parts)


def _outside(field: Field, grid: VoxelGrid, parameters: FieldMeshParameters) -> tuple[Float[np.ndarray, "x y z"], str]:
    """Values that are negative inside, and what there was to be found."""
    if isinstance(field, DistanceField):
        values = _sampled(field, grid, distances=True)
        return values, f"its signed distance is {values.min():.3g} to {values.max():.3g}"
    density = cleaned(_sampled(field, grid, distances=False), grid.edge, parameters)
    if parameters.threshold is None:
        threshold = level_by_outlines(density, grid.edge)
    else:
        # In a box that fits its object more tightly the mean is larger, and so many means would leave nothing.
        threshold = parameters.threshold * float(density.sum()) * grid.edge**3 / _PUBLISHED_VOLUME
    told = f"its density is at most {density.max():.3g}, and its surface would lie at {threshold:.3g}"
    return threshold - density, told


def level_by_outlines(density: Float[np.ndarray, "x y z"], edge: float) -> float:
    """The density whose surface has outlines as large as what is seen: infinite where nothing is opaque by half.

    Along each axis a column of samples is seen where its opacity, 1 − exp(−Σ density · edge), is at least a half, and is within
    the surface's outline where its largest density is above the level.

    Args:
        density: at the points of a grid.
        edge: between its points, world units.
    """
    columns = [(density.max(axis=axis).ravel(), density.sum(axis=axis).ravel() * edge) for axis in range(3)]
    most = np.sort(np.concatenate([largest for largest, _ in columns]))[::-1]
    seen = sum(int(np.count_nonzero(depth >= np.log(2.0))) for _, depth in columns)
    return float("inf") if not seen else float(0.5 * (most[seen - 1] + most[min(seen, len(most) - 1)]))


def cleaned(
    density: Float[np.ndarray, "x y z"], edge: float, parameters: FieldMeshParameters
) -> Float[np.ndarray, "x y z"]:
    """Averaged, then eroded, as Zero-1-to-3 exports its voxels (cvlab-columbia/zero123 `3drec/voxnerf/vox.py`, `export_mesh`).

    Args:
        density: at the points of a grid; outside of it there is nothing.
        edge: between its points, world units.
        parameters: both widths.
    """
    pooled = uniform_filter(density, odd_count(parameters.pooling, edge), mode="constant", cval=0.0)
    return np.asarray(grey_erosion(pooled, size=(odd_count(parameters.erosion, edge),) * 3))


def odd_count(width: float, edge: float) -> int:
    """The odd number of samples that comes nearest to a width; 1 for none."""
    return 2 * max(0, round((width / edge - 1.0) / 2.0)) + 1


@torch.no_grad()
def _sampled(field: Field, grid: VoxelGrid, distances: bool) -> Float[np.ndarray, "x y z"]:
    """Signed distance or density at the grid's points, some planes of x at a time."""
    like = next(field.parameters())
    ask = field.distance if distances and isinstance(field, DistanceField) else field.density
    planes = max(1, _CHUNK // (grid.shape[1] * grid.shape[2]))
    parts = []
    for first in range(0, grid.shape[0], planes):
        points = grid.middles(first, min(first + planes, grid.shape[0]), like)
        parts.append(torch.cat([ask(part) for part in points.split(_CHUNK)]).float().cpu())
    values: Float[np.ndarray, "x y z"] = torch.cat(parts).reshape(grid.shape).numpy()
    wrong = values.size - np.count_nonzero(np.isfinite(values))
    if wrong:
        raise StageFailedError(
            f"the field is not finite at {wrong} of {values.size} points, so it has no surface",
            "look at the previews, and begin anew with a lower learning rate",
            "not_finite",
        )
    return values
