"""Images to CLIP's input and to latents, and the stand-in for the VAE."""

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import Tensor

from systems.zero123.encoding import clip_input, condition_latent, embed_images, target_latent
from systems.zero123.modules import Zero123Modules
from systems.zero123.space_to_depth import SpaceToDepth


@given(arrays(np.uint8, (2, 3, 8, 12)), st.sampled_from([1, 2, 4]))
def test_space_to_depth_gives_every_picture_back(pixels: np.ndarray, factor: int) -> None:
    vae = SpaceToDepth(factor)
    images = torch.from_numpy(pixels).float() / 127.5 - 1
    decoded = vae.decode(vae.encode(images).latent_dist.mode()).sample
    assert torch.equal(((decoded + 1) * 127.5).round().to(torch.uint8), torch.from_numpy(pixels))
    assert (decoded - images).abs().max() <= 2.5e-7


@given(st.sampled_from([1, 2, 4]))
def test_space_to_depth_only_moves_pixels(factor: int) -> None:
    images = torch.arange(2 * 3 * 8 * 8).reshape(2, 3, 8, 8).float()
    latents = SpaceToDepth(factor).encode(images).latent_dist.mode()
    assert latents.shape == (2, 3 * factor**2, 8 // factor, 8 // factor)
    assert torch.equal(latents.flatten().sort().values, (images - 1).flatten())


def test_space_to_depth_keeps_a_block_together() -> None:
    images = torch.ones(1, 3, 8, 8)
    images[:, :, 4:, :4] = 0.0
    latents = SpaceToDepth(4).encode(images).latent_dist.mode()
    assert (latents[:, :, 1, 0] == -1).all()
    assert latents.count_nonzero() == 3 * 16


def test_white_has_the_latent_zero() -> None:
    vae = SpaceToDepth(4)
    distribution = vae.encode(torch.ones(1, 3, 16, 16)).latent_dist
    assert vae.latent_channels == 48
    assert not distribution.mode().any()
    assert torch.equal(distribution.sample(), distribution.mode())


def test_space_to_depth_trains_nothing() -> None:
    assert not any(parameter.requires_grad for parameter in SpaceToDepth(4).parameters())


def cubic(distance: np.ndarray, a: float = -0.75) -> np.ndarray:
    """The cubic convolution kernel (Keys 1981) with torch's and OpenCV's a."""
    d = np.abs(distance)
    near = (a + 2) * d**3 - (a + 3) * d**2 + 1
    far = a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a
    return np.where(d <= 1, near, np.where(d < 2, far, 0.0))


def resampling(source: int, target: int) -> np.ndarray:
    """Weights (target, source) of bicubic interpolation with aligned corners and repeated borders."""
    weights = np.zeros((target, source))
    for row, place in enumerate(np.linspace(0, source - 1, target)):
        for column in range(int(np.floor(place)) - 1, int(np.floor(place)) + 3):
            weights[row, np.clip(column, 0, source - 1)] += cubic(np.array(place - column))
    return weights


@pytest.mark.parametrize("size", [24, 9])
def test_clip_input_against_the_formula(size: int) -> None:
    images = np.random.default_rng(0).uniform(-1, 1, (2, 3, 16, 16))
    weights = resampling(16, size)
    resized = np.einsum("yi,bcij,xj->bcyx", weights, images, weights)
    mean = np.array([0.48145466, 0.4578275, 0.40821073])[:, None, None]
    spread = np.array([0.26862954, 0.26130258, 0.27577711])[:, None, None]
    expected = ((resized + 1) / 2 - mean) / spread
    np.testing.assert_allclose(clip_input(torch.from_numpy(images), size).numpy(), expected, atol=1e-6)


def test_embedding_is_that_of_clip(modules: Zero123Modules) -> None:
    images = torch.rand(2, 3, 32, 32) * 2 - 1
    expected = modules.image_encoder(pixel_values=clip_input(images, 16)).image_embeds
    assert torch.equal(embed_images(modules.image_encoder, images), expected)
    assert expected.shape == (2, 16)


def test_only_the_target_latent_is_scaled() -> None:
    vae = SpaceToDepth(4, scaling_factor=0.25)
    images, noise = torch.rand(2, 3, 16, 16) * 2 - 1, torch.randn(2, 48, 4, 4)
    assert torch.equal(condition_latent(vae, images), torch.nn.functional.pixel_unshuffle(images - 1, 4))
    assert torch.equal(target_latent(vae, images, noise), condition_latent(vae, images) * 0.25)


@torch.no_grad()
def test_condition_latent_of_a_vae_is_the_mode_unscaled(kl: AutoencoderKL) -> None:
    images: Tensor = torch.rand(2, 3, 16, 16) * 2 - 1
    moments = kl.quant_conv(kl.encoder(images))
    assert torch.allclose(condition_latent(kl, images), moments[:, :4], atol=1e-6)
