"""Similarities by hand, their inverse, and what is none."""

import numpy as np
import pytest
from gaussian_samples import rotation
from hypothesis import given
from hypothesis import strategies as st

from geometry.similarity import Similarity
from stage.errors import InputError

QUARTER = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])


def test_turn_then_scale_then_move():
    moved = Similarity(QUARTER, 2.0, (10.0, 20.0, 30.0)).apply(np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 5.0]]))
    np.testing.assert_allclose(moved, [[10.0, 22.0, 30.0], [8.0, 20.0, 40.0]])


@given(st.integers(0, 2**32 - 1), st.floats(1e-3, 1e3))
def test_the_inverse_undoes_it(seed, scale):
    rng = np.random.default_rng(seed)
    similarity, points = Similarity(rotation(seed), scale, rng.normal(size=3)), rng.normal(size=(5, 3))
    np.testing.assert_allclose(similarity.inverse().apply(similarity.apply(points)), points, atol=1e-11)


@pytest.mark.parametrize(
    "matrix", [np.diag([1.0, 1.0, -1.0]), 2.0 * np.eye(3), np.ones((3, 3)), np.full((3, 3), np.nan)]
)
def test_a_matrix_that_is_no_rotation_is_refused(matrix):
    with pytest.raises(InputError, match="no rotation"):
        Similarity(matrix)


@pytest.mark.parametrize(
    "changes", [{"scale": 0.0}, {"scale": np.nan}, {"scale": -1.0}, {"translation": (0, np.inf, 0)}]
)
def test_a_number_out_of_range_is_refused(changes):
    with pytest.raises(InputError, match="out of range"):
        Similarity(np.eye(3), **changes)


def test_wrong_shapes_are_named():
    with pytest.raises(InputError, match=r"rotation \(4, 4\)"):
        Similarity(np.eye(4))
