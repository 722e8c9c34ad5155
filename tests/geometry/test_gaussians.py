"""Sets of Gaussians: what is accepted, what is refused and with which words, joining and picking."""

import dataclasses

import numpy as np
import pytest

from geometry.gaussians import Gaussians, concatenate
from stage.errors import InputError


def arrays(count: int = 4, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        "means": rng.normal(size=(count, 3)),
        "quaternions": rng.normal(size=(count, 4)),
        "scales": rng.uniform(0.01, 0.1, (count, 3)),
        "opacities": rng.uniform(size=count),
        "colours": rng.uniform(size=(count, 3)),
        "harmonics": rng.normal(size=(count, 3, 3)),
    }


def test_arrays_become_float32_and_quaternions_unit():
    given = arrays()
    gaussians = Gaussians(**given)
    assert len(gaussians) == 4
    for field in dataclasses.fields(gaussians):
        assert getattr(gaussians, field.name).dtype == np.float32
    norms = np.linalg.norm(given["quaternions"], axis=1, keepdims=True)
    np.testing.assert_allclose(gaussians.quaternions, given["quaternions"] / norms, atol=1e-6)


def test_the_callers_arrays_stay_as_they_are():
    given = {name: values.astype(np.float32) for name, values in arrays().items()}
    before = given["quaternions"].copy()
    Gaussians(**given)
    np.testing.assert_array_equal(given["quaternions"], before)


@pytest.mark.parametrize(
    ("name", "row", "value", "message"),
    [
        ("means", (1, 0), np.nan, "means is not finite in 1 of 4 rows, first in row 1"),
        ("scales", (2, 1), 0.0, "scales is not positive in 1 of 4 rows, first in row 2"),
        ("opacities", (3,), 1.01, r"opacities lies outside \[0, 1\] in 1 of 4 rows, first in row 3"),
        ("colours", (0, 2), np.nan, "colours is not finite in 1 of 4 rows, first in row 0"),
        ("harmonics", (3, 1, 0), np.inf, "harmonics is not finite in 1 of 4 rows, first in row 3"),
        ("quaternions", 2, 0.0, "quaternions has no length in 1 of 4 rows, first in row 2"),
        ("quaternions", (0, 0), np.inf, "quaternions is not finite"),
    ],
)
def test_a_bad_value_is_named_with_its_row(name, row, value, message):
    given = arrays()
    given[name][row] = value
    with pytest.raises(InputError, match=message):
        Gaussians(**given)


@pytest.mark.parametrize("name", ["means", "quaternions", "scales", "opacities", "colours", "harmonics"])
def test_a_wrong_shape_is_named(name):
    given = arrays()
    given[name] = given[name][..., None]
    with pytest.raises(InputError, match=f"{name} has shape"):
        Gaussians(**given)


def test_lengths_must_agree():
    given = arrays() | {"opacities": np.ones(3)}
    with pytest.raises(InputError, match=r"opacities has shape \(3,\) where \(4,\) is expected"):
        Gaussians(**given)


def test_bounds_are_inside():
    given = arrays() | {"opacities": np.array([0.0, 1.0, 0.0, 1.0])}
    assert Gaussians(**given).opacities.tolist() == [0.0, 1.0, 0.0, 1.0]


def test_it_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Gaussians(**arrays()).means = np.zeros((4, 3))


def test_select_by_mask_and_by_indices():
    gaussians = Gaussians(**arrays())
    masked = gaussians.select(np.array([True, False, False, True]))
    indexed = gaussians.select(np.array([3, 0]))
    for field in dataclasses.fields(gaussians):
        values = getattr(gaussians, field.name)
        np.testing.assert_array_equal(getattr(masked, field.name), values[[0, 3]])
        np.testing.assert_array_equal(getattr(indexed, field.name), values[[3, 0]])


def test_concatenate_undoes_a_split_bit_for_bit():
    gaussians = Gaussians(**arrays(6))
    first = np.arange(6) < 2
    joined = concatenate([gaussians.select(first), gaussians.select(~first)])
    for field in dataclasses.fields(gaussians):
        np.testing.assert_array_equal(getattr(joined, field.name), getattr(gaussians, field.name))


def test_concatenating_nothing_gives_no_gaussians():
    assert len(concatenate([])) == 0


def test_colours_beyond_the_unit_range_are_kept():
    given = arrays() | {"colours": np.array([[-1.0, 0.0, 2.0]] * 4)}
    assert Gaussians(**given).colours[3].tolist() == [-1.0, 0.0, 2.0]


def test_harmonics_are_none_by_default():
    given = arrays()
    del given["harmonics"]
    assert Gaussians(**given).harmonics.shape == (4, 0, 3)


@pytest.mark.parametrize("shape", [(4, 4, 3), (4, 3, 1), (3, 3, 3), (4, 9)])
def test_harmonics_of_no_degree_are_refused(shape):
    with pytest.raises(InputError, match="harmonics has shape"):
        Gaussians(**arrays() | {"harmonics": np.zeros(shape)})


def test_concatenate_fills_up_to_the_highest_degree():
    plain, third = arrays(2) | {"harmonics": np.zeros((2, 0, 3))}, arrays(3) | {"harmonics": np.ones((3, 15, 3))}
    joined = concatenate([Gaussians(**plain), Gaussians(**third), Gaussians(**arrays(1))])
    assert joined.harmonics.shape == (6, 15, 3)
    assert not joined.harmonics[:2].any()
    assert (joined.harmonics[2:5] == 1.0).all()
    np.testing.assert_array_equal(joined.harmonics[5, :3], arrays(1)["harmonics"][0].astype(np.float32))
    assert not joined.harmonics[5, 3:].any()


def test_a_long_quaternion_is_normalised_without_overflow():
    given = arrays() | {"quaternions": np.array([[1e30, 0.0, 0.0, -1e30]] * 4)}
    np.testing.assert_allclose(Gaussians(**given).quaternions, [[0.5**0.5, 0.0, 0.0, -(0.5**0.5)]] * 4, rtol=1e-6)
