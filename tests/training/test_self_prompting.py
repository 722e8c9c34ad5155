"""Cascade-Zero123 on the engine: prompts ahead, kept or fresh are the same training; the Base goes on between two refreshes."""

import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
import torch
from accelerate.state import AcceleratorState
from cascade_engine_support import SIZE, cascade, cascade_engine
from engine_support import Told, both, killed_after, trained
from safetensors.torch import load_file

from stage.errors import InputError, ParameterError
from stage.parameters import load_section
from stage.workspace import Workspace
from systems.cascade_zero123.training import CascadeTraining
from training.engine import Engine
from training.parameters import TrainParameters
from training.processes import is_sharded
from training.publication import take_over_states
from training.run import train_here


@pytest.fixture(autouse=True)
def _own_processes() -> Iterator[None]:
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


def equal(one: Told, other: Told) -> bool:
    same = [torch.equal(other.averages[name], value) for name, value in one.averages.items()]
    return one.losses == other.losses and one.averages.keys() == other.averages.keys() and all(same)


def sampled(made: Engine) -> int:
    return made.system.prompter.sampled


@pytest.mark.parametrize(("refresh_every", "finds"), [(2, ["found", "empty"]), (4, ["found", None])])
def test_a_killed_run_resumes_to_the_same_bits_between_two_refreshes(
    sharded: Workspace, tmp_path: Path, refresh_every: int, finds: list[str | None]
) -> None:
    """From step 3, with what was kept and without; that is after the first refresh, or in the middle of a look ahead."""
    chosen, whole = cascade(refresh_every=refresh_every), tmp_path / "whole"
    undisturbed = trained(cascade_engine(sharded.shards, whole, chosen, tmp_path / "kept"), whole)
    shutil.copytree(tmp_path / "kept", tmp_path / "found")
    for name in finds:
        cut = tmp_path / f"cut {name}"
        killed_after(3, whole, cut)
        resumed = trained(cascade_engine(sharded.shards, cut, chosen, name and tmp_path / name), cut)
        assert resumed.done == 3
        assert equal(undisturbed, resumed)


def test_the_base_is_the_average_before_the_step_at_which_it_was_refreshed(sharded: Workspace, tmp_path: Path) -> None:
    """As published, where the average is copied first and updated then: at step 4 it is the average of three steps."""
    made = cascade_engine(sharded.shards, tmp_path, cascade(refresh_every=4), checkpoint_every=1, checkpoints_kept=6)
    begun = {name: p.detach().clone() for name, p in made.system.base.named_parameters()}
    made.run()

    def folder(step: int) -> Path:
        return tmp_path / "checkpoints" / f"step-{step:08d}"

    def is_base(step: int, weights: dict[str, torch.Tensor]) -> bool:
        base = torch.load(folder(step) / "training_state" / "base.pt", weights_only=True)["weights"]
        assert base.keys() == weights.keys()
        return all(torch.equal(base[name], weights[name]) for name in base)

    assert [is_base(step, begun) for step in (1, 3, 4)] == [True, True, False]
    third = load_file(folder(3) / "ema.safetensors")
    assert [is_base(step, third) for step in (3, 4, 6)] == [False, True, True]


def test_a_fixed_base_samples_each_picture_once(sharded: Workspace, tmp_path: Path) -> None:
    """Six steps of four pairs are four pictures each where nothing is kept; a second run finds them all."""
    chosen = cascade(base="fixed")
    fresh = cascade_engine(sharded.shards, tmp_path / "a", chosen)
    first = cascade_engine(sharded.shards, tmp_path / "b", chosen, tmp_path / "kept")
    told = [trained(fresh, tmp_path / "a"), trained(first, tmp_path / "b")]
    second = cascade_engine(sharded.shards, tmp_path / "c", chosen, tmp_path / "kept")
    told.append(trained(second, tmp_path / "c"))
    assert equal(told[0], told[1])
    assert equal(told[0], told[2])
    assert sampled(second) == 0
    # Within a batch, too, a picture is sampled once.
    assert 0 < sampled(first) <= sampled(fresh) <= 6 * 4 * 4


def test_a_checkpoint_of_another_fixed_base_is_refused(sharded: Workspace, tmp_path: Path) -> None:
    cascade_engine(sharded.shards, tmp_path, cascade(base="fixed")).run()
    with pytest.raises(InputError, match="the checkpoint's Base-0123 had other weights"):
        cascade_engine(sharded.shards, tmp_path, cascade(base="fixed", prediction_type="sample"))


def test_the_stage_keeps_prompts_in_scratch_and_publishes_both_networks(
    trainable: Callable[..., Workspace],
) -> None:
    """With pictures on the way, of which those of the Base are kept too."""
    chosen = cascade(refresh_every=3)
    workspace = trainable(
        system="cascade_zero123",
        cascade_zero123=chosen.model_dump(mode="json"),
        steps=4,
        checkpoint_every=3,
        samples={"every": 2, "pairs": 2, "inference_steps": 2},
        tracking={"trackers": []},
    )
    train_here(load_section(workspace.parameters, "train", TrainParameters), 7, workspace)
    kept = list((workspace.scratch / "kept" / "cascade_zero123").iterdir())
    assert len(kept) == 1, "those of the first Base are swept"
    assert list(kept[0].glob("*.safetensors"))
    base, refiner, third = (
        load_file(path)
        for path in (
            workspace.model / "base_unet" / "diffusion_pytorch_model.safetensors",
            workspace.model / "unet" / "diffusion_pytorch_model.safetensors",
            next(workspace.scratch.glob("training/*/checkpoints/step-00000003/ema.safetensors")),
        )
    )
    assert base.keys() == refiner.keys()
    assert any(not torch.equal(base[name], refiner[name]) for name in base)
    assert any(not torch.equal(base[name], third[f"unet.{name}"]) for name in base), "it is that of two steps"


def test_split_weights_are_published_with_the_base_they_ended_with() -> None:
    """The system that is made anew to be saved begins with another one."""
    source, target = (CascadeTraining(cascade(), 3, SIZE) for _ in range(2))
    source.base.refresh({name: p + 1 for name, p in source.base.named_parameters()})
    assert take_over_states(source, target) is target
    assert target.base.sha256 == source.base.sha256


def work(rank: int, folder: Path, shards: Path, kept: Path, launch: dict[str, str]) -> Told:
    """One of two processes."""
    made = cascade_engine(shards, folder, cascade(), kept, launch={"processes": 2, **launch})
    assert is_sharded(made.system) == bool(launch)
    told = trained(made, folder)
    assert sampled(made) > 0
    return told


@pytest.mark.slow
@pytest.mark.parametrize("launch", [{}, {"sharding": "full"}])
def test_two_processes_share_prompts_learn_what_one_does_and_resume(
    sharded: Workspace, tmp_path: Path, launch: dict[str, str]
) -> None:
    alone = trained(cascade_engine(sharded.shards, tmp_path / "one", cascade()), tmp_path / "one")
    told = partial(work, shards=sharded.shards, launch=launch)
    undisturbed = both(partial(told, kept=tmp_path / "kept"), tmp_path / "two")
    for process in undisturbed:
        assert process.failure == ""
        assert process.losses == pytest.approx(alone.losses, abs=1e-4)
        assert equal(undisturbed[0], process)
    killed_after(3, tmp_path / "two", tmp_path / "cut")
    for process in both(partial(told, kept=tmp_path / "anew"), tmp_path / "cut"):
        assert (process.failure, process.done) == ("", 3)
        assert equal(undisturbed[0], process)


def test_a_fixed_base_that_has_learnt_nothing_is_refused() -> None:
    section = {"system": "cascade_zero123", "cascade_zero123": {"base": "fixed"}}
    with pytest.raises(
        ParameterError, match=r"keeps a Base-0123 that has learnt nothing; name a Zero-1-to-3 pipeline"
    ):
        TrainParameters.model_validate(section)
    assert TrainParameters.model_validate({**section, "system": "zero123"}).cascade_zero123.base == "fixed"
