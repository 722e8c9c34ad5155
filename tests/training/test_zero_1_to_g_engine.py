"""Zero-1-to-G on the engine: a killed training goes on to the same bits, two processes learn what one does, stages follow."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from engine_support import OBJECTS, Told, both, engine, killed_after, parameters, trained
from splatter_boxes_support import SIZE, boxes_with_splatters, layout_cameras
from tiny_modules import IMAGE_ENCODER

from stage.workspace import Workspace
from systems.zero_1_to_g.diffusion_training import Zero1ToGDiffusion
from systems.zero_1_to_g.parameters import Zero1ToGParameters

AZIMUTHS, ELEVATIONS = (30.0, 150.0), (30.0, -20.0)
SECTION: dict[str, Any] = {
    "unet": {"block_channels": [16, 16], "attention_heads": 2},
    "autoencoder": {"factor": 4, "scaling_factor": 0.3},
    "image_encoder": IMAGE_ENCODER,
    "layout": {"azimuths_deg": AZIMUTHS, "elevations_deg": ELEVATIONS},
    # So that some of a few samples lose their condition.
    "dropout": 0.3,
}
# Queries and keys of an attention to one token have gradients of nothing but rounding, which Adam would otherwise magnify.
ABOVE_ROUNDING = {"warmup_steps": 2, "eps": 1e-4}


@pytest.fixture(scope="module")
def workspace(render_boxes: Callable[..., Workspace], tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Shards of boxes with splatter images."""
    cameras = layout_cameras(AZIMUTHS, ELEVATIONS)
    return boxes_with_splatters(render_boxes, tmp_path_factory.mktemp("with_splatters"), OBJECTS, cameras)


def system(stage: str = "joint", **changes: Any) -> Zero1ToGDiffusion:
    """A tiny one."""
    return Zero1ToGDiffusion(Zero1ToGParameters.model_validate({**SECTION, "stage": stage, **changes}), 3, SIZE)


def work(_: int, folder: Path, shards: Path) -> Told:
    """One of two processes."""
    run = parameters(launch={"processes": 2}, optimizer=ABOVE_ROUNDING)
    return trained(engine(run, shards, folder, system(), splatters=True), folder)  # type: ignore[arg-type]


@pytest.mark.parametrize("stage", ["attributes", "joint"])
def test_a_killed_training_goes_on_to_the_same_bits(workspace: Workspace, tmp_path: Path, stage: str) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"

    def run(folder: Path) -> Told:
        made = engine(parameters(), workspace.shards, folder, system(stage), splatters=True)  # type: ignore[arg-type]
        return trained(made, folder)

    undisturbed = run(whole)
    killed_after(3, whole, cut)
    torch.manual_seed(99)
    resumed = run(cut)
    assert (undisturbed.done, resumed.done) == (0, 3)
    assert resumed.losses == undisturbed.losses
    assert resumed.averages.keys() == undisturbed.averages.keys()
    assert "unet.class_embedding.linear_1.weight" in undisturbed.averages
    for name, average in undisturbed.averages.items():
        assert torch.equal(resumed.averages[name], average), name


def test_two_processes_learn_what_one_does(workspace: Workspace, tmp_path: Path) -> None:
    run, folder = parameters(optimizer=ABOVE_ROUNDING), tmp_path / "one"
    alone = trained(engine(run, workspace.shards, folder, system(), splatters=True), folder)  # type: ignore[arg-type]
    for told in both(partial(work, shards=workspace.shards), tmp_path / "two"):
        assert told.failure == ""
        assert told.losses == pytest.approx(alone.losses, abs=1e-5)
        for name, average in alone.averages.items():
            torch.testing.assert_close(told.averages[name], average, atol=1e-5, rtol=1e-4)


def test_the_joint_stage_goes_on_from_single_attributes(workspace: Workspace, tmp_path: Path) -> None:
    first = system("attributes")
    trained(engine(parameters(), workspace.shards, tmp_path / "first", first, splatters=True), tmp_path / "first")  # type: ignore[arg-type]
    first.save(tmp_path / "model")
    second = system(pretrained=str(tmp_path / "model"))
    learnt = {name: value.clone() for name, value in first.unet.state_dict().items()}
    for name, value in second.unet.state_dict().items():
        assert "joint" in name or torch.equal(value, learnt[name]), name
    told = trained(
        engine(parameters(), workspace.shards, tmp_path / "second", second, splatters=True), tmp_path / "second"
    )  # type: ignore[arg-type]
    assert np.isfinite(told.losses).all()
    joint = [value for name, value in second.unet.state_dict().items() if "attn_joint_mid.to_out.0.weight" in name]
    assert all(value.any() for value in joint)
