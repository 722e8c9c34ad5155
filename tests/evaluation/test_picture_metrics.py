"""PSNR and SSIM against hand-computed values and a second implementation; LPIPS is a number or a reason, never a guess."""

import importlib.machinery
import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.lib.stride_tricks import sliding_window_view

from evaluation.metrics.definitions import METRICS
from evaluation.metrics.lpips import Lpips, find_lpips
from evaluation.metrics.metric_set import MetricSet
from evaluation.metrics.parameters import MetricParameters
from geometry.perceptual import NOT_AVAILABLE, Unavailable
from geometry.picture_metrics import MAX_PSNR, psnr, ssim
from stage.errors import InputError

pictures = hnp.arrays(np.float32, (13, 14, 3), elements=st.floats(0, 1, width=32))


def reference_ssim(a: np.ndarray, b: np.ndarray) -> float:
    """SSIM by its definition: an explicit 11×11 Gaussian window at every place where it fits."""
    offsets = np.arange(-5, 6)
    window = np.exp(-(offsets[:, None] ** 2 + offsets[None] ** 2) / (2 * 1.5**2))
    window /= window.sum()

    def mean(values: np.ndarray) -> np.ndarray:
        return (sliding_window_view(values, (11, 11), axis=(0, 1)) * window).sum(axis=(-2, -1))

    a, b = a.astype(np.float64), b.astype(np.float64)
    mean_a, mean_b = mean(a), mean(b)
    variance_a, variance_b = mean(a * a) - mean_a**2, mean(b * b) - mean_b**2
    covariance = mean(a * b) - mean_a * mean_b
    c1, c2 = 0.01**2, 0.03**2
    numerator = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    return float((numerator / ((mean_a**2 + mean_b**2 + c1) * (variance_a + variance_b + c2))).mean())


def test_psnr_of_a_known_error() -> None:
    black = np.zeros((12, 12, 3))
    assert psnr(black, black + 0.1) == pytest.approx(20.0)
    assert psnr(black, black + 1.0) == pytest.approx(0.0)
    one_channel = black.copy()
    one_channel[..., 0] = 0.1
    assert psnr(black, one_channel) == pytest.approx(20.0 + 10 * np.log10(3))


def test_equal_pictures_have_the_highest_finite_psnr() -> None:
    picture = np.random.default_rng(0).random((12, 12, 3))
    assert psnr(picture, picture) == MAX_PSNR
    assert psnr(picture, picture + 1e-9) == MAX_PSNR


@settings(max_examples=40, deadline=None)
@given(a=pictures, b=pictures)
def test_psnr_agrees_with_a_second_implementation(a: np.ndarray, b: np.ndarray) -> None:
    errors = [(float(x) - float(y)) ** 2 for x, y in zip(a.ravel(), b.ravel(), strict=True)]
    error = sum(errors) / len(errors)
    expected = 100.0 if error < 1e-10 else -10 * np.log10(error)
    assert psnr(a, b) == pytest.approx(expected, abs=1e-9)
    assert psnr(a, b) == psnr(b, a)


@settings(max_examples=40, deadline=None)
@given(a=pictures, b=pictures)
def test_ssim_agrees_with_a_second_implementation(a: np.ndarray, b: np.ndarray) -> None:
    assert ssim(a, b) == pytest.approx(reference_ssim(a, b), abs=1e-9)
    assert ssim(a, b) == pytest.approx(ssim(b, a), abs=1e-12)
    assert -1.0 <= ssim(a, b) <= 1.0 + 1e-12


def test_ssim_of_flat_pictures_is_the_luminance_term() -> None:
    dark, bright = np.full((16, 16, 3), 0.2), np.full((16, 16, 3), 0.8)
    assert ssim(dark, bright) == pytest.approx((2 * 0.2 * 0.8 + 1e-4) / (0.2**2 + 0.8**2 + 1e-4))
    assert ssim(dark, dark) == pytest.approx(1.0)


def test_a_picture_smaller_than_the_window_is_refused() -> None:
    with pytest.raises(InputError, match="SSIM needs pictures of 11 pixels or more, these have 8"):
        ssim(np.zeros((8, 8, 3)), np.zeros((8, 8, 3)))


def test_every_view_has_its_figures() -> None:
    targets = np.zeros((2, 12, 12, 3))
    predictions = np.stack([targets[0] + 0.1, targets[1] + 1.0])
    figures = MetricSet.of(MetricParameters(names=("psnr", "ssim"))).views(predictions, targets)
    assert figures["psnr"] == pytest.approx([20.0, 0.0])
    assert set(figures) == {"psnr", "ssim"}


def test_lpips_is_scored_where_it_is_available() -> None:
    targets = np.full((2, 12, 12, 3), 0.75)
    measured = Lpips(lambda a, b: (a - b).abs().mean(), "0.1.4")
    metrics = MetricSet((METRICS["lpips"],), {"lpips": measured}, {})
    assert metrics.views(targets * 0, targets)["lpips"] == pytest.approx([1.5, 1.5])


@pytest.mark.parametrize("absent", ["lpips", "torchvision"])
def test_lpips_without_a_package_names_it(monkeypatch: pytest.MonkeyPatch, absent: str) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == absent else object())
    found = find_lpips()
    assert isinstance(found, Unavailable)
    assert str(found) == f"{NOT_AVAILABLE}: the package {absent} is not installed"


def test_lpips_without_its_weights_is_neither_imported_nor_guessed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    package = tmp_path / "lpips"
    package.mkdir()
    (package / "__init__.py").write_text("raise SystemExit('imported')")
    spec = importlib.machinery.ModuleSpec("lpips", None, origin=str(package / "__init__.py"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: spec)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    assert "vgg16-397923af.pth" in str(find_lpips())
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    (tmp_path / "hub" / "checkpoints" / "vgg16-397923af.pth").touch()
    assert "lacks its own weights" in str(find_lpips())


def test_an_lpips_that_does_not_load_is_not_available(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    package = tmp_path / "lpips"
    (package / "weights" / "v0.1").mkdir(parents=True)
    (package / "weights" / "v0.1" / "vgg.pth").touch()
    (package / "__init__.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')")
    (tmp_path / "torchvision").mkdir()
    (tmp_path / "torchvision" / "__init__.py").touch()
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "vgg16-397923af.pth").touch()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    assert str(find_lpips()) == ("not available: it does not load (operator torchvision::nms does not exist)")
