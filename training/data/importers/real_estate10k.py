"""RealEstate10K and ACID as their publishers give them: a camera file a clip, with the frames that a user took out of the video.

`<clip>.txt` has the video's address in its first line, then a line a frame: time in microseconds, fx, fy, cx, cy as fractions
of the picture, two zeros, and twelve numbers of the 3×4 world-to-camera matrix in OpenCV axes. Frames are `<clip>/<time>.png`
or `.jpg` beside it. Source: google.github.io/realestate10k and infinite-nature.github.io, "camera data".

Frames that could not be had of a video are left out, as its users do; a clip of fewer than two is. Worlds are the publisher's, as
in `training.data.importers.zeronvs`.
"""

import io
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float

from blender_render.camera_sets import View
from geometry.cameras import c2w_from_real_estate10k, intrinsics_from_normalised
from stage.errors import InputError
from stage.failures import FailureClass, ObjectFailedError
from training.data.importers.candidates import Candidate, ImportedViews, PublishedSet
from training.data.pictures import decoded
from training.data.zeronvs_cameras import check_camera

_NUMBERS = 19
_SUFFIXES = (".png", ".jpg", ".jpeg")
CameraLine = Float[np.ndarray, "19"]


def clips(source: Path, name: Literal["re10k", "acid"]) -> PublishedSet:
    """The clips below a folder of camera files.

    Raises:
        InputError: when there is no camera file.
    """
    files = sorted(source.glob("*.txt"))
    if not files:
        raise InputError(
            f"no camera file {source / '*.txt'}", "put each clip's folder of frames beside its camera file"
        )
    candidates = [Candidate(path.stem, partial(_load, path)) for path in files]
    return PublishedSet(name, candidates, len(candidates))


def _load(cameras: Path) -> ImportedViews:
    found = [
        (line, picture) for line in camera_lines(cameras) if (picture := frame_file(cameras.with_suffix(""), line))
    ]
    if len(found) < 2:
        raise ObjectFailedError(FailureClass.MISSING, f"{len(found)} frames of it are there, two are needed")
    pictures, views = zip(*(_view(line, picture) for line, picture in found), strict=True)
    if len({(view.intrinsics.width, view.intrinsics.height) for view in views}) > 1:
        raise ObjectFailedError(FailureClass.PARSE, "its pictures differ in size")
    return ImportedViews(pictures, (1.0,) * len(views), views)


def camera_lines(cameras: Path) -> list[CameraLine]:
    """The numbers of each frame of a clip.

    Raises:
        ObjectFailedError: naming the line that has others.
    """
    lines = []
    for number, text in enumerate(cameras.read_text(errors="replace").splitlines()[1:], start=2):
        try:
            values = np.array(text.split(), dtype=np.float64)
        except ValueError:
            values = np.empty(0)
        if len(values) != _NUMBERS or not np.isfinite(values).all():
            raise ObjectFailedError(FailureClass.PARSE, f"line {number} of {cameras.name} is no {_NUMBERS} numbers")
        lines.append(values)
    return lines


def frame_file(folder: Path, line: CameraLine) -> Path | None:
    """A frame's picture in its clip's folder, if it is there."""
    paths = (folder / f"{int(line[0])}{suffix}" for suffix in _SUFFIXES)
    return next((path for path in paths if path.is_file()), None)


def camera_of(line: CameraLine, width: int, height: int) -> View:
    """The camera of a line, of a picture of this size.

    Raises:
        ValueError: when it is none.
    """
    fx, fy, cx, cy = (float(value) for value in line[1:5])
    lens = intrinsics_from_normalised((fx, fy), (cx, cy), width, height)
    c2w = c2w_from_real_estate10k(line[7:].reshape(3, 4))
    check_camera(c2w, lens)
    return View(c2w, lens)


def _view(line: CameraLine, path: Path) -> tuple[bytes, View]:
    """A frame as PNG, its own bytes where it is one, and its camera."""
    try:
        data = path.read_bytes()
        image = decoded(data, "PNG", "JPEG")
        if image.format != "PNG":
            stream = io.BytesIO()
            image.convert("RGB").save(stream, format="PNG")
            data = stream.getvalue()
        view = camera_of(line, *image.size)
    except ValueError as error:
        raise ObjectFailedError(FailureClass.PARSE, f"{path.name}: {error}") from None
    return data, view
