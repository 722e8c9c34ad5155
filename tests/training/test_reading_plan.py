"""The plan of reading: exact weights, elastic ranks, orders that differ and counts that do not."""

import json
from collections import Counter
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stage.errors import ParameterError
from training.data.mixture import Mixed, draws_at_rate
from training.data.orders import full_order, window_order
from training.data.plan import Draws, EpochPlan, Plan
from training.data.quotas import largest_remainder, spread_evenly

modest = settings(max_examples=60, deadline=None)


def batches(epoch: EpochPlan) -> list[Draws]:
    return [epoch.batch(number) for number in range(len(epoch))]


def columns(draws: list[Draws]) -> list[tuple[int, int, int]]:
    """Dataset, sample and draw of each place."""
    return [place for d in draws for place in zip(d.dataset.tolist(), d.sample.tolist(), d.draw.tolist(), strict=True)]


@st.composite
def mixtures(draw: st.DrawFn, order: str = "full") -> Plan:
    """Plans of one to four datasets, whose probabilities are hundredths."""
    cuts = sorted(draw(st.sets(st.integers(1, 99), max_size=3)))
    shares = np.diff([0, *cuts, 100])
    datasets = []
    for number, share in enumerate(shares):
        shards = tuple(draw(st.lists(st.integers(1, 9), min_size=1, max_size=6)))
        rate = draw(st.integers(1, 3))
        datasets.append(Mixed(f"set {number}", sum(shards), int(share) / 100, rate, shards))
    size = draw(st.sampled_from([1, 2, 6, 8, 12]))
    drawn = draw(st.integers(size, 400))
    return Plan(
        tuple(datasets), size, draw(st.integers(0, 99)), drawn, draw(st.sampled_from(["drop", "wrap"])), order, 5
    )  # type: ignore[arg-type]


@modest
@given(st.lists(st.integers(1, 50), min_size=1, max_size=6), st.integers(0, 5000))
def test_largest_remainder_is_less_than_one_away(parts: list[int], total: int) -> None:
    shares = [Fraction(part, sum(parts)) for part in parts]
    counts = largest_remainder(shares, total)
    assert sum(counts) == total
    assert all(abs(count - share * total) < 1 for count, share in zip(counts, shares, strict=True))


@modest
@given(st.lists(st.integers(0, 200), min_size=1, max_size=7), st.integers(1, 40))
def test_every_first_slots_have_their_share_to_less_than_one(counts: list[int], slots: int) -> None:
    counts[-1] += -sum(counts) % slots
    spread = spread_evenly(counts, slots)
    assert (spread >= 0).all()
    assert set(spread.sum(axis=1)) == {sum(counts) // slots}
    assert spread.sum(axis=0).tolist() == counts
    first = np.cumsum(spread, axis=0) * slots
    shares = np.outer(np.arange(1, slots + 1), counts)
    assert (np.abs(first - shares) < slots).all()


@modest
@given(mixtures())
def test_weights_are_exact_over_the_epoch_and_over_every_rank(plan: Plan) -> None:
    epoch = batches(plan.epoch(1))
    assert len(epoch) == plan.batches
    drawn = Counter(place[0] for place in columns(epoch))
    total = plan.batches * plan.batch_size
    for number, dataset in enumerate(plan.datasets):
        assert abs(drawn[number] - Fraction(str(dataset.probability)) * total) < 1
    for ranks in (1, 2, 3, 4, 6, 8, 12):
        if plan.batch_size % ranks == 0:
            for rank in range(ranks):
                mine = Counter(place[0] for place in columns([batch.share(rank, ranks) for batch in epoch]))
                assert all(abs(mine[number] - count / ranks) < 2 for number, count in enumerate(plan.counts))


@modest
@given(mixtures())
def test_ranks_only_part_the_global_batches(plan: Plan) -> None:
    for batch in batches(plan.epoch(0)):
        for ranks in (1, 2, 4, 8):
            if plan.batch_size % ranks == 0:
                shares = [batch.share(rank, ranks) for rank in range(ranks)]
                assert {len(share) for share in shares} == {plan.batch_size // ranks}
                assert columns(shares) == columns([batch])


@modest
@given(mixtures(), st.sampled_from(["full", "window"]))
def test_samples_of_a_dataset_come_equally_often_across_epochs(plan: Plan, order: str) -> None:
    plan = Plan(plan.datasets, plan.batch_size, plan.seed, plan.draws, plan.remainder, order, 5)  # type: ignore[arg-type]
    seen = [Counter[int]() for _ in plan.datasets]
    for epoch in range(4):
        for dataset, sample, _ in columns(batches(plan.epoch(epoch))):
            seen[dataset][sample] += 1
        for counts, dataset in zip(seen, plan.datasets, strict=True):
            often = [counts[sample] for sample in range(dataset.samples)]
            assert max(often) - min(often) <= np.max(dataset.draws)


@modest
@given(mixtures())
def test_draws_number_each_dataset_without_gaps(plan: Plan) -> None:
    drawn: list[list[int]] = [[] for _ in plan.datasets]
    for epoch in range(3):
        for dataset, _, draw in columns(batches(plan.epoch(epoch))):
            drawn[dataset].append(draw)
    assert [numbers == list(range(len(numbers))) for numbers in drawn] == [True] * len(drawn)


def test_an_epoch_of_one_dataset_reads_each_sample_once() -> None:
    plan = Plan((Mixed("one", 24),), batch_size=8, seed=5)
    for epoch in range(3):
        assert sorted(place[1] for place in columns(batches(plan.epoch(epoch)))) == list(range(24))


def test_epochs_and_seeds_differ_in_order_and_repeat() -> None:
    def orders(seed: int) -> list[tuple[int, ...]]:
        plan = Plan((Mixed("one", 40, 0.5), Mixed("two", 10, 0.5)), batch_size=10, seed=seed)
        return [tuple(place[1] for place in columns(batches(plan.epoch(epoch)))) for epoch in range(6)]

    assert len({*orders(0), *orders(1)}) == 12
    assert orders(0) == orders(0)


def test_datasets_mix_within_batches() -> None:
    """Shuffled slots: no long runs of one dataset, as each batch's count is that of chance."""
    plan = Plan((Mixed("one", 100, 0.5), Mixed("two", 100, 0.5)), batch_size=64, seed=0, draws=64 * 200)
    shares = [batch.dataset.mean() for batch in batches(plan.epoch(0))]
    assert np.std(shares) == pytest.approx(0.5 / 8, rel=0.2)
    assert np.mean(shares) == 0.5


def test_the_slot_that_has_one_more_changes_from_epoch_to_epoch() -> None:
    plan = Plan((Mixed("one", 10, 0.3), Mixed("two", 10, 0.7)), batch_size=4, seed=0, draws=4)
    first = Counter(int(plan.epoch(epoch).batch(0).share(0, 4).dataset[0]) for epoch in range(400))
    assert first[0] / 400 == pytest.approx(plan.counts[0] / 4, abs=0.08)


def test_what_fills_no_batch_is_dropped_or_filled_up_and_comes_next() -> None:
    dropped = Plan((Mixed("one", 10),), batch_size=4, seed=0)
    filled = Plan((Mixed("one", 10),), batch_size=4, seed=0, remainder="wrap")
    assert (dropped.batches, filled.batches) == (2, 3)
    for plan in (dropped, filled):
        endless = [place[1] for epoch in range(5) for place in columns(batches(plan.epoch(epoch)))]
        assert [sorted(endless[i : i + 10]) for i in range(0, 40, 10)] == [list(range(10))] * 4


def test_a_sample_gives_its_draws_in_a_row() -> None:
    plan = Plan((Mixed("scenes", 5, draws=np.array([3, 1, 0, 2, 2])),), batch_size=4, seed=0)
    samples = [place[1] for place in columns(batches(plan.epoch(0)))]
    assert Counter(samples) == {0: 3, 1: 1, 3: 2, 4: 2}
    assert sum(one != other for one, other in pairwise(samples)) == 3


def test_rates_are_those_of_zeronvs() -> None:
    views = [100, 200, 39, 202]
    assert draws_at_rate(0.025, views).tolist() == [int(0.025 * count) for count in views] == [2, 5, 0, 5]
    assert draws_at_rate("2_per_scene", views).tolist() == [2] * 4
    with pytest.raises(ParameterError, match="rate 'often'"):
        draws_at_rate("often", views)


@modest
@given(st.lists(st.integers(1, 30), min_size=1, max_size=8), st.integers(1, 40), st.integers(0, 9))
def test_a_window_shifts_samples_by_less_than_its_size(shards: list[int], window: int, seed: int) -> None:
    narrow = window_order(shards, 1, np.random.default_rng(seed))
    order = window_order(shards, window, np.random.default_rng(seed))
    assert sorted(order.tolist()) == list(range(sum(shards)))
    home = np.argsort(narrow)
    assert (np.abs(home[order] - np.arange(len(order))) < window).all()
    # At window 1 each shard is read from front to back, and the shards in some order.
    starts = np.cumsum(shards) - shards
    runs = np.split(narrow, np.flatnonzero(np.isin(narrow, starts)))[1:]
    assert all((np.diff(run) == 1).all() for run in runs)
    assert sorted(run[0] for run in runs) == starts.tolist()


def test_orders_are_shuffled() -> None:
    chance = np.random.default_rng(0)
    assert full_order(1000, chance).dtype == np.int32
    for order in (full_order(1000, chance), window_order([100] * 10, 400, chance)):
        assert abs(np.corrcoef(order, np.arange(1000))[0, 1]) < 0.5
    assert window_order([1] * 50, 1, chance).tolist() != list(range(50))


def test_what_two_plans_share_is_said_in_json() -> None:
    def described(**changes: object) -> str:
        mixed = {
            "name": "one",
            "samples": 20,
            "draws": 1,
            **{k: v for k, v in changes.items() if k in ("samples", "draws")},
        }
        rest = {"batch_size": 4, "seed": 0, **{k: v for k, v in changes.items() if k not in mixed}}
        return json.dumps(Plan((Mixed(**mixed),), **rest).described())  # type: ignore[arg-type]

    changes = [
        {"samples": 21},
        {"draws": 2},
        {"draws": np.ones(20, int)},
        {"seed": 1},
        {"batch_size": 5},
        {"draws": np.arange(20)},
    ]
    assert len({described(), *(described(**change) for change in changes)}) == 1 + len(changes)


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda: Plan((Mixed("a", 5, 0.5), Mixed("b", 5, 0.4)), 1, 0), r"sum to 0\.9; make them sum to 1"),
        (lambda: Plan((Mixed("a", 5, 0.5), Mixed("a", 5, 0.5)), 1, 0), "the same name"),
        (lambda: Plan((Mixed("a", 5),), 6, 0), "an epoch of 5 draws has no batch of 6.*wrap"),
        (lambda: Plan((Mixed("a", 5),), 0, 0), "a batch of 0"),
        (lambda: Plan((Mixed("a", 5),), 2, 0, order="window"), "dataset a names no shards"),
        (lambda: Mixed("a", 0), "dataset a: 0 samples"),
        (lambda: Mixed("a", 4, 1.5), r"probability 1\.5"),
        (lambda: Mixed("a", 4, draws=0), "no sample is drawn"),
        (lambda: Mixed("a", 4, draws=np.ones(3, int)), "draws of 3 samples, it has 4"),
        (lambda: Mixed("a", 4, shards=(1, 2)), "shards of 3 samples, it has 4"),
        (lambda: Plan((Mixed("a", 5),), 4, 0).epoch(0).batch(0).share(0, 3), "rank 0 of 3 with a global batch of 4"),
    ],
)
def test_what_cannot_be_planned_is_said(made, message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        made()


def test_a_batch_past_the_epoch_is_an_index_error() -> None:
    epoch = Plan((Mixed("a", 5),), 2, 0).epoch(0)
    for number in (-1, 2):
        with pytest.raises(IndexError, match="of an epoch of 2"):
            epoch.batch(number)
