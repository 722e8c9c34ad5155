"""A textured GLB of a coloured mesh: clean-up, unwrapping and baking by Blender, in a supervised worker of its own."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from blender_render.installation import check_system_libraries
from geometry.triangle_mesh import TriangleMesh
from reconstruction.parameters import TextureParameters
from stage.errors import InputError, StageFailedError
from stage.executor import ExecutorParameters, Job, executor_for

_HANDLER = "reconstruction.texture_worker:texture_mesh"
# How far a decimated surface may lie from the mesh, as a share of the longest side.
_REACH = 0.03


def write_textured(path: Path, mesh: TriangleMesh, parameters: TextureParameters) -> dict[str, Any]:
    """Write a coloured mesh as a GLB file with a base-colour texture, atomically; the same mesh gives the same bytes.

    glTF is Y up, and programs turn it upright on import: in Blender the object lies where the mesh lies.

    Args:
        path: ends in `.glb`.
        mesh: world units, Z up, with colours.
        parameters: number of faces, size of the texture.

    Returns:
        `faces`, `vertices` and `open_edges` that were written, and the share `used` of the texture.

    Raises:
        InputError: when the mesh has no faces or colours, or the file another ending.
        StageFailedError: when Blender fails; a file that was there before stays.
    """
    check_target(path)
    if mesh.colours is None or not len(mesh.faces):
        raise InputError(f"{path}: a mesh of {len(mesh.faces)} faces without colours has no texture")
    check_system_libraries()
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="viewforge-") as scratch:
        source = Path(scratch) / "mesh.npz"
        np.savez(source, vertices=mesh.vertices, faces=mesh.faces, colours=mesh.colours)
        return _run(
            {
                "mesh": str(source),
                "faces": parameters.faces,
                "size": parameters.size,
                "reach": _REACH * float((mesh.bounds[1] - mesh.bounds[0]).max()),
                "output": str(path.absolute()),
            },
            parameters.timeout_seconds,
        )


def check_target(path: Path) -> None:
    """Raise an InputError when a file's name does not say that it is a GLB."""
    if path.suffix.lower() != ".glb":
        raise InputError(f"{path}: a textured mesh is a .glb file", "give a name that ends in .glb")


def _run(payload: dict[str, Any], timeout_seconds: float) -> dict[str, Any]:
    executor = executor_for(ExecutorParameters(workers=1, timeout_seconds=timeout_seconds))
    (outcome,) = executor.run(_HANDLER, [Job("mesh", payload)])
    if not outcome.ok:
        raise StageFailedError(
            f"{payload['output']}: Blender failed to texture the mesh: {outcome.message}", "see --verbose"
        )
    return outcome.result
