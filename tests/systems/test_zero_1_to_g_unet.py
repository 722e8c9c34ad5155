"""The denoiser of attribute images: who influences whom, and that it is an ordinary diffusers model."""

from functools import partial
from pathlib import Path

import pytest
import torch
from attribute_network_support import denoised, toy_inputs, toy_unet
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from systems.zero123.modules import unet_options
from systems.zero123.parameters import UNetParameters
from systems.zero_1_to_g.unet import AttributeUNet

FLAGS = [(True, True), (True, False), (False, True), (False, False)]


def influenced(unet: AttributeUNet, sample: int = 0, view: int = 1, attribute: int = 2) -> Tensor:
    """Which images (b, v, a) of the prediction change at all with one image of the input."""
    inputs = toy_inputs()
    changed = inputs["sample"].clone()
    changed[sample, view, attribute] += 1.0
    difference = denoised(unet, inputs, sample=changed) - denoised(unet, inputs)
    return difference.flatten(3).abs().amax(-1) > 0


@pytest.mark.parametrize(("cross_view", "cross_attribute"), FLAGS)
def test_an_image_influences_those_that_attend_to_it_alone(cross_view: bool, cross_attribute: bool) -> None:
    expected = torch.zeros(2, 3, 5, dtype=torch.bool)
    views = slice(None) if cross_view else slice(1, 2)
    attributes = slice(None) if cross_attribute else slice(2, 3)
    expected[0, views, attributes] = True
    assert torch.equal(influenced(toy_unet(cross_view=cross_view, cross_attribute=cross_attribute)), expected)


def test_a_new_network_hears_no_other_attribute() -> None:
    silent = influenced(toy_unet(unlike_zero=False))
    assert silent[0, :, 2].all()
    assert not silent[0, :, [0, 1, 3, 4]].any()


@pytest.mark.parametrize("cross_view", [True, False])
def test_zero_initialised_cross_attribute_attention_changes_no_bit(cross_view: bool) -> None:
    inputs = toy_inputs()
    without = denoised(toy_unet(cross_view=cross_view, cross_attribute=False), inputs)
    assert torch.equal(denoised(toy_unet(cross_view=cross_view, unlike_zero=False), inputs), without)
    assert not torch.equal(denoised(toy_unet(cross_view=cross_view), inputs), without)


@pytest.mark.parametrize("axis", [1, 2])
def test_permuted_views_or_attributes_give_permuted_predictions(axis: int) -> None:
    unet = toy_unet().double()
    inputs = {name: value.double() for name, value in toy_inputs().items()}
    order = torch.tensor([2, 0, 1] if axis == 1 else [3, 1, 4, 0, 2])
    permuted = {name: inputs[name].index_select(axis, order) for name in ("sample", "class_labels")}
    expected = denoised(unet, inputs).index_select(axis, order)
    torch.testing.assert_close(denoised(unet, inputs, **permuted), expected, rtol=1e-10, atol=1e-12)


def test_samples_of_a_batch_are_denoised_as_if_alone() -> None:
    unet, inputs = toy_unet().double(), {name: value.double() for name, value in toy_inputs().items()}
    second = {name: value[1:] for name, value in inputs.items()}
    torch.testing.assert_close(denoised(unet, second), denoised(unet, inputs)[1:], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("views", "attributes"), [(6, 1), (1, 5), (4, 5)])
def test_any_number_of_views_and_attributes(views: int, attributes: int) -> None:
    inputs = toy_inputs(1, views, attributes)
    prediction = denoised(toy_unet(), inputs)
    assert prediction.shape == (1, views, attributes, 4, 8, 8)
    assert prediction.isfinite().all()


def test_timesteps_of_all_of_samples_and_of_images() -> None:
    unet, inputs = toy_unet(), toy_inputs()
    same = denoised(unet, inputs, timestep=torch.tensor([7, 7]))
    for timestep in (7, torch.tensor(7), torch.full((2, 1, 5), 7), torch.full((2, 3, 5), 7)):
        assert torch.equal(denoised(unet, inputs, timestep=timestep), same)
    apart = torch.tensor([[[7, 7, 900, 7, 7]], [[7, 7, 7, 7, 7]]])
    difference = (denoised(unet, inputs, timestep=apart) - same).flatten(3).abs().amax(-1)
    assert (difference[0] > 0).all()
    assert not difference[1].any()


def test_the_token_and_the_embedding_reach_the_prediction() -> None:
    unet, inputs = toy_unet(), toy_inputs()
    before = denoised(unet, inputs)
    for name in ("encoder_hidden_states", "class_labels"):
        assert not torch.equal(denoised(unet, inputs, **{name: inputs[name] + 1.0}), before)


def gradients(unet: AttributeUNet) -> dict[str, Tensor]:
    unet.train().zero_grad()
    unet(**toy_inputs()).sample.square().mean().backward()
    return {name: parameter.grad.clone() for name, parameter in unet.named_parameters()}


def test_gradient_checkpointing_gives_the_same_gradients() -> None:
    unet = toy_unet()
    expected = gradients(unet)
    assert all(value.abs().sum() > 0 for value in expected.values())
    unet.enable_gradient_checkpointing(partial(checkpoint, use_reentrant=False))
    assert [name for name, value in gradients(unet).items() if not torch.equal(value, expected[name])] == []


def test_cross_attribute_attention_begins_as_a_copy_of_self_attention_with_weights_of_its_own() -> None:
    unet = toy_unet(unlike_zero=False)
    weights = unet.state_dict()
    joint = [name for name in weights if "joint_mid" in name]
    # Two blocks going down, one in the middle and four going up, as the finest level has a block for each of its skips.
    assert len(joint) == 7 * 7
    for name in joint:
        own = weights[name.replace("attn_joint_mid", "attn1").replace("norm_joint_mid", "norm1")]
        assert torch.equal(weights[name], torch.zeros_like(own) if "to_out" in name else own)
        assert weights[name].data_ptr() != own.data_ptr()


def test_a_new_network_learns_to_hear_other_attributes() -> None:
    found = gradients(toy_unet(unlike_zero=False))
    outputs = [value for name, value in found.items() if "attn_joint_mid.to_out.0.weight" in name]
    assert outputs
    assert all(value.abs().sum() > 0 for value in outputs)


@pytest.mark.parametrize(("cross_view", "cross_attribute"), FLAGS)
def test_a_saved_network_is_the_same_when_loaded(tmp_path: Path, cross_view: bool, cross_attribute: bool) -> None:
    unet, inputs = toy_unet(cross_view=cross_view, cross_attribute=cross_attribute), toy_inputs()
    unet.save_pretrained(tmp_path)
    assert [path.name for path in tmp_path.iterdir() if path.suffix != ".json"] == [
        "diffusion_pytorch_model.safetensors"
    ]
    loaded, report = AttributeUNet.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report.values())
    assert (loaded.config.cross_view, loaded.config.cross_attribute) == (cross_view, cross_attribute)
    assert torch.equal(denoised(loaded, inputs), denoised(unet, inputs))


def test_its_configuration_makes_another_of_its_kind() -> None:
    unet = toy_unet(cross_view=False)
    other = AttributeUNet.from_config(unet.config)
    assert (other.config.cross_view, other.config.class_embed_type) == (False, "projection")
    assert {n: p.shape for n, p in other.named_parameters()} == {n: p.shape for n, p in unet.named_parameters()}


def test_half_precision_takes_an_integer_timestep_as_it_is() -> None:
    unet, inputs = toy_unet().to(torch.bfloat16), toy_inputs()
    rounded = {name: inputs[name].to(torch.bfloat16) for name in ("sample", "encoder_hidden_states")}
    # 999 has no number of its own in bfloat16; 1000 has.
    one, other = (denoised(unet, inputs | rounded, timestep=timestep) for timestep in (999, 1000))
    assert one.dtype == torch.bfloat16
    assert torch.equal(one, denoised(unet, inputs | rounded, timestep=torch.tensor([999, 999])))
    assert not torch.equal(one, other)


def full_size(**flags: bool) -> int:
    parameters = UNetParameters(
        block_channels=(320, 640, 1280, 1280),
        layers_per_block=2,
        attention_heads=8,
        norm_groups=32,
        last_block_attention=False,
    )
    with torch.device("meta"):
        unet = AttributeUNet(**flags, **unet_options(parameters, 4, 768))
    return sum(parameter.numel() for parameter in unet.parameters())


def test_parameters_of_the_full_size_network() -> None:
    # Zero-1-to-3's network and the camera embedding: two linear layers, 16 to 1280 and 1280 to 1280.
    alone = 859_532_484 + 16 * 1280 + 1280 + 1280**2 + 1280
    assert (
        full_size(cross_attribute=False) == full_size(cross_view=False, cross_attribute=False) == alone == 861_193_924
    )
    # Five blocks of 320 channels, five of 640 and six of 1280: four projections, the output's bias and a norm.
    joint = sum(count * (4 * width**2 + 3 * width) for count, width in ((5, 320), (5, 640), (6, 1280)))
    assert full_size() == alone + joint == 910_792_964
