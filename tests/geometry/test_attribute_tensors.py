"""Attribute images of tensors are those of arrays, and gradients flow through them."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from geometry.attribute_images import ZERO_1_TO_G, ZERO_1_TO_G_LOGIT, AttributeRanges, decode, encode
from geometry.attribute_tensors import decode_attributes, encode_channels, gaussians_of, turned
from geometry.gaussians import Gaussians
from geometry.splatter_tensor import channels_from_gaussians

SIDE = 4


def a_view(seed: int = 0) -> Gaussians:
    chance = np.random.default_rng(seed)
    count = SIDE * SIDE
    return Gaussians(
        means=chance.uniform(-0.6, 0.6, (count, 3)),
        quaternions=Rotation.random(count, random_state=seed).as_quat(scalar_first=True),
        scales=np.exp(chance.uniform(-8, -3, (count, 3))),
        opacities=chance.uniform(0.05, 0.95, count),
        colours=chance.uniform(0, 1, (count, 3)),
    )


def channels_of(view: Gaussians) -> torch.Tensor:
    return torch.from_numpy(channels_from_gaussians(view, SIDE, SIDE)).double()


@pytest.mark.parametrize("ranges", [ZERO_1_TO_G, ZERO_1_TO_G_LOGIT])
def test_images_are_those_of_arrays(ranges: AttributeRanges) -> None:
    view = a_view()
    images = encode_channels(channels_of(view), ranges)
    np.testing.assert_allclose(images.numpy(), encode(view, SIDE, SIDE, ranges).values, atol=2e-5)


@pytest.mark.parametrize("ranges", [ZERO_1_TO_G, ZERO_1_TO_G_LOGIT])
def test_decoded_images_are_those_of_arrays(ranges: AttributeRanges) -> None:
    images = torch.from_numpy(np.random.default_rng(1).uniform(-1.2, 1.2, (5, 3, SIDE, SIDE)))
    expected = decode(images.numpy(), ranges)
    made = gaussians_of(decode_attributes(images, ranges)[None]).gaussians()
    for name in ("means", "scales", "opacities", "colours"):
        np.testing.assert_allclose(getattr(made, name), getattr(expected, name), rtol=1e-5, atol=1e-6)
    # q and −q are one rotation.
    np.testing.assert_allclose(np.abs((made.quaternions * expected.quaternions).sum(1)), 1.0, atol=1e-6)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000))
def test_decoding_an_encoding_gives_the_same_gaussians(seed: int) -> None:
    channels = channels_of(a_view(seed))
    again = decode_attributes(encode_channels(channels))
    torch.testing.assert_close(again[:7], channels[:7], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(again[11:], channels[11:], rtol=1e-5, atol=1e-6)
    covariances = [_covariances(each) for each in (channels, again)]
    torch.testing.assert_close(*covariances, rtol=1e-4, atol=1e-9)


def _covariances(channels: torch.Tensor) -> torch.Tensor:
    made = gaussians_of(channels[None])
    axes = Rotation.from_quat(made.quaternions.numpy(), scalar_first=True).as_matrix()
    return torch.from_numpy(axes @ (made.scales.numpy()[..., None] ** 2 * axes.transpose(0, 2, 1)))


def test_gaussians_keep_their_pixel() -> None:
    views = torch.stack([channels_of(a_view(seed)) for seed in (0, 1)])
    made = gaussians_of(views)
    assert torch.equal(made.means[SIDE * SIDE + SIDE + 2], views[1, :3, 1, 2])
    assert made.opacities[3] == views[0, 3, 0, 3]


def test_a_quarter_turn_about_z() -> None:
    """What was x becomes y, y becomes −x; a Gaussian that is long along x is long along y."""
    channels = torch.zeros(14, 1, 1, dtype=torch.float64)
    channels[:, 0, 0] = torch.tensor([0.5, 0.25, 0.125, 1, 0.3, 0.1, 0.1, 1, 0, 0, 0, 1, 0, 0], dtype=torch.float64)
    quarter = turned(channels, torch.tensor(np.pi / 2))
    torch.testing.assert_close(
        quarter[:3, 0, 0], torch.tensor([-0.25, 0.5, 0.125], dtype=torch.float64), atol=1e-7, rtol=0
    )
    expected = torch.diag(torch.tensor([0.01, 0.09, 0.01], dtype=torch.float64))
    torch.testing.assert_close(_covariances(quarter)[0], expected, atol=1e-7, rtol=0)
    torch.testing.assert_close(turned(quarter, torch.tensor(-np.pi / 2)), channels, atol=1e-7, rtol=0)


def test_gradients_agree_with_differences() -> None:
    images = torch.from_numpy(np.random.default_rng(3).uniform(-0.9, 0.9, (5, 3, 1, 2))).requires_grad_()
    assert torch.autograd.gradcheck(decode_attributes, (images,))
    # No rotation has no direction, and still a gradient.
    none = torch.zeros(5, 3, 1, 1, dtype=torch.float64, requires_grad=True)
    decode_attributes(none)[7:11].sum().backward()
    assert torch.isfinite(none.grad).all()
