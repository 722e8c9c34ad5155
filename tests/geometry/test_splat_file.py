"""The 32-byte layout: a record by hand, bounded round trips, order, and damage."""

import struct

import numpy as np
import pytest
from gaussian_samples import some
from hypothesis import given, settings
from hypothesis import strategies as st

from geometry.gaussians import Gaussians
from geometry.splat_file import read_splat, write_splat
from stage.errors import InputError


def test_a_record_by_hand(tmp_path):
    one = Gaussians(
        means=np.array([[1.0, -2.0, 3.0]]),
        quaternions=np.array([[0.5, 0.5, -0.5, 0.5]]),
        scales=np.array([[0.1, 0.2, 0.3]]),
        opacities=np.array([0.6]),
        colours=np.array([[0.2, -0.5, 1.7]]),
    )
    write_splat(tmp_path / "one.splat", one)
    expected = struct.pack("<6f8B", 1, -2, 3, 0.1, 0.2, 0.3, 51, 0, 255, 153, 192, 192, 64, 192)
    assert (tmp_path / "one.splat").read_bytes() == expected


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 40), st.integers(0, 2**32 - 1))
def test_round_trip(tmp_path_factory, count, seed):
    path = tmp_path_factory.mktemp("splat") / "g.splat"
    gaussians = some(count, seed)
    write_splat(path, gaussians)
    assert path.stat().st_size == 32 * count
    back = read_splat(path)
    weight = gaussians.scales.astype(float).prod(axis=1) * gaussians.opacities
    order = np.argsort(-weight, kind="stable")
    np.testing.assert_array_equal(back.means, gaussians.means[order])
    np.testing.assert_array_equal(back.scales, gaussians.scales[order])
    half = 0.5 / 255.0 + 1e-7
    np.testing.assert_allclose(back.opacities, gaussians.opacities[order], atol=half)
    np.testing.assert_allclose(back.colours, gaussians.colours[order].clip(0.0, 1.0), atol=half)
    # Each component is off by 1/256, one near 1 by 1/128, so the vector by 1/64 at most; twice that once normalised.
    np.testing.assert_allclose(back.quaternions, gaussians.quaternions[order], atol=2.0 / 64.0)
    again = path.with_name("again.splat")
    write_splat(again, gaussians)
    assert again.read_bytes() == path.read_bytes()


def test_the_largest_and_most_opaque_come_first_and_equals_in_order(tmp_path):
    scales = np.array([[1.0, 1.0, 1.0], [2.0, 2.0, 2.0], [1.0, 1.0, 1.0], [4.0, 4.0, 4.0]])
    means = np.arange(12.0).reshape(4, 3)
    write_splat(tmp_path / "g.splat", some(4, means=means, scales=scales, opacities=np.array([0.8, 0.9, 0.8, 0.01])))
    np.testing.assert_array_equal(read_splat(tmp_path / "g.splat").means, means[[1, 0, 2, 3]])


@pytest.mark.parametrize("size", [1, 31, 33, 100])
def test_a_wrong_size_is_refused(tmp_path, size):
    (tmp_path / "g.splat").write_bytes(bytes(size))
    with pytest.raises(InputError, match=rf"g\.splat: {size} bytes are no multiple of 32"):
        read_splat(tmp_path / "g.splat")


@pytest.mark.parametrize(
    ("place", "content", "complaint"),
    [
        (4, struct.pack("<f", np.nan), "position is not finite"),
        (16, struct.pack("<f", 0.0), "scale is not positive"),
        (12, struct.pack("<f", np.inf), "scale is not positive"),
        (28, bytes([128] * 4), "rotation is all zero"),
    ],
)
def test_a_bad_value_is_named_with_its_row(tmp_path, place, content, complaint):
    write_splat(tmp_path / "g.splat", some(4))
    data = bytearray((tmp_path / "g.splat").read_bytes())
    data[64 + place : 64 + place + len(content)] = content
    (tmp_path / "g.splat").write_bytes(data)
    with pytest.raises(InputError, match=rf"g\.splat: {complaint} in 1 rows, first in row 2"):
        read_splat(tmp_path / "g.splat")


def test_an_absent_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"absent\.splat: no such file"):
        read_splat(tmp_path / "absent.splat")
