"""Pictures of a reconstructed field: a turntable as a video, and a contact sheet of views from below, level and above."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from blender_render.camera_sets import View
from blender_render.contact_sheet import grid
from reconstruction.field_orbit import orbit
from stage.files import replacing
from stage.progress import Progress
from viewing.video import write_video

_FRAMES_PER_SECOND = 16
_ELEVATION = np.pi / 9
_COLUMNS, _TILE = 8, 128
_SHEET_ELEVATIONS = (-np.pi / 9, np.pi / 18, np.pi / 4)


def write_field_view(
    video: Path, sheet: Path, seen: Callable[[View], Float[Tensor, "3 h w"]], frames: int, size: int
) -> None:
    """Write a video of one turn and a contact sheet.

    Args:
        video: ends in `.mp4`.
        sheet: a PNG.
        seen: the field's picture from a camera, RGB in [0, 1].
        frames: of the turn; the sheet has at most eight columns.
        size: width and height of the video, pixels, even.
    """
    columns = min(_COLUMNS, frames)
    with Progress("view", frames + columns * len(_SHEET_ELEVATIONS), "pictures") as progress:

        def counted(camera: View) -> Float[Tensor, "3 h w"]:
            progress.advance()
            return seen(camera)

        write_video(video, orbit(counted, frames, size, _ELEVATION), size, _FRAMES_PER_SECOND)
        tile = min(size, _TILE)
        tiles = [pixels for each in _SHEET_ELEVATIONS for pixels in orbit(counted, columns, tile, each)]
        picture = grid([Image.fromarray(pixels).resize((_TILE, _TILE)) for pixels in tiles], columns)
    with replacing(sheet) as temporary:
        picture.save(temporary, format="PNG")
