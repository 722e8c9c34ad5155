"""Sampling: guidance, shapes, determinism, schedules, and a pipeline that survives being saved."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn.functional import pixel_unshuffle

from stage.errors import InputError, ParameterError
from stage.parameters import validated
from systems.zero123.guidance import Condition, guided
from systems.zero123.modules import Zero123Modules, build_modules
from systems.zero123.parameters import Zero123Parameters
from systems.zero123.pipeline import Zero123Pipeline, load_pipeline
from systems.zero123.training import Zero123Training

STEPS = 3


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_images_have_their_shape_and_range(
    pipeline: Zero123Pipeline, pictures: Callable[..., Tensor], poses: Callable[[int], Tensor]
) -> None:
    images = pipeline(pictures(3), poses(3), num_inference_steps=STEPS, generator=generator()).images
    assert images.shape == (3, 3, 16, 16)
    assert images.dtype == torch.float32
    assert images.min() >= 0
    assert images.max() <= 1


def test_the_generator_decides_the_images(
    pipeline: Zero123Pipeline, pictures: Callable[..., Tensor], poses: Callable[[int], Tensor]
) -> None:
    one, same, other = (
        pipeline(pictures(2), poses(2), num_inference_steps=STEPS, generator=generator(seed)).images
        for seed in (1, 1, 2)
    )
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_guidance_one_asks_for_the_condition_alone(
    pipeline: Zero123Pipeline,
    pictures: Callable[..., Tensor],
    poses: Callable[[int], Tensor],
    spy_on: Callable[..., Any],
) -> None:
    spy = spy_on(pipeline.unet)
    images, wanted = pictures(2), poses(2)
    pipeline(images, wanted, guidance_scale=1.0, num_inference_steps=STEPS, generator=generator())
    assert len(spy.inputs) == STEPS
    for sample, token in zip(spy.inputs, spy.tokens, strict=True):
        assert torch.equal(sample[:, 48:], pixel_unshuffle(images - 1, 4))
        assert token.shape == (2, 1, 16)
        assert token.abs().sum() > 0


def test_null_condition_at_inference_is_a_zero_token_and_a_zero_latent(
    pipeline: Zero123Pipeline,
    pictures: Callable[..., Tensor],
    poses: Callable[[int], Tensor],
    spy_on: Callable[..., Any],
) -> None:
    spy = spy_on(pipeline.unet)
    pipeline(pictures(2), poses(2), guidance_scale=2.0, num_inference_steps=1, generator=generator())
    (sample,), (token,) = spy.inputs, spy.tokens
    assert sample.shape[0] == token.shape[0] == 4
    assert torch.equal(sample[:2, :48], sample[2:, :48])
    assert not sample[:2, 48:].any()
    assert not token[:2].any()
    assert torch.equal(sample[2:, 48:], pixel_unshuffle(pictures(2) - 1, 4))
    assert token[2:].abs().sum() > 0


def test_guidance_extrapolates_from_the_unconditional(pipeline: Zero123Pipeline) -> None:
    latents, latent, token = torch.randn(2, 48, 4, 4), torch.randn(2, 48, 4, 4), torch.randn(2, 1, 16)
    condition = Condition(token, latent, torch.zeros_like(token))

    def denoised(scale: float) -> Tensor:
        return guided(pipeline.unet, latents, torch.tensor(500), condition, scale)

    with torch.no_grad():
        without, with_condition, far = denoised(0.0), denoised(1.0), denoised(3.0)
    assert torch.allclose(far, without + 3 * (with_condition - without), atol=1e-5)


@pytest.mark.parametrize("eta", [0.0, 1.0])
@pytest.mark.parametrize("prediction_type", ["v_prediction", "sample"])
def test_zero_terminal_snr_stays_finite(
    tiny: Callable[..., Zero123Parameters],
    pipeline_of: Callable[[Zero123Modules], Zero123Pipeline],
    pictures: Callable[..., Tensor],
    poses: Callable[[int], Tensor],
    prediction_type: str,
    eta: float,
) -> None:
    pipeline = pipeline_of(build_modules(tiny(prediction_type=prediction_type), 0))
    images = pipeline(pictures(2), poses(2), num_inference_steps=5, eta=eta, generator=generator()).images
    assert pipeline.scheduler.alphas_cumprod[-1] == 0
    assert pipeline.scheduler.timesteps[0] == 999
    assert images.isfinite().all()
    assert images.std() > 0


@pytest.mark.parametrize("eta", [0.0, 1.0])
@pytest.mark.parametrize("prediction_type", ["v_prediction", "sample"])
def test_a_perfect_denoiser_gives_the_picture_itself(
    tiny: Callable[..., Zero123Parameters],
    pipeline_of: Callable[[Zero123Modules], Zero123Pipeline],
    pictures: Callable[..., Tensor],
    poses: Callable[[int], Tensor],
    spy_on: Callable[..., Any],
    prediction_type: str,
    eta: float,
) -> None:
    pipeline = pipeline_of(build_modules(tiny(prediction_type=prediction_type), 0))
    picture = pictures(1, seed=9)
    latent = 0.3 * pixel_unshuffle(picture - 1, 4)

    def perfect(sample: Tensor, timestep: Tensor) -> Tensor:
        alpha = pipeline.scheduler.alphas_cumprod[int(timestep)]
        noise = (sample[:, :48] - alpha.sqrt() * latent) / (1 - alpha).sqrt()
        velocity = alpha.sqrt() * noise - (1 - alpha).sqrt() * latent
        return velocity if prediction_type == "v_prediction" else latent

    spy_on(pipeline.unet, perfect)
    images = pipeline(
        pictures(1), poses(1), guidance_scale=1.0, num_inference_steps=10, eta=eta, generator=generator()
    ).images
    assert (images - (picture + 1) / 2).abs().max() < 1e-4


def test_poses_do_not_influence_each_other(
    pipeline: Zero123Pipeline,
    pictures: Callable[..., Tensor],
    poses: Callable[[int], Tensor],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    images, wanted, noise = pictures(3), poses(3), torch.randn(3, 48, 4, 4)

    def sampled(rows: slice) -> Tensor:
        monkeypatch.setattr(torch, "randn", lambda *_, **__: noise[rows])
        return pipeline(images[rows], wanted[rows], num_inference_steps=STEPS).images

    together = sampled(slice(0, 3))
    alone = torch.cat([sampled(slice(row, row + 1)) for row in range(3)])
    assert torch.allclose(together, alone, atol=1e-5)


def test_pose_and_input_matter(
    pipeline: Zero123Pipeline, pictures: Callable[..., Tensor], poses: Callable[[int], Tensor]
) -> None:
    def sampled(images: Tensor, wanted: Tensor) -> Tensor:
        return pipeline(images, wanted, num_inference_steps=STEPS, generator=generator()).images

    base = sampled(pictures(1), poses(1))
    assert not torch.equal(base, sampled(pictures(1, seed=5), poses(1)))
    assert not torch.equal(base, sampled(pictures(1), poses(1) + 0.5))


@pytest.mark.parametrize(
    ("images", "poses", "named"),
    [
        ((3, 16, 16), (1, 4), "(3, 16, 16)"),
        ((1, 4, 16, 16), (1, 4), "(1, 4, 16, 16)"),
        ((2, 3, 16, 16), (1, 4), "2 images for 1 poses"),
        ((2, 3, 16, 16), (3, 4), "2 images for 3 poses"),
        ((1, 3, 16, 16), (0, 4), "(0, 4)"),
        ((1, 3, 16, 16), (4,), "(4,)"),
        ((1, 3, 16, 16), (1, 3), "(1, 3)"),
        ((1, 3, 15, 16), (1, 4), "(1, 3, 15, 16)"),
    ],
)
def test_shapes_that_do_not_fit_are_named_in_one_line(
    pipeline: Zero123Pipeline, images: tuple[int, ...], poses: tuple[int, ...], named: str
) -> None:
    with pytest.raises(InputError) as caught:
        pipeline(torch.zeros(images), torch.zeros(poses), num_inference_steps=1)
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)


def test_image_size_is_that_of_the_training_pictures(tiny: Callable[..., Zero123Parameters], tmp_path: Path) -> None:
    Zero123Training(tiny(), seed=0, image_size=24).save(tmp_path / "model")
    assert load_pipeline(tmp_path / "model").image_size == 24


def test_image_size_with_a_vae(pipeline: Zero123Pipeline) -> None:
    pipeline.vae = AutoencoderKL(
        block_out_channels=(32, 32, 32),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
    )
    assert pipeline.image_size == 4 * 4


def test_published_size_is_256(pipeline: Zero123Pipeline) -> None:
    pipeline.unet.register_to_config(sample_size=32)
    pipeline.vae.register_to_config(factor=8)
    assert pipeline.image_size == 256


@pytest.fixture
def saved(pipeline: Zero123Pipeline, tmp_path: Path) -> Path:
    pipeline.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def test_a_saved_pipeline_samples_the_same(
    pipeline: Zero123Pipeline, saved: Path, pictures: Callable[..., Tensor], poses: Callable[[int], Tensor]
) -> None:
    loaded = load_pipeline(saved)
    before, after = (
        p(pictures(2), poses(2), num_inference_steps=STEPS, generator=generator()).images for p in (pipeline, loaded)
    )
    assert torch.equal(before, after)


def test_a_saved_pipeline_holds_json_and_safetensors_alone(saved: Path) -> None:
    files = [path for path in saved.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} == {".json", ".safetensors"}
    assert {path.parent.name for path in files if path.suffix == ".safetensors"} == {
        "unet",
        "cc_projection",
        "image_encoder",
        "vae",
    }


def test_a_missing_pipeline_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^\S+/absent is no diffusers pipeline; run viewforge train.*$"):
        load_pipeline(tmp_path / "absent")


DECISIVE = [
    "model_index.json",
    "unet/config.json",
    "unet/diffusion_pytorch_model.safetensors",
    "cc_projection/config.json",
    "cc_projection/diffusion_pytorch_model.safetensors",
    "image_encoder/config.json",
    "image_encoder/model.safetensors",
    "vae/config.json",
    "scheduler/scheduler_config.json",
]


def refused(folder: Path) -> str:
    with pytest.raises(InputError) as caught:
        load_pipeline(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("name", DECISIVE)
def test_a_truncated_file_is_one_line(saved: Path, name: str) -> None:
    (saved / name).write_bytes((saved / name).read_bytes()[:-20])
    assert str(saved) in refused(saved)


@pytest.mark.parametrize("name", DECISIVE)
def test_an_absent_file_is_one_line(saved: Path, name: str) -> None:
    (saved / name).unlink()
    assert str(saved) in refused(saved)


@pytest.mark.parametrize("name", [name for name in DECISIVE if name.endswith(".safetensors")])
def test_a_weight_that_is_absent_is_never_made_up(saved: Path, name: str) -> None:
    weights = load_file(saved / name)
    del weights[min(weights)]
    save_file(weights, saved / name, metadata={"format": "pt"})
    assert str(saved) in refused(saved)


def test_an_autoencoder_without_weights_names_the_parameter_to_set(tiny: Callable[..., Zero123Parameters]) -> None:
    kl = tiny().autoencoder.model_copy(update={"kind": "kl"})
    with pytest.raises(InputError, match=r"train\.zero123\.pretrained"):
        build_modules(tiny(autoencoder=kl), 0)


def test_noise_cannot_be_predicted_from_pure_noise() -> None:
    values = {"prediction_type": "epsilon", "zero_terminal_snr": True}
    with pytest.raises(ParameterError, match=r"zero_terminal_snr.*epsilon") as caught:
        validated(Zero123Parameters, values, place="params.yaml: train.zero123")
    assert "\n" not in str(caught.value)
