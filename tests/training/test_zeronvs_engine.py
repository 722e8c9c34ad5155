"""ZeroNVS on the engine: a killed training goes on to the same bits, two processes learn what one does, and plans count right."""

from functools import partial
from pathlib import Path

import pytest
import torch
from engine_support import Told, both, engine, killed_after, parameters, trained
from tiny_modules import IMAGE_ENCODER

from stage.workspace import Workspace
from systems.zero123.parameters import Zero123Parameters
from systems.zero123.training import Zero123Training
from systems.zeronvs.parameters import ZeroNvsParameters
from systems.zeronvs.training import ZeroNvsTraining
from training.dry_run.outline import counted, outlined
from training.dry_run.trace import traced

SIZE = 16
# Nothing measures the scale of the boxes.
SECTION = {
    "mode": "7dof_unscaled",
    "unet": {"block_channels": [16, 16], "attention_heads": 2},
    "autoencoder": {"factor": 4, "scaling_factor": 0.3},
    "image_encoder": IMAGE_ENCODER,
}
# Queries and keys of an attention to one token have gradients of nothing but rounding, which Adam would otherwise magnify.
ABOVE_ROUNDING = {"warmup_steps": 2, "eps": 1e-4}


def system() -> ZeroNvsTraining:
    """A tiny one, with the published dropout."""
    return ZeroNvsTraining(ZeroNvsParameters.model_validate(SECTION), 3, SIZE)


def work(_: int, folder: Path, shards: Path) -> Told:
    """One of two processes."""
    run = parameters(launch={"processes": 2}, optimizer=ABOVE_ROUNDING)
    return trained(engine(run, shards, folder, system()), folder)


def test_a_killed_training_goes_on_to_the_same_bits(sharded: Workspace, tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    undisturbed = trained(engine(parameters(), sharded.shards, whole, system()), whole)
    killed_after(3, whole, cut)
    torch.manual_seed(99)
    resumed = trained(engine(parameters(), sharded.shards, cut, system()), cut)
    assert (undisturbed.done, resumed.done) == (0, 3)
    assert resumed.losses == undisturbed.losses
    assert resumed.averages.keys() == undisturbed.averages.keys()
    assert "cc_projection.linear.weight" in undisturbed.averages
    for name, average in undisturbed.averages.items():
        assert torch.equal(resumed.averages[name], average), name


def test_two_processes_learn_what_one_does(sharded: Workspace, tmp_path: Path) -> None:
    run = parameters(optimizer=ABOVE_ROUNDING)
    alone = trained(engine(run, sharded.shards, tmp_path / "one", system()), tmp_path / "one")
    for told in both(partial(work, shards=sharded.shards), tmp_path / "two"):
        assert told.failure == ""
        assert told.losses == pytest.approx(alone.losses, abs=1e-5)
        for name, average in alone.averages.items():
            torch.testing.assert_close(told.averages[name], average, atol=1e-5, rtol=1e-4)


def test_a_plan_of_fine_tuning_counts_the_new_pose_columns(tmp_path: Path) -> None:
    section = {name: value for name, value in SECTION.items() if name != "mode"}
    Zero123Training(Zero123Parameters.model_validate(section), 0, SIZE).save(tmp_path / "zero123")
    tuned = ZeroNvsParameters.model_validate({**SECTION, "pretrained": str(tmp_path / "zero123")})
    outline = outlined(tuned, SIZE, ZeroNvsTraining, "zeronvs")
    counts = {module.name: module.total for module in counted(outline)}
    assert counts["cc_projection"] == (16 + 19) * 16 + 16
    assert traced(outline, 2).activations > 0
