"""Losses and scores of pictures against other people's implementations and cases worked by hand."""

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio
from skimage.metrics import structural_similarity as reference_ssim

from geometry.picture_losses import on_background, picture_loss, psnr, structural_similarity
from geometry.rasterizer import Rendering
from geometry.refinement_settings import LossWeights

WHITE = torch.ones(2, 3)


@pytest.fixture
def pictures() -> tuple[torch.Tensor, torch.Tensor]:
    noise = torch.Generator().manual_seed(0)
    truth = torch.rand(2, 24, 20, 3, generator=noise)
    return (truth + 0.1 * torch.randn(truth.shape, generator=noise)).clamp(0, 1), truth


def rendering(rgb: torch.Tensor, alpha: torch.Tensor) -> Rendering:
    """What a rasteriser gives, `rgb` being on black."""
    return Rendering(rgb, alpha, torch.zeros_like(alpha), torch.zeros_like(rgb))


def test_scores_are_those_of_scikit_image(pictures):
    made, truth = pictures
    pairs = list(zip(truth.double().numpy(), made.double().numpy(), strict=True))
    expected = [peak_signal_noise_ratio(*pair, data_range=1.0) for pair in pairs]
    np.testing.assert_allclose(psnr(made, truth), expected, rtol=1e-5)
    options = {"data_range": 1.0, "gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    expected = [reference_ssim(*pair, channel_axis=-1, **options) for pair in pairs]
    np.testing.assert_allclose(structural_similarity(made, truth), expected, atol=1e-5)


def test_a_picture_is_composited_on_its_own_background():
    rgba = torch.tensor([0.2, 0.4, 0.6, 0.5]).expand(2, 1, 1, 4)
    made = on_background(rgba, torch.tensor([[1.0, 1.0, 1.0], [0.0, 0.2, 0.4]]))
    torch.testing.assert_close(made[:, 0, 0], torch.tensor([[0.6, 0.7, 0.8], [0.1, 0.3, 0.5]]))


def test_the_right_picture_costs_nothing(pictures):
    _, truth = pictures
    alpha = torch.linspace(0, 1, 20).expand(2, 24, 20)
    rgba = torch.cat([truth, alpha[..., None]], dim=-1)
    loss = picture_loss(rendering(truth * alpha[..., None], alpha), rgba, WHITE, LossWeights(ssim=0.5))
    assert float(loss) == pytest.approx(0.0, abs=1e-6)


def test_the_parts_of_the_loss_add_up(pictures):
    made, truth = pictures
    alpha = torch.full((2, 24, 20), 0.75)
    rgba = torch.cat([truth, torch.ones(2, 24, 20, 1)], dim=-1)
    shown = made + 0.25
    distance = torch.tensor([0.3, 0.5])
    loss = picture_loss(
        rendering(made, alpha), rgba, WHITE, LossWeights(ssim=0.4, alpha=2.0, lpips=0.1), lambda *_: distance
    )
    expected = 0.6 * (shown - truth).abs().mean() + 0.4 * (1 - structural_similarity(shown, truth).mean())
    torch.testing.assert_close(loss, expected + 2.0 * 0.25 + 0.1 * 0.4)


def test_lpips_sees_pictures_from_minus_one_to_one(pictures):
    seen = []

    def network(made: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        seen.extend([made, truth])
        return torch.zeros(2)

    made, truth = pictures
    rgba = torch.cat([truth, torch.ones(2, 24, 20, 1)], dim=-1)
    picture_loss(rendering(made, torch.ones(2, 24, 20)), rgba, WHITE, LossWeights(lpips=1.0), network)
    torch.testing.assert_close(seen[0], made.permute(0, 3, 1, 2) * 2 - 1)
    torch.testing.assert_close(seen[1], truth.permute(0, 3, 1, 2) * 2 - 1)
