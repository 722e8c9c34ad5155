"""The original format: what is imported computes what its publishers computed, and nothing is loaded in part."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from weights_support import EMBEDDING, assert_same_weights, toy_modules

from stage.errors import InputError
from systems.zero123.ldm_checkpoint import read_checkpoint
from systems.zero123.ldm_configuration import from_original, read_configuration
from systems.zero123.ldm_export import export_ldm, ldm_weights, original_configuration
from systems.zero123.ldm_import import modules_from_ldm
from systems.zero123.modules import build_modules

PROJECT = Path(__file__).resolve().parents[2]
RELATIVE_ERROR = 1e-4


@pytest.fixture(scope="module")
def published():
    """Folder of a small checkpoint in the original format with what its network computes; skips where it is absent."""
    folder = Path(os.environ.get("VIEWFORGE_SHARED", PROJECT.parent / "shared")) / "fixtures"
    if not (folder / "zero123_tiny.ckpt").is_file():
        pytest.skip(f"no checkpoint in {folder}; set VIEWFORGE_SHARED to the folder that holds fixtures/")
    return folder


@pytest.fixture(scope="module")
def expected(published):
    return {
        name: torch.from_numpy(values) for name, values in np.load(published / "zero123_tiny_expected.npz").items()
    }


@pytest.fixture(scope="module")
def original(published):
    """Imports the small checkpoint, raw or ema; there is no CLIP in it."""
    weights = read_checkpoint(published / "zero123_tiny.ckpt").weights
    configuration = read_configuration(published / "zero123_tiny.yaml")
    encoder = toy_modules().image_encoder
    encoder.config.projection_dim = 32
    return lambda which: modules_from_ldm(weights, configuration, which, "tiny", encoder=encoder)


def relative_error(found, wanted):
    """Largest difference over largest value, computed in float64."""
    found, wanted = found.double(), wanted.double()
    return float((found - wanted).abs().max() / wanted.abs().max())


@pytest.mark.parametrize(("which", "array"), [("raw", "eps"), ("ema", "eps_ema")])
@torch.no_grad()
def test_token_and_denoiser_compute_what_the_original_code_does(original, expected, which, array):
    modules = original(which)
    token = modules.cc_projection(expected["clip"][:, 0], expected["pose"][:, 0])
    assert relative_error(token, expected["context"]) < RELATIVE_ERROR
    prediction = modules.unet(expected["x"], expected["t"], encoder_hidden_states=token).sample
    assert relative_error(prediction, expected[array]) < RELATIVE_ERROR
    other = {"eps": "eps_ema", "eps_ema": "eps"}[array]
    assert relative_error(prediction, expected[other]) > 10 * RELATIVE_ERROR


@torch.no_grad()
def test_vae_computes_what_the_original_code_does(original, expected):
    vae = original("raw").vae
    assert relative_error(vae.encode(expected["image"]).latent_dist.mode(), expected["z_mode"]) < RELATIVE_ERROR
    assert relative_error(vae.decode(expected["z_mode"]).sample, expected["recon"]) < RELATIVE_ERROR


@torch.no_grad()
def test_a_guided_trajectory_ends_where_the_original_sampler_does(original, expected):
    modules = original("raw")
    token, condition = expected["context"][:1], expected["ddim_concat"]
    modules.scheduler.set_timesteps(10)
    assert modules.scheduler.timesteps.tolist() == expected["ddim_timesteps"].tolist()[::-1]
    latent = expected["ddim_start"]
    for timestep in modules.scheduler.timesteps:
        stacked = torch.cat([torch.cat([latent] * 2), torch.cat([torch.zeros_like(condition), condition])], dim=1)
        tokens = torch.cat([torch.zeros_like(token), token])
        without, with_condition = modules.unet(stacked, timestep, encoder_hidden_states=tokens).sample.chunk(2)
        guided = without + float(expected["ddim_guidance"]) * (with_condition - without)
        latent = modules.scheduler.step(guided, timestep, latent, eta=0.0).prev_sample
    assert relative_error(latent, expected["ddim_result"]) < RELATIVE_ERROR


def test_the_original_keys_come_back_bit_for_bit(original, published):
    weights = read_checkpoint(published / "zero123_tiny.ckpt").weights
    back = ldm_weights(original("raw"))
    own = {name for name in weights if not name.startswith("model_ema.")}
    assert [name for name in own if not torch.equal(weights[name], back[name])] == []
    assert weights.keys() <= back.keys()
    means = ldm_weights(original("ema"))
    shadow = [name for name in weights if name.startswith("model_ema.diffusion_model")]
    assert shadow
    assert [name for name in shadow if not torch.equal(weights[name], means[name])] == []


@pytest.fixture(scope="module")
def toy():
    return toy_modules()


@pytest.fixture
def weights(toy):
    return ldm_weights(toy)


@pytest.fixture
def configuration(toy):
    return from_original(original_configuration(toy), "toy")


def plain(config):
    """A configuration without diffusers' notes to itself, lists as tuples."""
    return {n: tuple(v) if isinstance(v, list) else v for n, v in config.items() if not n.startswith("_")}


@pytest.mark.parametrize("which", ["raw", "ema"])
def test_exported_and_imported_is_the_same_bit_for_bit(toy, tmp_path, which):
    export_ldm(toy, tmp_path / "toy.ckpt", step=12)
    found = read_checkpoint(tmp_path / "toy.ckpt")
    modules = modules_from_ldm(found.weights, read_configuration(tmp_path / "toy.yaml"), which, "toy")
    assert_same_weights(toy, modules)
    assert found.step == 12
    for part in ("unet", "vae"):
        assert plain(getattr(toy, part).config) == plain(getattr(modules, part).config)
    assert toy.image_encoder.config.to_diff_dict() == modules.image_encoder.config.to_diff_dict()
    assert torch.equal(toy.scheduler.alphas_cumprod, modules.scheduler.alphas_cumprod)


def test_the_same_system_exports_to_the_same_bytes(toy, tmp_path):
    for name in ("one", "two"):
        export_ldm(toy, tmp_path / name / "toy.ckpt")
    assert (tmp_path / "one" / "toy.ckpt").read_bytes() == (tmp_path / "two" / "toy.ckpt").read_bytes()
    assert sorted(path.name for path in (tmp_path / "one").iterdir()) == ["toy.ckpt", "toy.yaml"]


def test_weights_are_mapped_and_written_once(toy, tmp_path):
    export_ldm(toy, tmp_path / "toy.ckpt")
    parameters = sum(
        weight.nbytes for part in ("unet", "vae", "image_encoder") for weight in getattr(toy, part).parameters()
    )
    assert (tmp_path / "toy.ckpt").stat().st_size < 1.2 * parameters + 200_000


def test_every_misfit_is_listed_and_nothing_is_loaded(weights, configuration):
    del weights["model.diffusion_model.out.2.bias"]
    weights["first_stage_model.quant_conv.bias"] = torch.zeros(3)
    weights["cc_projection.extra"] = torch.zeros(1)
    weights["control_model.weight"] = torch.zeros(2)
    del weights["cond_stage_model.model.visual.ln_pre.bias"]
    with pytest.raises(InputError, match=r"2 weights missing, 2 superfluous, 1 of another shape") as caught:
        modules_from_ldm(weights, configuration, "raw", "toy.ckpt")
    listed = str(caught.value).splitlines()[1:]
    assert listed == [
        "  unet: model.diffusion_model.out.2.bias: expected (4,), found nothing",
        "  vae: first_stage_model.quant_conv.bias: expected (8,), found (3,)",
        "  image_encoder: cond_stage_model.model.visual.ln_pre.bias: expected (64,), found nothing",
        "  cc_projection: cc_projection.extra: expected nothing, found (1,)",
        "  checkpoint: control_model.weight: expected nothing, found (2,)",
    ]


def test_a_missing_running_mean_is_listed(weights, configuration):
    del weights["model_ema.diffusion_modelout2bias"]
    with pytest.raises(InputError, match=r"model_ema\.diffusion_modelout2bias: expected \(4,\), found nothing"):
        modules_from_ldm(weights, configuration, "ema", "toy.ckpt")
    modules_from_ldm(weights, configuration, "raw", "toy.ckpt")


def test_without_running_means_raw_weights_are_suggested(weights, configuration):
    pruned = {name: weight for name, weight in weights.items() if not name.startswith("model_ema.")}
    with pytest.raises(InputError, match=r"no running mean.*--weights raw"):
        modules_from_ldm(pruned, configuration, "ema", "toy.ckpt")


def test_what_the_original_keeps_besides_is_no_stranger(toy, weights, configuration):
    extras = ("cond_stage_model.model.token_embedding.weight", "cond_stage_model.model.logit_scale", "logvar")
    weights |= {name: torch.zeros(3) for name in extras}
    assert_same_weights(toy, modules_from_ldm(weights, configuration, "raw", "toy.ckpt"))


def test_half_precision_becomes_float32(weights, configuration):
    halved = {
        name: weight.half() if not name.startswith(("betas", "alphas")) else weight for name, weight in weights.items()
    }
    modules = modules_from_ldm(halved, configuration, "raw", "toy.ckpt")
    assert modules.unet.dtype == modules.vae.dtype == modules.image_encoder.dtype == torch.float32


def test_another_noise_schedule_is_refused(weights, configuration):
    weights["betas"] = weights["betas"] * 1.01
    with pytest.raises(InputError, match="another noise schedule"):
        modules_from_ldm(weights, configuration, "raw", "toy.ckpt")


def test_an_encoder_of_another_width_is_refused(weights, configuration):
    encoder = toy_modules().image_encoder
    encoder.config.projection_dim = EMBEDDING + 1
    with pytest.raises(InputError, match=r"17 numbers and toy\.ckpt needs 16"):
        modules_from_ldm(weights, configuration, "raw", "toy.ckpt", encoder=encoder)


def test_without_an_encoder_the_option_is_named(weights, configuration):
    bare = {name: weight for name, weight in weights.items() if not name.startswith("cond_stage_model.")}
    with pytest.raises(InputError, match="--image-encoder"):
        modules_from_ldm(bare, configuration, "raw", "toy.ckpt")
    encoder = toy_modules().image_encoder
    assert modules_from_ldm(bare, configuration, "raw", "toy.ckpt", encoder=encoder).image_encoder is encoder


@pytest.mark.parametrize("stated", [4, 8])
def test_a_checkpoint_of_image_variations_begins_training(toy, weights, configuration, stated):
    configuration.unet["in_channels"] = stated
    first = "model.diffusion_model.input_blocks.0.0.weight"
    weights[first] = weights[first][:, :4].clone()
    bare = {name: weight for name, weight in weights.items() if not name.startswith("cc_projection.")}
    modules = modules_from_ldm(bare, configuration, "raw", "toy.ckpt", seed=3)
    assert modules.unet.config.in_channels == 8
    assert torch.equal(modules.unet.conv_in.weight[:, :4], toy.unet.conv_in.weight[:, :4])
    assert not modules.unet.conv_in.weight[:, 4:].any()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"norm_num_groups": 16}, "UNet's norm_num_groups is 16"),
        ({"flip_sin_to_cos": False}, "UNet's flip_sin_to_cos"),
    ],
)
def test_a_network_that_the_format_cannot_describe_is_refused(tmp_path, change, words):
    modules = toy_modules()
    modules.unet.register_to_config(**change)
    with pytest.raises(InputError, match=words):
        export_ldm(modules, tmp_path / "toy.ckpt")
    assert list(tmp_path.iterdir()) == []


def test_the_small_default_system_is_refused_by_name(tmp_path, tiny):
    with pytest.raises(InputError, match="no place for a SpaceToDepth"):
        export_ldm(build_modules(tiny(), 0), tmp_path / "toy.ckpt")


def test_a_configuration_that_lacks_something_says_what(tmp_path, toy):
    content = original_configuration(toy)
    del content["model"]["params"]["unet_config"]["params"]["num_res_blocks"]
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(content))
    (tmp_path / "b.yaml").write_text("model: [")
    for name, words in {"a.yaml": "num_res_blocks", "b.yaml": "cannot be read", "c.yaml": "no configuration"}.items():
        with pytest.raises(InputError, match=words):
            read_configuration(tmp_path / name)
