"""Reference attention: what the denoiser sees of the input, by whatever backend, against plain matrices in float64."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import Attention, AttnProcessor, AttnProcessor2_0
from grid_support import grid_training
from torch import Tensor

from systems.zero_1_to_g.grid.reference_attention import ReferenceProcessor, References, ReferenceUNet

INPUTS = {"timestep": torch.tensor([3, 700]), "encoder_hidden_states": torch.ones(2, 3, 16)}


@pytest.fixture
def unet() -> ReferenceUNet:
    return grid_training().unet


@pytest.fixture
def codes() -> Tensor:
    return torch.randn(2, 48, 12, 8, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def reference() -> Tensor:
    return torch.randn(2, 48, 4, 4, generator=torch.Generator().manual_seed(2))


@torch.no_grad()
def predicted(unet: ReferenceUNet, codes: Tensor, reference: Tensor | None) -> Tensor:
    return unet(codes, **INPUTS, reference=reference).sample


def test_without_a_reference_it_is_its_parent(unet: ReferenceUNet, codes: Tensor) -> None:
    parent = UNet2DConditionModel.from_config(unet.config).eval()
    parent.load_state_dict(unet.state_dict())
    with torch.no_grad():
        expected = parent(codes, **INPUTS).sample
    assert torch.equal(predicted(unet, codes, None), expected)


def test_each_sample_sees_its_own_reference(unet: ReferenceUNet, codes: Tensor, reference: Tensor) -> None:
    before = predicted(unet, codes, reference)
    changed = reference.clone()
    changed[1] += 1.0
    after = predicted(unet, codes, changed)
    torch.testing.assert_close(before[0], after[0])
    assert (before[1] - after[1]).abs().max() > 1e-3
    assert (before - predicted(unet, codes, None)).abs().max() > 1e-3


@pytest.mark.parametrize("inner", [AttnProcessor, AttnProcessor2_0])
def test_a_layer_against_plain_matrices(inner: Callable[[], Any]) -> None:
    """Softmax over the own tokens and the noted ones; what is noted is what the layer is given."""
    torch.manual_seed(0)
    layer = Attention(query_dim=8, heads=2, dim_head=4).double()
    layer.set_processor(ReferenceProcessor(inner(), "layer"))
    picture, own = torch.randn(1, 5, 8).double(), torch.randn(1, 6, 8).double()
    noted = References()
    alone = layer(picture, references=noted)
    made = layer(own, references=References(reading=True, tokens=noted.tokens))

    def expected(queries: Tensor, keys: Tensor) -> Tensor:
        q, k, v = (
            weight(tokens)[0].unflatten(-1, (2, 4)).transpose(0, 1)
            for weight, tokens in ((layer.to_q, queries), (layer.to_k, keys), (layer.to_v, keys))
        )
        weights = torch.softmax(q @ k.transpose(1, 2) / 2.0, dim=-1)
        return layer.to_out[0]((weights @ v).transpose(0, 1).flatten(1))

    torch.testing.assert_close(alone[0], expected(picture, picture))
    torch.testing.assert_close(made[0], expected(own, torch.cat([own, picture], dim=1)))


def test_backends_agree_and_are_kept(unet: ReferenceUNet, codes: Tensor, reference: Tensor) -> None:
    """A backend that is chosen later serves the reference too."""
    first = predicted(unet, codes, reference)
    unet.set_attn_processor(AttnProcessor())
    torch.testing.assert_close(predicted(unet, codes, reference), first, atol=1e-5, rtol=1e-4)
    inner = {type(each.inner) for each in unet.attn_processors.values()}
    assert inner == {AttnProcessor}
    assert {each.layer is None for each in unet.attn_processors.values()} == {True, False}


def test_cross_attention_sees_no_reference(unet: ReferenceUNet, codes: Tensor, reference: Tensor) -> None:
    predicted(unet, codes, reference)
    layers = {name: each.layer for name, each in unet.attn_processors.items()}
    assert all((layer is None) == ("attn2" in name) for name, layer in layers.items())


def test_checkpointing_gives_the_same_gradients(unet: ReferenceUNet, codes: Tensor, reference: Tensor) -> None:
    gradients = []
    for checkpointed in (False, True):
        if checkpointed:
            unet.train().enable_gradient_checkpointing()
        unet.zero_grad()
        unet.requires_grad_(True)
        unet(codes, **INPUTS, reference=reference).sample.square().mean().backward()
        gradients.append([parameter.grad.clone() for parameter in unet.parameters() if parameter.grad is not None])
    assert len(gradients[0]) == len(list(unet.parameters()))
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-4)
