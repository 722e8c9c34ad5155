"""Views kept in memory are the source's own, and are decoded once as far as the bound goes."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blender_render.view_codecs import Room
from stage.errors import InputError
from stage.workspace import Workspace
from training.data.kept_views import KeptViews
from training.data.reader import ShardReader
from training.data.views import ReadViews

PICTURE = 16 * 16 * 4


class Counting:
    """A source that notes which views it decodes; one of them it cannot."""

    def __init__(self, reader: ShardReader, damaged: tuple[int, int] | None = None) -> None:
        self.reader, self.damaged = reader, damaged
        self.decoded: list[tuple[int, int]] = []

    def __len__(self) -> int:
        return len(self.reader)

    def view_count(self, number: int) -> int:  # noqa: D102
        return self.reader.view_count(number)

    def read_views(self, number: int, chosen: Sequence[int]) -> ReadViews:  # noqa: D102
        read = self.reader.read_views(number, chosen)

        def picture(place: int, room: Room) -> np.ndarray:
            if self.damaged == (number, chosen[place]):
                raise InputError("damaged")
            self.decoded.append((number, chosen[place]))
            return read.picture(place, room)

        return replace(read, picture=picture)


@pytest.fixture(scope="module")
def reader(sharded: Workspace) -> ShardReader:
    return ShardReader(sharded.shards, "train")


asked = st.lists(
    st.tuples(st.integers(0, 5), st.lists(st.integers(0, 3), min_size=1, max_size=4, unique=True)), max_size=30
)


@given(asked=asked, room=st.sampled_from([0, 1, 5, 100]))
def test_kept_views_are_those_of_the_source(
    reader: ShardReader, asked: list[tuple[int, list[int]]], room: int
) -> None:
    kept = KeptViews(reader, room * PICTURE)
    assert len(kept) == len(reader)
    for number, chosen in asked:
        one, other = kept.read_views(number, chosen).decoded(), reader.views(number, chosen)
        assert kept.view_count(number) == reader.view_count(number)
        assert one.uid == other.uid
        for name in vars(other).keys() - {"uid"}:
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def read_all(kept: KeptViews, times: int) -> None:
    for _ in range(times):
        for number in range(len(kept)):
            kept.read_views(number, [3, 1]).decoded()
            kept.read_views(number, [1, 0]).decoded()


def test_each_view_is_decoded_once_where_there_is_room(reader: ShardReader) -> None:
    counting = Counting(reader)
    read_all(KeptViews(counting, 18 * PICTURE), times=3)
    assert sorted(counting.decoded) == [(number, view) for number in range(6) for view in (0, 1, 3)]


def test_past_the_bound_the_rest_is_decoded_each_time(reader: ShardReader) -> None:
    counting = Counting(reader)
    read_all(KeptViews(counting, 9 * PICTURE), times=4)
    assert sorted(set(counting.decoded)) == sorted((number, view) for number in range(6) for view in (0, 1, 3))
    first = [place for place in counting.decoded if place[0] < 3]
    assert len(first) == len(set(first)) == 9, "what came first is kept"
    assert len(counting.decoded) == 9 + 4 * 3 * 4


def test_a_view_that_cannot_be_read_is_never_kept(reader: ShardReader) -> None:
    kept = KeptViews(Counting(reader, damaged=(2, 1)), 100 * PICTURE)
    for _ in range(2):
        kept.read_views(2, [0, 3]).decoded()
        with pytest.raises(InputError):
            kept.read_views(2, [0, 1]).decoded()


def test_what_is_kept_is_not_in_a_batch(reader: ShardReader) -> None:
    """A batch goes its way and is written to; pictures that are kept stay."""
    kept, batch = KeptViews(reader, 100 * PICTURE), np.zeros((16, 16, 4), np.uint8)
    for _ in range(2):
        picture = kept.read_views(1, [2]).picture(0, lambda _: batch)
        np.testing.assert_array_equal(picture, reader.views(1, [2]).rgba[0])
        batch[:] = 7
