"""Gaussians in, a textured GLB out, in one call: `viewforge splatter mesh` and `viewforge sample --mesh`."""

from dataclasses import dataclass
from pathlib import Path

from geometry.gaussians import Gaussians
from reconstruction.gaussian_mesh import mesh_from_gaussians
from reconstruction.parameters import FusionParameters, TextureParameters
from reconstruction.texturing import check_target, write_textured


@dataclass(frozen=True)
class WrittenMesh:
    """What became of Gaussians."""

    dense_faces: int
    """Triangles of the fused surface."""
    is_watertight: bool
    """Whether that surface bounds a volume."""
    faces: int
    """Triangles in the file."""
    texture_used: float
    """Share of the texture that they take."""

    def line(self) -> str:
        """In one line."""
        closed = "closed" if self.is_watertight else "open"
        return f"{self.faces:,} of {self.dense_faces:,} faces, {closed}, {self.texture_used:.0%} of the texture used"


def write_mesh(path: Path, gaussians: Gaussians, fusion: FusionParameters, texture: TextureParameters) -> WrittenMesh:
    """Write a textured mesh of Gaussians as a GLB file, atomically; the same Gaussians give the same bytes.

    Raises:
        InputError: when the Gaussians have no surface, or the file another ending.
        StageFailedError: when Blender fails; a file that was there before stays.
    """
    check_target(path)
    mesh = mesh_from_gaussians(gaussians, fusion)
    made = write_textured(path, mesh, texture)
    return WrittenMesh(len(mesh.faces), mesh.is_watertight, made["faces"], made["used"])
