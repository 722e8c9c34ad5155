"""How an object stands in the square picture that a system is shown: a table of what was published, and who wants which.

The published preparations cut a picture to the object's bounding box, bring its longer side to a share of a square and put it
into the middle. A model has learnt that size from its renders: what fills the picture looks nearer than any camera stood.
Pixels are not touched here, only cut and surrounded: who needs another size resamples once (`systems.zero123.compositing`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from PIL import Image, ImageOps

from stage.errors import InputError
from systems.pictures.choices import FramingName

_NOTHING = (255, 255, 255, 0)


@dataclass(frozen=True)
class Framing:
    """An object in the middle of a square."""

    share: float
    """Of the square's side that the longer side of the object's bounding box has."""
    above: int
    """Alpha, 0 to 255, above which a pixel counts for the bounding box."""
    source: str
    """Where this was published."""


OBJECT_FRAMINGS: Mapping[str, Framing] = MappingProxyType(
    {
        # There small objects are not enlarged: `thumbnail` only reduces. Photographs are larger than 200 pixels.
        "zero123": Framing(200 / 256, 127, "cvlab-columbia/zero123 ldm/util.py load_and_preprocess"),
        "syncdreamer": Framing(200 / 256, 0, "liuyuan-pal/SyncDreamer prepare_inputs, --crop_size 200"),
        "lgm": Framing(0.8, 0, "3DTopia/LGM infer.py: kiui.op.recenter, border_ratio 0.2"),
    }
)
"""Framings by the object's bounding box. ViewFusion's own script (`process_real_images.py`) brings the picture, its object
uncentred, to the breadth that a sofa has in one of the authors' renders, which was not released: its pictures are framed as
Zero-1-to-3's, whose weights it samples."""


def frame(picture: Image.Image, name: FramingName) -> Image.Image:
    """A picture as a system is shown it: RGBA, square, at its own resolution.

    Args:
        picture: RGBA; of the framings by bounding box, with the object alone opaque.
        name: of the framing.

    Raises:
        InputError: when the framing is by the object's bounding box and nothing is opaque.
    """
    if name == "centre_square":
        return centre_square(picture)
    if name == "none":
        return padded_square(picture)
    framing = OBJECT_FRAMINGS[name]
    cut = picture.crop(bounding_box(picture, framing.above))
    return _in_square(cut, round(max(cut.size) / framing.share))


def bounding_box(picture: Image.Image, above: int = 0) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of the pixels whose alpha is above a bound; right and bottom lie outside.

    Raises:
        InputError: when there are none.
    """
    alpha = np.asarray(picture.getchannel("A")) > above
    rows, columns = np.flatnonzero(alpha.any(axis=1)), np.flatnonzero(alpha.any(axis=0))
    if not len(rows):
        raise InputError("nothing of the picture is opaque", "give a picture or a mask that shows an object")
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def centre_square(picture: Image.Image) -> Image.Image:
    """The square in the middle, as ZeroNVS cuts its pictures."""
    return ImageOps.fit(picture, (min(picture.size),) * 2)


def padded_square(picture: Image.Image) -> Image.Image:
    """The whole picture in the middle of a transparent square; a square one as it is. Never stretched."""
    return picture if picture.width == picture.height else _in_square(picture, max(picture.size))


def _in_square(picture: Image.Image, side: int) -> Image.Image:
    square = Image.new("RGBA", (side, side), _NOTHING)
    square.paste(picture.convert("RGBA"), ((side - picture.width) // 2, (side - picture.height) // 2))
    return square
