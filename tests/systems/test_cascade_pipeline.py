"""Cascade-Zero123's pipeline: its stages, what each is shown, its options, and that a folder samples the same."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cascade_support import QUICK, cascade_training
from torch import Generator, Tensor

from geometry.cameras import look_at_origin
from stage.errors import InputError
from systems.cascade_zero123.export import export_refiner
from systems.cascade_zero123.pipeline import CascadePipeline
from systems.cascade_zero123.prompts import Prompts
from systems.pipelines import load_pipeline
from systems.zero123.conditioning import poses_from_degrees
from systems.zero123.encoding import embed_images
from systems.zero123.pipeline import Zero123Pipeline

STEPS: dict[str, Any] = {"num_inference_steps": 3}


@pytest.fixture
def cascade() -> CascadePipeline:
    """Networks that differ: the Refiner's has moved away from the Base's."""
    training = cascade_training()
    with torch.no_grad():
        for parameter in [*training.unet.parameters(), *training.cc_projection.parameters()]:
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=Generator().manual_seed(1)))
    training.unet.register_to_config(sample_size=4)
    pipeline = training.pipeline(training.scheduler)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def seeded(seed: int = 0) -> dict[str, Any]:
    return STEPS | {"generator": Generator().manual_seed(seed)}


def quietly(pipeline: Any, source: Tensor) -> Any:
    pipeline.set_progress_bar_config(disable=True)
    return pipeline(source, poses_from_degrees([30]), **seeded())


def test_one_stage_is_the_base_alone(cascade: CascadePipeline, pictures: Callable[..., Tensor]) -> None:
    poses = poses_from_degrees([30, 60])
    made = cascade(pictures(1), poses, depth=1, **seeded())
    assert torch.equal(made.images, cascade.base(pictures(1), poses, **seeded()).images)
    assert made.stages == []


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_the_refiner_is_asked_once_a_stage(
    cascade: CascadePipeline, pictures: Callable[..., Tensor], spy_on: Callable[..., Any], depth: int
) -> None:
    base, refiner = spy_on(cascade.base_unet), spy_on(cascade.unet)
    made = cascade(pictures(1), poses_from_degrees([30, 60]), depth=depth, guidance_scale=1.0, **STEPS)
    # Base: all steps of the one stage, at depth 1 its own; the stages before the last take two steps, as these parameters say.
    assert len(base.inputs) == (3 if depth == 1 else QUICK.inference_steps)
    assert len(refiner.inputs) == (0 if depth == 1 else 3 + QUICK.inference_steps * (depth - 2))
    assert len(made.stages) == depth - 1
    assert all(tokens.shape[1] == 5 for tokens in refiner.tokens)
    assert all(tokens.shape[1] == 1 for tokens in base.tokens)


def test_what_the_base_is_asked_for(
    cascade: CascadePipeline, pictures: Callable[..., Tensor], spy_on: Callable[..., Any]
) -> None:
    """The wanted views, then the near views of the input, once for all wanted ones."""
    spy = spy_on(cascade.base_unet)
    source, poses = pictures(1), poses_from_degrees([30, 60])
    cascade(source, poses, **STEPS)
    tokens = spy.tokens[0][len(spy.tokens[0]) // 2 :]
    near = poses_from_degrees([45, -45, 0], polar_deg=[0, 0, -30])
    embedding = embed_images(cascade.image_encoder, source).expand(5, -1)
    torch.testing.assert_close(tokens, cascade.base_projection(embedding, torch.cat([poses, near])))


def test_what_the_refiner_is_shown(
    cascade: CascadePipeline, pictures: Callable[..., Tensor], spy_on: Callable[..., Any]
) -> None:
    """Tokens of the last stage from the pictures that the output returns."""
    source, poses = pictures(1), poses_from_degrees([90, -45])
    spy = spy_on(cascade.unet)
    (stage,) = cascade(source, poses, guidance_scale=1.0, **STEPS).stages

    def token(picture: Tensor, pose: list[float]) -> Tensor:
        embedding = embed_images(cascade.image_encoder, picture[None])
        return cascade.cc_projection(embedding, torch.tensor([pose]))[0, 0]

    half = math.sqrt(0.5)
    expected = torch.stack(
        [
            token(source[0], [0.0, 1.0, 0.0, 0.0]),
            token(stage.coarse[0] * 2 - 1, [0.0, 0.0, 0.0, 0.0]),
            token(stage.near[0, 0] * 2 - 1, [0.0, half, half, 0.0]),
            token(stage.near[0, 1] * 2 - 1, [0.0, half, -half, 0.0]),
            token(stage.near[0, 2] * 2 - 1, [math.pi / 6, 1.0, 0.0, 0.0]),
        ]
    )
    torch.testing.assert_close(spy.tokens[0][0], expected, atol=1e-5, rtol=1e-5)


def test_near_views_end_at_the_pole_where_the_input_is_known(
    cascade: CascadePipeline, pictures: Callable[..., Tensor], spy_on: Callable[..., Any]
) -> None:
    source, spy = pictures(1), spy_on(cascade.base_unet)
    cascade(source, poses_from_degrees([30]), polars=math.radians(20), **STEPS)
    top = poses_from_degrees([0], polar_deg=-20)
    expected = cascade.base_projection(embed_images(cascade.image_encoder, source), top)
    torch.testing.assert_close(spy.tokens[0][-1:], expected)


def test_wanted_cameras_give_the_poses_and_the_pole(cascade: CascadePipeline, pictures: Callable[..., Tensor]) -> None:
    class Seen:
        def __init__(self, polar: float, azimuth: float) -> None:
            self.c2w = look_at_origin(polar, azimuth, 2.0)

    condition, target = Seen(math.radians(20), 0.3), Seen(math.radians(70), 0.3 + math.pi / 2)
    made = cascade.sample_views(pictures(1), condition, [target], **seeded())
    poses = poses_from_degrees([90], polar_deg=50)
    direct = cascade(pictures(1), poses, polars=math.radians(20), **seeded())
    torch.testing.assert_close(made.images, direct.images, atol=1e-4, rtol=0)


def test_prompts_that_are_there_give_the_same_last_stage(
    cascade: CascadePipeline, pictures: Callable[..., Tensor]
) -> None:
    """`refine` after `stages` is the cascade itself, from the same noise."""
    source, poses = pictures(1), poses_from_degrees([90])
    noise = torch.randn(1, 48, 4, 4, generator=Generator().manual_seed(3))
    made = cascade(source, poses, eta=0.0, latents=noise, **seeded())
    (stage,) = made.stages
    half = math.sqrt(0.5)
    near_poses = torch.tensor([[[0, half, half, 0], [0, half, -half, 0], [math.pi / 6, 1, 0, 0]]])
    prompts = Prompts(stage.coarse * 2 - 1, stage.near * 2 - 1, near_poses)
    refined = cascade.refine(source, poses, prompts, eta=0.0, latents=noise, **STEPS)
    torch.testing.assert_close(refined.images, made.images, atol=1e-5, rtol=0)


def test_pictures_with_images_and_generators_of_their_own_do_not_depend_on_others(
    cascade: CascadePipeline, pictures: Callable[..., Tensor]
) -> None:
    poses = poses_from_degrees([30, 60])

    def sampled(images: Tensor, wanted: Tensor, seeds: list[int]) -> Tensor:
        generators = [Generator().manual_seed(seed) for seed in seeds]
        made = cascade(images, wanted, num_images_per_pose=2, depth=3, generator=generators, **STEPS)
        return made.images

    both = sampled(pictures(2), poses, [0, 1, 2, 3])
    alone = sampled(pictures(2)[1:], poses[1:], [2, 3])
    torch.testing.assert_close(both[2:], alone, atol=1e-4, rtol=0)
    assert not torch.allclose(both[2], both[3])


def test_batches_of_any_size_give_the_same_pictures(cascade: CascadePipeline, pictures: Callable[..., Tensor]) -> None:
    poses = poses_from_degrees([30, 60, 90])
    whole, parts = (cascade(pictures(1), poses, depth=3, batch_size=size, **seeded()).images for size in (None, 2))
    torch.testing.assert_close(whole, parts, atol=1e-4, rtol=0)


@pytest.mark.parametrize("null", ["after_projection", "before_projection"])
def test_guidance_with_five_tokens(
    cascade: CascadePipeline, pictures: Callable[..., Tensor], spy_on: Callable[..., Any], null: str
) -> None:
    spy = spy_on(cascade.unet)
    cascade(pictures(1), poses_from_degrees([30]), guidance_scale=3.0, null_condition=null, **STEPS)
    without, given = spy.tokens[0]
    if null == "after_projection":
        assert not without.any()
    else:
        assert torch.equal(without[2:], given[2:])
        torch.testing.assert_close(without[1], cascade.cc_projection.linear.bias)
        assert not torch.equal(without[0], given[0])


def test_a_saved_cascade_samples_the_same(
    cascade: CascadePipeline, pictures: Callable[..., Tensor], tmp_path: Path
) -> None:
    cascade.save_pretrained(tmp_path / "model", safe_serialization=True)
    assert not [path for path in (tmp_path / "model").rglob("*") if path.suffix in (".bin", ".pt", ".ckpt", ".pkl")]
    loaded = [load_pipeline(tmp_path / "model") for _ in range(2)]
    before, after, again = (quietly(each, pictures(1)) for each in (cascade, *loaded))
    assert all(isinstance(each, CascadePipeline) for each in loaded)
    torch.testing.assert_close(after.images, before.images, atol=1e-4, rtol=0)
    torch.testing.assert_close(after.stages[0].near, before.stages[0].near, atol=1e-4, rtol=0)
    assert torch.equal(after.images, again.images)


def test_near_views_of_ones_own_are_saved(pictures: Callable[..., Tensor], tmp_path: Path) -> None:
    training = cascade_training(near=({"azimuth_deg": 90.0},))
    training.save(tmp_path / "model")
    loaded = load_pipeline(tmp_path / "model")
    loaded.set_progress_bar_config(disable=True)
    (stage,) = loaded(pictures(1), poses_from_degrees([30]), **STEPS).stages
    assert loaded.config.near_views == [[0.0, 90.0, 0.0]]
    assert stage.near.shape[:2] == (1, 1)


def test_a_cascade_without_near_views_has_two_tokens(
    pictures: Callable[..., Tensor], spy_on: Callable[..., Any]
) -> None:
    training = cascade_training(near=())
    pipeline = training.pipeline(training.scheduler)
    pipeline.set_progress_bar_config(disable=True)
    spy = spy_on(pipeline.unet)
    pipeline(pictures(1), poses_from_degrees([30]), **STEPS)
    assert spy.tokens[0].shape == (2, 2, 16)


def test_forms_of_the_output(cascade: CascadePipeline, pictures: Callable[..., Tensor]) -> None:
    called: list[int] = []

    def note(_: object, step: int, __: Tensor, ___: dict[str, Any]) -> None:
        called.append(step)

    options = seeded() | {"return_dict": False, "output_type": "np", "callback_on_step_end": note}
    images, stages = cascade(pictures(1), poses_from_degrees([30]), **options)  # type: ignore[misc]
    assert isinstance(images, np.ndarray)
    assert images.shape == (1, 16, 16, 3)
    assert stages[0].coarse.shape == (1, 3, 16, 16)
    assert called == [0, 1, 2]


def test_the_refiner_is_exported_as_plain_zero123(
    cascade: CascadePipeline, pictures: Callable[..., Tensor], tmp_path: Path
) -> None:
    cascade.save_pretrained(tmp_path / "model", safe_serialization=True)
    export_refiner(tmp_path / "model", tmp_path / "plain")
    plain = load_pipeline(tmp_path / "plain")
    assert type(plain) is Zero123Pipeline
    assert plain.unet.state_dict().keys() == cascade.unet.state_dict().keys()
    exported, within = quietly(plain, pictures(1)).images, quietly(cascade.refiner, pictures(1)).images
    torch.testing.assert_close(exported, within, atol=1e-4, rtol=0)


def test_only_a_cascade_is_exported(cascade: CascadePipeline, tmp_path: Path) -> None:
    cascade.refiner.save_pretrained(tmp_path / "model", safe_serialization=True)
    with pytest.raises(InputError, match="Zero123Pipeline, not a CascadePipeline"):
        export_refiner(tmp_path / "model", tmp_path / "plain")
    assert not (tmp_path / "plain").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"depth": 0}, "0 stages"),
        ({"polars": [1.0, 1.0]}, "2 polar angles for 1 images"),
        ({"output_type": "png"}, "no output type png"),
    ],
)
def test_what_does_not_fit_is_refused(
    cascade: CascadePipeline, pictures: Callable[..., Tensor], changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        cascade(pictures(1), poses_from_degrees([30]), **(STEPS | changes))


def test_prompts_come_a_row_a_pose(cascade: CascadePipeline, pictures: Callable[..., Tensor]) -> None:
    prompts = Prompts(pictures(2), pictures(6).unflatten(0, (2, 3)), torch.zeros(2, 3, 4))
    with pytest.raises(InputError, match="2 prompts for 1 poses"):
        cascade.refine(pictures(1), poses_from_degrees([30]), prompts, **STEPS)
