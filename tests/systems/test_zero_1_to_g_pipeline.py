"""Sampling with Zero-1-to-G: one call from a picture to Gaussians, the same from a saved folder, alone or among others."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from attribute_diffusion_support import AZIMUTHS, SIDE, camera, system
from PIL import Image
from torch import Tensor

from geometry.attribute_images import ZERO_1_TO_G_LOGIT
from geometry.cameras import Intrinsics
from geometry.gaussians import Gaussians
from stage.errors import InputError
from systems.pipelines import load_pipeline
from systems.zero_1_to_g.batch import WantedView
from systems.zero_1_to_g.pipeline import Zero1ToGPipeline

LEVEL = torch.zeros(2)


@pytest.fixture(scope="module")
def pipeline() -> Zero1ToGPipeline:
    """The smallest one, of random weights."""
    made = system()
    sampled = made.pipeline(made.scheduler)
    sampled.set_progress_bar_config(disable=True)
    return sampled


@pytest.fixture(scope="module")
def images() -> Tensor:
    """Two pictures."""
    return torch.rand(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(3)) * 2 - 1


def options(*seeds: int, **changes: Any) -> dict[str, Any]:
    """Two steps, with a generator an object."""
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    return {"num_inference_steps": 2, "generator": generators, **changes}


def test_one_call_makes_gaussians(pipeline: Zero1ToGPipeline) -> None:
    made = pipeline(Image.new("RGB", (20, 20), "red"), elevation_deg=20.0, **options(1))
    (gaussians,) = made.gaussians
    assert isinstance(gaussians, Gaussians)
    assert made.splatters.shape == (1, len(AZIMUTHS), 14, SIDE, SIDE)
    assert 0 < len(gaussians) <= len(AZIMUTHS) * SIDE * SIDE
    assert gaussians.opacities.min() >= 1 / 255
    assert np.abs(gaussians.means).max() <= 0.7 + 1e-6
    other = pipeline(Image.new("RGB", (20, 20), "red"), elevation_deg=60.0, **options(1))
    assert not torch.equal(other.splatters, made.splatters)


def test_a_saved_pipeline_samples_the_same(pipeline: Zero1ToGPipeline, images: Tensor, tmp_path: Path) -> None:
    pipeline.save_pretrained(tmp_path / "model")
    loaded = load_pipeline(tmp_path / "model")
    assert isinstance(loaded, Zero1ToGPipeline)
    loaded.set_progress_bar_config(disable=True)
    assert loaded.image_size == pipeline.image_size == SIDE
    assert loaded.ranges == pipeline.ranges
    assert loaded.config.azimuths_deg == list(AZIMUTHS)
    same = loaded.sample_splatters(images, LEVEL, **options(1, 2))
    assert torch.equal(same, pipeline.sample_splatters(images, LEVEL, **options(1, 2)))


def test_ranges_go_with_the_folder(tmp_path: Path) -> None:
    made = system(logit_opacity=True)
    made.save(tmp_path)
    assert load_pipeline(tmp_path).ranges == ZERO_1_TO_G_LOGIT  # type: ignore[attr-defined]


def test_an_object_is_the_same_alone_and_among_others(pipeline: Zero1ToGPipeline, images: Tensor) -> None:
    together = pipeline.sample_splatters(images, LEVEL, **options(1, 2))
    in_turn = pipeline.sample_splatters(images, LEVEL, **options(1, 2, batch_size=1))
    torch.testing.assert_close(in_turn, together, atol=1e-4, rtol=1e-4)
    alone = pipeline.sample_splatters(images[1:], LEVEL[1:], **options(2))
    torch.testing.assert_close(alone[0], together[1], atol=1e-4, rtol=1e-4)


def test_noise_decides_and_can_be_given(pipeline: Zero1ToGPipeline, images: Tensor) -> None:
    first, other = (pipeline.sample_latents(images, LEVEL, **options(1, seed)) for seed in (2, 3))
    assert torch.equal(first[0], other[0])
    assert not torch.equal(first[1], other[1])
    noise = torch.cat([torch.randn((1, *first.shape[1:]), generator=torch.Generator().manual_seed(s)) for s in (1, 2)])
    given = pipeline.sample_latents(images, LEVEL, num_inference_steps=2, latents=noise, eta=0.0)
    assert torch.equal(given, pipeline.sample_latents(images, LEVEL, **options(1, 2, eta=0.0)))


def test_guidance_leads_away_from_no_condition(pipeline: Zero1ToGPipeline, images: Tensor) -> None:
    # One step of DDIM ends in the predicted sample itself.
    def sampled(scale: float) -> Tensor:
        return pipeline.sample_latents(images, LEVEL, **options(1, 2, num_inference_steps=1, guidance_scale=scale))

    with_condition, doubled, without = sampled(1.0), sampled(2.0), sampled(0.0)
    torch.testing.assert_close(doubled, 2 * with_condition - without, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(with_condition, without, atol=1e-3)
    torch.testing.assert_close(without, sampled(0.0))


def test_without_a_condition_the_picture_does_not_count(pipeline: Zero1ToGPipeline, images: Tensor) -> None:
    some, others = (
        pipeline.sample_latents(pictures, LEVEL, **options(1, 2, guidance_scale=0.0)) for pictures in (images, -images)
    )
    assert torch.equal(some, others)


def test_a_callback_sees_every_step_and_may_stop(pipeline: Zero1ToGPipeline, images: Tensor) -> None:
    steps = []

    def stop(sampler: Zero1ToGPipeline, step: int, _: Tensor, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        steps.append(step)
        sampler._interrupt = step == 1
        return {"latents": torch.zeros_like(inputs["latents"])}

    latents = pipeline.sample_latents(images, LEVEL, **options(1, 2, num_inference_steps=4, callback_on_step_end=stop))
    assert steps == [0, 1]
    assert not latents.any()


def test_views_do_not_depend_on_where_north_is(pipeline: Zero1ToGPipeline, images: Tensor) -> None:
    lens = Intrinsics.from_fov(0.8, 16)

    def seen(north: float) -> Tensor:
        given, *wanted = (
            WantedView(camera(e, a + north).double().numpy(), lens) for e, a in ((20, 0), (0, 30), (40, -80))
        )
        return pipeline.sample_views(images[:1], given, wanted, **options(1)).images

    straight, turned = seen(0.0), seen(130.0)
    assert straight.shape == (2, 3, 16, 16)
    assert straight.min() < 0.99
    torch.testing.assert_close(turned, straight, atol=1e-3, rtol=0)


def test_what_does_not_fit_is_refused(pipeline: Zero1ToGPipeline, images: Tensor) -> None:
    with pytest.raises(InputError, match=r"images have shape .*give \(n, 3, 8, 8\)"):
        pipeline.sample_splatters(images[:, :, :4], LEVEL)
    with pytest.raises(InputError, match="elevations have shape"):
        pipeline.sample_splatters(images, LEVEL[:1])
    with pytest.raises(InputError, match="one set of Gaussians"):
        pipeline.sample_splatters(images, LEVEL, num_images_per_pose=2)
    with pytest.raises(InputError, match=r"latents have shape .*give \(2, 2, 5, 12, 4, 4\)"):
        pipeline.sample_splatters(images, LEVEL, latents=torch.zeros(2, 2, 5, 12, 2, 2))
    with pytest.raises(InputError, match="3 azimuths and 2 elevations"):
        Zero1ToGPipeline(
            pipeline.unet, pipeline.image_encoder, pipeline.vae, pipeline.scheduler, [0.0, 1.0, 2.0], [0.0, 1.0]
        )
