"""Prefetching: what comes next is in the cache before it is asked for, and what is needed does not give way to it."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from fault_server import FaultServer, Served, answer
from shard_sets import ShardSet, shard_name, write_set
from shard_support import SMALL

from stage.errors import InputError
from stage.workspace import Workspace
from training.data.batches import ViewChoice
from training.data.cache import ShardCache
from training.data.http_store import HttpStore
from training.data.index import read_index
from training.data.loader import PlannedLoader
from training.data.mixture import Mixed
from training.data.plan import Plan
from training.data.prefetch import Place, Prefetch
from training.data.reader import ShardReader
from training.data.samples import CheckedSamples
from training.data.shard_store import StreamParameters
from training.data.writer import write_shards

SHARD_BYTES = 30_000
# A machine that is busy with other things is no server that is silent.
PATIENT = StreamParameters(attempts=3, first_wait_seconds=0.001, max_wait_seconds=0.01)


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> ShardSet:
    """Six shards of equal size. Read only."""
    return write_set(tmp_path_factory.mktemp("prefetch") / "shards", shards=6)


@pytest.fixture
def store(server: FaultServer, shards: ShardSet) -> HttpStore:
    return HttpStore(shards.serve(server), PATIENT)


MakeCache = Callable[[int], ShardCache]


@pytest.fixture
def make_cache(tmp_path: Path) -> MakeCache:
    """A cache with room for some shards."""
    return lambda room: ShardCache(tmp_path / "cache", room * SHARD_BYTES)


def copies(cache: ShardCache) -> list[int]:
    """Numbers of the shards that lie in the cache whole."""
    return sorted(int(path.name[-10:-4]) for path in cache.folder.glob("*/*.tar") if not path.name.startswith("."))


def brought(server: FaultServer) -> list[int]:
    """Numbers of the shards that were asked for, beyond their size, in that order."""
    asked = [seen for seen in server.seen if seen.path.endswith(".tar") and seen.headers.get("Range") != "bytes=0-0"]
    return [int(seen.path[-10:-4]) for seen in asked]


def needs(cache: ShardCache, store: HttpStore, *batches: Sequence[int]) -> list[list[Place]]:
    return [[Place(cache, store, shard_name(number), SHARD_BYTES) for number in batch] for batch in batches]


def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def touch(cache: ShardCache, store: HttpStore, number: int) -> None:
    # Times of use must differ, also on a coarse clock.
    time.sleep(0.01)
    with cache.lease(store, shard_name(number)):
        pass
    time.sleep(0.01)


def test_shards_come_in_the_order_of_first_need_as_far_as_they_fit(
    store: HttpStore, make_cache: MakeCache, server: FaultServer
) -> None:
    cache = make_cache(3)
    with Prefetch(needs(cache, store, [5], [5, 3], [3, 0], [1], [2]), ahead=9, threads=1) as prefetch:
        eventually(lambda: copies(cache) == [0, 3, 5])
        prefetch.at(1)
        prefetch.at(2)
        eventually(lambda: copies(cache) == [0, 1, 3])
        prefetch.at(4)
        eventually(lambda: 2 in copies(cache))
    assert brought(server) == [5, 3, 0, 1, 2], "each when there was room for it, and none twice"


def test_no_further_ahead_than_asked(store: HttpStore, make_cache: MakeCache, server: FaultServer) -> None:
    cache = make_cache(6)
    with Prefetch(needs(cache, store, [0], [1], [2], [3]), ahead=2, threads=1) as prefetch:
        eventually(lambda: copies(cache) == [0, 1])
        prefetch.at(1)
        eventually(lambda: copies(cache) == [0, 1, 2])
    assert brought(server) == [0, 1, 2]


def test_what_is_only_yet_to_be_used_does_not_give_way(store: HttpStore, make_cache: MakeCache) -> None:
    cache = make_cache(2)
    with Prefetch(needs(cache, store, [0], [0, 2]), ahead=1, threads=1) as prefetch:
        eventually(lambda: copies(cache) == [0])
        touch(cache, store, 1)
        prefetch.at(1)
        eventually(lambda: 2 in copies(cache))
        assert copies(cache) == [0, 2], "not 0, although it was used before 1"


def test_batches_that_have_come_need_nothing(store: HttpStore, make_cache: MakeCache, server: FaultServer) -> None:
    cache = make_cache(1)
    with Prefetch(needs(cache, store, [0], [1], [2], [3]), ahead=9, threads=1) as prefetch:
        eventually(lambda: copies(cache) == [0])
        prefetch.at(3)
        eventually(lambda: copies(cache) == [3])
    assert brought(server) == [0, 3]


def test_several_threads_bring_each_shard_once(store: HttpStore, make_cache: MakeCache, server: FaultServer) -> None:
    cache = make_cache(6)
    with Prefetch(needs(cache, store, *[[number] for number in range(6)] * 3), ahead=99, threads=4):
        eventually(lambda: copies(cache) == list(range(6)))
    assert sorted(brought(server)) == list(range(6))


def test_errors_are_left_to_the_reader(
    store: HttpStore, make_cache: MakeCache, server: FaultServer, shards: ShardSet
) -> None:
    cache = make_cache(3)
    del server.files[f"/shards/{shard_name(1)}"]
    with Prefetch(needs(cache, store, [0], [1], [2]), ahead=9, threads=1):
        eventually(lambda: copies(cache) == [0, 2])
        with pytest.raises(InputError, match="404"):
            CheckedSamples(store, cache).read(shards.rows[3])


def test_a_shard_beyond_the_bound_holds_up_no_other(
    store: HttpStore, make_cache: MakeCache, server: FaultServer, shards: ShardSet
) -> None:
    cache = make_cache(2)
    server.serve(f"/shards/{shard_name(1)}", shards.data(shard_name(1)) * 3)
    (first,), (second,), (third,) = needs(cache, store, [0], [1], [2])
    with Prefetch([[first], [second._replace(size=3 * SHARD_BYTES)], [third]], ahead=9, threads=1):
        eventually(lambda: copies(cache) == [0, 2])
    assert brought(server) == [0, 2]


def test_caches_of_several_sets_are_filled_each_for_itself(
    store: HttpStore, make_cache: MakeCache, tmp_path: Path
) -> None:
    cache, other = make_cache(1), ShardCache(tmp_path / "other", 2 * SHARD_BYTES)
    places = [[*needs(cache, store, [number])[0], *needs(other, store, [number])[0]] for number in range(3)]
    with Prefetch(places, ahead=9, threads=1):
        eventually(lambda: copies(cache) == [0] and copies(other) == [0])


# What a loader makes of it: three shards of two boxes, read from front to back.
PLAN = Plan((Mixed("boxes", 6, shards=(2, 2, 2)),), batch_size=2, seed=1, order="window", window=1)


@pytest.fixture(scope="module")
def boxes(render_boxes: Callable[..., Workspace], tmp_path_factory: pytest.TempPathFactory) -> ShardSet:
    workspace = render_boxes(tmp_path_factory.mktemp("prefetched") / "workspace", train=6)
    write_shards(SMALL, workspace)
    return ShardSet(workspace.shards, read_index(workspace.shards))


def loader(boxes: ShardSet, server: FaultServer, cache: ShardCache, **options: int) -> PlannedLoader:
    reader = ShardReader(boxes.serve(server), "train", cache=cache, streams=PATIENT)
    return PlannedLoader(PLAN, {"boxes": reader}, ViewChoice(), **options)


@pytest.mark.parametrize("workers", [0, 2])
def test_an_epoch_is_in_the_cache_before_it_is_asked_for(
    boxes: ShardSet, server: FaultServer, make_cache: MakeCache, workers: int
) -> None:
    cache = make_cache(6)
    reading = iter(loader(boxes, server, cache, workers=workers))
    uids = [next(reading).uids]
    eventually(lambda: copies(cache) == [0, 1, 2])
    for row in boxes.rows:
        server.files.pop(f"/shards/{row.shard}", None)
    uids += [next(reading).uids for _ in range(8)]
    reading.close()
    local = PlannedLoader(PLAN, {"boxes": ShardReader(boxes.folder, "train")}, ViewChoice())
    assert [batch.uids for batch, _ in zip(local, range(9), strict=False)] == uids
    assert sorted(brought(server)) == [0, 1, 2]


def test_without_fetchers_readers_bring_what_they_read(
    boxes: ShardSet, server: FaultServer, make_cache: MakeCache
) -> None:
    cache = make_cache(6)
    reading = iter(loader(boxes, server, cache, fetchers=0))
    for number in range(3):
        next(reading)
        assert len(copies(cache)) == len(brought(server)) == number + 1


def test_a_resumed_epoch_brings_what_is_left_of_it_first(
    boxes: ShardSet, server: FaultServer, make_cache: MakeCache
) -> None:
    order = [int(boxes.rows[PLAN.epoch(0).batch(number).sample[0]].shard[-10:-4]) for number in range(3)]
    resumed = loader(boxes, server, make_cache(6), fetchers=1)
    resumed.load_state_dict({**resumed.state_dict(), "batch": 1})
    reading = iter(resumed)
    next(reading)
    eventually(lambda: len(brought(server)) == 3)
    reading.close()
    assert brought(server) == [order[1], order[2], order[0]]


def test_a_set_that_cannot_be_prefetched_fails_where_it_is_read(
    boxes: ShardSet, server: FaultServer, make_cache: MakeCache
) -> None:
    reading = loader(boxes, server, make_cache(6), max_failure_rate=0.5)
    missing = boxes.rows[PLAN.epoch(0).batch(1).sample[0]].shard
    server.files.pop(f"/shards/{missing}")
    batches = list(reading.epoch())
    assert [len(batch.uids) for batch in batches] == [2, 2, 2]
    assert len(reading.damaged) == 2
    assert all(missing in damage.message for damage in reading.damaged)


# Reads one batch and then stands still, while its fetchers go on.
_PROGRAM = """
import sys
from pathlib import Path
sys.path[:0] = sys.argv[1:3]
from test_prefetch import PLAN
from training.data.batches import ViewChoice
from training.data.cache import ShardCache
from training.data.loader import PlannedLoader
from training.data.reader import ShardReader
reader = ShardReader(sys.argv[3], "train", cache=ShardCache(Path(sys.argv[4]), 200_000))
reading = iter(PlannedLoader(PLAN, {"boxes": reader}, ViewChoice(), fetchers=1))
next(reading)
print("read", flush=True)
sys.stdin.read()
"""


def test_killed_in_the_middle_of_fetching_nothing_wrong_stays(
    boxes: ShardSet, server: FaultServer, make_cache: MakeCache, program_environment: dict[str, str]
) -> None:
    here, killed = Path(__file__).resolve(), threading.Event()
    last = boxes.rows[PLAN.epoch(0).batch(2).sample[0]].shard
    url = boxes.serve(server)

    def half(handler: Any, file: Served | None) -> None:
        assert file
        if handler.headers["Range"] == "bytes=0-0":
            answer(handler, file)
            return
        size = len(file.data)
        handler.start(206, size, Content_Range=f"bytes 0-{size - 1}/{size}", ETag=file.etag)
        handler.body(file.data[: size // 2])
        killed.wait(120)
        handler.close_connection = True

    server.fail(f"/shards/{last}", half, half, half)
    cache = make_cache(6)
    program = subprocess.Popen(
        [sys.executable, "-c", _PROGRAM, here.parent, here.parents[1], url, cache.folder],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**program_environment, "NO_PROXY": "127.0.0.1"},
        cwd=here.parents[2],
    )
    with program:
        eventually(lambda: any(seen.sent > 1 for seen in server.asked(f"/shards/{last}")))
        program.kill()
    killed.set()
    server.queues.clear()
    assert len(list(cache.folder.glob("*/.*.part"))) == 1, "it was in the middle of it"
    after = list(loader(boxes, server, cache).epoch())
    local = PlannedLoader(PLAN, {"boxes": ShardReader(boxes.folder, "train")}, ViewChoice())
    for mine, right in zip(after, local.epoch(), strict=True):
        assert torch.equal(mine.rgba, right.rgba)
    assert copies(cache) == [0, 1, 2]
    assert list(cache.folder.glob("*/.*.part")) == []
