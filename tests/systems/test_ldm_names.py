"""Names of the original format: what we call a weight is what diffusers' own converters take for it."""

import pytest
import torch
from accelerate import init_empty_weights
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint, convert_ldm_vae_checkpoint
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import CLIPVisionModelWithProjection

from systems.zero123.conditioning import CCProjection
from systems.zero123.ldm_configuration import read_configuration
from systems.zero123.ldm_import import clip_config
from systems.zero123.ldm_names import ema_name, ldm_clip, ldm_unet, ldm_vae, transformers_clip


def shapes(weights):
    return {name: tuple(weight.shape) for name, weight in weights.items()}


@pytest.fixture(scope="module")
def published():
    """The published networks without storage."""
    configuration = read_configuration(None)
    with init_empty_weights():
        return (
            UNet2DConditionModel(**configuration.unet),
            AutoencoderKL(**configuration.vae),
            CLIPVisionModelWithProjection(clip_config(1024, 24, 14, 224, 768)),
            CCProjection(768),
        )


def test_published_networks_have_the_published_sizes(published):
    unet, vae, encoder, projection = published
    assert sum(weight.numel() for weight in unet.parameters()) == 859_532_484
    assert sum(weight.numel() for weight in projection.parameters()) == 593_664
    assert encoder.config.num_attention_heads == 16
    assert vae.config.scaling_factor == 0.18215


def test_diffusers_converters_undo_our_names_at_full_size(published):
    unet, vae, encoder, _ = published
    named = ldm_unet(unet.state_dict(), unet.config.layers_per_block)
    assert shapes(convert_ldm_unet_checkpoint(named, unet.config)) == shapes(unet.state_dict())
    assert shapes(convert_ldm_vae_checkpoint(ldm_vae(vae.state_dict()), vae.config)) == shapes(vae.state_dict())
    assert shapes(transformers_clip(ldm_clip(encoder.state_dict()))) == shapes(encoder.state_dict())
    assert len({ema_name(name) for name in named}) == len(named)


# Written down from the published network's code, not computed: LDM's blocks counted by hand.
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("down_blocks.0.downsamplers.0.conv.weight", "input_blocks.3.0.op.weight"),
        ("down_blocks.3.resnets.1.norm2.bias", "input_blocks.11.0.out_layers.0.bias"),
        (
            "down_blocks.1.attentions.0.transformer_blocks.0.norm1.weight",
            "input_blocks.4.1.transformer_blocks.0.norm1.weight",
        ),
        ("mid_block.resnets.1.time_emb_proj.weight", "middle_block.2.emb_layers.1.weight"),
        ("up_blocks.0.upsamplers.0.conv.weight", "output_blocks.2.1.conv.weight"),
        ("up_blocks.1.upsamplers.0.conv.weight", "output_blocks.5.2.conv.weight"),
        ("up_blocks.3.resnets.2.conv_shortcut.weight", "output_blocks.11.0.skip_connection.weight"),
    ],
)
def test_names_in_the_published_unet(published, ours, theirs):
    unet = published[0]
    weights = unet.state_dict()
    position = list(weights).index(ours)
    assert list(ldm_unet(weights, 2))[position] == f"model.diffusion_model.{theirs}"


def test_running_means_lose_their_dots():
    assert ema_name("model.diffusion_model.time_embed.0.weight") == "model_ema.diffusion_modeltime_embed0weight"


@settings(max_examples=15, deadline=None)
@given(
    attending=st.lists(st.booleans(), min_size=1, max_size=4).filter(any),
    layers=st.integers(1, 3),
    depth=st.integers(1, 2),
)
def test_any_unet_and_vae_survive_there_and_back(attending, layers, depth):
    levels = len(attending)
    with init_empty_weights():
        unet = UNet2DConditionModel(
            in_channels=8,
            out_channels=4,
            block_out_channels=(32,) * levels,
            down_block_types=tuple("CrossAttnDownBlock2D" if a else "DownBlock2D" for a in attending),
            up_block_types=tuple("CrossAttnUpBlock2D" if a else "UpBlock2D" for a in reversed(attending)),
            layers_per_block=layers,
            transformer_layers_per_block=depth,
            attention_head_dim=2,
            cross_attention_dim=16,
        )
        vae = AutoencoderKL(
            block_out_channels=(32,) * levels,
            down_block_types=("DownEncoderBlock2D",) * levels,
            up_block_types=("UpDecoderBlock2D",) * levels,
            layers_per_block=layers,
        )
    named = ldm_unet(unet.state_dict(), layers)
    assert shapes(convert_ldm_unet_checkpoint(named, unet.config)) == shapes(unet.state_dict())
    assert shapes(convert_ldm_vae_checkpoint(ldm_vae(vae.state_dict()), vae.config)) == shapes(vae.state_dict())


def test_an_image_encoder_survives_there_and_back_bit_for_bit():
    torch.manual_seed(0)
    weights = CLIPVisionModelWithProjection(clip_config(128, 3, 8, 24, 48)).state_dict()
    back = transformers_clip(ldm_clip(weights))
    assert weights.keys() == back.keys()
    assert all(torch.equal(weights[name], back[name]) for name in weights)
