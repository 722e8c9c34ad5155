"""Gradients of SJC and SDS against denoisers whose score is known in closed form."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from reconstruction.methods.score import (
    at_timesteps,
    denoised,
    noise_level,
    noised,
    sds_gradient,
    sds_weights,
    sjc_gradient,
    with_gradient,
)

MEAN, SPREAD = torch.tensor([[2.0, -1.0, 0.5]], dtype=torch.float64), 0.5


def gaussian_noise(noisy: Tensor, kept: Tensor) -> Tensor:
    """ε̂ of data N(μ, s²): −√(1−ᾱ) times the score of N(√ᾱ·μ, ᾱ·s² + 1 − ᾱ)."""
    return (1 - kept).sqrt() * (noisy - kept.sqrt() * MEAN) / (kept * SPREAD**2 + 1 - kept)


def rows(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def expected(gradient, x: Tensor, kept: float) -> Tensor:
    """Its mean over the noise: exact from a pair of opposite draws, for all here is linear in the noise."""
    alphas = rows(kept)
    drawn = []
    for noise in (torch.full_like(x, 0.7), torch.full_like(x, -0.7)):
        predicted = gaussian_noise(noised(x, noise, alphas), alphas)
        drawn.append(gradient(x, noise, predicted, alphas))
    return (drawn[0] + drawn[1]) / 2


def sds(x: Tensor, noise: Tensor, predicted: Tensor, alphas: Tensor) -> Tensor:
    return sds_gradient(noise, predicted, sds_weights(alphas))


def test_sjc_points_to_the_mean_by_hand() -> None:
    # ᾱ = 0.2: σ = √(0.8/0.2) = 2, and the factor is σ/(s² + σ²) = 2/4.25.
    x = rows(0.0, 0.0, 0.0)[None]
    torch.testing.assert_close(expected(sjc_gradient, x, 0.2), -MEAN * 2 / 4.25, rtol=1e-12, atol=0)


def test_sds_points_to_the_mean_by_hand() -> None:
    # ᾱ = 0.2: w = 0.8, times √ᾱ·√(1−ᾱ)/(ᾱ·s² + 1 − ᾱ) = 0.4/0.85.
    x = rows(1.0, 0.0, 0.0)[None]
    torch.testing.assert_close(expected(sds, x, 0.2), 0.8 * 0.4 / 0.85 * (x - MEAN), rtol=1e-12, atol=0)


@given(st.floats(0.01, 0.99))
def test_both_rest_at_the_mode_and_nowhere_else(kept: float) -> None:
    for gradient in (sjc_gradient, sds):
        assert expected(gradient, MEAN, kept).abs().max() < 1e-12
        away = expected(gradient, MEAN + 0.1, kept)
        assert (away > 0).all()  # descending it leads back


@given(st.floats(0.01, 0.99))
def test_variance_reduction_keeps_the_mean_and_takes_the_noise_away(kept: float) -> None:
    x, alphas = rows(0.3, 0.3, 0.3)[None], rows(kept)
    plain = expected(lambda *a: sjc_gradient(*a, variance_reduction=False), x, kept)
    torch.testing.assert_close(plain, expected(sjc_gradient, x, kept))
    noise = torch.full_like(x, 1.5)
    predicted = gaussian_noise(noised(x, noise, alphas), alphas)
    difference = sjc_gradient(x, noise, predicted, alphas, False) - sjc_gradient(x, noise, predicted, alphas)
    torch.testing.assert_close(difference, noise)


def test_a_perfect_denoiser_of_one_picture_has_no_variance_left() -> None:
    # Data that is one picture: ε̂ − ε = √ᾱ·(x − μ)/√(1−ᾱ), whatever the noise.
    x, alphas = rows(1.0, 1.0, 1.0)[None], rows(0.36)
    for seed in range(3):
        noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        predicted = (noised(x, noise, alphas) - 0.6 * MEAN) / 0.8
        torch.testing.assert_close(sjc_gradient(x, noise, predicted, alphas), 0.75 * (x - MEAN))


def test_variance_reduced_sjc_is_sds_of_weight_one() -> None:
    generator = torch.Generator().manual_seed(1)
    x, noise, predicted = torch.randn(3, 2, 4, 4, 4, generator=generator, dtype=torch.float64)
    alphas = rows(0.9, 0.1)
    torch.testing.assert_close(
        sjc_gradient(x, noise, predicted, alphas), sds_gradient(noise, predicted, torch.ones(2))
    )


def test_the_denoised_picture_inverts_the_noise() -> None:
    x, alphas = rows(1.0, -2.0)[:, None], rows(0.5, 0.25)
    noise = rows(0.3, 0.4)[:, None]
    torch.testing.assert_close(denoised(x, noise, noise, alphas), x)
    torch.testing.assert_close(noise_level(alphas), rows(1.0, math.sqrt(3)))
    torch.testing.assert_close(noised(x, noise, alphas)[1], rows(0.5 * -2.0 + math.sqrt(0.75) * 0.4))


def test_rows_have_their_own_weights() -> None:
    noise, predicted = torch.zeros(2, 1), torch.ones(2, 1)
    assert sds_gradient(noise, predicted, torch.tensor([0.25, 3.0])).tolist() == [[0.25], [3.0]]
    broken = sds_gradient(noise, torch.tensor([[float("nan")], [1.0]]), torch.ones(2))
    assert broken.tolist() == [[0.0], [1.0]]


def test_the_loss_has_the_gradient_over_the_rows() -> None:
    x = torch.zeros(2, 3, dtype=torch.float64, requires_grad=True)
    gradient = torch.tensor([[1.0, 2, 3], [4, 5, 6]], dtype=torch.float64)
    loss = with_gradient(x, gradient)
    loss.backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad, gradient / 2)
    assert loss.item() == pytest.approx(91 / 4)


def test_timesteps_pick_their_level() -> None:
    assert at_timesteps(torch.arange(10.0), torch.tensor([3, 0])).tolist() == [3.0, 0.0]
