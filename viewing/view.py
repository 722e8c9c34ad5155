"""What `viewforge splatter view` makes: `orbit.mp4`, `sheet.png`, and `viewer.html` where the viewer is installed."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from blender_render.contact_sheet import grid
from geometry.cameras import Intrinsics
from geometry.gaussians import Gaussians
from stage.errors import InputError
from stage.files import replacing
from stage.progress import Progress
from viewing.page import write_page
from viewing.splat_transform import check_installed
from viewing.turntable import Turntable, orbit, pictures, rows_of_views, turntable_around
from viewing.video import write_video

_FRAMES_PER_SECOND = 16
_SHEET_COLUMNS = 8
# From below, about level, and from above.
_SHEET_ELEVATIONS = (-np.pi / 9, np.pi / 18, np.pi / 4)
_SHEET_TILE = 128


@dataclass(frozen=True)
class Look:
    """How Gaussians are looked at."""

    frames: int
    """Pictures of one turn."""
    size: int
    """Width and height of the video, pixels, even."""
    elevation: float
    """Of the video's camera above the horizon, radians."""
    fov: float
    """Full field of view, radians."""
    radius: float | None
    """Distance of the camera from the middle, world units; None lets the object fill the picture."""


def write_view(folder: Path, name: str, gaussians: Gaussians, look: Look) -> str:
    """Write the video, the contact sheet and the page of at least one Gaussian; why there is no page, or nothing.

    Raises:
        InputError: when the viewer failed though it is installed.
    """
    turntable = turntable_around(gaussians, look.fov, look.radius)
    tiles = _SHEET_COLUMNS * len(_SHEET_ELEVATIONS)
    with Progress("view", look.frames + tiles, "pictures") as progress:
        frames = _counted(_frames(gaussians, turntable, look), progress)
        write_video(folder / "orbit.mp4", frames, look.size, _FRAMES_PER_SECOND)
        _write_sheet(folder / "sheet.png", _counted(_tiles(gaussians, turntable, look), progress))
    page = folder / "viewer.html"
    try:
        check_installed()
    except InputError as error:
        # One of before would show other Gaussians.
        page.unlink(missing_ok=True)
        return str(error)
    write_page(page, gaussians, turntable, look.elevation, look.fov, name)
    return ""


def _frames(gaussians: Gaussians, turntable: Turntable, look: Look) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
    return pictures(gaussians, orbit(turntable, look.frames, look.elevation), Intrinsics.from_fov(look.fov, look.size))


def _tiles(gaussians: Gaussians, turntable: Turntable, look: Look) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
    cameras = rows_of_views(turntable, _SHEET_COLUMNS, _SHEET_ELEVATIONS)
    return pictures(gaussians, cameras, Intrinsics.from_fov(look.fov, _SHEET_TILE))


def _write_sheet(path: Path, tiles: Iterator[UInt8[np.ndarray, "h w 3"]]) -> None:
    sheet = grid([Image.fromarray(pixels) for pixels in tiles], _SHEET_COLUMNS)
    with replacing(path) as temporary:
        sheet.save(temporary, format="png")


def _counted(frames: Iterator[UInt8[np.ndarray, "h w 3"]], progress: Progress) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
    for frame in frames:
        yield frame
        progress.advance()
