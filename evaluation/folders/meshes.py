"""Meshes of any program beside the true ones: read as they are, brought to a frame by name, measured.

Coordinates are taken as the files have them: nothing is turned for a format, though glTF means Y to be up. Lengths are in longest
sides of the true mesh.
"""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np
import trimesh

from evaluation.mesh_figures import MeshFigures, mesh_figures, unavailable
from evaluation.parameters import GeometryParameters
from geometry.surfaces import boxed, longest_side, measurable
from geometry.triangle_mesh import TriangleMesh
from stage.errors import InputError

Alignment = Literal["none", "true_box"]
ALIGNMENTS: Mapping[Alignment, str] = {
    "none": "both meshes as they are, in one frame",
    "true_box": "the prediction as it is; the truth with its longest side brought to 1 and its box about the origin, as in "
    "SyncDreamer's eval_mesh.py",
}


def read_mesh(path: Path, data: bytes) -> TriangleMesh:
    """The triangles of a file, world units as written, without those that have no area.

    Args:
        path: of the file, whose suffix tells the format; for messages.
        data: its bytes.

    Raises:
        InputError: when it is damaged, has no triangle or no area.
    """
    kind = path.suffix.lower().removeprefix(".")
    try:
        # Materials need other files, and no figure needs materials.
        loaded = trimesh.load(io.BytesIO(data), file_type=kind, force="mesh", process=False, skip_materials=True)
    except Exception as error:  # noqa: BLE001 - readers of formats raise anything
        raise InputError(f"{path} is no mesh: {' '.join(str(error).split()) or type(error).__name__}") from None
    if not isinstance(loaded, trimesh.Trimesh) or not len(loaded.faces):
        raise InputError(f"{path} has no faces")
    return measurable(TriangleMesh(loaded.vertices, loaded.faces))


def compare_meshes(
    prediction: TriangleMesh,
    truth: TriangleMesh,
    alignment: Alignment,
    yaw_deg: float,
    parameters: GeometryParameters,
    seed: int,
) -> MeshFigures:
    """All figures of a mesh.

    Args:
        prediction: the mesh to judge.
        truth: the true one.
        alignment: a name of `ALIGNMENTS`.
        yaw_deg: by which the truth is turned about Z, counter-clockwise seen from above, before all else.
        parameters: samples, thresholds and grid.
        seed: of all samples of this object.
    """
    truth = _turned(truth, yaw_deg)
    if alignment == "none":
        prediction = _in_box_of(truth, prediction)
    try:
        return mesh_figures(prediction, boxed(truth, 1.0), parameters, seed)
    except InputError as error:
        return unavailable(parameters, str(error))


def _turned(mesh: TriangleMesh, yaw_deg: float) -> TriangleMesh:
    angle = np.deg2rad(yaw_deg)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0.0], [np.sin(angle), np.cos(angle), 0.0], [0.0, 0.0, 1.0]])
    return TriangleMesh(mesh.vertices @ turn.T, mesh.faces)


def _in_box_of(truth: TriangleMesh, mesh: TriangleMesh) -> TriangleMesh:
    """The mesh under the similarity that brings the truth's box about the origin and its longest side to 1."""
    return TriangleMesh((mesh.vertices - truth.bounds.mean(axis=0)) / longest_side(truth), mesh.faces)
