"""The loader: what is in its batches, who gets which, where it goes on, and what damage does to it."""

import hashlib
import json
import os
import pickle
import shutil
import signal
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from blender_render import view_codecs
from blender_render.view_codecs import Room
from stage.errors import InputError, ParameterError, StageFailedError, StageKilledError
from stage.workspace import Workspace
from training.data.batches import ViewBatch, ViewChoice
from training.data.index import IndexRow, read_index, write_index
from training.data.loader import PlannedLoader
from training.data.members import listing
from training.data.mixture import Mixed
from training.data.plan import Plan
from training.data.reader import ShardReader
from training.data.views import ObjectViews, ReadViews

Sources = dict[str, ShardReader]


def plan(**changes: Any) -> Plan:
    """Six objects three quarters of the time, two others the rest; six batches of four an epoch."""
    mixed = (Mixed("train", 6, 0.75, 2), Mixed("val", 2, 0.25))
    return Plan(mixed, **{"batch_size": 4, "seed": 3, "draws": 24, **changes})


def readers(folder: Path) -> Sources:
    return {split: ShardReader(folder, split) for split in ("train", "val")}


@pytest.fixture(scope="module")
def sources(sharded: Workspace) -> Sources:
    return readers(sharded.shards)


@pytest.fixture
def copied(sharded: Workspace, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sharded.shards, tmp_path / "shards"))


def loader(sources: Sources, choice: ViewChoice | None = None, **options: Any) -> PlannedLoader:
    return PlannedLoader(options.pop("plan", plan()), sources, choice or ViewChoice(), **options)


Place = tuple[int, str, tuple[int, ...], bytes]


def places(batches: Iterable[ViewBatch]) -> list[Place]:
    """Each sample of the batches: dataset, object, views, and all pixels and cameras."""
    return [
        (
            int(batch.dataset[i]),
            batch.uids[i],
            tuple(batch.views[i].tolist()),
            _bytes(batch.rgba[i]) + _bytes(batch.c2w[i]),
        )
        for batch in batches
        for i in range(len(batch.uids))
    ]


def _bytes(tensor: torch.Tensor) -> bytes:
    return tensor.numpy().tobytes()


def interleaved(ranks: Sequence[Iterable[ViewBatch]]) -> list[Place]:
    """The global batches that several ranks make up."""
    return [place for share in zip(*ranks, strict=True) for place in places(share)]


def test_batches_hold_what_the_objects_hold(sources: Sources) -> None:
    names = list(sources)
    for batch in loader(sources).epoch():
        assert (batch.rgba.shape, batch.rgba.dtype) == ((4, 2, 16, 16, 4), torch.uint8)
        assert batch.c2w.shape == (4, 2, 4, 4)
        for index, uid in enumerate(batch.uids):
            source = sources[names[batch.dataset[index]]]
            whole = source[[row.key for row in source.rows].index(uid)]
            views = batch.views[index]
            assert len(set(views.tolist())) == 2
            np.testing.assert_array_equal(batch.rgba[index], whole.rgba[views])
            np.testing.assert_array_equal(batch.c2w[index], whole.c2w[views])


def test_the_plan_says_which_objects_come(sources: Sources) -> None:
    epoch = plan().epoch(0)
    for number, batch in enumerate(loader(sources).epoch()):
        draws = epoch.batch(number)
        named = [sources[("train", "val")[d]].rows[s].key for d, s in zip(draws.dataset, draws.sample, strict=True)]
        assert list(batch.uids) == named
        assert (batch.epoch, batch.number) == (0, number)


@pytest.mark.parametrize(("ranks", "workers"), [(1, 2), (2, 1), (4, 0)])
def test_ranks_and_workers_make_the_same_global_batches(sources: Sources, ranks: int, workers: int) -> None:
    alone = places(islice(loader(sources), 8))
    parts = [islice(loader(sources, rank=rank, ranks=ranks, workers=workers), 8) for rank in range(ranks)]
    assert interleaved(parts) == alone


def test_spawned_workers_are_sent_the_reader(sources: Sources) -> None:
    sent = pickle.loads(pickle.dumps(sources["train"]))
    np.testing.assert_array_equal(sent[4].rgba, sources["train"][4].rgba)


@pytest.mark.slow
def test_spawned_workers_make_the_same_batches(sources: Sources) -> None:
    spawned = islice(loader(sources, workers=2, start_method="spawn"), 8)
    assert places(spawned) == places(islice(loader(sources), 8))


@pytest.mark.parametrize("stopped", [0, 1, 5, 6, 7, 12])
def test_a_saved_place_goes_on_exactly(sources: Sources, stopped: int) -> None:
    undisturbed = places(islice(loader(sources), 14))
    first = loader(sources)
    before = places(islice(first, stopped))
    state = json.loads(json.dumps(first.state_dict()))
    after = loader(sources)
    after.load_state_dict(state)
    assert before + places(islice(after, 14 - stopped)) == undisturbed


@pytest.mark.parametrize(("workers", "then"), [(2, 0), (0, 2), (1, 2)])
def test_what_workers_have_ready_does_not_count(sources: Sources, workers: int, then: int) -> None:
    undisturbed = places(islice(loader(sources), 10))
    first = loader(sources, workers=workers, prefetch=4)
    before = places(islice(first, 4))
    after = loader(sources, workers=then)
    after.load_state_dict(first.state_dict())
    assert before + places(islice(after, 6)) == undisturbed


def test_other_ranks_go_on_at_the_same_place(sources: Sources) -> None:
    undisturbed = places(islice(loader(sources), 9))
    first = [loader(sources, rank=rank, ranks=2) for rank in range(2)]
    before = interleaved([islice(one, 5) for one in first])
    after = [loader(sources, rank=rank, ranks=4) for rank in range(4)]
    for one in after:
        one.load_state_dict(first[0].state_dict())
    assert before + interleaved([islice(one, 4) for one in after]) == undisturbed


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": 4}, "seed was 3, is 4; continue with what it was"),
        ({"batch_size": 8}, "batch_size was 4, is 8"),
        ({"draws": 30}, "batches was 6, is 7"),
        ({"choice": ViewChoice(drawn=3)}, r"views was \[\[\], 2\], is \[\[\], 3\]"),
    ],
)
def test_a_place_in_another_sequence_is_refused(sources: Sources, changes: dict[str, Any], message: str) -> None:
    state = json.loads(json.dumps(loader(sources).state_dict()))
    choice = changes.pop("choice", None)
    with pytest.raises(InputError, match=message):
        loader(sources, choice, plan=plan(**changes)).load_state_dict(state)


def test_an_epoch_ends_and_the_next_begins(sources: Sources) -> None:
    one, other = loader(sources), loader(sources)
    epochs = [places(one.epoch()) for _ in range(2)]
    assert [len(epoch) for epoch in epochs] == [24, 24]
    assert epochs[0] != epochs[1]
    assert one.place == (2, 0)
    assert places(islice(other, 12)) == epochs[0] + epochs[1]
    assert len(places(islice(other, 2)) + places(other.epoch())) == 24


def test_the_generator_of_training_is_left_alone(sources: Sources) -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    list(loader(sources, workers=1).epoch())
    assert torch.equal(torch.get_rng_state(), before)


def test_pinned_memory_is_for_cuda_alone(sources: Sources) -> None:
    pinned = loader(sources, workers=1, pin_memory=True)
    batches = list(pinned.epoch())
    assert {batch.rgba.is_pinned() for batch in batches} == {torch.cuda.is_available()}
    assert places(batches) == places(loader(sources).epoch())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_all_of_a_batch_is_pinned(sources: Sources) -> None:
    for batch in loader(sources, pin_memory=True).epoch():
        assert all(tensor.is_pinned() for tensor in (batch.rgba, batch.c2w, batch.intrinsics))


def test_only_chosen_views_are_decoded(sources: Sources, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[object] = []
    opened = view_codecs.Image.open
    monkeypatch.setattr(
        view_codecs.Image, "open", lambda *picture, **how: decoded.append(picture) or opened(*picture, **how)
    )
    source = sources["train"]
    chosen, whole = source.views(3, [2, 0]), ShardReader(source.folder, "train")[3]
    assert len(decoded) == 2 + 4
    assert chosen.uid == whole.uid == "03train"
    np.testing.assert_array_equal(chosen.rgba, whole.rgba[[2, 0]])
    np.testing.assert_array_equal(chosen.c2w, whole.c2w[[2, 0]])


class Counting:
    """A source that notes what it is asked for."""

    def __init__(self, source: ShardReader) -> None:
        self.source = source
        self.asked: list[tuple[int, list[int]]] = []

    def __len__(self) -> int:
        return len(self.source)

    def view_count(self, number: int) -> int:  # noqa: D102
        return self.source.view_count(number)

    def read_views(self, number: int, chosen: Sequence[int]) -> ReadViews:  # noqa: D102
        self.asked.append((number, list(chosen)))
        return self.source.read_views(number, chosen)


def test_several_draws_of_an_object_read_it_once(sources: Sources) -> None:
    counting = Counting(sources["train"])
    planned = Plan((Mixed("train", 6, draws=4),), batch_size=8, seed=0)
    batches = list(PlannedLoader(planned, {"train": counting}, ViewChoice()).epoch())
    assert sorted(number for number, _ in counting.asked) == list(range(6))
    pairs = {(uid, *views.tolist()) for batch in batches for uid, views in zip(batch.uids, batch.views, strict=True)}
    assert len(pairs) > 12, "draws of one object take different views"


def test_plain_objects_serve_as_a_source(sources: Sources) -> None:
    whole = {name: [source[number] for number in range(len(source))] for name, source in sources.items()}
    plain = PlannedLoader(plan(), whole, ViewChoice())
    assert places(plain.epoch()) == places(loader(sources).epoch())


def test_fixed_views_come_first_and_others_by_chance(sources: Sources) -> None:
    drawn = np.concatenate([batch.views for batch in loader(sources, ViewChoice((2, 0), 1)).epoch()])
    assert (drawn[:, :2] == [2, 0]).all()
    assert set(drawn[:, 2].tolist()) == {1, 3}


@pytest.mark.parametrize("wrong", [((), 0), ((1, 1), 1), ((-1,), 1), ((), -1)])
def test_a_choice_of_no_view_or_one_twice_is_refused(wrong: tuple[tuple[int, ...], int]) -> None:
    with pytest.raises(ParameterError, match="choose at least one, and none twice"):
        ViewChoice(*wrong)


def flip(folder: Path, key: str) -> IndexRow:
    """Flip a bit of one object's cameras, which every draw of it reads."""
    row = next(row for row in read_index(folder) if row.key == key)
    data = bytearray((folder / row.shard).read_bytes())
    data[data.index(b'"c2w"', row.offset)] ^= 1
    (folder / row.shard).write_bytes(data)
    return row


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


def test_pictures_of_one_batch_have_one_size(sources: Sources) -> None:
    whole = {name: [source[number] for number in range(len(source))] for name, source in sources.items()}
    whole["val"] = [ObjectViews(one.uid, one.rgba[:, :8], one.c2w, one.intrinsics) for one in whole["val"]]
    with pytest.raises(InputError, match=r"has 16×\d+ pixels, .* of the same batch 16×\d+; name the size"):
        list(PlannedLoader(plan(), whole, ViewChoice()).epoch())


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"sources": ("train",)}, InputError, "val of the plan has no source; there are train"),
        ({"plan": Plan((Mixed("train", 7),), 2, 0)}, InputError, "train has 6 samples, the plan says 7"),
        ({"ranks": 3}, ParameterError, "rank 0 of 3 with a global batch of 4"),
        ({"rank": 2, "ranks": 2}, ParameterError, "rank 2 of 2"),
    ],
)
def test_what_does_not_fit_is_said(
    sources: Sources, changes: dict[str, Any], error: type[Exception], message: str
) -> None:
    given = {name: sources[name] for name in changes.pop("sources", sources)}
    with pytest.raises(error, match=message):
        loader(given, **changes)


class Deadly(Counting):
    """A source that ends its process at one sample, unless it is the test's own."""

    def __init__(self, source: ShardReader, at: int) -> None:
        super().__init__(source)
        self.at, self.main = at, os.getpid()

    def read_views(self, number: int, chosen: Sequence[int]) -> ReadViews:  # noqa: D102
        if number == self.at and os.getpid() != self.main:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().read_views(number, chosen)


def read_all(batches: Iterable[ViewBatch], kept: list[Place]) -> None:
    for batch in batches:
        kept += places([batch])


def test_a_killed_worker_is_said_and_the_place_stays(sources: Sources) -> None:
    undisturbed = places(islice(loader(sources), 6))
    deadly = Deadly(sources["train"], at=int(plan().epoch(0).batch(2).sample[0]))
    killed = PlannedLoader(plan(), {**sources, "train": deadly}, ViewChoice(), workers=1)
    before: list[Place] = []
    with pytest.raises(StageKilledError, match=r"killed: DataLoader worker .*; start again"):
        read_all(killed, before)
    after = loader(sources)
    after.load_state_dict(killed.state_dict())
    assert before + places(islice(after, 6 - len(before) // 4)) == undisturbed


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
