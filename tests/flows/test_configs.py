"""The production configurations: they validate, and hold what was published."""

from pathlib import Path

import pytest

from blender_render.protocols import cameras
from flows.parameters import PipelineParameters, check_parameters
from flows.workspaces import chosen_parameters
from stage.seeds import generator

REPOSITORY = Path(__file__).resolve().parents[2]
CONFIGS = sorted((REPOSITORY / "configs").glob("*.yaml"))


def read(name: str) -> PipelineParameters:
    path = REPOSITORY / "configs" / f"{name}.yaml"
    return check_parameters(chosen_parameters(REPOSITORY / "params.yaml", path, []), str(path))


def test_there_are_configurations():
    assert {path.stem for path in CONFIGS} >= {"zero123", "zero123-xl", "zero123-xl-alignment", "zeronvs"}


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_configuration_validates(path: Path):
    parameters = read(path.stem)
    launch = parameters.train.launch
    assert parameters.train.batch_size % (launch.processes * launch.accumulate) == 0


@pytest.mark.parametrize(
    ("name", "batch", "rate", "steps"),
    [
        ("zero123", 1536, 1e-4, 105_000),
        ("zero123-xl", 2048, 1e-4, 375_000),
        ("zero123-xl-alignment", 2048, 5e-5, 65_000),
        ("zeronvs", 1536, 1e-4, 60_000),
    ],
)
def test_systems_are_trained_as_published(name: str, batch: int, rate: float, steps: int):
    train = read(name).train
    assert (train.batch_size, train.optimizer.learning_rate, train.steps) == (batch, rate, steps)
    assert (train.optimizer.factors["cc_projection"], train.optimizer.weight_decay) == (10, 1e-2)
    assert (train.optimizer.warmup_steps, train.ema_decay) == (100, 0.9999)
    system = train.chosen
    assert (system.prediction_type, system.zero_terminal_snr, system.timestep_shift) == ("epsilon", False, 1.0)
    assert (system.dropout, system.image_encoder.train) == (0.05, False)


@pytest.mark.parametrize("name", ["zero123", "zero123-xl", "zero123-xl-alignment"])
def test_zero123_is_sampled_as_published(name: str):
    evaluate = read(name).evaluate
    assert (evaluate.scheduler, evaluate.inference_steps, evaluate.eta) == ("ddim", 75, 1.0)
    assert (evaluate.guidance_scale, evaluate.null_condition) == (3.0, "after_projection")
    assert evaluate.drop_first_step


def test_the_second_phase_differs_in_data_rate_steps_and_beginning():
    first, second = (read(f"zero123-xl{suffix}").model_dump() for suffix in ("", "-alignment"))
    second["train"]["steps"], second["train"]["optimizer"]["learning_rate"] = 375_000, 1e-4
    second["train"]["zero123"]["pretrained"] = first["train"]["zero123"]["pretrained"]
    second["catalog"]["selection"]["uids"] = None
    assert first == second


def test_zeronvs_begins_from_zero123_xl_under_the_released_mode():
    parameters = read("zeronvs")
    train, evaluate = parameters.train, parameters.evaluate
    assert (train.system, train.zeronvs.mode) == ("zeronvs", "7dof_quantile_scale")
    assert train.zeronvs.pretrained == "weights/zero123-xl"
    assert train.batch_size // (train.launch.processes * train.launch.accumulate) == 48
    assert "depth" in parameters.shard.include
    assert (evaluate.scheduler, evaluate.inference_steps, evaluate.eta) == ("ddim", 500, 1.0)
    assert (evaluate.guidance_scale, evaluate.drop_first_step) == (3.0, True)


def test_zero_1_to_g_has_the_published_views_with_splatter_images_of_the_same():
    parameters = read("zero_1_to_g")
    render, splatter = parameters.render, parameters.splatter
    assert (render.protocol, render.views, render.resolution) == ("zero_1_to_g_training", 56, 512)
    assert (splatter.layout, splatter.resolution, splatter.max_objects) == ("six_views", 128, None)
    shown = cameras(render.protocol, generator(0, "object", "cameras"), render.views, splatter.resolution)[1:7]
    made = cameras(splatter.layout, generator(0, "object", "cameras"), 6, splatter.resolution)
    for view, other in zip(shown, made, strict=True):
        assert view.intrinsics == other.intrinsics
        assert (view.c2w == other.c2w).all()
    assert "splatter" in parameters.shard.include


def test_cascade_zero123_is_trained_as_released():
    parameters = read("cascade_zero123")
    train, system = parameters.train, parameters.train.cascade_zero123
    assert (train.system, train.batch_size // train.launch.processes, train.steps) == ("cascade_zero123", 192, 200_000)
    assert (train.optimizer.learning_rate, train.optimizer.factors["cc_projection"]) == (1e-4, 10)
    assert (system.prediction_type, system.zero_terminal_snr, system.dropout) == ("epsilon", False, 0.05)
    offsets = [(view.polar_deg, view.azimuth_deg, view.radius) for view in system.prompts.near]
    assert offsets == [(0, 45, 0), (0, -45, 0), (-30, 0, 0)]
    assert (system.prompts.inference_steps, system.prompts.guidance_scale, system.prompts.eta) == (25, 3.0, 0.0)
    assert system.base == "refreshed"
