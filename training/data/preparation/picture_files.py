"""Picture files as others made them: their size before they are decoded, and their pixels."""

from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, UnidentifiedImageError

from training.data.pictures import decoded

_FORMATS = ("PNG", "JPEG")


def size_of(path: Path) -> tuple[int, int]:
    """Width and height, pixels, from the file's head.

    Raises:
        ValueError: when it is neither PNG nor JPEG.
        OSError: when it cannot be read.
    """
    try:
        with Image.open(path, formats=_FORMATS) as image:
            return image.size
    except (UnidentifiedImageError, SyntaxError, Image.DecompressionBombError):
        # Pillow's own message may hold an address in memory.
        raise ValueError(f"it is no {' or '.join(_FORMATS)}") from None


def read_rgb(path: Path, width: int, height: int) -> UInt8[np.ndarray, "h w 3"]:
    """The pixels of a picture whose size is known, sRGB.

    Raises:
        ValueError: when it is damaged or of another size.
        OSError: when it cannot be read.
    """
    image = decoded(path.read_bytes(), *_FORMATS)
    if image.size != (width, height):
        raise ValueError(f"its picture has {image.width}×{image.height} pixels, its camera {width}×{height}")
    return np.asarray(image.convert("RGB"))
