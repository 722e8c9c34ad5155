"""Two real processes train as one does, with whole or with split weights, and one checkpoint serves all of them."""

import math
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from engine_support import SmallSystem, Told, both, engine, killed_after, parameters, trained

from stage.workspace import Workspace
from training.processes import is_sharded

SHARDED = {"sharding": "full"}


def work(rank: int, folder: Path, shards: Path, launch: dict[str, Any]) -> Told:
    """One of two processes."""
    run = parameters(launch={"processes": 2, **launch})
    made = engine(run, shards, folder)
    assert is_sharded(made.system) == ("sharding" in launch)
    return trained(made, folder)


def close(one: Told, other: Told, done: int = 0) -> None:
    assert other.failure == ""
    assert other.done == done
    assert other.losses == pytest.approx(one.losses, abs=1e-6)
    assert one.averages.keys() == other.averages.keys()
    for name, average in one.averages.items():
        torch.testing.assert_close(other.averages[name], average, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("launch", [{}, {"accumulate": 2}, SHARDED, {**SHARDED, "accumulate": 2}])
def test_two_processes_learn_what_one_does(sharded: Workspace, tmp_path: Path, launch: dict[str, Any]) -> None:
    alone = trained(engine(parameters(), sharded.shards, tmp_path / "one"), tmp_path / "one")
    assert len(alone.losses) == 6
    for told in both(partial(work, shards=sharded.shards, launch=launch), tmp_path / "two"):
        close(alone, told)


@pytest.mark.parametrize("launch", [{}, SHARDED, {"accumulate": 2, "mixed_precision": "bf16"}])
def test_two_processes_resume_to_the_same_bits(sharded: Workspace, tmp_path: Path, launch: dict[str, Any]) -> None:
    told = partial(work, shards=sharded.shards, launch=launch)
    undisturbed, _ = both(told, tmp_path / "undisturbed")
    killed_after(3, tmp_path / "undisturbed", tmp_path / "resumed")
    resumed, other = both(told, tmp_path / "resumed")
    assert resumed.failure == other.failure == ""
    assert (undisturbed.done, resumed.done, other.done) == (0, 3, 3)
    assert resumed.losses == undisturbed.losses
    for name, average in undisturbed.averages.items():
        assert torch.equal(resumed.averages[name], average)
        assert torch.equal(other.averages[name], average)


def test_a_checkpoint_of_split_weights_serves_one_process_and_the_other_way(
    sharded: Workspace, tmp_path: Path
) -> None:
    alone = trained(engine(parameters(), sharded.shards, tmp_path / "one"), tmp_path / "one")
    split = partial(work, shards=sharded.shards, launch=SHARDED)
    whole = partial(work, shards=sharded.shards, launch={})
    close(alone, both(split, tmp_path / "split")[0])
    killed_after(3, tmp_path / "split", tmp_path / "split to one")
    close(
        alone, trained(engine(parameters(), sharded.shards, tmp_path / "split to one"), tmp_path / "split to one"), 3
    )
    killed_after(3, tmp_path / "one", tmp_path / "one to split")
    close(alone, both(split, tmp_path / "one to split")[1], 3)
    killed_after(3, tmp_path / "split", tmp_path / "split to whole")
    close(alone, both(whole, tmp_path / "split to whole")[1], 3)


def disturbed(rank: int, folder: Path, shards: Path, launch: dict[str, Any], broken: tuple[int, ...]) -> Told:
    """One of two processes, of which the second one alone meets losses that are no numbers."""
    run = parameters(launch={"processes": 2, **launch}, guard={"max_skipped_in_a_row": 1})
    made = engine(run, shards, folder, SmallSystem(broken=broken if rank else ()))
    return trained(made, folder)


@pytest.mark.parametrize("launch", [{}, SHARDED])
def test_a_step_that_one_process_cannot_take_no_one_takes(
    sharded: Workspace, tmp_path: Path, launch: dict[str, Any]
) -> None:
    first, second = both(partial(disturbed, shards=sharded.shards, launch=launch, broken=(2,)), tmp_path)
    assert first.failure == second.failure == ""
    assert [math.isfinite(loss) for loss in first.losses] == [True, True, False, True, True, True]
    for name, average in first.averages.items():
        assert average.isfinite().all()
        assert torch.equal(second.averages[name], average)


def test_both_end_with_the_same_reason_and_the_samples_of_both(sharded: Workspace, tmp_path: Path) -> None:
    first, second = both(partial(disturbed, shards=sharded.shards, launch={}, broken=(2, 3)), tmp_path)
    assert first.failure == second.failure
    assert "2 of 4 steps were left out, 2 in a row; the first was step 3: loss inf at learning rate" in first.failure
    assert first.failure.count("train, ") == 3, "four samples"


def asked(rank: int, folder: Path, shards: Path) -> Told:
    """One of two processes, of which the second one alone is asked to stop."""
    made = engine(parameters(launch={"processes": 2}), shards, folder)
    made.notice.given = bool(rank)
    return trained(made, folder)


def test_one_process_that_is_asked_to_stop_stops_both(sharded: Workspace, tmp_path: Path) -> None:
    told = both(partial(asked, shards=sharded.shards), tmp_path)
    for process in told:
        assert "asked to stop: a checkpoint holds step 1 of 6" in process.failure
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-00000001"]
