"""`viewforge train --plan` of the systems that learn from splatter images."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from splatter_boxes_support import SIZE, boxes_with_splatters, layout_cameras
from tiny_modules import IMAGE_ENCODER

from stage.errors import ParameterError
from stage.workspace import Workspace
from systems.zero_1_to_g.diffusion_training import Zero1ToGDiffusion
from systems.zero_1_to_g.modules import build_modules
from systems.zero_1_to_g.parameters import Zero1ToGParameters
from systems.zero_1_to_g.pipeline import pipeline_of
from training.dry_run.dry_run import DryRun, dry_run
from training.dry_run.outline import Outline, counted, outlined
from training.dry_run.questions import Questions
from training.dry_run.surroundings import wrong_weights
from training.dry_run.trace import traced
from training.parameters import TrainParameters

AZIMUTHS, ELEVATIONS = (30.0, 150.0), (30.0, -20.0)
SECTION: dict[str, Any] = {
    "unet": {"block_channels": [16, 16], "attention_heads": 2},
    "autoencoder": {"factor": 4, "scaling_factor": 0.3},
    "image_encoder": IMAGE_ENCODER,
    "layout": {"azimuths_deg": AZIMUTHS, "elevations_deg": ELEVATIONS},
}


def section(**changes: Any) -> Zero1ToGParameters:
    return Zero1ToGParameters.model_validate({**SECTION, **changes})


def outline(**changes: Any) -> Outline:
    return outlined(section(**changes), SIZE, name="zero_1_to_g")


def totals(found: Outline) -> dict[str, tuple[int, int]]:
    return {module.name: (module.total, module.trained) for module in counted(found)}


@pytest.mark.parametrize("stage", ["attributes", "joint"])
def test_an_outline_counts_as_the_real_system_does(stage: str) -> None:
    real = Zero1ToGDiffusion(section(stage=stage), 0, SIZE)
    expected = {
        name: (sum(p.numel() for p in part.parameters()), sum(p.numel() for p in part.parameters() if p.requires_grad))
        for name, part in real.named_children()
    }
    assert totals(outline(stage=stage)) == expected


def test_the_published_network_stands_in_for_a_folder_that_is_not_there() -> None:
    found = {stage: outline(stage=stage, pretrained="nowhere") for stage in ("attributes", "joint")}
    (problem,) = found["joint"].problems
    assert problem.what == "nowhere is no diffusers pipeline"
    assert "train.zero_1_to_g.pretrained" in problem.remedy
    # Zero-1-to-3's, and an embedding of 16 numbers by two layers of 1280.
    single = 859_532_484 + (16 * 1280 + 1280) + (1280 * 1280 + 1280)
    assert totals(found["attributes"])["unet"] == (single, single)
    # Queries, keys, values and outputs with a bias of 5, 5 and 6 blocks of 320, 640 and 1280, and the norm before each.
    widths = [320] * 5 + [640] * 5 + [1280] * 6
    joint = single + sum(4 * width * width + width + 2 * width for width in widths)
    assert totals(found["joint"])["unet"] == (joint, joint)


def test_memory_and_operations_grow_with_samples_and_attributes() -> None:
    small = {"block_channels": [16], "attention_heads": 2}
    single, joint = (outline(stage=stage, unet=small) for stage in ("attributes", "joint"))
    one, four = (traced(joint, pairs, counting=True) for pairs in (1, 4))
    assert one.flops
    assert four.flops == 4 * one.flops
    assert four.activations == pytest.approx(4 * one.activations, rel=0.1)
    assert traced(single, 4).activations < four.activations / 3
    assert traced(joint, 4, checkpointing=True).activations < four.activations


def folder_of(tmp_path: Path, **changes: Any) -> Path:
    """A pipeline folder of the stage `attributes`."""
    chosen = section(stage="attributes", **changes)
    torch.manual_seed(0)
    pipeline_of(build_modules(chosen, 0), chosen).save_pretrained(tmp_path / "folder")
    return tmp_path / "folder"


def test_a_folder_of_the_stage_before_gets_what_it_lacks(tmp_path: Path) -> None:
    folder = folder_of(tmp_path)
    found = outline(stage="joint", pretrained=str(folder))
    assert found.source == str(folder)
    assert totals(found) == totals(outline(stage="joint"))
    assert list(wrong_weights(found, str(folder))) == []
    weights = next((folder / "unet").glob("*.safetensors"))
    weights.rename(folder / "elsewhere")
    (wrong,) = wrong_weights(found, str(folder))
    assert wrong.what.startswith(f"{folder}/unet lacks ")


def test_what_contradicts_the_folder_is_said_in_one_line(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, prediction_type="sample")
    with pytest.raises(ParameterError, match="predicts sample and") as caught:
        outline(stage="joint", pretrained=str(folder), prediction_type="v_prediction")
    assert "\n" not in str(caught.value)


@pytest.fixture(scope="module")
def workspace(render_boxes: Callable[..., Workspace], tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Shards of boxes with splatter images."""
    cameras = layout_cameras(AZIMUTHS, ELEVATIONS)
    return boxes_with_splatters(render_boxes, tmp_path_factory.mktemp("planned"), 4, cameras)


def planned(workspace: Workspace, **changes: Any) -> DryRun:
    values = {"steps": 12, "batch_size": 4, "zero_1_to_g": SECTION, **changes}
    return dry_run(TrainParameters.model_validate(values), 7, workspace, Questions(step_seconds=0.5))


def test_a_plan_says_what_the_denoisers_stages_take(workspace: Workspace) -> None:
    found = planned(workspace, system="zero_1_to_g", zero_1_to_g={**SECTION, "stage": "joint"})
    assert found.problems == ()
    assert found.reading
    assert (found.reading.steps, found.picture_size) == (12, SIZE)
    trained = sum(module.trained for module in found.modules)
    assert found.checkpoint_bytes == 16 * trained
    assert found.memory
    assert found.memory.parts.total > 20 * trained
    assert found.cost
    assert found.cost.hours == pytest.approx(12 * 0.5 / 3600)


@pytest.mark.parametrize(
    "changes",
    [
        {"system": "zero_1_to_g", "zero_1_to_g": {**SECTION, "stage": "autoencoder", "autoencoder": {"kind": "kl"}}},
        {"system": "zero_1_to_g_grid"},
    ],
)
def test_what_is_not_counted_is_a_warning_beside_steps_and_time(workspace: Workspace, changes: dict[str, Any]) -> None:
    found = planned(workspace, **changes)
    assert not found.failed
    assert any("counts neither weights nor memory of the stage" in problem.what for problem in found.problems)
    assert (found.modules, found.memory) == ((), None)
    assert found.reading
    assert found.cost
