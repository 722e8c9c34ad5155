"""The upper bound: what a model's autoencoder lets through, object by object, and a reason where there is none."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL

from evaluation.baselines import Reencoding, find_reencoding
from geometry.perceptual import Unavailable
from systems.zero123.space_to_depth import SpaceToDepth
from systems.zero_1_to_g.pipeline import Zero1ToGPipeline


@pytest.fixture(scope="module")
def pictures() -> np.ndarray:
    return np.random.default_rng(0).uniform(0, 1, (5, 16, 16, 3)).astype(np.float32)


def test_an_autoencoder_without_loss_gives_the_truth(pictures: np.ndarray) -> None:
    through = Reencoding(SpaceToDepth(4, scaling_factor=0.5), 2)(pictures)
    assert through == pytest.approx(pictures, abs=1e-6)


def test_a_real_autoencoder_is_given_the_posteriors_mode(pictures: np.ndarray) -> None:
    torch.manual_seed(0)
    vae = AutoencoderKL(block_out_channels=(8, 8), layers_per_block=1, norm_num_groups=4, latent_channels=4,
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2).eval()  # fmt: skip
    images = torch.from_numpy(pictures).permute(0, 3, 1, 2) * 2 - 1
    with torch.no_grad():
        wanted = vae(images, sample_posterior=False).sample
    found = Reencoding(vae, 2)(pictures)
    assert found.shape == pictures.shape
    assert found == pytest.approx((wanted / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).numpy(), abs=1e-5)
    # No draw: the same twice.
    assert (Reencoding(vae, 2)(pictures) == found).all()


@pytest.mark.parametrize(
    ("pipeline", "reason"),
    [
        (Zero1ToGPipeline.__new__(Zero1ToGPipeline), "rendered from Gaussians"),
        (SimpleNamespace(components={}), "a SimpleNamespace has no autoencoder"),
    ],
)
def test_models_whose_pictures_pass_no_autoencoder_have_no_bound(pipeline: Any, reason: str) -> None:
    found = find_reencoding(pipeline, 4)
    assert isinstance(found, Unavailable)
    assert reason in found.reason
