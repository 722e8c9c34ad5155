"""Harmonics against SciPy's, their colours by hand, and that turning coefficients turns colours."""

import numpy as np
import pytest
import torch
from gaussian_samples import rotation
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import sph_harm_y

from geometry.gaussians import HARMONIC_COUNTS
from geometry.spherical_harmonics import (
    CONSTANT_HARMONIC,
    basis_functions,
    colours_towards,
    degree_of,
    rotated_harmonics,
)

SEEDS = st.integers(0, 2**32 - 1)


def directions(count: int, seed: int) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(count, 3))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def real_harmonic(degree: int, order: int, along: np.ndarray) -> np.ndarray:
    """From SciPy's complex harmonics with the Condon–Shortley phase."""
    value = sph_harm_y(degree, abs(order), np.arccos(along[:, 2]), np.arctan2(along[:, 1], along[:, 0]))
    return value.real if order == 0 else np.sqrt(2) * (value.real if order > 0 else value.imag)


def test_the_basis_is_scipys_in_rising_order():
    along = directions(50, 0)
    expected = [real_harmonic(degree, order, along) for degree in (1, 2, 3) for order in range(-degree, degree + 1)]
    np.testing.assert_allclose(basis_functions(*along.T, degree=3), expected, atol=1e-12)
    assert real_harmonic(0, 0, along)[0] == pytest.approx(CONSTANT_HARMONIC)


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_the_counts_are_those_of_the_degrees(degree):
    assert len(basis_functions(*directions(1, 0).T, degree=degree)) == HARMONIC_COUNTS[degree]
    assert degree_of(HARMONIC_COUNTS[degree]) == degree


def test_tensors_give_what_arrays_give():
    along = directions(10, 1)
    tensors = basis_functions(*torch.tensor(along).unbind(1), degree=3)
    np.testing.assert_allclose(torch.stack(tensors).numpy(), basis_functions(*along.T, degree=3), atol=1e-15)


def test_colours_by_hand():
    # Of degree 1 the harmonics are −C₁y, C₁z, −C₁x: seen along +x only the third counts.
    harmonics = np.zeros((2, 3, 3))
    harmonics[:, 2, 0], harmonics[:, 1, 1] = -1.0, 5.0
    along = np.array([[1.0, 0.0, 0.0], [-1.0, 0.0, 0.0]])
    seen = colours_towards(np.full((2, 3), 0.4), harmonics, along)
    np.testing.assert_allclose(seen, [[0.4 + 0.48860251, 0.4, 0.4], [0.0, 0.4, 0.4]], atol=1e-7)


def test_without_harmonics_the_colour_is_the_same_from_everywhere():
    colours = np.random.default_rng(0).uniform(size=(4, 3))
    np.testing.assert_array_equal(colours_towards(colours, np.zeros((4, 0, 3)), directions(4, 0)), colours)


@settings(max_examples=30, deadline=None)
@given(SEEDS, st.sampled_from([0, 1, 2, 3]))
def test_what_was_seen_along_d_is_seen_along_the_turned_d(seed, degree):
    rng = np.random.default_rng(seed)
    harmonics, along, turn = rng.normal(size=(8, HARMONIC_COUNTS[degree], 3)), directions(8, seed), rotation(seed)
    grey = np.full((8, 3), 100.0)
    before = colours_towards(grey, harmonics, along)
    after = colours_towards(grey, rotated_harmonics(harmonics, turn), along @ turn.T)
    np.testing.assert_allclose(after, before, atol=1e-11)


@settings(max_examples=20, deadline=None)
@given(SEEDS)
def test_turning_twice_is_turning_by_the_product_and_keeps_the_energy(seed):
    harmonics = np.random.default_rng(seed).normal(size=(4, 15, 3))
    first, second = rotation(seed), rotation(seed + 1)
    twice = rotated_harmonics(rotated_harmonics(harmonics, first), second)
    np.testing.assert_allclose(twice, rotated_harmonics(harmonics, second @ first), atol=1e-12)
    for start, stop in [(0, 3), (3, 8), (8, 15)]:
        before, after = harmonics[:, start:stop], twice[:, start:stop]
        np.testing.assert_allclose((after**2).sum(axis=1), (before**2).sum(axis=1), rtol=1e-11)
