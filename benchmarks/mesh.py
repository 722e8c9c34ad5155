"""How near the mesh of an object's Gaussians is to the object itself, and what it takes: `python -m benchmarks.mesh`.

Composed objects, or with `--assets FOLDER` files of one's own. The splatter stage makes their Gaussians, six views of 128², and
`reconstruction` a mesh of the fused ones. 20,000 points on the mesh are compared with points on what can be seen of the asset:
the mean distance from the mesh to the asset (accuracy), from the asset to the mesh (completeness), their mean (Chamfer, L1), and
the share of points within 0.01, harmonic mean of both ways (F-score); the object's longest side is 1. The same for the surface
through the Gaussians' centres (`surface: depth`), for comparison. Seconds are CPU-seconds of one thread, without texturing.

Goal: a mean Chamfer distance of 0.01, a hundredth of the longest side and about the distance of two Gaussians. `--quick` takes
one object, 32 cameras and 96 voxels.
"""

import argparse
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from scipy.spatial import cKDTree

from benchmarks.refinement import catalogue
from blender_render.parameters import QualityParameters, SplatterParameters
from blender_render.splatter import make_splatters
from catalog.table import Asset, with_files
from geometry.ply import read_ply
from geometry.triangle_mesh import TriangleMesh
from reconstruction.gaussian_mesh import mesh_from_gaussians
from reconstruction.parameters import FusionParameters
from stage.executor import ExecutorParameters, Job, executor_for
from stage.packs import object_folder
from stage.workspace import Workspace

_HANDLER = "benchmarks.mesh_worker:sample_surface"
_GOAL, _THRESHOLD, _POINTS = 0.01, 0.01, 20_000


@dataclass(frozen=True)
class Score:
    """Of one mesh."""

    accuracy: float
    completeness: float
    f_score: float
    seconds: float

    @property
    def chamfer(self) -> float:
        """Mean of both ways."""
        return 0.5 * (self.accuracy + self.completeness)

    def __str__(self) -> str:
        """Part of a row of the report."""
        parts = f"accuracy {self.accuracy:.4f}, completeness {self.completeness:.4f}, F {self.f_score:.3f}"
        return f"Chamfer {self.chamfer:.4f} ({parts}), {self.seconds:.1f} CPU-s"


def surfaces(assets: list[Asset], workspace: Workspace) -> dict[str, Float[np.ndarray, "n 3"]]:
    """Points on what can be seen of each asset."""
    folder = workspace.scratch / "surfaces"
    folder.mkdir(parents=True, exist_ok=True)
    directions = np.random.default_rng(0).normal(size=(64, 3))
    shared = {"points": _POINTS, "seed": 0, "directions": directions.tolist()}
    jobs = []
    for asset in with_files(assets, workspace):
        own = {"asset": str(workspace.root / asset.path), "up_axis": asset.up_axis}
        jobs.append(Job(asset.uid, shared | own | {"output": str(folder / f"{asset.uid}.npz")}))
    for outcome in executor_for(ExecutorParameters(workers=1, threads=1)).run(_HANDLER, jobs):
        if not outcome.ok:
            sys.exit(f"{outcome.uid}: {outcome.failure}: {outcome.message}")
    return {asset.uid: np.load(folder / f"{asset.uid}.npz")["points"] for asset in assets}


def on_mesh(mesh: TriangleMesh) -> Float[np.ndarray, "n 3"]:
    """Points uniform over a mesh."""
    generator, areas = np.random.default_rng(1), mesh.areas()
    chosen = mesh.faces[generator.choice(len(areas), _POINTS, p=areas / areas.sum())]
    return np.einsum("nc,ncd->nd", generator.dirichlet(np.ones(3), _POINTS), mesh.vertices[chosen].astype(np.float64))


def measure(ply: Path, truth: Float[np.ndarray, "n 3"], parameters: FusionParameters) -> Score:
    """Make the mesh of a file of Gaussians and compare it."""
    gaussians, start = read_ply(ply), time.process_time()
    mesh = mesh_from_gaussians(gaussians, parameters)
    seconds = time.process_time() - start
    points = on_mesh(mesh)
    there, back = cKDTree(truth).query(points)[0], cKDTree(points).query(truth)[0]
    precision, recall = np.mean(there < _THRESHOLD), np.mean(back < _THRESHOLD)
    f_score = 2.0 * precision * recall / max(precision + recall, 1e-12)
    return Score(float(there.mean()), float(back.mean()), float(f_score), seconds)


def main() -> int:
    """Measure; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one object, fewer cameras and voxels")
    parser.add_argument("--assets", type=Path, help="a folder of assets instead of composed objects")
    parser.add_argument("--scratch", type=Path, help="a folder that keeps the renders, so that they are made once")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    fusion = FusionParameters(views=32, resolution=96) if arguments.quick else FusionParameters()
    chosen = SplatterParameters(
        check_views=1, quality=QualityParameters(device="cpu"), executor=ExecutorParameters(workers=1, threads=1)
    )
    scores = []
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace((arguments.scratch or Path(folder)).absolute())
        assets = catalogue(arguments.assets, 1 if arguments.quick else 4, workspace)
        make_splatters(chosen, 0, workspace)
        truths = surfaces(assets, workspace)
        for asset in assets:
            ply = object_folder(workspace.scratch / "splatters", asset.uid) / "fused.ply"
            scores.append(measure(ply, truths[asset.uid], fusion))
            depth = measure(ply, truths[asset.uid], fusion.model_copy(update={"surface": "depth"}))
            print(
                f"{asset.title:28.28} {scores[-1]} | depth: Chamfer {depth.chamfer:.4f}, F {depth.f_score:.3f}",
                flush=True,
            )
    chamfer, seconds = (float(np.mean([getattr(score, name) for score in scores])) for name in ("chamfer", "seconds"))
    print(f"mesh seconds: {seconds:.1f} CPU-seconds a mesh, one thread")
    print(f"mesh: {chamfer:.4f} Chamfer distance to the asset (goal {_GOAL:g})")
    return int(chamfer > _GOAL)


if __name__ == "__main__":
    sys.exit(main())
