"""Attribute images: mappings by hand, errors bounded by the stored steps, and rotations that never clip."""

import numpy as np
import pytest
from gaussian_samples import covariances, some
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation
from scipy.special import expit, logit

from geometry.attribute_images import (
    ATTRIBUTES,
    ZERO_1_TO_G,
    ZERO_1_TO_G_LOGIT,
    decode,
    dequantize,
    encode,
    least_rotations,
    quantize,
)
from geometry.gaussians import Gaussians
from stage.errors import InputError

SEEDS = st.integers(0, 2**32 - 1)
# Half a step of each way to store values in [−1, 1].
STORED = {np.float32: 2.0**-25, np.float16: 2.0**-12, np.uint8: 1.0 / 255.0, np.uint16: 1.0 / 65535.0}
HEIGHT, WIDTH = 4, 5


def view(seed: int = 0, **changes: np.ndarray) -> Gaussians:
    """Gaussians of 4 × 5 pixels within all ranges."""
    rng, count = np.random.default_rng(seed), HEIGHT * WIDTH
    inside = {
        "means": rng.uniform(-0.7, 0.7, (count, 3)),
        "scales": np.exp(rng.uniform(-9.999, -2.001, (count, 3))),
        "opacities": expit(rng.uniform(-13.9, 8.9, count)),
        "colours": rng.uniform(size=(count, 3)),
    }
    return some(count, seed, **inside | changes)


def angles_between(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Angles of the rotations that differ two arrays of quaternions, radians."""
    turn = Rotation.from_quat(a, scalar_first=True).inv() * Rotation.from_quat(b, scalar_first=True)
    return turn.magnitude()


def vectors(quaternions: np.ndarray) -> np.ndarray:
    """Axis-angle vectors."""
    return Rotation.from_quat(quaternions, scalar_first=True).as_rotvec()


def test_mappings_by_hand():
    half_turn = np.array([np.cos(0.75), 0.0, np.sin(0.75), 0.0])  # 1.5 about y
    one = Gaussians(
        means=np.array([[0.7, -0.7, 0.35]]),
        quaternions=half_turn[None],
        scales=np.exp([[-10.0, -6.0, -4.0]]),
        opacities=np.array([0.25]),
        colours=np.array([[0.0, 1.0, 0.75]]),
    )
    images = encode(one, 1, 1)
    expected = {
        "position": [1.0, -1.0, 0.5],
        "opacity": [-0.5] * 3,
        "scale": [-1.0, 0.0, 0.5],
        "rotation": [0.0, 0.5, 0.0],
        "colour": [-1.0, 1.0, 0.5],
    }
    np.testing.assert_allclose(images.values[..., 0, 0], [expected[name] for name in ATTRIBUTES], atol=1e-6)
    logits = encode(one, 1, 1, ZERO_1_TO_G_LOGIT).values[1, :, 0, 0]
    np.testing.assert_allclose(logits, (logit(0.25) + 14.0) / 23.0 * 2.0 - 1.0, atol=1e-6)


def test_images_are_row_major():
    values = encode(view(), HEIGHT, WIDTH).values
    assert values.shape == (5, 3, HEIGHT, WIDTH)
    np.testing.assert_allclose(values[0, :, 2, 1], view().means[2 * WIDTH + 1] / 0.7, atol=1e-6)


@pytest.mark.parametrize("dtype", STORED)
@pytest.mark.parametrize("ranges", [ZERO_1_TO_G, ZERO_1_TO_G_LOGIT])
@settings(max_examples=15, deadline=None)
@given(SEEDS)
def test_round_trip_is_bounded_by_the_stored_step(dtype, ranges, seed):
    gaussians = view(seed)
    images = encode(gaussians, HEIGHT, WIDTH, ranges)
    stored = quantize(images.values, dtype)
    assert stored.dtype == dtype
    back = decode(dequantize(stored), ranges)
    assert not images.clipped.any()
    # Half a step, and the float32 roundings before and after it; then that of the result, of at most 1.
    step, rounding = STORED[dtype] + 2.0**-24, 2.0**-24
    np.testing.assert_allclose(back.means, gaussians.means, rtol=0, atol=0.7 * step + rounding)
    np.testing.assert_allclose(back.scales, gaussians.scales, rtol=np.expm1(4.0 * step) + rounding)
    np.testing.assert_allclose(back.colours, gaussians.colours, rtol=0, atol=0.5 * step + rounding)
    # A logit's half range is 11.5, and the slope of its inverse 1/4 at most.
    bound = 11.5 / 4.0 * step if ranges.logit_opacity else 0.5 * step
    np.testing.assert_allclose(back.opacities, gaussians.opacities, rtol=0, atol=bound + rounding)
    # Rotations differ by no more than their axis-angle vectors do; a quaternion's rounding counts twice.
    bound = np.sqrt(3.0) * 3.0 * step + 4.0 * rounding
    angle = angles_between(back.quaternions, gaussians.quaternions)
    fits = np.abs(vectors(gaussians.quaternions)).max(axis=1) <= 3.0
    assert (angle[fits] <= bound).all()
    assert (angles_between(back.quaternions, least_rotations(gaussians.quaternions))[~fits] <= bound).all()


@settings(max_examples=30, deadline=None)
@given(SEEDS)
def test_float32_images_give_the_covariances_back(seed):
    gaussians = view(seed)
    back = decode(encode(gaussians, HEIGHT, WIDTH).values)
    size = gaussians.scales.astype(float).max(axis=1)[:, None, None] ** 2
    np.testing.assert_allclose(covariances(back) / size, covariances(gaussians) / size, atol=1e-5)


@settings(max_examples=100, deadline=None)
@given(SEEDS)
def test_of_the_equal_rotations_the_least_is_chosen(seed):
    gaussians = some(50, seed)
    chosen = least_rotations(gaussians.quaternions)
    turns = Rotation.from_quat(gaussians.quaternions, scalar_first=True)
    half = [Rotation.from_rotvec(np.pi * axis) for axis in np.eye(3)]
    least = np.min([turns.magnitude(), *[(turns * turn).magnitude() for turn in half]], axis=0)
    angles = Rotation.from_quat(chosen, scalar_first=True).magnitude()
    np.testing.assert_allclose(angles, least, atol=1e-6)
    assert angles.max() <= np.radians(120.0) + 1e-6
    same = some(50, seed, quaternions=chosen)
    size = gaussians.scales.astype(float).max(axis=1)[:, None, None] ** 2
    np.testing.assert_allclose(covariances(same) / size, covariances(gaussians) / size, atol=1e-6)


def test_the_greatest_least_angle_is_120_degrees():
    signs = np.array(np.meshgrid(*[[-1.0, 1.0]] * 4)).reshape(4, -1).T
    least = vectors(least_rotations(0.5 * signs))
    np.testing.assert_allclose(np.linalg.norm(least, axis=1), np.radians(120.0))
    assert np.abs(least).max() < ZERO_1_TO_G.rotation[1]


def test_rotations_beyond_the_range_become_equal_ones_and_the_others_stay():
    angles = np.linspace(2.8, np.pi, HEIGHT * WIDTH)
    turns = np.stack([np.cos(angles / 2), np.sin(angles / 2), 0 * angles, 0 * angles], axis=1)
    images = encode(view(quaternions=turns), HEIGHT, WIDTH)
    assert not images.clipped.any()
    found = 3.0 * images.values[3].reshape(3, -1).T
    np.testing.assert_allclose(found[:, 0], np.where(angles <= 3.0, angles, angles - np.pi), atol=1e-6)
    np.testing.assert_allclose(found[:, 1:], 0.0, atol=1e-6)


@settings(max_examples=50, deadline=None)
@given(SEEDS)
def test_no_rotation_is_clipped(seed):
    assert encode(view(seed), HEIGHT, WIDTH).clipped_counts()["rotation"] == 0


def test_what_is_clipped_is_counted_and_at_the_border():
    changes = {name: getattr(view(), name).copy() for name in ("means", "scales", "opacities", "colours")}
    changes["means"][3, 1], changes["means"][4] = 0.8, -1.0
    changes["scales"][5, :2] = np.exp(-11.0), np.exp(-1.0)
    changes["colours"][6, 2] = 1.2
    changes["opacities"][7:9] = 0.0, 1.0
    images = encode(view(**changes), HEIGHT, WIDTH)
    assert images.clipped_counts() == {"position": 4, "opacity": 0, "scale": 2, "rotation": 0, "colour": 1}
    assert np.abs(images.values).max() == 1.0
    back = decode(images.values)
    np.testing.assert_allclose(back.means[4], [-0.7] * 3, rtol=1e-6)
    np.testing.assert_allclose(back.scales[5, :2], np.exp([-10.0, -2.0]), rtol=1e-6)
    assert back.colours[6, 2] == 1.0
    assert back.opacities[7:9].tolist() == [0.0, 1.0]
    logits = encode(view(**changes), HEIGHT, WIDTH, ZERO_1_TO_G_LOGIT)
    assert logits.clipped_counts()["opacity"] == 6
    np.testing.assert_allclose(decode(logits.values, ZERO_1_TO_G_LOGIT).opacities[7:9], expit([-14.0, 9.0]), rtol=1e-5)


def test_the_opacity_read_back_is_the_mean_of_its_channels():
    values = encode(view(), HEIGHT, WIDTH).values.copy()
    values[1, :, 0, 0] = -1.0, 0.0, 0.4
    np.testing.assert_allclose(decode(values).opacities[0], (0.0 + 0.5 + 0.7) / 3.0, rtol=1e-6)


def test_values_that_a_network_took_too_far_are_clipped():
    gaussians = decode(np.full((5, 3, 1, 1), 1.5))
    np.testing.assert_allclose(gaussians.means, [[0.7] * 3], rtol=1e-6)
    assert gaussians.opacities.tolist() == [1.0]


@pytest.mark.parametrize("shape", [(4, 3, 2, 2), (5, 1, 2, 2), (5, 3, 4)])
def test_images_of_another_shape_are_refused(shape):
    with pytest.raises(InputError, match="attribute images have shape"):
        decode(np.zeros(shape))


def test_a_value_that_is_no_number_is_refused():
    values = encode(view(), HEIGHT, WIDTH).values.copy()
    values[0, 1, 0, 2] = np.nan
    with pytest.raises(InputError, match="means is not finite in 1 of 20 rows, first in row 2"):
        decode(values)


def test_another_number_of_gaussians_than_pixels_is_refused():
    with pytest.raises(InputError, match="20 Gaussians where a view of 4×4 pixels has 16"):
        encode(view(), 4, 4)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_stored_steps_come_back_as_they_were(dtype):
    levels = np.iinfo(dtype).max
    stored = np.arange(0, levels + 1, max(1, levels // 1000), dtype=dtype)
    np.testing.assert_array_equal(quantize(dequantize(stored), dtype), stored)
    assert dequantize(np.array([0, levels], dtype=dtype)).tolist() == [-1.0, 1.0]
