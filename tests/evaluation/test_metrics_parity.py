"""Each figure beside an independent implementation, to 1e-5 or better."""

import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pytorch_msssim import ssim as msssim_ssim
from skimage.metrics import structural_similarity
from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import KernelInceptionDistance

from evaluation.metrics.distribution import frechet_distance, kernel_distance
from geometry.picture_metrics import psnr, ssim

BOUND = 1e-5
pictures = hnp.arrays(np.float32, (17, 14, 3), elements=st.floats(0, 1, width=32))


def tensor(picture: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(picture.astype(np.float64)).permute(2, 0, 1)[None]


def natural(seed: int, size: int = 64) -> tuple[np.ndarray, np.ndarray]:
    """A smooth picture with a white border, and a worse one."""
    rng = np.random.default_rng(seed)
    waves = rng.uniform(2, 12, (3, 2))
    rows, columns = np.mgrid[:size, :size] / size
    picture = np.stack([0.5 + 0.5 * np.sin(a * rows + b * columns) for a, b in waves], axis=-1)
    picture[: size // 8] = 1.0
    return picture, np.clip(picture + rng.normal(0, 0.1, picture.shape), 0, 1)


def scikit_image_ssim(a: np.ndarray, b: np.ndarray) -> float:
    return structural_similarity(
        a.astype(np.float64),
        b.astype(np.float64),
        channel_axis=-1,
        data_range=1.0,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
    )


# PSNR and SSIM


@settings(max_examples=30, deadline=None)
@given(a=pictures, b=pictures)
def test_ssim_equals_scikit_image(a: np.ndarray, b: np.ndarray) -> None:
    assert ssim(a, b) == pytest.approx(scikit_image_ssim(a, b), abs=1e-10)


@pytest.mark.parametrize("seed", range(3))
def test_ssim_equals_two_more_packages(seed: int) -> None:
    a, b = natural(seed)
    x, y = tensor(a), tensor(b)
    assert ssim(a, b) == pytest.approx(float(msssim_ssim(x, y, data_range=1.0)), abs=BOUND)
    # Since pull request 2721 of 2024 torchmetrics counts the edge too, over pixels that it mirrors; without them it is the same.
    mean, places = structural_similarity_index_measure(x, y, data_range=1.0, return_full_image=True)
    assert ssim(a, b) == pytest.approx(float(places[..., 5:-5, 5:-5].mean()), abs=BOUND)
    assert abs(ssim(a, b) - float(mean)) > BOUND


@pytest.mark.parametrize("seed", range(3))
def test_psnr_equals_torchmetrics(seed: int) -> None:
    a, b = natural(seed)
    assert psnr(a, b) == pytest.approx(float(peak_signal_noise_ratio(tensor(b), tensor(a), data_range=1.0)), abs=BOUND)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 99), amount=st.floats(0.01, 0.2))
def test_more_noise_is_worse(seed: int, amount: float) -> None:
    picture, _ = natural(seed, 32)
    noise = np.random.default_rng(seed).normal(size=picture.shape)
    little, much = picture + amount * noise, picture + 2 * amount * noise
    assert psnr(picture, little) == pytest.approx(psnr(picture, much) + 20 * np.log10(2))
    assert ssim(picture, picture) == 1.0 > ssim(picture, little) > ssim(picture, much)


# Distances of sets


class Rows(torch.nn.Module):
    """Takes pictures that are rows of features already."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.num_features = width

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """The rows."""
        return rows


def gaussians(seed: int, rows: int = 60, width: int = 8) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    mix = rng.normal(size=(width, width))
    return rng.normal(size=(rows, width)) @ mix, rng.normal(0.5, 1.5, size=(rows, width)) @ mix.T


def torchmetrics_value(metric: torch.nn.Module, first: np.ndarray, second: np.ndarray):
    metric.set_dtype(torch.float64)
    metric.update(torch.from_numpy(first), real=True)
    metric.update(torch.from_numpy(second), real=False)
    return metric.compute()


@pytest.mark.parametrize("seed", range(3))
def test_frechet_distance_equals_two_other_ways(seed: int) -> None:
    first, second = gaussians(seed)
    found = frechet_distance(first, second)
    other = torchmetrics_value(FrechetInceptionDistance(feature=Rows(8), normalize=False), first, second)
    assert found == pytest.approx(float(other), rel=BOUND)
    covariances = [np.cov(rows, rowvar=False) for rows in (first, second)]
    root = np.real(scipy.linalg.sqrtm(covariances[0] @ covariances[1]))
    expected = np.square(first.mean(0) - second.mean(0)).sum() + np.trace(sum(covariances) - 2 * root)
    assert found == pytest.approx(expected, rel=BOUND)


def test_frechet_distance_of_gaussians_in_closed_form() -> None:
    # Axes of known spread: Σ (m₁ − m₂)² + (s₁ − s₂)².
    axes = np.concatenate([np.eye(3), -np.eye(3)])
    unit = axes / axes.std(axis=0, ddof=1)
    first = unit * [1.0, 2.0, 3.0]
    second = unit * [2.0, 2.0, 0.5] + [1.0, 0.0, -2.0]
    assert frechet_distance(first, second) == pytest.approx(1 + 4 + (1 + 0 + 2.5**2), abs=1e-9)
    assert frechet_distance(first[:, :1], first[:, :1] + 3.0) == pytest.approx(9.0, abs=1e-9)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 999), rows=st.integers(2, 30))
def test_frechet_distance_is_symmetric_and_zero_for_equal_sets(seed: int, rows: int) -> None:
    # Fewer rows than features among them: a covariance without full rank.
    first, second = gaussians(seed, rows)
    scale = np.trace(np.cov(first, rowvar=False)) + np.trace(np.cov(second, rowvar=False))
    assert frechet_distance(first, second) == pytest.approx(frechet_distance(second, first), abs=1e-6 * scale)
    assert frechet_distance(first, first[::-1]) == pytest.approx(0.0, abs=1e-8 * scale)
    assert frechet_distance(first, second) >= 0.0


@pytest.mark.parametrize("seed", range(3))
def test_kernel_distance_equals_torchmetrics(seed: int) -> None:
    first, second = gaussians(seed)
    metric = KernelInceptionDistance(feature=Rows(8), subsets=1, subset_size=60)
    mean, _ = torchmetrics_value(metric, first, second)
    found = kernel_distance(first, second, np.random.default_rng(0))
    assert found == pytest.approx(float(mean), rel=BOUND)


def test_kernel_distance_by_hand() -> None:
    first, second = np.array([[0.0], [1.0]]), np.array([[2.0], [1.0]])
    # Kernel (xy + 1)³: off the diagonals 1 and 27, across 1, 1, 27, 8.
    assert kernel_distance(first, second, np.random.default_rng(0)) == pytest.approx(1 + 27 - 2 * (1 + 1 + 27 + 8) / 4)


def test_kernel_distance_of_one_distribution_is_zero_on_average_at_any_size() -> None:
    rng = np.random.default_rng(0)
    draws = [kernel_distance(*rng.normal(size=(2, 12, 4)), rng) for _ in range(400)]
    assert abs(np.mean(draws)) < 4 * np.std(draws) / np.sqrt(len(draws))
    assert min(draws) < 0


def test_kernel_distance_draws_subsets_alike_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = gaussians(0, rows=200)
    second = second[:150]
    whole = kernel_distance(first[:150], second, np.random.default_rng(0))
    monkeypatch.setattr("evaluation.metrics.distribution.KID_SUBSET_SIZE", 50)
    found = [kernel_distance(first, second, np.random.default_rng(seed)) for seed in (0, 0, 1)]
    assert found[0] == found[1] != found[2]
    assert found[0] == pytest.approx(whole, rel=0.2)


def test_a_single_picture_is_no_set() -> None:
    one, more = np.zeros((1, 4)), np.zeros((5, 4))
    with pytest.raises(ValueError, match="two pictures or more"):
        frechet_distance(one, more)
    with pytest.raises(ValueError, match="two pictures or more"):
        kernel_distance(more, one, np.random.default_rng(0))
