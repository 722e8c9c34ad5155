"""Checking the pictures of an object that a set says are square, of one size, with alpha."""

from collections.abc import Mapping

import numpy as np

from stage.failures import FailureClass, ObjectFailedError
from training.data.pictures import decoded


def check_squares(pictures: Mapping[str, bytes]) -> tuple[int, tuple[float, ...]]:
    """Decode every picture; width in pixels, and the mean alpha of each.

    Args:
        pictures: PNG files by name.

    Raises:
        ObjectFailedError: naming the one that is damaged or has no 8-bit alpha, or when they differ in size or are not square.
    """
    sizes, coverage = zip(*(_checked(name, data) for name, data in pictures.items()), strict=True)
    if len(set(sizes)) > 1:
        raise ObjectFailedError(FailureClass.PARSE, "its pictures differ in size")
    width, height = sizes[0]
    if width != height:
        raise ObjectFailedError(FailureClass.PARSE, f"its pictures are not square: {width}×{height}")
    return width, coverage


def _checked(name: str, data: bytes) -> tuple[tuple[int, int], float]:
    """Size and mean alpha of a PNG, all of which is decoded."""
    try:
        image = decoded(data)
    except ValueError as error:
        raise ObjectFailedError(FailureClass.PARSE, f"{name} is damaged: {error}") from None
    if image.mode != "RGBA":
        raise ObjectFailedError(FailureClass.PARSE, f"{name} is {image.mode}, without 8-bit alpha")
    return image.size, float(np.asarray(image)[..., 3].mean() / 255.0)
