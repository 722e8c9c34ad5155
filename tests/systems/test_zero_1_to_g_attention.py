"""Attention across views and attributes against its definition, whatever computes it."""

from collections.abc import Iterator

import pytest
import torch
from attribute_network_support import denoised, toy_inputs, toy_unet
from diffusers.models.attention import BasicTransformerBlock
from diffusers.models.attention_processor import Attention, AttnProcessor, AttnProcessor2_0
from torch import Tensor

from benchmarks.zero_1_to_g_step import CopiedKeys
from systems.zero_1_to_g.attention import Across, GroupAttention, TransformerBlock
from training.attention import use_attention

VIEWS, ATTRIBUTES = 3, 5


def layer(across: Across) -> GroupAttention:
    torch.manual_seed(0)
    return GroupAttention(Attention(12, heads=3, dim_head=4), across).double()


def tokens(samples: int = 2) -> Tensor:
    chance = torch.Generator().manual_seed(1)
    return torch.randn(samples * VIEWS * ATTRIBUTES, 6, 12, generator=chance, dtype=torch.float64)


def attended(attention: GroupAttention, states: Tensor) -> Tensor:
    result: Tensor = attention(states, views=VIEWS, attributes=ATTRIBUTES)
    return result


def group(image: int, across: Across) -> list[int]:
    """The images whose keys and values an image sees, in the order sample, view, attribute."""
    sample, place = divmod(image, VIEWS * ATTRIBUTES)
    view, attribute = divmod(place, ATTRIBUTES)
    first = sample * VIEWS * ATTRIBUTES
    if across == "views":
        return [first + other * ATTRIBUTES + attribute for other in range(VIEWS)]
    return [first + view * ATTRIBUTES + other for other in range(ATTRIBUTES)]


def by_definition(attention: Attention, states: Tensor, across: Across) -> Tensor:
    """softmax(q kᵀ / √d) v of every image and head by itself, with the keys and values of its group."""
    images = []
    for image, own in enumerate(states):
        context = torch.cat([states[other] for other in group(image, across)])
        heads = zip(*(each.chunk(3, dim=-1) for each in projected(attention, own, context)), strict=True)
        joined = torch.cat([torch.softmax(q @ k.T / 2.0, dim=-1) @ v for q, k, v in heads], dim=-1)
        images.append(attention.to_out[0](joined))
    return torch.stack(images)


def projected(attention: Attention, own: Tensor, context: Tensor) -> Iterator[Tensor]:
    yield from (attention.to_q(own), attention.to_k(context), attention.to_v(context))


@pytest.mark.parametrize("across", ["views", "attributes"])
@pytest.mark.parametrize("processor", [AttnProcessor2_0(), AttnProcessor()])
def test_every_image_sees_the_tokens_of_its_group(across: Across, processor: object) -> None:
    attention, states = layer(across), tokens()
    attention.set_processor(processor)
    torch.testing.assert_close(
        attended(attention, states), by_definition(attention, states, across), rtol=1e-12, atol=1e-13
    )


def test_one_image_alone_is_plain_self_attention() -> None:
    torch.manual_seed(0)
    plain = Attention(12, heads=3, dim_head=4).double()
    states = tokens()
    expected = plain(states)
    assert torch.equal(GroupAttention(plain, "views")(states, views=1, attributes=1), expected)


def test_all_of_diffusers_ways_to_choose_a_backend_keep_the_groups() -> None:
    unet, inputs = toy_unet().double(), {k: v.double() for k, v in toy_inputs().items()}
    expected = denoised(unet, inputs)
    unet.set_attn_processor(AttnProcessor())
    assert {type(each) for each in unet.attn_processors.values()} == {AttnProcessor}
    torch.testing.assert_close(denoised(unet, inputs), expected)
    unet.set_attention_slice("max")
    torch.testing.assert_close(denoised(unet, inputs), expected)
    unet.set_default_attn_processor()
    torch.testing.assert_close(denoised(unet, inputs), expected)
    unet.set_attn_processor(unet.attn_processors)
    assert use_attention(unet, "sdpa") == "sdpa"
    assert torch.equal(denoised(unet, inputs), expected)


@pytest.mark.parametrize(("across", "axis"), [("views", 1), ("attributes", 2)])
def test_the_way_that_the_benchmark_compares_with_gives_the_same(across: Across, axis: int) -> None:
    attention, states = layer(across), tokens()
    expected = attended(attention, states)
    attention.processor = CopiedKeys(axis)
    torch.testing.assert_close(attended(attention, states), expected)


@pytest.mark.gpu
def test_xformers_gives_what_sdpa_gives() -> None:
    pytest.importorskip("xformers")
    if not torch.cuda.is_available():
        pytest.skip("xformers needs a CUDA GPU")
    unet, inputs = toy_unet().cuda(), {k: v.cuda() for k, v in toy_inputs().items()}
    expected = denoised(unet, inputs)
    assert use_attention(unet, "xformers") == "xformers"
    torch.testing.assert_close(denoised(unet, inputs), expected, rtol=1e-3, atol=1e-3)


def test_a_mask_or_a_context_across_images_is_refused() -> None:
    with pytest.raises(ValueError, match="neither a context nor a mask"):
        layer("views")(tokens(), attention_mask=torch.ones(1), views=VIEWS, attributes=ATTRIBUTES)


def test_a_block_of_another_kind_is_refused() -> None:
    block = BasicTransformerBlock(8, 2, 4, cross_attention_dim=8, only_cross_attention=True)
    with pytest.raises(ValueError, match="only transformer blocks of Stable Diffusion's kind"):
        TransformerBlock(block, cross_view=True, cross_attribute=False)
