"""What damage does to the loader: others stand in, the same ones wherever it is found, up to a share."""

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from loader_support import Counting, Sources, flip, interleaved, loader, places, plan, readers

from blender_render.view_codecs import Room
from stage.errors import InputError, StageFailedError
from stage.workspace import Workspace
from training.data.batches import ViewChoice
from training.data.index import IndexRow, read_index, write_index
from training.data.loader import PlannedLoader
from training.data.members import listing
from training.data.mixture import Mixed
from training.data.plan import Plan
from training.data.reader import ShardReader
from training.data.views import ObjectViews, ReadViews


@pytest.fixture(scope="module")
def sources(sharded: Workspace) -> Sources:
    return readers(sharded.shards)


@pytest.fixture
def copied(sharded: Workspace, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sharded.shards, tmp_path / "shards"))


@pytest.mark.parametrize("workers", [0, 2])
def test_another_sample_stands_in_for_a_damaged_one(
    sources: Sources, copied: Path, workers: int, caplog: pytest.LogCaptureFixture
) -> None:
    row = flip(copied, "03train")
    whole = places(islice(loader(sources), 12))
    damaged = loader(readers(copied), workers=workers, max_failure_rate=0.2)
    got = places(islice(damaged, 12))
    assert [len(got), len(whole)] == [48, 48]
    assert [theirs for mine, theirs in zip(got, whole, strict=True) if mine != theirs and theirs[1] != "03train"] == []
    standing_in = {mine[1] for mine, theirs in zip(got, whole, strict=True) if theirs[1] == "03train"}
    assert "03train" not in standing_in
    assert len(standing_in) > 1
    assert all(name.endswith("train") for name in standing_in), "the weights of the datasets stay"
    assert all(max(pixels) > 0 for *_, pixels in got)
    (found,) = damaged.damaged
    assert (found.dataset, found.sample) == ("train", 3)
    assert f"{row.shard} is damaged at byte {row.offset}, object 03train" in found.message
    assert [record.message.count("object 03train") for record in caplog.records] == [1], "said once"
    again = loader(readers(copied), max_failure_rate=0.2)
    assert places(islice(again, 12)) == got


# Ranks × workers.
GROUPS = [(1, 8), (2, 4), (8, 1)]


@pytest.fixture
def of_eight(copied: Path) -> Sources:
    """Sources with a damaged sample that stands in batches of eight."""
    flip(copied, "03train")
    return readers(copied)


def eight(sources: Sources, ranks: int, workers: int) -> list[PlannedLoader]:
    planned = plan(batch_size=8, draws=32)
    options = {"plan": planned, "ranks": ranks, "workers": workers, "max_failure_rate": 0.2}
    return [loader(sources, rank=rank, **options) for rank in range(ranks)]


@pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")
@pytest.mark.parametrize(("ranks", "workers"), GROUPS)
def test_stand_ins_are_the_same_for_every_grouping_of_eight(of_eight: Sources, ranks: int, workers: int) -> None:
    alone = places(islice(eight(of_eight, 1, 0)[0], 4))
    group = eight(of_eight, ranks, workers)
    assert interleaved([islice(rank, 4) for rank in group]) == alone
    assert "03train" not in {uid for _, uid, *_ in alone}
    assert {damage.sample for rank in group for damage in rank.damaged} == {3}


@pytest.mark.parametrize(("before", "after"), [(8, 2), (2, 8)])
def test_damage_counts_once_when_other_ranks_go_on(of_eight: Sources, before: int, after: int) -> None:
    undisturbed = places(islice(eight(of_eight, 1, 0)[0], 6))
    first = eight(of_eight, before, 0)
    seen = interleaved([islice(rank, 3) for rank in first])
    states = [json.loads(json.dumps(rank.state_dict())) for rank in first]
    resumed = eight(of_eight, after, 0)
    for rank in resumed:
        # A rank takes over what every one of them has found.
        for state in states:
            rank.load_state_dict(state)
    assert [[damage.sample for damage in rank.damaged] for rank in resumed] == [[3]] * after
    assert seen + interleaved([islice(rank, 3) for rank in resumed]) == undisturbed
    assert [[damage.sample for damage in rank.damaged] for rank in resumed] == [[3]] * after


def test_damage_is_remembered_with_the_place(copied: Path) -> None:
    flip(copied, "03train")
    first = loader(readers(copied), max_failure_rate=0.2)
    list(first.epoch())
    after = loader(readers(copied), max_failure_rate=0.2)
    after.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert after.damaged == first.damaged != []


@pytest.mark.parametrize("workers", [0, 1])
def test_too_many_damaged_samples_end_the_run(copied: Path, workers: int) -> None:
    flip(copied, "03train")
    flip(copied, "04train")
    with pytest.raises(
        StageFailedError, match=r"of 8 objects failed, over the limit of 20%.*object 0[34]train"
    ) as caught:
        list(loader(readers(copied), workers=workers, max_failure_rate=0.2).epoch())
    assert "\n" not in str(caught.value)


def test_a_dataset_of_nothing_but_damage_ends_the_run(copied: Path) -> None:
    for number in range(2):
        flip(copied, f"{number:02d}val")
    with pytest.raises(InputError, match=r"16 samples in a row are damaged, the first: .*val"):
        list(loader(readers(copied), max_failure_rate=1).epoch())


def test_objects_of_too_few_views_are_left_out(sources: Sources) -> None:
    whole = {name: [source[number] for number in range(len(source))] for name, source in sources.items()}
    one = whole["train"][2]
    whole["train"][2] = ObjectViews(one.uid, one.rgba[:1], one.c2w[:1], one.intrinsics[:1])
    limited = PlannedLoader(plan(), whole, ViewChoice(), max_failure_rate=0.2)
    assert "02train" not in {name for _, name, *_ in places(limited.epoch())}
    assert [damage.message for damage in limited.damaged] == ["train: sample 2 has 1 views, 2 are needed; render more"]


def rewritten(folder: Path, row: IndexRow, wrong: Callable[[bytearray], object]) -> ShardReader:
    """A reader of a set in which an object was written wrong, and hashed so."""
    data = bytearray((folder / row.shard).read_bytes())
    wrong(data)
    (folder / row.shard).write_bytes(data)
    piece = bytes(data[row.offset : row.offset + row.size])
    members, sizes, checks = listing(piece, row.key)
    right = replace(row, sha256=hashlib.sha256(piece).hexdigest(), members=members, sizes=sizes, checks=checks)
    write_index(folder, [right if each.key == row.key else each for each in read_index(folder)])
    return ShardReader(folder, row.split)


@pytest.mark.parametrize("listed", [True, False])
def test_what_was_written_wrong_is_named(copied: Path, listed: bool) -> None:
    row = next(row for row in read_index(copied) if row.key == "01train")

    def wrong(data: bytearray) -> None:
        place = data.index(b"IDAT", row.offset)
        data[place : place + 40] = bytes(40)

    source = rewritten(copied, row, wrong)
    if not listed:
        rows = [replace(each, members="", sizes=(), checks=b"") for each in read_index(copied)]
        write_index(copied, rows)
        source = ShardReader(copied, "train")
    with pytest.raises(
        InputError, match=rf"{row.shard} at byte {row.offset}, object 01train: cannot be decoded"
    ) as caught:
        source.views(1, [0])
    assert "\n" not in str(caught.value)
    assert source.views(1, [3]).uid == "01train"


@pytest.mark.parametrize(("ranks", "draws"), [(1, 2), (2, 2), (4, 2), (2, 4)])
def test_a_damaged_view_costs_the_draws_that_take_it(sources: Sources, copied: Path, ranks: int, draws: int) -> None:
    """Whatever other draws of the object meet them in a rank's part of the batch."""
    row = next(row for row in read_index(copied) if row.key == "03train")
    sample = ShardReader(copied, "train").samples.members(row, ["001.png"])
    data = bytearray((copied / row.shard).read_bytes())
    data[data.index(bytes(sample["001.png"]), row.offset) + 50] ^= 1
    (copied / row.shard).write_bytes(data)
    mixed = (Mixed("train", 6, 0.75, draws), Mixed("val", 2, 0.25))
    here = Plan(mixed, batch_size=4, seed=3, draws=48)
    whole = places(islice(loader(sources, plan=here), 12))
    parts = [
        islice(loader(readers(copied), plan=here, rank=rank, ranks=ranks, max_failure_rate=0.2), 12)
        for rank in range(ranks)
    ]
    got = interleaved(parts)
    hit = [name == "03train" and 1 in views for _, name, views, _ in whole]
    assert 0 < sum(hit) < sum(name == "03train" for _, name, *_ in whole)
    assert [mine != theirs for mine, theirs in zip(got, whole, strict=True)] == hit


class OddAndDamaged(Counting):
    """A source with one object that is larger than all others, and of which only the first picture can be decoded."""

    def __init__(self, source: ShardReader, at: int) -> None:
        super().__init__(source)
        self.at = at

    def read_views(self, number: int, chosen: Sequence[int]) -> ReadViews:  # noqa: D102
        views = super().read_views(number, chosen)

        def picture(place: int, room: Room) -> np.ndarray:
            if place:
                raise InputError("cannot be decoded")
            given = room((20, 20, 4))
            return np.zeros((20, 20, 4), np.uint8) if given is None else given

        return replace(views, picture=picture) if number == self.at else views


@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_object_leaves_nothing_in_a_batch(sources: Sources, copied: Path, workers: int) -> None:
    """Neither its pictures nor their size; the batch is the one that is made when nothing of the object can be read."""
    first = int(plan().epoch(0).batch(0).sample[0])
    odd = {**sources, "train": OddAndDamaged(sources["train"], at=first)}
    flip(copied, f"{first:02d}train")
    made = list(PlannedLoader(plan(), odd, ViewChoice(), max_failure_rate=0.5, workers=workers).epoch())
    expected = list(loader(readers(copied), max_failure_rate=0.5).epoch())
    assert places(made) == places(expected)
    for one, other in zip(made, expected, strict=True):
        assert torch.equal(one.rgba, other.rgba)
        assert torch.equal(one.c2w, other.c2w)
        assert torch.equal(one.intrinsics, other.intrinsics)
