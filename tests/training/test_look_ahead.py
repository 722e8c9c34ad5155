"""Batches that come together where a system wants them to; the place in the data is that of the last one trained on."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest
import torch
from accelerate.state import AcceleratorState
from engine_support import SmallSystem, engine, killed_after, parameters, trained
from torch import Tensor

from stage.workspace import Workspace
from systems.trainable import Views


@pytest.fixture(autouse=True)
def _own_processes() -> Iterator[None]:
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


class Counted:
    """A state of a system's own."""

    def __init__(self) -> None:
        self.steps = 0

    def state_dict(self) -> dict[str, int]:  # noqa: D102
        return {"steps": self.steps}

    def load_state_dict(self, state: dict[str, int]) -> None:  # noqa: D102
        self.steps = state["steps"]


class Watcher(SmallSystem):
    """Wants batches to come together up to every multiple of a number of steps, and notes what it is told."""

    def __init__(self, together: int) -> None:
        super().__init__(dropout=0.5)
        self.together, self.counted = together, Counted()
        self.prepared: list[list[Views]] = []
        self.seen: list[Views] = []
        self.averages: list[Mapping[str, Tensor]] = []

    def look_ahead(self, step: int) -> int:  # noqa: D102
        return self.together - step % self.together

    def prepare(self, batches: Sequence[Views]) -> None:  # noqa: D102
        self.prepared.append(list(batches))

    def batch(self, views: Views) -> Tensor:  # noqa: D102
        self.seen.append(views)
        return super().batch(views)

    def stepped(self, steps: int, averages: Callable[[], Mapping[str, Tensor]]) -> None:  # noqa: D102
        self.counted.steps += 1
        assert steps == self.counted.steps
        self.averages.append({name: value.clone() for name, value in averages().items()})

    def states(self) -> Mapping[str, Counted]:  # noqa: D102
        return {"counted": self.counted}


def test_what_is_prepared_is_what_comes_and_no_more(sharded: Workspace, tmp_path: Path) -> None:
    """Six steps in fours: four batches, and the two that are left."""
    system = Watcher(4)
    trained(engine(parameters(), sharded.shards, tmp_path, system), tmp_path)
    assert [len(group) for group in system.prepared] == [4, 2]
    told = [views for group in system.prepared for views in group]
    for one, other in zip(told, system.seen, strict=True):
        assert one.uids == other.uids
        assert torch.equal(one.rgba, other.rgba)
        assert torch.equal(one.c2w, other.c2w)


def test_looking_ahead_changes_nothing(sharded: Workspace, tmp_path: Path) -> None:
    plain = trained(engine(parameters(), sharded.shards, tmp_path / "a", SmallSystem(dropout=0.5)), tmp_path / "a")
    ahead = trained(engine(parameters(), sharded.shards, tmp_path / "b", Watcher(4)), tmp_path / "b")
    assert plain.losses == ahead.losses


@pytest.mark.parametrize("together", [1, 2, 4, 100])
def test_a_resumed_run_equals_an_undisturbed_one_also_between_two_looks(
    sharded: Workspace, tmp_path: Path, together: int
) -> None:
    """Step 3, whose checkpoint the run goes on from, lies within four; the system's own state goes on too."""
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    undisturbed = trained(engine(parameters(), sharded.shards, whole, Watcher(together)), whole)
    killed_after(3, whole, cut)
    system = Watcher(together)
    made = engine(parameters(), sharded.shards, cut, system)
    assert system.counted.steps == 3
    resumed = trained(made, cut)
    assert resumed.losses == undisturbed.losses
    assert all(torch.equal(resumed.averages[name], value) for name, value in undisturbed.averages.items())
    assert system.counted.steps == 6


def test_a_system_hears_of_the_average_before_the_step_takes_part(sharded: Workspace, tmp_path: Path) -> None:
    """The first one is what training begins with; a step that is left out is heard of too, and changes none."""
    system = Watcher(1)
    system.broken = (2,)
    begun = {name: p.detach().clone() for name, p in system.named_parameters() if p.requires_grad}
    told = trained(engine(parameters(), sharded.shards, tmp_path, system), tmp_path)
    equal = [
        all(torch.equal(one[name], other[name]) for name in one)
        for one, other in zip([begun, *system.averages], [*system.averages, told.averages], strict=True)
    ]
    assert equal == [True, False, False, True, False, False, False]
