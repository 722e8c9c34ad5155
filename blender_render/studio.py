"""A prepared scene and its camera: what one view shows, in colour and in geometry passes.

Colour has its samples, antialiasing and denoiser; geometry has one sample at the pixel's centre. Runs inside a worker process.
"""

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from blender_render import framing, passes, scene
from blender_render.parameters import QualityParameters
from geometry.cameras import Intrinsics
from stage.stopwatch import Stopwatch


class Studio:
    """Renders views of the scene that is in Blender now; the camera alone moves.

    Args:
        lens: intrinsics of the first view; all views have its size.
        quality: samples, denoising, cropping.
        scratch: folder for what Blender writes.
        stopwatch: notes the seconds inside Blender, as "colour" and "geometry".
    """

    def __init__(self, lens: Intrinsics, quality: QualityParameters, scratch: Path, stopwatch: Stopwatch) -> None:
        self._camera = scene.add_camera(lens.fov_x, lens.width)
        self._quality, self._scratch, self._stopwatch = quality, scratch, stopwatch
        self._corners = scene.outline()
        self._window = framing.WHOLE
        self._numbers = itertools.count()

    def look(self, c2w: Sequence[Sequence[float]], lens: Intrinsics) -> None:
        """Turn to a view: 4×4 camera-to-world in OpenGL axes, and its intrinsics."""
        scene.place_camera(self._camera, c2w)
        scene.set_lens(self._camera, lens.fov_x)
        self._window = framing.window(self._corners, np.asarray(c2w), lens)

    def colour(self) -> Path:
        """Render the view's picture; the file is read, and deleted, by `read_colour`."""
        path = self._scratch / f"{next(self._numbers)}.png"
        with self._stopwatch.phase("colour"):
            scene.set_window(self._window if self._quality.crop else framing.WHOLE)
            scene.render_colour(path, self._quality)
        return path

    def geometry(self, *, albedo: bool = False) -> Path:
        """Render the view's geometry passes, within `opacity.hard_opacity`; the file is read, and deleted, by `read_geometry`."""
        path = self._scratch / f"{next(self._numbers)}.exr"
        with self._stopwatch.phase("geometry"):
            scene.set_window(self._window)
            scene.render_geometry(path, albedo=albedo)
        return path


def read_colour(path: Path) -> UInt8[np.ndarray, "h w 4"]:
    """The picture alone, sRGB with straight alpha; Cycles puts its rendering times into the file, whatever the stamps say."""
    with Image.open(path) as image:
        rgba = np.asarray(image)
    path.unlink()
    return rgba


def read_geometry(path: Path) -> passes.GeometryPasses:
    """The geometry passes of a view."""
    found = passes.read_exr(path)
    path.unlink()
    return found
