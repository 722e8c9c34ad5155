"""The window that a picture is rendered in: it holds what can be seen, and is the whole picture where that is not sure."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from blender_render.framing import WHOLE, window
from geometry.cameras import Intrinsics, look_at_origin, project

LENS = Intrinsics.from_fov(0.857, 64)
corners = arrays(np.float64, (8, 3), elements=st.floats(-0.5, 0.5))
cameras = st.builds(look_at_origin, st.floats(0.1, 3.0), st.floats(-3.1, 3.1), st.floats(1.5, 2.2))
shares = arrays(np.float64, (20, 8), elements=st.floats(0.01, 1))


@given(corners=corners, c2w=cameras, shares=shares)
def test_whatever_lies_between_the_corners_is_in_the_window(
    corners: np.ndarray, c2w: np.ndarray, shares: np.ndarray
) -> None:
    found = window(corners, c2w, LENS)
    points = shares / shares.sum(axis=1, keepdims=True) @ corners
    (x, y), size = project(points, c2w, LENS)[0].T, 64
    seen = (x >= 0) & (x <= size) & (y >= 0) & (y <= size)
    assert (x[seen] >= found.left * size).all()
    assert (x[seen] <= found.right * size).all()
    assert (size - y[seen] >= found.bottom * size).all()
    assert (size - y[seen] <= found.top * size).all()


def test_a_small_object_takes_a_small_window_where_it_stands() -> None:
    """A point right of the origin is right in the picture of a camera on -Y, and one above it up."""
    c2w = look_at_origin(np.pi / 2, -np.pi / 2, 2.0)
    right = window(np.array([[0.3, 0.0, 0.0]]), c2w, LENS)
    assert right.left > 0.5
    assert right.right - right.left < 0.2
    upper = window(np.array([[0.0, 0.0, 0.3]]), c2w, LENS)
    assert upper.bottom > 0.5
    assert upper.top - upper.bottom < 0.2


def test_what_is_not_sure_takes_the_whole_picture() -> None:
    c2w = look_at_origin(1.0, 0.0, 2.0)
    behind = c2w[:3, 3] * 1.5
    assert window(np.empty((0, 3)), c2w, LENS) == WHOLE
    assert window(np.array([[0.0, 0.0, 0.0], behind]), c2w, LENS) == WHOLE
    aside = c2w[:3, 0] * 5
    assert window(aside[None], c2w, LENS) == WHOLE
