"""How much of one view is found again in the next: SIFT matches between neighbours, as ViewFusion counts them."""

import cv2
import numpy as np
from jaxtyping import Float, Float32, UInt8

SIZE = 256
RATIO = 0.75


def neighbour_matches(ring: Float[np.ndarray, "v h w 3"]) -> float:
    """Mean number of SIFT matches from each view's successor into it, the first following the last.

    Lowe's ratio test at 0.75 on the two nearest descriptors. Fewer than 2 descriptors on either side count 0. As
    Wi-sc/ViewFusion `zero123/test_video.py` (`calculate_sift_matching_points`).

    Args:
        ring: RGB in [0, 1], in order of azimuth.
    """
    found = [descriptors(picture) for picture in ring]
    return float(np.mean([matches(found[(n + 1) % len(found)], found[n]) for n in range(len(found))]))


def descriptors(picture: Float[np.ndarray, "h w 3"]) -> Float32[np.ndarray, "k 128"]:
    """SIFT descriptors of a picture's grey values at 256×256."""
    image = grey(picture)
    _, found = cv2.SIFT.create().detectAndCompute(image, np.full_like(image, 255))
    return np.zeros((0, 128), np.float32) if found is None else np.asarray(found)


def grey(picture: Float[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "256 256"]:
    """The mean of the channels, resized before (by area where smaller, else bilinearly), cut to whole levels as published."""
    if picture.shape[:2] != (SIZE, SIZE):
        shrinks = min(picture.shape[:2]) >= SIZE
        way = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        picture = cv2.resize(np.ascontiguousarray(picture, np.float32), (SIZE, SIZE), interpolation=way)
    return (np.clip(picture.mean(axis=2), 0.0, 1.0) * 255.0).astype(np.uint8)


def matches(query: Float32[np.ndarray, "k 128"], train: Float32[np.ndarray, "l 128"]) -> int:
    """How many descriptors have a nearest one that is less than 0.75 as far as the second nearest."""
    if min(len(query), len(train)) < 2:
        return 0
    return sum(best.distance < RATIO * second.distance for best, second in cv2.BFMatcher().knnMatch(query, train, k=2))
