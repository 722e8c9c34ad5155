"""Meshes of what the model made, beside those of the assets: `evaluate.geometry`.

Each object's Gaussians and mesh lie in `scratch/evaluation/made/<subset>/` as `gaussians.ply` and `mesh.ply`, to be looked at;
they follow from model and seed, so that `data/` does not hold them. The assets' own triangles lie in
`scratch/evaluation/surfaces/`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import trimesh

from blender_render.surfaces import export_surfaces, read_surface
from catalog.table import Asset
from evaluation.mesh_figures import MeshFigures, mesh_figures, unavailable
from evaluation.parameters import GeometryParameters
from evaluation.protocol import Subset, SubsetName
from geometry.gaussians import Gaussians
from geometry.ply import write_ply
from geometry.triangle_mesh import TriangleMesh
from reconstruction.gaussian_mesh import mesh_from_gaussians
from stage.errors import InputError
from stage.executor import ExecutorParameters
from stage.files import replacing
from stage.packs import object_folder
from stage.seeds import derive_seed
from stage.workspace import Workspace
from systems.gaussian_pipeline import GaussianPipeline
from systems.object_pipeline import ObjectPipeline


def check_geometry(pipeline: ObjectPipeline, parameters: GeometryParameters | None) -> None:
    """Refuse figures about meshes of a model that makes pictures alone.

    Raises:
        InputError: in that case.
    """
    if parameters is not None and not isinstance(pipeline, GaussianPipeline):
        raise InputError(
            f"the trained {type(pipeline).__name__} makes pictures and no meshes", "set evaluate.geometry to null"
        )


@dataclass(frozen=True)
class TrueSurfaces:
    """The assets' own triangles, in the frame that they are rendered in.

    Args:
        root: folder of them.
        failures: why an asset's are not there, by uid.
    """

    root: Path
    failures: dict[str, str]

    @classmethod
    def exported(cls, subsets: Sequence[Subset], executor: ExecutorParameters, workspace: Workspace) -> "TrueSurfaces":
        """Export the triangles of all assets, where they are not there yet.

        Raises:
            StageFailedError: when the disk is full or workers cannot start.
        """
        root = workspace.scratch / "evaluation" / "surfaces"
        assets = {asset.uid: asset for subset in subsets for asset in subset.assets}
        failed = export_surfaces(list(assets.values()), root, executor, workspace, label="evaluate: surfaces")
        return cls(root, {outcome.uid: f"{outcome.failure}: {outcome.message}" for outcome in failed})

    def lacking(self, asset: Asset) -> str:
        """Why an asset has no triangles; empty where it has."""
        return f"the asset gave no triangles: {self.failures[asset.uid]}" if asset.uid in self.failures else ""

    def of(self, asset: Asset) -> TriangleMesh:
        """An asset's surface.

        Raises:
            InputError: when it is missing or damaged, or no triangle has an area.
        """
        return read_surface(object_folder(self.root, asset.uid))


@dataclass(frozen=True)
class MeshJudge:
    """Judges what is made of each object.

    Args:
        parameters: of the meshes and figures.
        seed: the run's seed.
        made: folder that receives Gaussians and meshes.
        surfaces: folder of the assets' triangles.
        failures: why an asset's triangles are not there, by uid.
        device: where meshes are made.
    """

    parameters: GeometryParameters
    seed: int
    made: Path
    surfaces: Path
    failures: dict[str, str]
    device: torch.device

    @classmethod
    def of(
        cls,
        parameters: GeometryParameters,
        subsets: Sequence[Subset],
        executor: ExecutorParameters,
        seed: int,
        workspace: Workspace,
    ) -> "MeshJudge":
        """Export the triangles of all assets, where they are not there yet.

        Raises:
            StageFailedError: when the disk is full or workers cannot start.
        """
        true = TrueSurfaces.exported(subsets, executor, workspace)
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        return cls(parameters, seed, workspace.scratch / "evaluation" / "made", true.root, true.failures, device)

    def judge(self, asset: Asset, subset: SubsetName, gaussians: Gaussians) -> MeshFigures:
        """Make the mesh of an object's Gaussians, keep both, and compare it with the asset.

        Args:
            asset: the object.
            subset: it belongs to.
            gaussians: what the model made, in the scene's frame.
        """
        folder = object_folder(self.made / subset, asset.uid)
        write_ply(folder / "gaussians.ply", gaussians)
        (folder / "mesh.ply").unlink(missing_ok=True)
        true = TrueSurfaces(self.surfaces, self.failures)
        if reason := true.lacking(asset):
            return unavailable(self.parameters, reason)
        try:
            mesh = mesh_from_gaussians(gaussians, self.parameters.fusion, self.device, progress=False)
            write_mesh_ply(folder / "mesh.ply", mesh)
            truth = true.of(asset)
        except InputError as error:
            return unavailable(self.parameters, str(error))
        return mesh_figures(mesh, truth, self.parameters, derive_seed(self.seed, asset.uid, "mesh samples"))


def write_mesh_ply(path: Path, mesh: TriangleMesh) -> None:
    """Write a mesh with the colours of its vertices, where it has some."""
    colours = None if mesh.colours is None else (mesh.colours * 255.0).round().astype("u1")
    drawn = trimesh.Trimesh(mesh.vertices, mesh.faces, vertex_colors=colours, process=False)
    with replacing(path) as temporary:
        drawn.export(temporary, file_type="ply")
