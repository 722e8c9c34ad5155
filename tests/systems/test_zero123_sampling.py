"""One call for many poses: one encoding an image, guidance, batches, formats, callbacks, number types."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL
from PIL import Image
from torch import Tensor
from torch.nn.functional import pixel_unshuffle

from stage.errors import InputError
from systems.zero123.conditioning import poses_from_degrees
from systems.zero123.modules import Zero123Modules, build_unet
from systems.zero123.parameters import UNetParameters
from systems.zero123.pipeline import Zero123Pipeline, load_pipeline
from systems.zero123.schedulers import SCHEDULERS, scheduler_named

STEPS = 3


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def sampled(pipeline: Zero123Pipeline, images: Any, poses: Tensor, **options: Any) -> Any:
    values: dict[str, Any] = {"num_inference_steps": STEPS, "generator": generator()}
    return pipeline(images, poses, **(values | options)).images


def counted(monkeypatch: pytest.MonkeyPatch, module: Any, name: str) -> list[int]:
    """Batch sizes that a method of a module is called with."""
    sizes, method = [], getattr(module, name)

    def counting(given: Tensor, *rest: Any, **options: Any) -> Any:
        sizes.append(len(given))
        return method(given, *rest, **options)

    monkeypatch.setattr(module, name, counting)
    return sizes


def test_one_image_serves_all_poses_as_its_copies_would(
    pipeline: Zero123Pipeline, pictures: Callable[..., Tensor], poses: Callable[[int], Tensor]
) -> None:
    one = sampled(pipeline, pictures(1), poses(5))
    copies = sampled(pipeline, pictures(1).expand(5, -1, -1, -1), poses(5))
    assert one.shape == (5, 3, 16, 16)
    assert torch.allclose(one, copies, atol=1e-5)


@pytest.mark.parametrize(("images", "encoded"), [(1, 1), (4, 4)])
def test_every_image_is_encoded_once(
    pipeline: Zero123Pipeline,
    pictures: Callable[..., Tensor],
    poses: Callable[[int], Tensor],
    monkeypatch: pytest.MonkeyPatch,
    images: int,
    encoded: int,
) -> None:
    latents = counted(monkeypatch, pipeline.vae, "encode")
    embeddings = counted(monkeypatch, pipeline.image_encoder, "forward")
    sampled(pipeline, pictures(images), poses(4), num_images_per_pose=2)
    assert latents == [encoded]
    assert embeddings == [encoded]


def test_guidance_is_one_pass_of_twice_the_batch(
    pipeline: Zero123Pipeline,
    pictures: Callable[..., Tensor],
    poses: Callable[[int], Tensor],
    spy_on: Callable[..., Any],
) -> None:
    spy = spy_on(pipeline.unet)
    sampled(pipeline, pictures(1), poses(5), guidance_scale=3.0)
    assert [len(given) for given in spy.inputs] == [10] * STEPS


@pytest.mark.parametrize("name", SCHEDULERS)
@pytest.mark.parametrize("images", [1, 5])
def test_batches_do_not_change_the_pictures(
    pipeline: Zero123Pipeline,
    pictures: Callable[..., Tensor],
    poses: Callable[[int], Tensor],
    spy_on: Callable[..., Any],
    name: Any,
    images: int,
) -> None:
    pipeline.scheduler = scheduler_named(name, pipeline.scheduler)
    whole = sampled(pipeline, pictures(images), poses(5), output_type="latent")
    spy = spy_on(pipeline.unet)
    parts = sampled(pipeline, pictures(images), poses(5), output_type="latent", batch_size=2)
    assert [len(given) for given in spy.inputs] == [4, 4, 2] * STEPS
    assert torch.allclose(whole, parts, atol=1e-4, rtol=1e-4)


def test_batches_bound_what_the_vae_sees(
    pipeline: Zero123Pipeline,
    pictures: Callable[..., Tensor],
    poses: Callable[[int], Tensor],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    encoded, decoded = (counted(monkeypatch, pipeline.vae, name) for name in ("encode", "decode"))
    sampled(pipeline, pictures(3), poses(3), batch_size=2)
    assert (encoded, decoded) == ([2, 1], [2, 1])


def test_pictures_of_a_pose_lie_beside_each_other_and_differ(
    pipeline: Zero123Pipeline,
    pictures: Callable[..., Tensor],
    poses: Callable[[int], Tensor],
    spy_on: Callable[..., Any],
) -> None:
    spy = spy_on(pipeline.unet)
    made = sampled(pipeline, pictures(2), poses(2), num_images_per_pose=3, guidance_scale=1.0)
    tokens, latents = spy.tokens[0], spy.inputs[0][:, 48:]
    assert len(made) == 6
    assert torch.equal(tokens[0], tokens[2])
    assert not torch.equal(tokens[2], tokens[3])
    assert torch.equal(latents[3:], pixel_unshuffle(pictures(2)[1:] - 1, 4).expand(3, -1, -1, -1))
    assert not torch.equal(made[0], made[1])


def test_a_generator_for_each_picture_makes_it_what_it_is_alone(
    pipeline: Zero123Pipeline, pictures: Callable[..., Tensor], poses: Callable[[int], Tensor]
) -> None:
    together = sampled(pipeline, pictures(1), poses(3), generator=[generator(seed) for seed in (4, 5, 6)])
    alone = sampled(pipeline, pictures(1), poses(3)[1:2], generator=generator(5))
    assert torch.allclose(together[1:2], alone, atol=1e-5)


def test_null_condition_after_projection_by_hand(
    pipeline: Zero123Pipeline,
    pictures: Callable[..., Tensor],
    poses: Callable[[int], Tensor],
    spy_on: Callable[..., Any],
) -> None:
    spy = spy_on(pipeline.unet)
    sampled(pipeline, pictures(1), poses(2), guidance_scale=3.0)
    assert not spy.tokens[0][:2].any()
    assert not spy.inputs[0][:2, 48:].any()


def test_null_condition_before_projection_by_hand(
    pipeline: Zero123Pipeline,
    pictures: Callable[..., Tensor],
    poses: Callable[[int], Tensor],
    spy_on: Callable[..., Any],
) -> None:
    spy = spy_on(pipeline.unet)
    sampled(pipeline, pictures(1), poses(2), guidance_scale=3.0, null_condition="before_projection")
    linear = pipeline.cc_projection.linear
    expected = poses(2) @ linear.weight[:, 16:].T + linear.bias
    assert torch.allclose(spy.tokens[0][:2, 0], expected, atol=1e-6)
    assert expected.abs().min() > 0
    assert not spy.inputs[0][:2, 48:].any()
    assert torch.equal(spy.inputs[0][2:, 48:], pixel_unshuffle(pictures(1) - 1, 4).expand(2, -1, -1, -1))


def test_formats_hold_the_same_pictures(
    pipeline: Zero123Pipeline, pictures: Callable[..., Tensor], poses: Callable[[int], Tensor]
) -> None:
    tensor, array, images, latents = (
        sampled(pipeline, pictures(1), poses(2), output_type=kind) for kind in ("pt", "np", "pil", "latent")
    )
    assert np.array_equal(array, tensor.permute(0, 2, 3, 1).numpy())
    assert [image.size for image in images] == [(16, 16)] * 2
    assert np.abs(np.asarray(images[1]) / 255 - array[1]).max() <= 0.5 / 255 + 1e-6
    decoded = (pipeline.vae.decode(latents / 0.3).sample / 2 + 0.5).clamp(0, 1)
    assert torch.allclose(decoded, tensor, atol=1e-6)
    (same,) = pipeline(pictures(1), poses(2), num_inference_steps=STEPS, generator=generator(), return_dict=False)
    assert torch.equal(same, tensor)


def test_a_pil_image_is_put_on_white_and_resized(pipeline: Zero123Pipeline, spy_on: Callable[..., Any]) -> None:
    rgba = np.zeros((32, 32, 4), np.uint8)
    rgba[:, :16] = (255, 0, 0, 255)
    spy = spy_on(pipeline.unet)
    sampled(pipeline, Image.fromarray(rgba), torch.zeros(2, 4), guidance_scale=1.0)
    red_on_white = torch.ones(1, 3, 16, 16)
    red_on_white[:, 1:, :, :8] = -1.0
    seen = torch.nn.functional.pixel_shuffle(spy.inputs[0][:, 48:], 4) + 1
    # Away from the edge that the resizing softens.
    assert torch.allclose(seen[..., :6], red_on_white.expand(2, -1, -1, -1)[..., :6], atol=1e-6)
    assert torch.allclose(seen[..., 10:], red_on_white.expand(2, -1, -1, -1)[..., 10:], atol=1e-6)


def test_several_pil_images_of_any_size_and_mode(pipeline: Zero123Pipeline) -> None:
    given = [Image.new("L", (20, 12), 90), Image.new("RGBA", (16, 16))]
    assert len(sampled(pipeline, given, torch.zeros(2, 4), output_type="pil")) == 2


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"output_type": "jpg"}, "take pt, np, pil, latent"),
        ({"null_condition": "zero"}, "take after_projection, before_projection"),
        ({"num_images_per_pose": 0}, "give 1 or more"),
        ({"batch_size": 0}, "give 1 or more"),
        ({"latents": torch.zeros(1, 4, 4, 4)}, r"give \(1, 48, 4, 4\)"),
        ({"callback_on_step_end_tensor_inputs": ["prompt_embeds"]}, "take latents"),
    ],
)
def test_options_that_do_not_fit_are_one_line(pipeline: Zero123Pipeline, options: dict[str, Any], named: str) -> None:
    with pytest.raises(InputError, match=named):
        sampled(pipeline, torch.zeros(1, 3, 16, 16), torch.zeros(1, 4), **options)


def test_neither_tensor_nor_picture_is_one_line(pipeline: Zero123Pipeline) -> None:
    with pytest.raises(InputError, match="neither a tensor nor PIL images"):
        sampled(pipeline, [np.zeros((16, 16, 3))], torch.zeros(1, 4))


def test_a_callback_sees_every_step_replaces_latents_and_stops(
    pipeline: Zero123Pipeline,
    pictures: Callable[..., Tensor],
    poses: Callable[[int], Tensor],
    spy_on: Callable[..., Any],
) -> None:
    seen: list[tuple[int, int]] = []

    def callback(made: Zero123Pipeline, step: int, timestep: Tensor, given: dict[str, Any]) -> dict[str, Any]:
        seen.append((step, int(timestep)))
        made._interrupt = step == 1
        return {"latents": torch.full_like(given["latents"], 0.25)}

    spy = spy_on(pipeline.unet)
    latents = sampled(
        pipeline, pictures(1), poses(1), num_inference_steps=4, callback_on_step_end=callback, output_type="latent"
    )
    assert seen == [(0, 999), (1, 749)]
    assert len(spy.inputs) == 2
    assert torch.equal(latents, torch.full_like(latents, 0.25))
    assert not pipeline(pictures(1), poses(1), num_inference_steps=1).images.isnan().any()
    assert len(spy.inputs) == 3


def test_latents_take_the_generators_place(
    pipeline: Zero123Pipeline, pictures: Callable[..., Tensor], poses: Callable[[int], Tensor]
) -> None:
    start = torch.randn(2, 48, 4, 4, generator=generator(8))
    given = sampled(pipeline, pictures(1), poses(2), eta=0.0, latents=start, generator=None)
    drawn = sampled(pipeline, pictures(1), poses(2), eta=0.0, generator=generator(8))
    assert torch.equal(given, drawn)


def test_attention_in_slices_gives_the_same_pictures(
    pipeline: Zero123Pipeline, pictures: Callable[..., Tensor], poses: Callable[[int], Tensor]
) -> None:
    before = sampled(pipeline, pictures(1), poses(2))
    pipeline.enable_attention_slicing(1)
    assert torch.allclose(before, sampled(pipeline, pictures(1), poses(2)), atol=1e-5)


@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_saved_pipeline_keeps_its_scheduler(
    pipeline: Zero123Pipeline,
    pictures: Callable[..., Tensor],
    poses: Callable[[int], Tensor],
    tmp_path: Path,
    name: Any,
) -> None:
    pipeline.scheduler = scheduler_named(name, pipeline.scheduler)
    pipeline.save_pretrained(tmp_path)
    loaded = load_pipeline(tmp_path)
    loaded.set_progress_bar_config(disable=True)
    assert type(loaded.scheduler) is SCHEDULERS[name]
    assert torch.equal(sampled(pipeline, pictures(1), poses(2)), sampled(loaded, pictures(1), poses(2)))


@pytest.mark.parametrize("name", SCHEDULERS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_near(
    pipeline: Zero123Pipeline,
    pictures: Callable[..., Tensor],
    poses: Callable[[int], Tensor],
    tmp_path: Path,
    name: Any,
    dtype: torch.dtype,
) -> None:
    pipeline.scheduler = scheduler_named(name, pipeline.scheduler)
    exact = sampled(pipeline, pictures(1), poses(2), guidance_scale=1.5)
    pipeline.save_pretrained(tmp_path)
    half = Zero123Pipeline.from_pretrained(tmp_path, dtype=dtype)
    half.set_progress_bar_config(disable=True)
    assert {half.unet.dtype, half.vae.dtype, half.image_encoder.dtype, half.cc_projection.dtype} == {dtype}
    images = sampled(half, pictures(1), poses(2), guidance_scale=1.5)
    assert images.dtype == torch.float32
    assert (images - exact).abs().mean() < (0.05 if dtype == torch.bfloat16 else 0.01)
    assert torch.equal(images, sampled(pipeline.to(dtype), pictures(1), poses(2), guidance_scale=1.5))


def test_a_vae_with_weights_is_sampled_through(
    modules: Zero123Modules, kl: AutoencoderKL, pictures: Callable[..., Tensor]
) -> None:
    unet = build_unet(UNetParameters(block_channels=(32, 64)), 4, 16)
    unet.register_to_config(sample_size=8)
    pipeline = Zero123Pipeline(unet, modules.cc_projection, modules.image_encoder, kl, modules.scheduler)
    pipeline.set_progress_bar_config(disable=True)
    assert pipeline.image_size == 16
    whole = sampled(pipeline, pictures(1), poses_from_degrees([10, 20, 30]))
    assert whole.shape == (3, 3, 16, 16)
    parts = sampled(pipeline, pictures(1), poses_from_degrees([10, 20, 30]), batch_size=2)
    assert torch.allclose(whole, parts, atol=1e-4)


def test_poses_from_degrees_by_hand() -> None:
    poses = poses_from_degrees([0, 90, -30], polar_deg=[0, -45, 0], radius=0.25)
    half = 3**0.5 / 2
    expected = [[0, 0, 1, 0.25], [-np.pi / 4, 1, 0, 0.25], [0, -0.5, half, 0.25]]
    assert poses.dtype == torch.float32
    np.testing.assert_allclose(poses.numpy(), expected, atol=1e-7)
    assert poses_from_degrees(30).shape == (1, 4)


@pytest.mark.gpu
def test_a_gpu_gives_what_the_cpu_gives(
    pipeline: Zero123Pipeline, pictures: Callable[..., Tensor], poses: Callable[[int], Tensor]
) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA GPU")
    cpu = sampled(pipeline, pictures(1), poses(3))
    gpu = sampled(pipeline.to("cuda"), pictures(1), poses(3))
    assert (cpu - gpu).abs().max() < 0.02
