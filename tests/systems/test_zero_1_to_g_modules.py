"""What a stage of Zero-1-to-G begins with: new modules, those of image-variations, those of an earlier stage."""

from pathlib import Path
from typing import Any

import pytest
import torch
from attribute_network_support import denoised, draw_joint_outputs, toy_inputs, toy_parameters, toy_unet
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor
from weights_support import EMBEDDING, community_folder, toy_modules

from stage.errors import InputError, ParameterError
from systems.zero123.space_to_depth import SpaceToDepth
from systems.zero_1_to_g.initialisation import attribute_unet_from
from systems.zero_1_to_g.modules import Zero1ToGModules, build_modules, first_modules
from systems.zero_1_to_g.parameters import SplatterAutoencoderParameters

KL = SplatterAutoencoderParameters(kind="kl", block_channels=(16, 16), norm_groups=4)


@pytest.fixture(scope="module")
def image_variations(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stable Diffusion image-variations at toy size: a UNet of four channels that knows no camera."""
    folder = tmp_path_factory.mktemp("folders") / "image-variations"
    return community_folder(folder, toy_modules(unet_input=4), projection=None)


@torch.no_grad()
def pictures_denoised(unet: UNet2DConditionModel, inputs: dict[str, Tensor]) -> Tensor:
    """What the denoiser of pictures makes of the noisy half of each image."""
    grid = inputs["sample"].shape[:3]
    images = grid[1] * grid[2]
    result: Tensor = unet(
        inputs["sample"].flatten(0, 2)[:, :4],
        inputs["timestep"].repeat_interleave(images),
        inputs["encoder_hidden_states"].repeat_interleave(images, dim=0),
    ).sample
    return result.unflatten(0, grid)


@pytest.mark.parametrize("cross_attribute", [True, False])
@pytest.mark.parametrize(("views", "cross_view"), [(3, False), (1, True)])
def test_step_0_computes_what_image_variations_computes(views: int, cross_view: bool, cross_attribute: bool) -> None:
    inputs = toy_inputs(views=views)
    expected = pictures_denoised(toy_modules(unet_input=4).unet, inputs)
    unet = attribute_unet_from(toy_modules(unet_input=4).unet, 0, cross_view, cross_attribute).eval()
    assert torch.equal(denoised(unet, inputs), expected)


def test_step_0_of_the_joint_stage_adds_nothing_to_cross_view_attention() -> None:
    inputs = toy_inputs()
    alone, joint = (
        attribute_unet_from(toy_modules(unet_input=4).unet, 0, True, flag).eval() for flag in (False, True)
    )
    expected = pictures_denoised(toy_modules(unet_input=4).unet, inputs)
    assert torch.equal(denoised(joint, inputs), denoised(alone, inputs))
    assert not torch.allclose(denoised(alone, inputs), expected, atol=1e-3)


def test_a_denoiser_with_a_class_embedding_of_its_own_is_refused() -> None:
    with pytest.raises(InputError, match="the UNet has a class embedding of its own, projection"):
        attribute_unet_from(toy_unet(), 0)


def test_image_variations_gives_every_stage_its_modules(image_variations: Path) -> None:
    for stage, joins in {"attributes": False, "joint": True, "decoder": False}.items():
        parameters = toy_parameters(stage=stage, pretrained=str(image_variations))
        parts = first_modules(parameters, 0)
        assert (parts.unet.config.in_channels, parts.unet.config.cross_attribute) == (8, joins)
        assert parts.scheduler.config.prediction_type == "v_prediction"
        assert parts.scheduler.alphas_cumprod[-1] == 0
        assert isinstance(parts.vae, AutoencoderKL)
        assert parts.unet.config.cross_attention_dim == EMBEDDING


def saved(parts: Zero1ToGModules, folder: Path) -> Path:
    """The modules as a pipeline folder has them."""
    for name in ("unet", "image_encoder", "vae", "scheduler"):
        getattr(parts, name).save_pretrained(folder / name)
    return folder


def test_the_joint_stage_begins_with_what_single_attributes_learnt(tmp_path: Path) -> None:
    before = build_modules(toy_parameters(stage="attributes"), 3)
    assert not before.unet.config.cross_attribute
    folder = saved(before, tmp_path)
    after = first_modules(toy_parameters(stage="joint", pretrained=str(folder)), 0)
    assert after.unet.config.cross_attribute
    inputs = inputs_of(before)
    assert torch.equal(denoised(after.unet.eval(), inputs), denoised(before.unet.eval(), inputs))
    assert isinstance(after.vae, SpaceToDepth)
    weights = before.image_encoder.state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in after.image_encoder.state_dict().items())


def inputs_of(parts: Zero1ToGModules) -> dict[str, Tensor]:
    inputs = toy_inputs()
    channels = parts.unet.config.in_channels
    noise = torch.randn(2, 3, 5, channels, 8, 8, generator=torch.Generator().manual_seed(0))
    return inputs | {"sample": noise}


def test_a_joint_stage_goes_on_with_its_own_weights(tmp_path: Path) -> None:
    before = build_modules(toy_parameters(stage="joint"), 3)
    draw_joint_outputs(before.unet)
    folder = saved(before, tmp_path)
    for stage in ("joint", "attributes", "decoder"):
        after = first_modules(toy_parameters(stage=stage, pretrained=str(folder)), 0)
        inputs = inputs_of(before)
        assert torch.equal(denoised(after.unet.eval(), inputs), denoised(before.unet.eval(), inputs))


def test_stages_of_the_autoencoder_keep_the_schedule_that_the_denoiser_was_trained_with(tmp_path: Path) -> None:
    plain: dict[str, Any] = {"prediction_type": "epsilon", "zero_terminal_snr": False}
    folder = saved(build_modules(toy_parameters(stage="attributes", **plain), 0), tmp_path)
    parts = first_modules(toy_parameters(stage="decoder", pretrained=str(folder)), 0)
    assert parts.scheduler.config.prediction_type == "epsilon"
    assert parts.scheduler.alphas_cumprod[-1] > 0
    with pytest.raises(
        ParameterError, match=r"predicts epsilon and train\.zero_1_to_g\.prediction_type is v_prediction"
    ):
        first_modules(toy_parameters(stage="joint", pretrained=str(folder)), 0)


def test_a_denoiser_of_other_attention_is_refused(tmp_path: Path) -> None:
    folder = saved(build_modules(toy_parameters(stage="attributes", cross_view=False), 0), tmp_path)
    with pytest.raises(ParameterError, match=r"has cross_view False and train\.zero_1_to_g\.cross_view is True"):
        first_modules(toy_parameters(stage="joint", pretrained=str(folder)), 0)


def test_the_same_seed_gives_the_same_modules() -> None:
    one, same, other = (build_modules(toy_parameters(), seed) for seed in (1, 1, 2))
    for name in ("unet", "image_encoder"):
        weights = [getattr(parts, name).state_dict() for parts in (one, same, other)]
        assert all(torch.equal(value, weights[1][key]) for key, value in weights[0].items())
        assert not all(torch.equal(value, weights[2][key]) for key, value in weights[0].items())


def test_a_new_autoencoder_is_for_its_own_stage() -> None:
    vae = build_modules(toy_parameters(stage="autoencoder", autoencoder=KL), 0).vae
    assert isinstance(vae, AutoencoderKL)
    assert vae.encode(torch.zeros(1, 3, 16, 16)).latent_dist.mode().shape == (1, 4, 8, 8)
    with pytest.raises(ParameterError, match="the stage joint has no use for an AutoencoderKL without its weights"):
        build_modules(toy_parameters(stage="joint", autoencoder=KL), 0)


def test_folders_that_are_none_are_one_line(tmp_path: Path, image_variations: Path) -> None:
    with pytest.raises(InputError, match=r"vae/config\.json cannot be read"):
        first_modules(toy_parameters(pretrained=str(tmp_path / "absent")), 0)
    parts = build_modules(toy_parameters(), 0)
    folder = saved(parts, tmp_path / "mixed")
    toy_modules().vae.save_pretrained(folder / "vae")
    with pytest.raises(InputError, match="24 input and 12 output channels for latents of 4"):
        first_modules(toy_parameters(pretrained=str(folder)), 0)
