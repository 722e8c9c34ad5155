"""A rendered object on disk: the job that makes it, its cameras and pictures, and how to read it back.

Folder `<uid[:2]>/<uid>/`: `000.png` (sRGB, straight alpha), `000.npy` (Zero-1-to-3's 3×4 world-to-camera), the passes asked for
(`000_depth.png`, `000_normal.png`, `000_position.exr`, `000_albedo.png`, `000_mask.png`), `record.json`, and `transforms.json`
(NeRF convention), written last: its presence means complete.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from blender_render.camera_sets import View
from blender_render.passes import DEPTH_SCALE, pass_path
from geometry.cameras import Intrinsics
from stage.errors import InputError
from stage.files import write_json

TRANSFORMS = "transforms.json"


@dataclass(frozen=True)
class RenderJob:
    """All that a worker needs to render one object; plain JSON values."""

    uid: str
    asset: str
    asset_sha256: str
    up_axis: str
    output: str
    fingerprint: str
    seed: int
    cameras: list[list[list[float]]]
    """c2w matrices, OpenGL axes."""
    intrinsics: dict[str, Any]
    """Those of all views, or of the first where they differ."""
    light_rigs: list[dict[str, Any]]
    """One for all views, or one for each."""
    quality: dict[str, Any]
    threads: int
    min_coverage: float
    input_views: int = 0
    """So many views from the first are inputs of their protocol; 0 where any may be."""
    view_intrinsics: list[dict[str, Any]] | None = None
    """Of each view, where they differ."""
    hdri: str | None = None
    hdri_sha256: str = ""
    assets: dict[str, Any] = field(default_factory=dict)
    """`AssetParameters`."""
    passes: Sequence[str] = ("depth", "normal")
    """Geometry passes to store, names in `blender_render.passes`."""
    spares: list[list[list[list[float]]]] = field(default_factory=list)
    """For each view other c2w matrices, to take where its own stands in or close to something; none where that cannot be."""

    def payload(self) -> dict[str, Any]:
        """The job as JSON."""
        return dict(vars(self))

    def lenses(self) -> list[Intrinsics]:
        """The intrinsics of each view."""
        return [Intrinsics(**lens) for lens in self.view_intrinsics or [self.intrinsics] * len(self.cameras)]

    def views(self) -> list[View]:
        """The cameras, in order."""
        pairs = zip(self.cameras, self.lenses(), strict=True)
        return [View(np.asarray(matrix), lens) for matrix, lens in pairs]


def write_cameras(folder: Path, views: Sequence[View], passes: Sequence[str]) -> None:
    """Write `transforms.json`: intrinsics in pixels and each view's c2w in OpenGL axes, as instant-ngp reads it.

    An intrinsic that all views share stands once; one that differs stands in every frame, where its readers expect it then.

    Args:
        folder: the object's folder.
        views: its cameras, in order.
        passes: names in `blender_render.passes` of what lies beside each picture.
    """
    lenses = [_lens_values(view.intrinsics) for view in views]
    shared = {key: value for key, value in lenses[0].items() if all(lens[key] == value for lens in lenses)}
    frames = [
        {
            "file_path": f"{number:03d}.png",
            **{f"{name}_file_path": pass_path(Path(f"{number:03d}"), name).name for name in passes},
            "transform_matrix": view.c2w.tolist(),
            **{key: value for key, value in lenses[number].items() if key not in shared},
        }
        for number, view in enumerate(views)
    ]
    write_json(folder / TRANSFORMS, {**shared, "depth_scale": DEPTH_SCALE, "frames": frames})


def _lens_values(lens: Intrinsics) -> dict[str, float]:
    return {
        "camera_angle_x": lens.fov_x,
        "fl_x": lens.fx,
        "fl_y": lens.fy,
        "cx": lens.cx,
        "cy": lens.cy,
        "w": lens.width,
        "h": lens.height,
    }


def is_complete(folder: Path, fingerprint: str) -> bool:
    """Whether the folder, which appears whole or not at all, is of just this input, these parameters and this code."""
    try:
        return bool(read_record(folder).get("fingerprint") == fingerprint)
    except InputError:
        return False


def read_record(folder: Path) -> dict[str, Any]:
    """The provenance record of a rendered object."""
    return _read_json(folder / "record.json")


def read_views(folder: Path) -> list[View]:
    """The cameras of a rendered object, in order.

    Raises:
        InputError: when the folder holds no complete rendering.
    """
    document = _read_json(folder / TRANSFORMS)
    frames = [{**document, **frame} for frame in document["frames"]]
    lenses = [Intrinsics(*(frame[key] for key in ("fl_x", "fl_y", "cx", "cy", "w", "h"))) for frame in frames]
    return [View(np.array(frame["transform_matrix"]), lens) for frame, lens in zip(frames, lenses, strict=True)]


def read_rgba(folder: Path, view: int) -> UInt8[np.ndarray, "h w 4"]:
    """One view, sRGB with straight alpha."""
    with Image.open(folder / f"{view:03d}.png") as image:
        return np.asarray(image.convert("RGBA"))


def on_white(rgba: UInt8[np.ndarray, "*n h w 4"]) -> Float[np.ndarray, "*n h w 3"]:
    """RGB in [0, 1], composited on white by alpha."""
    values = rgba.astype(np.float32) / 255.0
    alpha = values[..., 3:]
    return values[..., :3] * alpha + (1.0 - alpha)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        document: dict[str, Any] = json.loads(path.read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        raise InputError(f"{path} is missing or damaged", "delete its folder and run viewforge render again") from None
    return document
