"""Reconstructions that are kept object by object: a killed evaluation goes on, and a finished object is not optimised again.

`scratch/evaluation/reconstructions/<subset>/<uid[:2]>/<uid>/` holds `reconstruction.json`, `mesh.ply` with vertex colours, and
`work/<key>/` with the optimisation's checkpoints and previews, of the latest field alone. What failed and would fail again is
kept, too, with its reason.
"""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evaluation.folders.meshes import read_mesh
from evaluation.meshes import write_mesh_ply
from geometry.triangle_mesh import TriangleMesh
from stage.errors import InputError
from stage.files import file_sha256, write_json
from stage.packs import object_folder

_RECORD, _MESH, _WORK = "reconstruction.json", "mesh.ply", "work"
_SHORT = 16


@dataclass(frozen=True)
class Reconstructed:
    """What became of an object."""

    mesh: TriangleMesh | None
    """As the file has it, without triangles that have no area; None where there is none."""
    reason: str = ""
    """Why not."""


@dataclass(frozen=True)
class ReconstructionStore:
    """The kept reconstructions of a subset.

    Args:
        root: folder of them.
    """

    root: Path

    def read(self, uid: str, key: str) -> Reconstructed | None:
        """What is kept of an object; None where nothing is under this key, or its mesh is not the one that was written."""
        folder = object_folder(self.root, uid)
        try:
            record: dict[str, Any] = json.loads((folder / _RECORD).read_text())
        except (OSError, ValueError):
            return None
        if record.get("key") != key:
            return None
        if record.get("reason"):
            return Reconstructed(None, record["reason"])
        path = folder / _MESH
        if not path.is_file() or file_sha256(path) != record.get("mesh_sha256"):
            return None
        return self._meshed(path)

    def keep_mesh(self, uid: str, key: str, mesh: TriangleMesh) -> Reconstructed:
        """Keep a mesh in place of what was there; as it is read back, so that a kept one has the same figures."""
        folder = object_folder(self.root, uid)
        path = folder / _MESH
        write_mesh_ply(path, mesh)
        facts = {"mesh_sha256": file_sha256(path), "faces": len(mesh.faces), "closed": bool(mesh.is_watertight)}
        write_json(folder / _RECORD, {"key": key, **facts})
        return self._meshed(path)

    def keep_failure(self, uid: str, key: str, reason: str) -> Reconstructed:
        """Keep why an object has no mesh and will have none, in place of what was there."""
        folder = object_folder(self.root, uid)
        write_json(folder / _RECORD, {"key": key, "reason": reason})
        (folder / _MESH).unlink(missing_ok=True)
        return Reconstructed(None, reason)

    def work(self, uid: str, key: str) -> Path:
        """The folder of an optimisation; those of other fields of the object go."""
        root = object_folder(self.root, uid) / _WORK
        mine = root / key[:_SHORT]
        for other in root.glob("*"):
            if other != mine:
                shutil.rmtree(other, ignore_errors=True)
        return mine

    @staticmethod
    def _meshed(path: Path) -> Reconstructed:
        try:
            return Reconstructed(read_mesh(path, path.read_bytes()))
        except InputError as error:
            return Reconstructed(None, str(error))
