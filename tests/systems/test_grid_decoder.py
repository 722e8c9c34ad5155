"""The decoder of splatter images: activations by hand, sizes, and what it takes over from an autoencoder."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL
from diffusers.models.attention_processor import AttnProcessor, AttnProcessor2_0
from torch import Tensor

from stage.errors import InputError
from systems.zero_1_to_g.grid.activations import SplatterActivations
from systems.zero_1_to_g.grid.layout import unscaled_image, unscaled_latents, views_of
from systems.zero_1_to_g.grid.splatter_decoder import SplatterDecoder


def activated(raw: list[float], **options: Any) -> Tensor:
    channels = SplatterActivations(**options)(torch.tensor(raw)[:, None, None])
    return channels[:, 0, 0].detach()


def test_activations_by_hand() -> None:
    raw = [-3.0, 0.5, 2.0, 0.0, 3.0, -50.0, 9.0, 3.0, 0.0, 4.0, 0.0, 0.0, 100.0, -0.5]
    expected = [
        *(-1.0, 0.5, 1.0),
        0.5,
        # softplus(0) = ln 2; softplus(−53) underflows to the least; softplus(6) = 6.0025 is clamped to e⁻².
        *(0.1 * math.log(2), math.exp(-10), math.exp(-2)),
        *(0.6, 0.0, 0.8, 0.0),
        *(0.5, 1.0, 0.5 * math.tanh(-0.5) + 0.5),
    ]
    torch.testing.assert_close(activated(raw), torch.tensor(expected))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"scale_act": "softplus"}, 0.1 * math.log1p(math.exp(-2.5))),
        ({"scale_act": "biased_exp", "scale_act_bias": -1.0}, math.exp(-3.5)),
        ({"scale_act": "biased_exp", "scale_act_bias": 4.0}, math.exp(-2.0)),
        ({"scale_clamp_max": -8.0}, math.exp(-8.0)),
    ],
)
def test_scales_of_other_options(options: dict[str, Any], expected: float) -> None:
    assert float(activated([-2.5] * 14, **options)[4]) == pytest.approx(expected, rel=1e-6)


def test_no_rotation_is_the_identity_and_has_a_gradient() -> None:
    raw = torch.zeros(14, 1, 1, requires_grad=True)
    made = SplatterActivations()(raw)
    assert made[7:11, 0, 0].tolist() == [1, 0, 0, 0]
    made.sum().backward()
    assert raw.grad is not None
    assert torch.isfinite(raw.grad).all()


def test_half_precision_keeps_the_least_scale() -> None:
    made = SplatterActivations()(torch.full((14, 1, 1), -60.0, dtype=torch.float16))
    assert float(made[4].detach()) == pytest.approx(math.exp(-10), rel=1e-6)


@pytest.fixture(scope="module")
def vae() -> AutoencoderKL:
    torch.manual_seed(0)
    return AutoencoderKL(
        block_out_channels=(8, 16, 16, 16),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        norm_num_groups=8,
        layers_per_block=1,
        scaling_factor=0.18215,
    ).eval()


def decoder(vae: AutoencoderKL, **options: Any) -> SplatterDecoder:
    torch.manual_seed(1)
    return SplatterDecoder.from_vae(vae, **options).eval()


def test_colours_are_the_autoencoders(vae: AutoencoderKL) -> None:
    latents = torch.randn(1, 4, 9, 6)
    with torch.no_grad():
        raw = decoder(vae, splatter_size=None).raw(latents)
        assert raw.shape == (1, 14, 72, 48)
        torch.testing.assert_close(raw[:, 11:], vae.decode(latents).sample)


def test_the_last_layer_is_resized_by_nearest_neighbours(vae: AutoencoderKL) -> None:
    """The convolutions that follow see the features of the whole decoder, thinned out."""
    latents = torch.randn(1, 4, 9, 6)
    whole, small = decoder(vae, splatter_size=None), decoder(vae, splatter_size=10)
    with torch.no_grad():
        features = whole.decoder.conv_in(whole.post_quant_conv(latents))
        features = whole.decoder.mid_block(features)
        for block in whole.decoder.up_blocks:
            features = block(features)
        rows = (torch.arange(30) * 72 // 30, torch.arange(20) * 48 // 20)
        thinned = features[:, :, rows[0]][:, :, :, rows[1]]
        thinned = whole.decoder.conv_act(whole.decoder.conv_norm_out(thinned))
        expected = torch.cat([whole.others(thinned), whole.decoder.conv_out(thinned)], dim=1)
        torch.testing.assert_close(small.raw(latents), expected)


@pytest.mark.parametrize("mode", ["last_layer", "interpolate_upsample", "interpolate_downsample"])
def test_any_code_becomes_six_images_of_the_size(vae: AutoencoderKL, mode: str) -> None:
    made = decoder(vae, splatter_size=12, decoder_upblocks_interpolate_mode=mode)
    with torch.no_grad():
        assert made(torch.randn(2, 4, 9, 6)).shape == (2, 6, 14, 12, 12)
        assert made(torch.randn(1, 4, 15, 10)).shape == (1, 6, 14, 12, 12)


def test_all_channels_are_unscaled_before_they_are_activated(vae: AutoencoderKL) -> None:
    made, codes = decoder(vae, splatter_size=8), torch.randn(1, 4, 9, 6)
    with torch.no_grad():
        raw = unscaled_image(made.raw(unscaled_latents(codes) / 0.18215))
        torch.testing.assert_close(made(codes), views_of(made.activations(raw)))


def test_what_is_trained(vae: AutoencoderKL) -> None:
    """All but the convolution before the decoder, as published; the bias of the scales where it is to be learnt."""
    made = decoder(vae)
    trained = {id(parameter) for parameter in made.trained()}
    left = [name for name, parameter in made.named_parameters() if id(parameter) not in trained]
    assert left == ["post_quant_conv.weight", "post_quant_conv.bias"]
    fixed = decoder(vae, scale_bias_learnable=False)
    assert id(fixed.activations.scale_bias) not in {id(parameter) for parameter in fixed.trained()}


def test_checkpointing_gives_the_same_gradients(vae: AutoencoderKL) -> None:
    gradients = []
    for checkpointed in (False, True):
        made = decoder(vae, splatter_size=6)
        if checkpointed:
            made.enable_gradient_checkpointing()
        made(torch.linspace(-1, 1, 216).reshape(1, 4, 9, 6)).square().mean().backward()
        gradients.append([parameter.grad for parameter in made.trained()])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other)


def test_saved_and_loaded_it_is_the_same(vae: AutoencoderKL, tmp_path: Path) -> None:
    made, codes = decoder(vae, splatter_size=8), torch.randn(1, 4, 9, 6)
    with torch.no_grad():
        made.activations.scale_bias.fill_(-2.5)
        made.save_pretrained(tmp_path, safe_serialization=True)
        loaded = SplatterDecoder.from_pretrained(tmp_path).eval()
        assert torch.equal(loaded(codes), made(codes))
    assert [path.suffix for path in sorted(tmp_path.iterdir())] == [".json", ".safetensors"]


def test_attention_is_told_its_backend(vae: AutoencoderKL) -> None:
    made = decoder(vae)
    made.set_attn_processor(AttnProcessor())
    assert {type(each) for each in made.attn_processors.values()} == {AttnProcessor}
    made.set_attn_processor(AttnProcessor2_0())
    assert {type(each) for each in made.attn_processors.values()} == {AttnProcessor2_0}


def test_a_block_that_is_not_there_is_refused() -> None:
    with pytest.raises(InputError, match="interpolate_downsample needs 3 blocks, and the decoder has 2"):
        SplatterDecoder(
            block_out_channels=(8, 8), norm_num_groups=8, decoder_upblocks_interpolate_mode="interpolate_downsample"
        )
