"""Names of the original format: what we call a weight is what diffusers' own converters take for it."""

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name
from accelerate import init_empty_weights
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint, convert_ldm_vae_checkpoint
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import CLIPVisionModelWithProjection

from systems.zero123.conditioning import CCProjection
from systems.zero123.ldm_configuration import read_configuration
from systems.zero123.ldm_import import clip_config
from systems.zero123.ldm_names import clip_layers, ema_name, ldm_clip, ldm_unet, ldm_vae, transformers_clip


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


def openai_embedding(weights, pixels, heads):
    """The image embedding as openai/CLIP `clip/model.py` defines it, from weights under its names."""
    w = {name.removeprefix("cond_stage_model.model.visual."): weight for name, weight in weights.items()}
    width = w["proj"].shape[0]

    def norm(x, name):
        return F.layer_norm(x, (width,), w[f"{name}.weight"], w[f"{name}.bias"])

    def linear(x, name):
        return F.linear(x, w[f"{name}.weight"], w[f"{name}.bias"])

    patches = F.conv2d(pixels, w["conv1.weight"], stride=w["conv1.weight"].shape[-1]).flatten(2).transpose(1, 2)
    first = w["class_embedding"].expand(len(pixels), 1, width)
    x = norm(torch.cat([first, patches], dim=1) + w["positional_embedding"], "ln_pre")
    for layer in range(clip_layers(weights)):
        block = f"transformer.resblocks.{layer}"
        y = norm(x, f"{block}.ln_1")
        joined = F.linear(y, w[f"{block}.attn.in_proj_weight"], w[f"{block}.attn.in_proj_bias"])
        q, k, v = (part.unflatten(2, (heads, -1)).transpose(1, 2) for part in joined.chunk(3, dim=-1))
        attended = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        x = x + linear(attended, f"{block}.attn.out_proj")
        hidden = linear(norm(x, f"{block}.ln_2"), f"{block}.mlp.c_fc")
        x = x + linear(hidden * torch.sigmoid(1.702 * hidden), f"{block}.mlp.c_proj")
    return norm(x[:, 0], "ln_post") @ w["proj"]


@torch.no_grad()
def test_an_image_encoder_computes_what_openais_definition_does():
    torch.manual_seed(0)
    encoder = CLIPVisionModelWithProjection(clip_config(128, 3, 8, 24, 48)).eval()
    for weight in encoder.parameters():
        # Fresh ones are so small that a wrong layer would hardly show.
        weight.add_(0.1 * torch.randn_like(weight))
    pixels = torch.randn(2, 3, 24, 24)
    expected = openai_embedding(ldm_clip(encoder.state_dict()), pixels, heads=2)
    torch.testing.assert_close(encoder(pixels).image_embeds, expected, rtol=1e-4, atol=1e-4)
