"""The tensor file: layout by hand, bounded round trips, the peers' grid, and each kind of damage."""

from pathlib import Path

import numpy as np
import pytest
from gaussian_samples import some
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from geometry.gaussians import Gaussians
from geometry.ply import write_ply
from geometry.splatter_tensor import (
    CHANNELS,
    SplatterCameras,
    channels_from_gaussians,
    gaussians_from_channels,
    grid_from_views,
    read_splatter,
    read_view_ply,
    views_from_grid,
    write_splatter,
)
from stage.errors import InputError

HEIGHT, WIDTH = 2, 3


def view(seed: int = 0, **changes: np.ndarray) -> Gaussians:
    """Gaussians of 2 × 3 pixels that float16 can hold."""
    means = np.random.default_rng(seed).normal(size=(HEIGHT * WIDTH, 3))
    return some(HEIGHT * WIDTH, seed, **{"means": means} | changes)


def nearest(values: np.ndarray, places: int = 1) -> np.ndarray:
    """What rounding values to float16 may change: 2⁻¹¹ of them, 2⁻²⁵ below 2⁻¹⁴."""
    return places * np.maximum(np.abs(values) * 2.0**-11, 2.0**-25)


@pytest.fixture
def path(tmp_path) -> Path:
    written = tmp_path / "splatter.safetensors"
    write_splatter(written, [view(0), view(1)], HEIGHT, WIDTH)
    return written


def rewrite(path: Path, place: tuple[int, ...], value: float) -> None:
    channels = read_splatter(path).channels.copy()
    channels[place] = value
    save_file({"splatter": channels}, path)


def test_channels_by_hand():
    gaussians = view()
    channels = channels_from_gaussians(gaussians, HEIGHT, WIDTH)
    assert channels.shape == (len(CHANNELS), HEIGHT, WIDTH) == (14, 2, 3)
    # Row 1, column 0 is the fourth of two rows of three.
    fourth = [*gaussians.means[3], gaussians.opacities[3], *gaussians.scales[3]]
    fourth += [*gaussians.quaternions[3], *gaussians.colours[3]]
    np.testing.assert_array_equal(channels[:, 1, 0], fourth)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_channels_undo_themselves(seed):
    gaussians = view(seed)
    back = gaussians_from_channels(channels_from_gaussians(gaussians, HEIGHT, WIDTH))
    for field in ("means", "quaternions", "scales", "opacities", "colours"):
        np.testing.assert_array_equal(getattr(back, field), getattr(gaussians, field))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_round_trip(tmp_path_factory, seed):
    path, written = tmp_path_factory.mktemp("splatter") / "splatter.safetensors", [view(seed), view(seed + 1)]
    write_splatter(path, written, HEIGHT, WIDTH)
    channels = read_splatter(path).channels
    assert (channels.dtype, channels.shape) == (np.float16, (2, 14, HEIGHT, WIDTH))
    for gaussians, back in zip(written, map(gaussians_from_channels, channels), strict=True):
        for field in ("means", "opacities", "colours"):
            values = getattr(gaussians, field).astype(float)
            assert (np.abs(getattr(back, field) - values) <= nearest(values)).all()
        # The least scale stands for all below it.
        scales = np.maximum(gaussians.scales.astype(float), 2.0**-24)
        assert (np.abs(back.scales - scales) <= nearest(scales)).all()
        # Four components of length 1 are off by 2⁻¹¹ at most together; normalising at most doubles that.
        off = np.linalg.norm(back.quaternions.astype(float) - gaussians.quaternions, axis=1)
        assert (off <= 2.0**-10).all()


@pytest.mark.parametrize("scale", [1e-3, 1e-7, 6e-8, 2e-8, 1e-12, 1e-38])
def test_no_scale_becomes_zero(tmp_path, scale):
    path = tmp_path / "small.safetensors"
    write_splatter(path, [view(scales=np.full((HEIGHT * WIDTH, 3), scale))], HEIGHT, WIDTH)
    stored = gaussians_from_channels(read_splatter(path).channels[0]).scales
    assert (stored > 0.0).all()
    np.testing.assert_allclose(stored, max(scale, 2.0**-24), rtol=2.0**-11, atol=2.0**-25)


def test_the_same_gaussians_give_the_same_bytes_and_no_leftovers(path):
    again = path.with_name("again.safetensors")
    write_splatter(again, [view(0), view(1)], HEIGHT, WIDTH)
    assert again.read_bytes() == path.read_bytes()
    assert sorted(each.name for each in path.parent.iterdir()) == ["again.safetensors", "splatter.safetensors"]


@pytest.mark.parametrize(("name", "column", "channel"), [("means", 1, "position y"), ("scales", 2, "scale z")])
def test_what_float16_cannot_hold_is_named_and_nothing_is_written(tmp_path, name, column, channel):
    values = getattr(view(), name).copy()
    values[4, column] = 7e4
    far = view(**{name: values})
    message = rf"far\.safetensors: channel {channel} is beyond float16 .* first in view 1, row 1, column 1"
    with pytest.raises(InputError, match=message):
        write_splatter(tmp_path / "far.safetensors", [view(), far], HEIGHT, WIDTH)
    assert not list(tmp_path.iterdir())


def test_another_number_of_gaussians_than_pixels_is_refused(tmp_path):
    with pytest.raises(InputError, match="6 Gaussians where a view of 3×3 pixels has 9"):
        write_splatter(tmp_path / "g.safetensors", [view()], 3, 3)


def test_a_view_is_read_from_its_ply(tmp_path):
    write_ply(tmp_path / "splatter_0.ply", some(9))
    for side in (None, 3):
        np.testing.assert_array_equal(read_view_ply(tmp_path / "splatter_0.ply", side).means, some(9).means)


@pytest.mark.parametrize(
    ("count", "side", "complaint"),
    [
        (8, None, "8 Gaussians are no square view: 2² is 4"),
        (9, 4, "9 Gaussians where a view of 4×4 pixels has 16"),
    ],
)
def test_a_ply_that_is_no_view_is_named(tmp_path, count, side, complaint):
    write_ply(tmp_path / "splatter_0.ply", some(count))
    with pytest.raises(InputError, match=rf"splatter_0\.ply: {complaint}"):
        read_view_ply(tmp_path / "splatter_0.ply", side)


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        ((1, 0, 1, 2), np.nan, "channel position x is not finite .* first in view 1, row 1, column 2"),
        ((0, 13, 0, 1), np.inf, "channel blue is not finite .* first in view 0, row 0, column 1"),
        ((0, 3, 1, 0), 1.5, r"channel opacity lies outside \[0, 1\] .* first in view 0, row 1, column 0"),
        ((1, 5, 0, 0), 0.0, "channel scale y is not positive .* first in view 1, row 0, column 0"),
        ((1, slice(7, 11), 1, 1), 0.0, "channel rotation w begins a rotation of zeros .* view 1, row 1, column 1"),
    ],
)
def test_a_bad_value_is_named_with_view_channel_and_pixel(path, place, value, message):
    rewrite(path, place, value)
    with pytest.raises(InputError, match=rf"splatter\.safetensors: {message}"):
        read_splatter(path)


@pytest.mark.parametrize(
    "tensor", [np.ones((6, 13, 2, 2), np.float16), np.ones((14, 2, 2), np.float16), np.ones((6, 14, 2, 2), np.float32)]
)
def test_a_tensor_of_another_shape_or_type_is_refused(tmp_path, tensor):
    save_file({"splatter": tensor}, tmp_path / "g.safetensors")
    with pytest.raises(InputError, match=r"tensor splatter is float\d\d \(.*\) where float16 \(views, 14, H, W\)"):
        read_splatter(tmp_path / "g.safetensors")


def test_a_file_without_the_tensor_is_refused(tmp_path):
    save_file({"gaussians": np.ones(3, np.float16)}, tmp_path / "g.safetensors")
    with pytest.raises(InputError, match=r"tensor splatter is missing; there are \['gaussians'\]"):
        read_splatter(tmp_path / "g.safetensors")


@pytest.mark.parametrize("kept", [0, 7, 40, -1])
def test_a_file_cut_short_is_refused(path, kept):
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(InputError, match=r"splatter\.safetensors: unreadable as safetensors"):
        read_splatter(path)


def test_an_absent_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"absent\.safetensors: no such file"):
        read_splatter(tmp_path / "absent.safetensors")


def test_the_grid_has_three_rows_of_two():
    views = np.arange(6.0)[:, None, None, None] * np.ones((6, 14, 128, 128))
    grid = grid_from_views(views)
    assert grid.shape == (14, 384, 256)
    assert grid[0, ::128, ::128].tolist() == [[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]]


@given(st.integers(1, 4), st.integers(1, 3), st.integers(1, 3), st.integers(1, 3))
def test_views_come_back_from_the_grid(rows, columns, height, width):
    views = np.random.default_rng(0).normal(size=(rows * columns, 2, height, width))
    np.testing.assert_array_equal(views_from_grid(grid_from_views(views, columns), rows, columns), views)


def test_what_fills_no_grid_is_refused():
    with pytest.raises(InputError, match="5 views do not fill rows of 2"):
        grid_from_views(np.ones((5, 14, 2, 2)))
    with pytest.raises(InputError, match="256×256 cannot be cut into 3×2"):
        views_from_grid(np.ones((14, 256, 256)))


def test_cameras_come_back(tmp_path: Path) -> None:
    path = tmp_path / "splatter.safetensors"
    cameras = SplatterCameras(np.stack([np.eye(4), 2 * np.eye(4)]), np.arange(8.0).reshape(2, 4))
    write_splatter(path, [view(0), view(1)], HEIGHT, WIDTH, cameras)
    found = read_splatter(path).cameras
    assert found is not None
    assert (found.c2w == cameras.c2w).all()
    assert (found.intrinsics == cameras.intrinsics).all()
    write_splatter(path, [view(0), view(1)], HEIGHT, WIDTH)
    assert read_splatter(path).cameras is None


def test_cameras_of_fewer_views_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "splatter.safetensors"
    write_splatter(path, [view(0), view(1)], HEIGHT, WIDTH, SplatterCameras(np.eye(4)[None], np.ones((1, 4))))
    with pytest.raises(InputError, match="tensor c2w is no finite float64"):
        read_splatter(path)
