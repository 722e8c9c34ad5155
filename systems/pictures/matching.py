"""Points of an object that several pictures of it show: SIFT features (Lowe 2004) matched between every two, by OpenCV."""

from collections.abc import Sequence
from itertools import combinations

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from geometry.elevation_search import Matches

# Lowe's ratio of the nearest to the second nearest descriptor, as systems are scored by (Wi-sc/ViewFusion zero123/test_video.py).
_RATIO = 0.75
# SIFT finds little in pictures as small as these systems make.
_SIDE = 512
_CONTRAST = 0.02
# Darker than this somewhere is the object: pictures are on white.
_WHITE = 250
# Half of a feature's size must lie between it and the outline: an outline is at another place of the object in every view.
_INSIDE = 0.5


def matched_points(pictures: Sequence[Float[np.ndarray, "h w 3"]]) -> Matches:
    """Matches between every two pictures, each seen by those two; mutual, past Lowe's ratio, and not on an outline.

    Args:
        pictures: RGB in [0, 1] on white, all of one size.
    """
    found = [_features(picture) for picture in pictures]
    pixels, seen = [], []
    for first, second in combinations(range(len(pictures)), 2):
        for one, other in _pairs(found[first][1], found[second][1]):
            row, mask = np.zeros((len(pictures), 2)), np.zeros(len(pictures), dtype=bool)
            row[first], row[second] = found[first][0][one], found[second][0][other]
            mask[[first, second]] = True
            pixels.append(row)
            seen.append(mask)
    count = len(pictures)
    return Matches(np.array(pixels).reshape(-1, count, 2), np.array(seen, dtype=bool).reshape(-1, count))


def _features(
    picture: Float[np.ndarray, "h w 3"],
) -> tuple[Float[np.ndarray, "k 2"], Float[np.ndarray, "k 128"]]:
    """Places, in pixels of the picture from its top-left corner, and descriptors."""
    rgb = (np.clip(picture, 0.0, 1.0) * 255.0).round().astype(np.uint8)
    factor = max(1.0, _SIDE / max(rgb.shape))
    large = cv2.resize(rgb, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)
    grey = cv2.cvtColor(large, cv2.COLOR_RGB2GRAY)
    object_ = (large.min(axis=2) < _WHITE).astype(np.uint8)
    keypoints, descriptors = cv2.SIFT.create(contrastThreshold=_CONTRAST).detectAndCompute(grey, object_)
    inside = _inside(keypoints, object_)
    if not inside:
        return np.zeros((0, 2)), np.zeros((0, 128))
    # OpenCV's pixels have their centres at whole numbers, ours at halves.
    places = (np.array([keypoints[n].pt for n in inside]) + 0.5) / factor
    return places, descriptors[inside].astype(np.float64)


def _inside(keypoints: Sequence[cv2.KeyPoint], object_: UInt8[np.ndarray, "h w"]) -> list[int]:
    """Those that are not on the outline of what is not 0."""
    depth = cv2.distanceTransform(object_, cv2.DIST_L2, 5)
    far = _INSIDE * np.array([point.size for point in keypoints])
    columns, rows = np.array([point.pt for point in keypoints]).reshape(-1, 2).astype(int).T
    return [int(n) for n in np.flatnonzero(depth[rows, columns] >= far)]


def _pairs(first: Float[np.ndarray, "k 128"], second: Float[np.ndarray, "m 128"]) -> list[tuple[np.intp, np.intp]]:
    """Indices of descriptors that are each other's nearest and by far."""
    if len(first) < 2 or len(second) < 2:
        return []
    squared = (first**2).sum(axis=1)[:, None] + (second**2).sum(axis=1) - 2.0 * first @ second.T
    nearest, back = squared.argmin(axis=1), squared.argmin(axis=0)
    two = np.partition(squared, 1, axis=1)[:, :2]
    clear = two[:, 0] < _RATIO**2 * two[:, 1]
    mutual = back[nearest] == np.arange(len(first))
    return [(one, nearest[one]) for one in np.flatnonzero(clear & mutual)]
