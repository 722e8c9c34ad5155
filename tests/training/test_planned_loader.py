"""The loader: what is in its batches, who gets which, and where it goes on."""

import json
import os
import pickle
import signal
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any

import numpy as np
import pytest
import torch
from loader_support import Counting, Place, Sources, interleaved, loader, places, plan, readers

from blender_render import view_codecs
from stage.errors import InputError, ParameterError, StageKilledError
from stage.workspace import Workspace
from training.data.batches import ViewBatch, ViewChoice
from training.data.loader import PlannedLoader
from training.data.mixture import Mixed
from training.data.plan import Plan
from training.data.reader import ShardReader
from training.data.views import ObjectViews, ReadViews


@pytest.fixture(scope="module")
def sources(sharded: Workspace) -> Sources:
    return readers(sharded.shards)


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


def test_last_views_come_after_those_by_chance(sources: Sources) -> None:
    drawn = np.concatenate([batch.views for batch in loader(sources, ViewChoice((2,), 1, last=(0,))).epoch()])
    assert (drawn[:, [0, 2]] == [2, 0]).all()
    assert set(drawn[:, 1].tolist()) == {1, 3}
    assert ViewChoice(drawn=1, last=(5,)).needed == 6


@pytest.mark.parametrize("wrong", [((), 0), ((1, 1), 1), ((-1,), 1), ((), -1), ((1,), 1, (1,))])
def test_a_choice_of_no_view_or_one_twice_is_refused(wrong: tuple[tuple[int, ...], int]) -> None:
    with pytest.raises(ParameterError, match="choose at least one, and none twice"):
        ViewChoice(*wrong)


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
