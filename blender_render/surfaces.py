"""The surfaces of assets as they are rendered: triangles in the normalised frame, for figures about meshes.

Works in a folder of loose object folders; what is there under the present files, limits, code and Blender is kept.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from blender_render.batch import Batch, BatchJob
from blender_render.farm import RENDER_CODE, Farm, object_fingerprint, recipe
from blender_render.parameters import RenderParameters
from blender_render.surface_files import read_triangles
from catalog.table import Asset
from geometry.surfaces import measurable
from geometry.triangle_mesh import TriangleMesh
from stage.executor import ExecutorParameters
from stage.failures import Outcome
from stage.workspace import Workspace

_HANDLER = "blender_render.surface_worker:surface_object"
_CODE = (*RENDER_CODE, "blender_render.surface_files", "blender_render.surface_worker")


def export_surfaces(
    assets: Sequence[Asset], root: Path, executor: ExecutorParameters, workspace: Workspace, label: str = "surfaces"
) -> list[Outcome]:
    """Write the surface of each asset that has none yet below `root`; the failures.

    Args:
        assets: with their files.
        root: folder of loose object folders, which `read_surface` reads.
        executor: worker processes.
        workspace: where relative asset paths start.
        label: of the progress bar.

    Raises:
        InputError: when Blender's system libraries are missing.
        StageFailedError: when the disk is full or workers cannot start.
    """
    # Neither cameras, light nor seed change a triangle: one set of values, so that a surface is exported once.
    farm = Farm(root, RenderParameters(views=1, executor=executor), 0, workspace)
    shared = recipe(farm.sample_job(), _CODE)

    def job(asset: Asset) -> BatchJob:
        fingerprint = object_fingerprint(shared, asset)
        return BatchJob(asset.uid, fingerprint, partial(_payload, farm, asset, fingerprint))

    return Batch(root, _HANDLER, executor).run([job(asset) for asset in assets], label)


def _payload(farm: Farm, asset: Asset, fingerprint: str) -> dict[str, object]:
    return replace(farm.job(asset), fingerprint=fingerprint).payload()


def read_surface(folder: Path) -> TriangleMesh:
    """The surface in an object's folder, without triangles that have no area.

    Raises:
        InputError: when it is missing or damaged, or no triangle has an area.
    """
    vertices, faces = read_triangles(folder)
    return measurable(TriangleMesh(vertices, faces))
