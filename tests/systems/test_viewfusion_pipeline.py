"""Fused views: a single condition is the base itself, parts change nothing, what is encoded how often, options, refusals."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from cascade_support import cascade_training
from diffusers import AutoencoderKL
from PIL import Image
from torch import Generator, Tensor

from geometry.cameras import Intrinsics, look_at_origin
from stage.errors import InputError
from systems.cascade_zero123.pipeline import CascadePipeline
from systems.object_pipeline import ObjectPipeline
from systems.viewfusion.parameters import ViewFusionParameters
from systems.viewfusion.pipeline import ViewFusionPipeline
from systems.zero123.conditioning import poses_from_degrees
from systems.zero123.modules import Zero123Modules, build_unet
from systems.zero123.parameters import UNetParameters
from systems.zero123.pipeline import Zero123Pipeline
from systems.zero123.schedulers import SCHEDULERS, scheduler_named

Pictures = Callable[..., Tensor]


@dataclass(frozen=True)
class StandIn:
    """A camera about the origin."""

    c2w: np.ndarray
    intrinsics: Intrinsics


def camera(azimuth_deg: float, polar_deg: float = 60.0, radius: float = 1.5) -> StandIn:
    c2w = look_at_origin(math.radians(polar_deg), math.radians(azimuth_deg), radius)
    return StandIn(c2w, Intrinsics.from_fov(math.radians(49.1), 16))


def seeded(seed: int = 0, **options: Any) -> dict[str, Any]:
    return {"num_inference_steps": 3, "guidance_scale": 3.0, "generator": Generator().manual_seed(seed)} | options


def fused(base: ObjectPipeline, **parameters: Any) -> ViewFusionPipeline:
    return ViewFusionPipeline(base, ViewFusionParameters(**parameters))


@pytest.fixture
def bases(
    pipeline: Zero123Pipeline,
    zeronvs_pipeline: Callable[..., ObjectPipeline],
    modules: Zero123Modules,
    kl: AutoencoderKL,
) -> Callable[[str], ObjectPipeline]:
    """A base of each kind."""

    def made(kind: str) -> ObjectPipeline:
        if kind == "zero123":
            return pipeline
        if kind == "zeronvs":
            return zeronvs_pipeline("3dof")
        if kind == "cascade":
            training = cascade_training()
            with torch.no_grad():
                for parameter in [*training.unet.parameters(), *training.cc_projection.parameters()]:
                    parameter.add_(0.05 * torch.randn(parameter.shape, generator=Generator().manual_seed(1)))
            training.unet.register_to_config(sample_size=4)
            cascade: CascadePipeline = training.pipeline(training.scheduler)
            cascade.set_progress_bar_config(disable=True)
            return cascade
        unet = build_unet(UNetParameters(block_channels=(32, 64)), 4, 16)
        unet.register_to_config(sample_size=8)
        latent = Zero123Pipeline(unet, modules.cc_projection, modules.image_encoder, kl, modules.scheduler)
        latent.set_progress_bar_config(disable=True)
        return latent

    return made


@pytest.mark.parametrize("kind", ["zero123", "zeronvs", "cascade", "kl"])
@pytest.mark.parametrize(("noise", "null"), [("shared", "after_projection"), ("each", "before_projection")])
def test_one_condition_is_the_base_to_the_bit(
    bases: Callable[[str], ObjectPipeline], pictures: Pictures, kind: str, noise: Any, null: str
) -> None:
    base, source = bases(kind), pictures(1)
    plain = base.sample_views(source, camera(20), [camera(28)], **seeded(null_condition=null)).images
    made = fused(base, noise=noise).sample_views(source, camera(20), [camera(28)], **seeded(null_condition=null))
    assert torch.equal(made.images, plain)
    assert plain.std() > 0.01


@pytest.mark.parametrize("name", SCHEDULERS)
def test_one_condition_is_the_base_under_every_scheduler(
    pipeline: Zero123Pipeline, pictures: Pictures, name: Any
) -> None:
    pipeline.scheduler = scheduler_named(name, pipeline.scheduler)
    poses = poses_from_degrees([10])
    assert torch.equal(
        fused(pipeline)(pictures(1), poses, **seeded()).images, pipeline(pictures(1), poses, **seeded()).images
    )


def test_one_condition_is_the_base_in_half_precision(pipeline: Zero123Pipeline, pictures: Pictures) -> None:
    half, poses = pipeline.to(torch.bfloat16), poses_from_degrees([10])
    plain = half(pictures(1), poses, **seeded()).images
    assert torch.equal(fused(half)(pictures(1), poses, **seeded()).images, plain)


def test_without_guidance_one_condition_is_the_base(pipeline: Zero123Pipeline, pictures: Pictures) -> None:
    poses, options = poses_from_degrees([10]), {"guidance_scale": 1.0}
    plain = pipeline(pictures(1), poses, **seeded(**options)).images
    assert torch.equal(fused(pipeline)(pictures(1), poses, **seeded(**options)).images, plain)


@pytest.mark.parametrize(
    ("kind", "null"),
    [("zero123", "after_projection"), ("zero123", "before_projection"), ("cascade", "after_projection")],
)
def test_parts_of_any_size_give_the_same_view(
    bases: Callable[[str], ObjectPipeline], pictures: Pictures, kind: str, null: str
) -> None:
    base, source, inputs = bases(kind), pictures(5), [camera(20 * n) for n in range(5)]

    def made(chunk: int | None) -> Tensor:
        fusion = fused(base, chunk=chunk)
        return fusion.sample_views(source, inputs, [camera(7)], **seeded(null_condition=null, eta=1.0)).images

    whole = made(None)
    for chunk in (1, 4):
        torch.testing.assert_close(made(chunk), whole, atol=1e-5, rtol=0)


def test_parts_of_any_size_give_the_same_orbit(pipeline: Zero123Pipeline, pictures: Pictures) -> None:
    """Rounding of a view goes on into those made from it."""
    whole, parts = (
        fused(pipeline, chunk=chunk).orbit(pictures(1), camera(20), 6, **seeded()).images for chunk in (None, 2)
    )
    torch.testing.assert_close(parts, whole, atol=1e-5, rtol=0)


def test_parts_bound_what_the_denoiser_sees(
    pipeline: Zero123Pipeline, pictures: Pictures, spy_on: Callable[..., Any]
) -> None:
    """The third view has three conditions and one null condition."""
    spy = spy_on(pipeline.unet)
    fused(pipeline, chunk=3, window_deg=None).orbit(pictures(1), camera(0), 4, **seeded(num_inference_steps=2))
    assert [len(given) for given in spy.inputs] == [2] * 2 + [3] * 2 + [3, 1] * 2


def test_the_null_condition_is_predicted_once_for_all(
    pipeline: Zero123Pipeline, pictures: Pictures, spy_on: Callable[..., Any]
) -> None:
    spy = spy_on(pipeline.unet)
    options = seeded(num_inference_steps=2)
    fusion = fused(pipeline, window_deg=None)
    fusion.orbit(pictures(1), camera(0), 4, **options)
    assert [len(given) for given in spy.inputs] == [2, 2, 3, 3, 4, 4]
    # The null that training drops to knows of the pose, so every condition has its own.
    fusion.orbit(pictures(1), camera(0), 4, **options, null_condition="before_projection")
    assert [len(given) for given in spy.inputs[6:]] == [2, 2, 4, 4, 6, 6]


def test_fusing_predictions_is_fusing_steps(pipeline: Zero123Pipeline, pictures: Pictures) -> None:
    """The paper's loop, written out: a copy of x_t for each of two inputs, stepped alone, then the weighted mean."""
    from systems.zero123.schedulers import advance, noise, start

    source, inputs, target = pictures(2), [camera(0), camera(60)], camera(9)
    fusion = fused(pipeline, noise="each", tau_c=0.3)
    made = fusion.towards(source, inputs, target, **seeded(eta=1.0)).images
    distance = np.array([9 / 180, 51 / 180])
    weights = torch.softmax(torch.from_numpy(np.exp(-distance)).float(), 0)[:, None, None, None]
    generator = Generator().manual_seed(0)
    timesteps = start(pipeline.scheduler, 3, torch.device("cpu"))
    latents = noise((1, 48, 4, 4), generator).expand(2, -1, -1, -1)
    poses = poses_from_degrees([9, -51])
    condition = pipeline._condition(source, poses, 1, "after_projection", _rows(2))
    with torch.no_grad():
        for timestep in timesteps:
            prediction = pipeline._denoise(latents, timestep, condition, 3.0, _rows(2))
            stepped = advance(pipeline.scheduler, prediction, timestep, latents, 1.0, generator)
            latents = (weights * stepped).sum(0, keepdim=True).expand(2, -1, -1, -1)
        torch.testing.assert_close(made, pipeline.decoded(latents[:1]), atol=1e-5, rtol=0)


def _rows(count: int) -> Any:
    from systems.zero123.latent_pipeline import Rows

    return Rows(count, None)


def test_every_view_is_encoded_once_and_the_last_one_never(
    pipeline: Zero123Pipeline, pictures: Pictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = {"encode": 0, "forward": 0}
    for module, name in ((pipeline.vae, "encode"), (pipeline.image_encoder, "forward")):
        method = getattr(module, name)

        def counting(*given: Any, method: Any = method, name: str = name, **options: Any) -> Any:
            calls[name] += 1
            return method(*given, **options)

        monkeypatch.setattr(module, name, counting)
    fused(pipeline).orbit(pictures(1), camera(0), 8, **seeded())
    assert calls == {"encode": 7, "forward": 7}


def test_conditions_are_what_was_made_and_from_where(
    pipeline: Zero123Pipeline, pictures: Pictures, spy_on: Callable[..., Any]
) -> None:
    """The second view of an orbit of eight is at −45°: it is told of the input, 45° away, and of the first view, 90° away."""
    spy = spy_on(pipeline.unet)
    made = fused(pipeline).orbit(pictures(1), camera(30), 8, **seeded(guidance_scale=1.0))
    first = torch.nn.functional.pixel_unshuffle(made.images[1:2] * 2 - 2, 4)
    torch.testing.assert_close(spy.inputs[3][:, 48:], torch.cat([spy.inputs[0][:, 48:], first]), atol=1e-6, rtol=0)
    linear = pipeline.cc_projection.linear
    poses = poses_from_degrees([-45, -90])
    difference = spy.tokens[3][1, 0] - spy.tokens[0][0, 0]
    embedding = pipeline.encoded(made.images[1:2] * 2 - 1).embedding - pipeline.encoded(pictures(1)).embedding
    expected = (
        embedding[0] @ linear.weight[:, :16].T + (poses[1] - poses_from_degrees([45])[0]) @ linear.weight[:, 16:].T
    )
    torch.testing.assert_close(difference, expected, atol=1e-5, rtol=0)


def test_an_orbit_is_sorted_and_begins_with_the_input(pipeline: Zero123Pipeline, pictures: Pictures) -> None:
    made = fused(pipeline).orbit(pictures(1), camera(30), 8, **seeded())
    assert made.images.shape == (8, 3, 16, 16)
    torch.testing.assert_close(made.images[0], pictures(1)[0] / 2 + 0.5)
    turned = [math.degrees(each.azimuth) % 360 for each in made.positions]
    np.testing.assert_allclose(turned, [30 + 45 * n for n in range(7)] + [345], atol=1e-6)
    np.testing.assert_allclose(made.c2w[2], camera(120).c2w, atol=1e-6)


def test_targets_of_a_ring_are_the_orbit(pipeline: Zero123Pipeline, pictures: Pictures) -> None:
    around = fused(pipeline).orbit(pictures(1), camera(30), 8, **seeded())
    targets = [camera(30 + 45 * n) for n in (4, 1, 7, 2, 6, 3, 5)]
    made = fused(pipeline).sample_views(pictures(1), camera(30), targets, **seeded())
    torch.testing.assert_close(made.images, around.images[[4, 1, 7, 2, 6, 3, 5]], atol=1e-5, rtol=0)


@pytest.mark.parametrize("rule", ["paper", "released"])
def test_the_inputs_own_place_among_the_targets_changes_no_other_view(
    pipeline: Zero123Pipeline, pictures: Pictures, rule: Any
) -> None:
    """As SyncDreamer's protocol asks: 16 views of which one is the input's. It is made from the input alone."""
    fusion, own = fused(pipeline, weights=rule), camera(30)
    around = fusion.orbit(pictures(1), own, 8, **seeded()).images
    targets = [camera(30 + 45 * n) for n in range(8)]
    made = fusion.sample_views(pictures(1), own, targets, **seeded()).images
    torch.testing.assert_close(made[1:], around[1:], atol=1e-5, rtol=0)
    generators = [Generator().manual_seed(seed) for seed in range(8)]
    made = fusion.sample_views(pictures(1), own, targets, **seeded(generator=generators)).images
    assert torch.equal(made[:1], pipeline.sample_views(pictures(1), own, [own], **seeded(0)).images)


def test_other_targets_are_made_on_paths_of_their_own(pipeline: Zero123Pipeline, pictures: Pictures) -> None:
    targets = [camera(50, 40), camera(10, 70)]
    generators = [Generator().manual_seed(seed) for seed in (4, 5)]
    made = fused(pipeline).sample_views(pictures(1), camera(30), targets, **seeded(generator=generators))
    for target, seed, image in zip(targets, (4, 5), made.images, strict=True):
        alone = fused(pipeline).towards(pictures(1), camera(30), target, **seeded(seed))
        assert len(alone.images) == 2
        assert torch.equal(alone.images[-1], image)


def test_poses_stand_for_cameras(pipeline: Zero123Pipeline, pictures: Pictures) -> None:
    made = fused(pipeline)(pictures(1), poses_from_degrees([30], polar_deg=-20), **seeded())
    expected = fused(pipeline).towards(pictures(1), camera(0, 90), camera(30, 70), **seeded())
    torch.testing.assert_close(made.images[0], expected.images[-1], atol=1e-5, rtol=0)
    with pytest.raises(InputError, match="sample_views"):
        _ = made.c2w


def test_several_inputs_all_have_their_say(
    pipeline: Zero123Pipeline, pictures: Pictures, spy_on: Callable[..., Any]
) -> None:
    spy = spy_on(pipeline.unet)
    inputs = [camera(30), camera(150), camera(270)]
    made = fused(pipeline, window_deg=20).orbit(pictures(3), inputs, 8, **seeded(guidance_scale=1.0))
    assert [len(given) for given in spy.inputs] == [3] * 3 * 7, "inputs are never outside the window"
    other = pictures(3).clone()
    other[2] = -other[2]
    changed = fused(pipeline, window_deg=20).orbit(other, inputs, 8, **seeded(guidance_scale=1.0))
    assert not torch.allclose(made.images[1], changed.images[1], atol=1e-4)


def test_fewer_conditions_are_the_nearest(
    pipeline: Zero123Pipeline, pictures: Pictures, spy_on: Callable[..., Any]
) -> None:
    spy = spy_on(pipeline.unet)
    fused(pipeline, max_conditions=3, window_deg=None).orbit(pictures(1), camera(0), 8, **seeded(guidance_scale=1.0))
    assert [len(given) for given in spy.inputs[::3]] == [1, 2, 3, 3, 3, 3, 3]


@pytest.mark.parametrize(("rule", "noise"), [("paper", "shared"), ("released", "each")])
def test_the_same_seed_makes_the_same_views(
    pipeline: Zero123Pipeline, pictures: Pictures, rule: Any, noise: Any
) -> None:
    fusion = fused(pipeline, weights=rule, noise=noise)
    first, second = (fusion.orbit(pictures(1), camera(0), 6, **seeded(3)).images for _ in range(2))
    assert torch.equal(first, second)
    assert not torch.equal(first, fusion.orbit(pictures(1), camera(0), 6, **seeded(4)).images)


def test_samplers_with_a_memory_fuse(pipeline: Zero123Pipeline, pictures: Pictures) -> None:
    for name in ("dpm", "unipc", "euler", "euler_ancestral"):
        pipeline.scheduler = scheduler_named(name, pipeline.scheduler)
        images = fused(pipeline).orbit(pictures(1), camera(0), 4, **seeded()).images
        assert images.isfinite().all()
        assert images[1:].std() > 0.01


def test_formats_and_pil_inputs(pipeline: Zero123Pipeline) -> None:
    picture = Image.new("RGBA", (32, 32), (200, 30, 30, 255))
    images = fused(pipeline).orbit(picture, camera(0), 4, **seeded(output_type="pil")).images
    assert [image.size for image in images] == [(16, 16)] * 4
    assert images[0].getpixel((8, 8)) == (200, 30, 30)
    (array,) = fused(pipeline).orbit(picture, camera(0), 4, **seeded(output_type="np", return_dict=False))
    assert array.shape == (4, 16, 16, 3)


def test_given_noise_takes_the_generators_place(pipeline: Zero123Pipeline, pictures: Pictures) -> None:
    start = torch.randn(3, 48, 4, 4, generator=Generator().manual_seed(8))
    given, again = (
        fused(pipeline).orbit(pictures(1), camera(0), 4, **seeded(seed, eta=0.0, latents=start)).images
        for seed in (1, 2)
    )
    assert torch.equal(given, again)


def test_the_base_is_seen_through(pipeline: Zero123Pipeline) -> None:
    fusion = fused(pipeline)
    assert fusion.image_size == 16
    assert fusion.scheduler is pipeline.scheduler
    assert fusion.to("cpu") is fusion
    fusion.scheduler = scheduler_named("dpm", pipeline.scheduler)
    assert fusion.scheduler is pipeline.scheduler
    assert fusion.device == torch.device("cpu")
    assert set(fusion.components) == set(pipeline.components)
    with pytest.raises(InputError, match="save its base"):
        fusion.save_pretrained("nowhere")


def test_a_zeronvs_of_another_mode_is_refused(zeronvs_pipeline: Callable[..., ObjectPipeline]) -> None:
    with pytest.raises(InputError, match="mode is 7dof_unscaled; take a model of mode 3dof"):
        fused(zeronvs_pipeline("7dof_unscaled"))


def test_what_makes_no_views_of_poses_is_refused(pipeline: Zero123Pipeline) -> None:
    with pytest.raises(InputError, match="no views with a ViewFusionPipeline"):
        fused(fused(pipeline))


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"num_images_per_pose": 2}, "one for each pose"),
        ({"output_type": "latent"}, "take pt, np or pil"),
        ({"generator": [Generator()]}, "1 generators for 5 views"),
        ({"latents": torch.zeros(2, 48, 4, 4)}, "2 latents for 5 views"),
        ({"guidance": 3.0}, "guidance"),
    ],
)
def test_options_that_do_not_fit_are_one_line(
    pipeline: Zero123Pipeline, pictures: Pictures, options: dict[str, Any], named: str
) -> None:
    with pytest.raises((InputError, TypeError), match=named):
        fused(pipeline).orbit(pictures(1), camera(0), 6, **seeded(**options))


def test_cameras_and_poses_that_do_not_fit_are_one_line(pipeline: Zero123Pipeline, pictures: Pictures) -> None:
    with pytest.raises(InputError, match="2 input views and 1 cameras"):
        fused(pipeline).orbit(pictures(2), camera(0), 6, **seeded())
    with pytest.raises(InputError, match=r"give \(n, 4\)"):
        fused(pipeline)(pictures(1), torch.zeros(2, 19), **seeded())


def test_own_noise_for_each_condition_needs_ddim(pipeline: Zero123Pipeline, pictures: Pictures) -> None:
    pipeline.scheduler = scheduler_named("euler_ancestral", pipeline.scheduler)
    with pytest.raises(InputError, match="or take DDIM"):
        fused(pipeline, noise="each").orbit(pictures(1), camera(0), 6, **seeded())


@pytest.mark.gpu
def test_a_gpu_gives_what_the_cpu_gives(pipeline: Zero123Pipeline, pictures: Pictures) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA GPU")
    fusion = fused(pipeline)
    cpu = fusion.orbit(pictures(1), camera(0), 6, **seeded()).images
    gpu = fusion.to("cuda").orbit(pictures(1), camera(0), 6, **seeded()).images
    assert (cpu - gpu).abs().max() < 0.02
