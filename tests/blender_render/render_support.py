"""Small renderings for tests: parameters, assets written by hand, and where an object's rendering lies."""

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from blender_render.farm import Farm
from blender_render.parameters import QualityParameters, RenderParameters
from blender_render.passes import load_depth
from blender_render.rendered_object import read_views
from catalog.table import Asset
from geometry.cameras import Intrinsics, opencv_from_opengl
from stage.executor import ExecutorParameters
from stage.files import write_text
from stage.packs import object_folder
from stage.workspace import Workspace

QUALITY = QualityParameters(samples=4, device="cpu")
SMALL = RenderParameters(
    views=8, resolution=32, quality=QUALITY, executor=ExecutorParameters(workers=2), max_failure_rate=1.0
)

_TETRAHEDRON = "v 0 0 0\nv 1 0 0\nv 0 1 0\nv 0 0 1\n{middle}f 1 3 2\nf 1 2 4\nf 2 3 4\nf 1 4 3\n"


@dataclass(frozen=True)
class Rendered:
    """A workspace whose catalogue has been rendered into `root`."""

    workspace: Workspace
    assets: list[Asset]
    root: Path
    parameters: RenderParameters = SMALL

    def asset(self, title: str) -> Asset:
        """The row of a title."""
        return next(asset for asset in self.assets if asset.title == title)

    def folder(self, title: str) -> Path:
        """The rendering of a title."""
        return object_folder(self.root, self.asset(title).uid)

    def farm(self) -> Farm:
        """The farm that rendered it."""
        return Farm(self.root, self.parameters, 0, self.workspace)


def tetrahedron(middle: str = "") -> str:
    """An OBJ file with lines put between vertices and faces."""
    return _TETRAHEDRON.format(middle=middle)


def write_see_through(folder: Path, name: str, opacity: float) -> None:
    """A red tetrahedron of a given opacity."""
    write_text(folder / f"{name}.obj", f"mtllib {name}.mtl\n" + tetrahedron("usemtl red\n"))
    write_text(folder / f"{name}.mtl", f"newmtl red\nKd 1 0 0\nd {opacity}\n")


def glb(document: bytes, length: int | None = None) -> bytes:
    """A binary glTF that holds a JSON chunk alone; `length` is what its header claims."""
    document += b" " * (-len(document) % 4)
    total = 20 + len(document) if length is None else length
    return struct.pack("<4sIIII", b"glTF", 2, total, len(document), 0x4E4F534A) + document


def contents(folder: Path) -> dict[str, bytes]:
    """All files of a rendering."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def rgba(folder: Path, view: int) -> np.ndarray:
    """A view's picture in [0, 1]."""
    with Image.open(folder / f"{view:03d}.png") as image:
        return np.asarray(image) / 255.0


def back_projected(depth: np.ndarray, c2w: np.ndarray, camera: Intrinsics) -> np.ndarray:
    """World points of the pixels that have a depth, written apart from the project's own code."""
    rows, columns = np.nonzero(depth)
    z = depth[rows, columns]
    x = (columns + 0.5 - camera.cx) / camera.fx * z
    y = (rows + 0.5 - camera.cy) / camera.fy * z
    axes = opencv_from_opengl(c2w)
    return np.stack([x, y, z], axis=1) @ axes[:3, :3].T + axes[:3, 3]


def surface_points(folder: Path) -> np.ndarray:
    """World points that the depth passes of all views see together."""
    points = [
        back_projected(load_depth(folder / f"{number:03d}_depth.png"), view.c2w, view.intrinsics)
        for number, view in enumerate(read_views(folder))
    ]
    return np.concatenate(points)
