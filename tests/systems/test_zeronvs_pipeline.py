"""Sampling from cameras: what the denoiser is told in each mode, what is refused, and a pipeline that survives being saved."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import pixel_shuffle

from geometry.cameras import Intrinsics, look_at, look_at_origin
from stage.errors import InputError, ParameterError
from systems.pipelines import load_pipeline
from systems.zero123.conditioning import relative_pose
from systems.zero123.pipeline import Zero123Pipeline
from systems.zero123.pipeline import load_pipeline as load_zero123
from systems.zero123.schedulers import scheduler_named
from systems.zeronvs.conditioning import pose_vector
from systems.zeronvs.modes import MODES
from systems.zeronvs.pipeline import ZeroNvsPipeline

Make = Callable[[str], ZeroNvsPipeline]
Pictures = Callable[..., Tensor]
CONDITION = look_at_origin(1.3, 0.2, 1.6)
TARGETS = np.stack([look_at(np.array([0.3, -0.5, 0.2 * n]), np.array([1.0, 0.4, 0.1])) for n in range(1, 4)])
SHIFTED = np.eye(4)
SHIFTED[:3, 3] = 0.125


def sampled(pipeline: ZeroNvsPipeline, images: Any, targets: Any = TARGETS, **given: Any) -> Any:
    values: dict[str, Any] = {
        "c2w_condition": CONDITION,
        "fov": 0.9,
        "scale": 0.7,
        "num_inference_steps": 3,
        "generator": torch.Generator().manual_seed(0),
    }
    return pipeline(images, targets, **(values | given)).images


def told(pipeline: Zero123Pipeline | ZeroNvsPipeline) -> list[np.ndarray]:
    """The pose vectors that `cc_projection` is given from now on."""
    seen: list[np.ndarray] = []
    linear = pipeline.cc_projection.linear
    linear.register_forward_pre_hook(lambda _, given: seen.append(given[0][:, 16:].detach().numpy()))
    return seen


@pytest.mark.parametrize("mode", MODES)
def test_the_denoiser_is_told_the_modes_vector(zeronvs_pipeline: Make, pictures: Pictures, mode: str) -> None:
    pipeline = zeronvs_pipeline(mode)
    seen = told(pipeline)
    images = sampled(pipeline, pictures(1), num_images_per_pose=2, batch_size=2)
    expected = np.stack([pose_vector(pipeline.mode, target, CONDITION, 0.9, 0.7) for target in TARGETS])
    assert images.shape == (6, 3, 16, 16)
    assert images.std() > 0
    np.testing.assert_allclose(seen[0], expected.repeat(2, axis=0), atol=1e-6)


def test_the_snippet_of_the_author_by_hand(zeronvs_pipeline: Make, pictures: Pictures) -> None:
    # The input's camera is the identity, the target's is moved by an eighth along each axis, and the released model's mode
    # makes 5·tanh(0.125 / 0.7 / 10) of each.
    pipeline = zeronvs_pipeline("7dof_quantile_scale")
    seen = told(pipeline)
    pipeline(pictures(1), SHIFTED, fov=np.pi / 3, scale=0.7, num_inference_steps=1)
    move = 5 * np.tanh(0.125 / 7)
    relative = [1, 0, 0, move, 0, 1, 0, move, 0, 0, 1, move, 0, 0, 0, 1]
    np.testing.assert_allclose(seen[0], [[*relative, np.pi / 3, 3**0.5 / 2, 0.5]], atol=1e-6)


def test_each_view_may_have_its_own_input_camera_lens_and_scale(zeronvs_pipeline: Make, pictures: Pictures) -> None:
    pipeline = zeronvs_pipeline("7dof")
    conditions = np.stack([CONDITION, np.eye(4), TARGETS[0]])
    fovs, scales = [0.5, 0.9, 1.2], torch.tensor([0.5, 1.0, 2.0])
    seen = told(pipeline)
    sampled(pipeline, pictures(3), torch.from_numpy(TARGETS), c2w_condition=conditions, fov=fovs, scale=scales)
    rows = zip(TARGETS, conditions, fovs, scales.tolist(), strict=True)
    np.testing.assert_allclose(seen[0], np.stack([pose_vector("7dof", *row) for row in rows]), atol=1e-6)


@pytest.mark.parametrize("mode", ["3dof", "7dof_unscaled"])
def test_what_a_mode_does_without_need_not_be_given(zeronvs_pipeline: Make, pictures: Pictures, mode: str) -> None:
    pipeline = zeronvs_pipeline(mode)
    without = sampled(pipeline, pictures(1), scale=None)
    assert torch.equal(without, sampled(pipeline, pictures(1)))
    if mode == "3dof":
        assert torch.equal(without, sampled(pipeline, pictures(1), scale=None, fov=None))


@pytest.mark.parametrize(
    ("mode", "given", "named"),
    [
        ("7dof", {"scale": None}, "the mode 7dof needs a scale"),
        ("7dof", {"fov": None}, "the mode 7dof needs a fov"),
        ("7dof", {"scale": 0.0}, "scale is 0.0; give positive numbers"),
        ("7dof", {"scale": float("nan")}, "scale is nan"),
        ("7dof", {"scale": [1.0, 2.0]}, "2 of scale for 3 views"),
        ("7dof", {"fov": 49.1}, "fov is 49.1; give radians"),
        ("7dof", {"c2w_condition": TARGETS[:2]}, "2 of c2w_condition for 3 views"),
        ("7dof", {"targets": TARGETS[:, :3]}, r"c2w_targets have shape \(3, 3, 4\)"),
        ("7dof", {"targets": TARGETS[:0]}, r"c2w_targets have shape \(0, 4, 4\)"),
        ("7dof", {"targets": 2 * TARGETS}, "c2w_targets are no rigid transforms"),
        ("7dof", {"targets": TARGETS * np.array([-1.0, 1, 1, 1])}, "no rigid transforms"),
        ("7dof", {"targets": TARGETS.transpose(0, 2, 1)}, "no rigid transforms"),
        ("7dof", {"targets": np.full((1, 4, 4), np.nan)}, "no rigid transforms"),
        ("7dof", {"images": torch.zeros(2, 3, 16, 16)}, "2 images for 3 poses"),
        ("7dof", {"batch_size": 0}, "give 1 or more"),
        ("3dof", {"c2w_condition": None}, "3dof tells positions about the origin.*; give c2w_condition"),
    ],
)
def test_what_does_not_fit_is_one_line(
    zeronvs_pipeline: Make, pictures: Pictures, mode: str, given: dict[str, Any], named: str
) -> None:
    with pytest.raises(InputError, match=named) as caught:
        sampled(zeronvs_pipeline(mode), **({"images": pictures(1)} | given))
    assert "\n" not in str(caught.value)


def test_a_projection_of_another_length_and_an_unknown_mode_are_refused(
    pipeline: Zero123Pipeline, zeronvs_pipeline: Make
) -> None:
    parts = {**pipeline.components}
    with pytest.raises(InputError, match="poses of 4 numbers, and the mode 7dof has 19"):
        ZeroNvsPipeline(**parts, mode="7dof")
    with pytest.raises(ParameterError, match=r"no conditioning mode 7dof_qs.*the modes are 3dof, 7dof,"):
        ZeroNvsPipeline(**parts, mode="7dof_qs")


def test_a_photograph_is_cut_to_its_middle(zeronvs_pipeline: Make, spy_on: Callable[..., Any]) -> None:
    # Black sides of a picture that is twice as wide as it is high do not reach the denoiser.
    photograph = np.zeros((32, 64, 3), np.uint8)
    photograph[:, 16:48] = 255
    pipeline = zeronvs_pipeline("7dof")
    spy = spy_on(pipeline.unet)
    sampled(pipeline, Image.fromarray(photograph), guidance_scale=1.0)
    seen = pixel_shuffle(spy.inputs[0][:, 48:], 4) + 1
    assert torch.allclose(seen, torch.ones_like(seen))


@pytest.mark.parametrize("mode", ["3dof", "7dof_stereomag_scale"])
@pytest.mark.parametrize("scheduler", ["ddim", "dpm"])
def test_a_saved_pipeline_knows_its_mode_and_samples_the_same(
    zeronvs_pipeline: Make, pictures: Pictures, tmp_path: Path, mode: str, scheduler: Any
) -> None:
    pipeline = zeronvs_pipeline(mode)
    pipeline.scheduler = scheduler_named(scheduler, pipeline.scheduler)
    pipeline.save_pretrained(tmp_path)
    loaded = load_pipeline(tmp_path)
    loaded.set_progress_bar_config(disable=True)
    assert type(loaded) is ZeroNvsPipeline
    assert loaded.mode == mode
    assert json.loads((tmp_path / "model_index.json").read_text())["mode"] == mode
    assert torch.equal(sampled(loaded, pictures(1)), sampled(pipeline, pictures(1)))


def test_a_folder_is_loaded_as_the_system_that_it_names(
    pipeline: Zero123Pipeline, zeronvs_pipeline: Make, tmp_path: Path
) -> None:
    pipeline.save_pretrained(tmp_path / "object")
    zeronvs_pipeline("7dof").save_pretrained(tmp_path / "scene")
    assert type(load_pipeline(tmp_path / "object")) is Zero123Pipeline
    assert type(load_pipeline(tmp_path / "scene")) is ZeroNvsPipeline
    with pytest.raises(InputError, match="holds a ZeroNvsPipeline, not a Zero123Pipeline"):
        load_zero123(tmp_path / "scene")


def test_folders_that_hold_no_system_are_one_line(zeronvs_pipeline: Make, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is no diffusers pipeline; run viewforge train"):
        load_pipeline(tmp_path)
    (tmp_path / "model_index.json").write_text('{"_class_name": "StableDiffusionPipeline"}')
    with pytest.raises(InputError, match=r"is a folder of StableDiffusionPipeline.*viewforge weights import"):
        load_pipeline(tmp_path)
    zeronvs_pipeline("7dof").save_pretrained(tmp_path / "model")
    (tmp_path / "model" / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(InputError, match=r"cannot be loaded|lacks the weights"):
        load_pipeline(tmp_path / "model")


def view(c2w: np.ndarray, width: int = 16, height: int = 16) -> SimpleNamespace:
    return SimpleNamespace(c2w=c2w, intrinsics=Intrinsics(20.0, 20.0, width / 2, height / 2, width, height))


def test_wanted_cameras_are_asked_for_alike(
    pipeline: Zero123Pipeline, zeronvs_pipeline: Make, pictures: Pictures
) -> None:
    scenes, wanted = zeronvs_pipeline("7dof"), [view(target) for target in TARGETS]
    of_object, of_scene = told(pipeline), told(scenes)
    for system, scale in ((pipeline, None), (scenes, 0.7)):
        system.sample_views(pictures(1), view(CONDITION), wanted, scale, num_inference_steps=1, guidance_scale=1.0)
    positions = np.stack([relative_pose(target, CONDITION) for target in TARGETS])
    fov = 2 * np.arctan(8 / 20)
    np.testing.assert_allclose(of_object[0], positions, atol=1e-6)
    np.testing.assert_allclose(
        of_scene[0], np.stack([pose_vector("7dof", target, CONDITION, fov, 0.7) for target in TARGETS]), atol=1e-6
    )


@pytest.mark.parametrize(
    ("mode", "name", "scale"),
    [
        ("3dof", None, None),
        ("7dof_unscaled", None, None),
        ("7dof", "scene_radius", 0.05),
        ("7dof_stereomag_scale", "nearplane_quantile", 0.1),  # clipped, as published
        ("7dof_quantile_scale", "depth_quantile", 0.05),
    ],
)
def test_the_scale_of_a_mode_is_measured_by_its_name(
    zeronvs_pipeline: Make, mode: str, name: str | None, scale: float | None
) -> None:
    asked: list[str] = []

    def measured(asked_for: str) -> float:
        asked.append(asked_for)
        return 0.05

    pipeline = zeronvs_pipeline(mode)
    assert pipeline.scale_name == name
    assert pipeline.scale_from(measured) == scale
    assert asked == ([name] if name else [])


def test_nobody_measures_a_metre(zeronvs_pipeline: Make, pipeline: Zero123Pipeline) -> None:
    with pytest.raises(InputError, match="7dof_metric_scale divides by the scene units in a metre"):
        zeronvs_pipeline("7dof_metric_scale").scale_from(lambda _: 1.0)
    assert pipeline.scale_from(lambda _: 1.0) is None
    assert pipeline.scale_name is None


@pytest.mark.gpu
def test_a_gpu_gives_what_the_cpu_gives(zeronvs_pipeline: Make, pictures: Pictures) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA GPU")
    pipeline = zeronvs_pipeline("7dof_quantile_scale")
    cpu = sampled(pipeline, pictures(1))
    assert (cpu - sampled(pipeline.to("cuda"), pictures(1))).abs().max() < 0.02
