"""Which pixels of a picture are the object: its own alpha, a mask beside it, a network's opinion, or all of them."""

from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np
from PIL import Image

from stage.errors import InputError
from systems.pictures.choices import ForegroundChoice
from systems.pictures.opening import LIMITS, PictureLimits, open_picture
from systems.pictures.segmentation import foreground_mask, what_is_missing

# Of a half-transparent pixel: cut-outs have both sides of it.
_HALF = 128
_REMEDY = "give one with transparency, --foreground MASK.png, or --foreground none if it is on white already"


@dataclass(frozen=True, eq=False)
class CutOut:
    """A picture and how its object was found."""

    picture: Image.Image
    """RGBA."""
    found: bool
    """Whether its alpha is the object's."""
    how: str
    """In words."""


def cut_out(picture: Image.Image, choice: str = "auto", needed: bool = True, limits: PictureLimits = LIMITS) -> CutOut:
    """The object of a picture.

    Args:
        picture: RGBA.
        choice: a `ForegroundChoice`, or the path of a mask: white, or opaque, where the object is.
        needed: whether `auto` has to find one; otherwise, as for scenes, it takes the whole picture.
        limits: of a mask's file.

    Raises:
        InputError: when no object can be found that way.
    """
    if choice not in get_args(ForegroundChoice):
        return _by_mask(picture, Path(choice), limits)
    if choice == "none" or (choice == "auto" and not needed):
        return CutOut(picture, False, "the whole picture")
    if choice == "alpha" or (choice == "auto" and has_cut_out(picture)):
        return _by_alpha(picture)
    if choice == "auto" and (missing := what_is_missing()):
        raise InputError(f"the picture has a background and nothing to cut it off with: {missing}", _REMEDY)
    return _by_network(picture)


def has_cut_out(picture: Image.Image) -> bool:
    """Whether a picture's alpha tells an object from a background: some of it is transparent and some is opaque."""
    alpha = np.asarray(picture.getchannel("A"))
    return bool((alpha < _HALF).any() and (alpha >= _HALF).any())


def _by_alpha(picture: Image.Image) -> CutOut:
    if not has_cut_out(picture):
        least, most = picture.getchannel("A").getextrema()
        raise InputError(f"the picture's alpha is {least} to {most} of 255 and cuts nothing out", _REMEDY)
    return CutOut(picture, True, "the picture's alpha")


def _by_mask(picture: Image.Image, path: Path, limits: PictureLimits) -> CutOut:
    if not path.suffix and not path.is_file():
        choices = ", ".join(get_args(ForegroundChoice))
        raise InputError(f"--foreground {path} is no way to find an object", f"give {choices} or a mask's file")
    given = open_picture(path, limits)
    if given.size != picture.size:
        sizes = f"{given.width} × {given.height} pixels and the picture {picture.width} × {picture.height}"
        raise InputError(f"the mask {path} has {sizes}", "give one of the picture's size")
    mask = given.getchannel("A") if has_cut_out(given) else given.convert("L")
    cut = with_alpha(picture, mask)
    if not has_cut_out(cut):
        raise InputError(
            f"the mask {path} is the same everywhere", "make it white where the object is, black elsewhere"
        )
    return CutOut(cut, True, f"the mask {path.name}")


def _by_network(picture: Image.Image) -> CutOut:
    mask, network = foreground_mask(picture)
    return CutOut(with_alpha(picture, mask), True, f"segmented by {network}")


def with_alpha(picture: Image.Image, mask: Image.Image) -> Image.Image:
    """A picture with another alpha."""
    cut = picture.copy()
    cut.putalpha(mask)
    return cut
