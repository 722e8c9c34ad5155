"""The endless sequence of training pairs."""

from collections import Counter

import numpy as np
import pytest

from blender_render.rendered_object import on_white
from stage.errors import InputError
from stage.workspace import Workspace
from training.data.index import IndexRows
from training.data.pairs import PairSampler
from training.data.reader import ShardReader

OBJECTS = 6


@pytest.fixture(scope="module")
def reader(sharded: Workspace) -> ShardReader:
    return ShardReader(sharded.shards, "train")


@pytest.fixture
def sampler(reader: ShardReader) -> PairSampler:
    return PairSampler(reader, seed=3)


def chosen(sampler: PairSampler, start: int, stop: int) -> list[tuple[int, int, int]]:
    return [sampler._pair(place) for place in range(start, stop)]


def test_every_object_comes_once_an_epoch(sampler: PairSampler) -> None:
    for epoch in range(5):
        objects = [number for number, _, _ in chosen(sampler, epoch * OBJECTS, (epoch + 1) * OBJECTS)]
        assert sorted(objects) == list(range(OBJECTS))


def test_epochs_differ_in_order(sampler: PairSampler) -> None:
    orders = {tuple(n for n, _, _ in chosen(sampler, e * OBJECTS, (e + 1) * OBJECTS)) for e in range(10)}
    assert len(orders) > 5


def test_a_pair_has_two_distinct_views_and_all_of_them_come(sampler: PairSampler) -> None:
    views = Counter((target, condition) for _, target, condition in chosen(sampler, 0, 1200))
    assert set(views) == {(t, c) for t in range(4) for c in range(4) if t != c}
    assert min(views.values()) > 60


def test_a_pair_follows_from_its_place_alone(sampler: PairSampler, reader: ShardReader) -> None:
    whole = sampler.pairs(5, 17)
    fresh = PairSampler(reader, seed=3)
    parts = [fresh.pairs(12, 17), fresh.pairs(5, 12)][::-1]
    for name in vars(whole):
        np.testing.assert_array_equal(getattr(whole, name), np.concatenate([getattr(part, name) for part in parts]))


def test_seeds_give_different_pairs(sampler: PairSampler, reader: ShardReader) -> None:
    assert chosen(sampler, 0, 50) != chosen(PairSampler(reader, seed=4), 0, 50)


def test_pairs_hold_the_objects_pictures_on_white_and_cameras(sampler: PairSampler, reader: ShardReader) -> None:
    pairs = sampler.pairs(0, 8)
    assert pairs.target.shape == pairs.condition.shape == (8, 3, 16, 16)
    assert pairs.target.min() >= 0
    assert pairs.target.max() == 1
    for row, (number, target, condition) in enumerate(chosen(sampler, 0, 8)):
        views = reader[number]
        np.testing.assert_array_equal(pairs.target[row], on_white(views.rgba[target]).transpose(2, 0, 1))
        np.testing.assert_array_equal(pairs.condition[row], on_white(views.rgba[condition]).transpose(2, 0, 1))
        np.testing.assert_array_equal(pairs.target_c2w[row], views.c2w[target])
        np.testing.assert_array_equal(pairs.condition_c2w[row], views.c2w[condition])


def test_objects_of_one_view_make_no_pair(reader: ShardReader) -> None:
    from dataclasses import replace

    alone = ShardReader(reader.folder, "train")
    alone.rows = IndexRows.of([*alone.rows[:2], replace(alone.rows[2], views=1), *alone.rows[3:]])
    with pytest.raises(InputError, match="02train has one view"):
        PairSampler(alone, seed=0)
