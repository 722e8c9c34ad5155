"""Losses by ranges of the diffusion time."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from training.timestep_losses import TimestepLosses


def test_ranges_are_named_by_their_first_and_last_timestep() -> None:
    losses = TimestepLosses(1000, 10)
    losses.add(torch.tensor([1.0, 3.0, 5.0]), torch.tensor([0, 99, 999]))
    assert losses.means(losses.take()) == {"loss/t000-099": 2.0, "loss/t900-999": 5.0}
    assert losses.means(losses.take()) == {}


@given(total=st.integers(1, 50), buckets=st.integers(1, 60), data=st.data())
def test_every_timestep_is_in_the_range_that_names_it(total: int, buckets: int, data: st.DataObject) -> None:
    timestep = data.draw(st.integers(0, total - 1))
    losses = TimestepLosses(total, buckets)
    losses.add(torch.tensor([2.5]), torch.tensor([timestep]))
    ((name, mean),) = losses.means(losses.take()).items()
    first, last = map(int, name.removeprefix("loss/t").split("-"))
    assert first <= timestep <= last < total
    assert mean == 2.5


def test_sums_of_several_processes_give_the_mean_over_their_samples() -> None:
    one, other = TimestepLosses(10, 2), TimestepLosses(10, 2)
    one.add(torch.tensor([1.0, 2.0]), torch.tensor([1, 2]))
    other.add(torch.tensor([6.0]), torch.tensor([4]))
    assert one.means(one.take() + other.take()) == {"loss/t0-4": pytest.approx(3.0)}
