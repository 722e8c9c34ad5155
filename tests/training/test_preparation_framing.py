"""Cutting and resizing to one lens: what a pixel shows stays where the camera sees it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from preparation_support import cameras, off_middle, seen

from geometry.cameras import Intrinsics, project
from training.data.preparation.framing import Framing, wide_enough
from training.data.preparation.source_scenes import SparseDepth

LENSES = st.builds(
    lambda width, height, focal, ratio, x, y: Intrinsics(focal, focal * ratio, x * width, y * height, width, height),
    st.integers(20, 4000),
    st.integers(20, 4000),
    st.floats(20, 5000),
    st.floats(0.9, 1.1),
    st.floats(0.2, 0.8),
    st.floats(0.2, 0.8),
)


def test_a_picture_with_its_principal_point_off_the_middle_by_hand():
    """100×80 with (40, 40): 40 pixels on both sides in x and in y, a square of 80 from column 0."""
    lens = Intrinsics(50.0, 50.0, 40.0, 40.0, 100, 80)
    framing = Framing.of([lens], side=40)
    assert framing == Framing(25.0, 40, 40)
    picture = np.random.default_rng(0).integers(0, 256, (80, 100, 3), dtype=np.uint8)
    assert framing.picture(picture, lens).shape == (40, 40, 3)
    whole = Framing.of([lens], side=80)
    np.testing.assert_array_equal(whole.picture(picture, lens), picture[:, :80])
    depth = np.arange(8000.0).reshape(80, 100)
    np.testing.assert_array_equal(framing.depth(depth, lens), depth[1:80:2, 1:80:2])


@settings(max_examples=100, deadline=None)
@given(st.lists(LENSES, min_size=1, max_size=4), st.integers(8, 300), st.booleans())
def test_the_frame_is_filled_by_all_pictures_and_as_large_as_can_be(lenses, side, tall):
    framing = Framing.of(lenses, side, tall)
    width, height = framing.width, framing.height
    assert min(width, height) == side
    assert (width - side) % 2 == (height - side) % 2 == 0
    assert not tall or width == side
    over = []
    for lens in lenses:
        left, right = lens.cx - width / 2 * lens.fx / framing.focal, lens.cx + width / 2 * lens.fx / framing.focal
        top, bottom = lens.cy - height / 2 * lens.fy / framing.focal, lens.cy + height / 2 * lens.fy / framing.focal
        slack = 1e-4 * max(lens.width, lens.height)
        assert min(left, top) > -slack
        assert right < lens.width + slack
        assert bottom < lens.height + slack
        pixel = np.array([lens.fx, lens.fy]) / framing.focal
        over.append([min(left, lens.width - right) / pixel[0], min(top, lens.height - bottom) / pixel[1]])
    # Of the frame's own pixels, at each end of the side that is not cut to a square.
    x, y = np.min(over, axis=0)
    assert min(x, y) < 1e-3
    assert tall or max(x, y) < 1.001


@settings(max_examples=50, deadline=None)
@given(LENSES, st.integers(8, 300))
def test_a_point_lands_where_the_new_lens_sees_it(lens, side):
    framing = Framing.of([lens], side)
    rng = np.random.default_rng(0)
    points = np.concatenate([rng.uniform(-0.4, 0.4, (5, 2)), np.ones((5, 1))], axis=1) * rng.uniform(1, 9, (5, 1))
    c2w = np.diag([1.0, -1.0, -1.0, 1.0])
    pixels, depth = project(points, c2w, lens)
    placed = framing.depth(SparseDepth(pixels, depth), lens)
    expected = np.zeros((framing.height, framing.width))
    for (x, y), z in sorted(
        zip(project(points, c2w, framing.lens)[0].tolist(), depth, strict=True), key=lambda p: -p[1]
    ):
        if 0 <= x < framing.width and 0 <= y < framing.height:
            expected[int(y), int(x)] = z
    np.testing.assert_allclose(placed, expected, rtol=1e-6)


def test_the_nearest_point_of_a_pixel_counts_and_none_behind_the_camera():
    lens = Intrinsics.from_fov(1.0, 4)
    sparse = SparseDepth(np.array([[1.5, 2.5], [1.2, 2.1], [0.5, 0.5], [9.0, 1.0]]), np.array([3.0, 2.0, -1.0, 5.0]))
    depth = Framing.of([lens], 4).depth(sparse, lens)
    assert depth[2, 1] == 2.0
    assert np.count_nonzero(depth) == 1


@pytest.mark.parametrize("depth", [np.nan, np.inf, -1.0, 65505.0])
def test_depth_that_16_bit_floats_cannot_hold_is_unknown(depth):
    lens = Intrinsics.from_fov(1.0, 2)
    stored = Framing.of([lens], 2).depth(np.array([[depth, 1.0], [2.0, 65504.0]]), lens)
    assert stored.tolist() == [[0.0, 1.0], [2.0, 65504.0]]


def test_a_depth_map_of_another_size_covers_the_same_picture():
    (c2w,), lens = cameras(1), off_middle()
    framing = Framing.of([lens], 64)
    half = seen(c2w, lens.resized(lens.width // 2, lens.height // 2))[1]
    np.testing.assert_allclose(framing.depth(half, lens), seen(c2w, framing.lens)[1], rtol=0.01)


def test_a_frame_that_shows_much_less_does_not_narrow_the_others():
    wide, narrow = Intrinsics.from_fov(1.0, 64), Intrinsics.from_fov(0.6, 64)
    assert wide_enough([wide, wide, narrow]).tolist() == [True, True, False]
    assert wide_enough([wide, Intrinsics.from_fov(0.9, 64)]).all()
