"""Decoding pictures that others made: all of it, in the expected formats alone, and with errors that are the same each time."""

import io

from PIL import Image, UnidentifiedImageError


def decoded(data: bytes, *formats: str) -> Image.Image:
    """A picture, decoded to its last pixel.

    Args:
        data: the file's content.
        formats: Pillow's names of those that are expected, PNG if none are given; no other decoder sees the data.

    Raises:
        ValueError: in one line, when it is none of them or damaged.
    """
    expected = formats or ("PNG",)
    try:
        image = Image.open(io.BytesIO(data), formats=expected)
        image.load()
    except UnidentifiedImageError:
        # Pillow's own message has an address in memory, and would differ from run to run.
        raise ValueError(f"it is no {' or '.join(expected)}") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(str(error).partition("\n")[0]) from None
    return image
