"""The cache of shards: bounded, least recently used first, never a wrong byte, and of use to several processes at once."""

import errno
import hashlib
import logging
import os
import pickle
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from fault_server import FaultServer, instead, reset_after, status
from shard_sets import QUICK, ShardSet, shard_name, write_set

from stage.errors import InputError
from training.data import cache as cache_module
from training.data.cache import ShardCache
from training.data.http_store import HttpStore
from training.data.samples import CheckedSamples
from training.data.shard_store import LocalStore, StreamError

SHARD_BYTES = 30_000


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> ShardSet:
    """Six shards. Read only."""
    return write_set(tmp_path_factory.mktemp("cache") / "shards", shards=6)


@pytest.fixture
def store(server: FaultServer, shards: ShardSet) -> HttpStore:
    return HttpStore(shards.serve(server), QUICK)


MakeCache = Callable[..., ShardCache]


@pytest.fixture
def make_cache(tmp_path: Path) -> MakeCache:
    """A cache with room for some shards."""
    return lambda room=3: ShardCache(tmp_path / "cache", room * SHARD_BYTES)


def copies(cache: ShardCache) -> list[str]:
    """Names of all that lies in the cache."""
    return sorted(path.name for path in cache.folder.glob("*/*"))


def bodies(server: FaultServer, number: int) -> int:
    """Requests for more than the size of a shard."""
    asked = server.asked(f"/shards/{shard_name(number)}")
    return sum(seen.headers.get("Range") != "bytes=0-0" for seen in asked)


def touch(cache: ShardCache, store: HttpStore, *numbers: int) -> None:
    for number in numbers:
        with cache.lease(store, shard_name(number)):
            # Times of use must differ, also on a coarse clock.
            time.sleep(0.005)


def test_every_sample_is_right_and_every_shard_asked_for_once(
    store: HttpStore, shards: ShardSet, make_cache: MakeCache, server: FaultServer
) -> None:
    cache = make_cache(6)
    samples = CheckedSamples(store, cache)
    for row in [*shards.rows, *reversed(shards.rows)]:
        assert samples.read(row) == shards.piece(row)
    assert [bodies(server, number) for number in range(6)] == [1] * 6
    assert cache.used_bytes() == 6 * SHARD_BYTES


def test_the_least_recently_used_gives_way(store: HttpStore, make_cache: MakeCache) -> None:
    cache = make_cache(3)
    touch(cache, store, 0, 1, 2, 0, 3)
    assert copies(cache) == [shard_name(number) for number in (0, 2, 3)]
    touch(cache, store, 4)
    assert copies(cache) == [shard_name(number) for number in (0, 3, 4)]


def test_another_run_finds_the_copies(
    store: HttpStore, shards: ShardSet, make_cache: MakeCache, server: FaultServer
) -> None:
    touch(make_cache(), store, 0)
    again = CheckedSamples(HttpStore(server.url("/shards/"), QUICK), make_cache())
    assert again.read(shards.rows[0]) == shards.piece(shards.rows[0])
    assert bodies(server, 0) == 1


def test_sets_of_other_places_are_apart(
    server: FaultServer, shards: ShardSet, make_cache: MakeCache, tmp_path: Path
) -> None:
    other = write_set(tmp_path / "other", seed=1)
    cache = make_cache()
    for shard_set, place in ((shards, "/shards"), (other, "/other")):
        samples = CheckedSamples(HttpStore(shard_set.serve(server, place), QUICK), cache)
        assert samples.read(shard_set.rows[0]) == shard_set.piece(shard_set.rows[0])
    assert copies(cache) == [shard_name(0)] * 2


def test_what_is_in_use_stays(store: HttpStore, shards: ShardSet, make_cache: MakeCache) -> None:
    cache = make_cache(2)
    # One is found, the other brought.
    touch(cache, store, 0)
    with cache.lease(store, shard_name(0)) as held, cache.lease(store, shard_name(1)) as other:
        assert held
        assert other
        with cache.lease(store, shard_name(2)) as third:
            assert third is None, "there is no room: it must be streamed"
        assert held.read(0, SHARD_BYTES) == shards.data(shard_name(0))
        samples = CheckedSamples(store, cache)
        assert samples.read(shards.rows[7]) == shards.piece(shards.rows[7])
    touch(cache, store, 2)
    assert shard_name(2) in copies(cache)
    assert cache.used_bytes() <= cache.max_bytes


def test_a_shard_beyond_the_bound_is_streamed(
    store: HttpStore, shards: ShardSet, tmp_path: Path, server: FaultServer
) -> None:
    cache = ShardCache(tmp_path / "cache", SHARD_BYTES - 1)
    samples = CheckedSamples(store, cache)
    assert [samples.read(row) for row in shards.rows[:3]] == [shards.piece(row) for row in shards.rows[:3]]
    assert copies(cache) == []
    ranges = [seen.headers.get("Range") for seen in server.asked(f"/shards/{shard_name(0)}")]
    assert ranges == ["bytes=0-0", "bytes=0-9999", "bytes=10000-19999", "bytes=20000-29999"]


def test_a_flipped_byte_of_a_copy_is_mended_from_the_origin(
    store: HttpStore, shards: ShardSet, make_cache: MakeCache, server: FaultServer
) -> None:
    cache = make_cache()
    touch(cache, store, 0)
    damage(cache, 10_500)
    samples = CheckedSamples(store, cache)
    row = shards.rows[1]
    assert samples.read(row) == shards.piece(row)
    assert copies(cache) == [], "the damaged copy is gone"
    assert [samples.read(row) for row in shards.rows[:3]] == [shards.piece(row) for row in shards.rows[:3]]
    assert bodies(server, 0) == 3, "the shard, the sample, and the shard anew"


def damage(cache: ShardCache, place: int) -> None:
    """Flip a bit of the only copy."""
    (path,) = cache.folder.glob("*/*")
    with path.open("r+b") as stream:
        stream.seek(place)
        byte = stream.read(1)[0]
        stream.seek(place)
        stream.write(bytes([byte ^ 1]))


def test_a_cut_copy_is_mended_too(store: HttpStore, shards: ShardSet, make_cache: MakeCache) -> None:
    cache = make_cache()
    touch(cache, store, 0)
    (path,) = cache.folder.glob("*/*")
    os.truncate(path, 100)
    row = shards.rows[2]
    assert CheckedSamples(store, cache).read(row) == shards.piece(row)


def test_damage_at_the_origin_is_named_and_costs_no_second_download(
    server: FaultServer, shards: ShardSet, make_cache: MakeCache
) -> None:
    url = shards.serve(server)
    server.serve(f"/shards/{shard_name(0)}", shards.data(shard_name(0))[::-1])
    samples = CheckedSamples(HttpStore(url, QUICK), make_cache())
    for _ in range(3):
        with pytest.raises(InputError, match=rf"{url}/{shard_name(0)} is damaged at byte 10000, object key000001; "):
            samples.read(shards.rows[1])
    ranges = [seen.headers.get("Range") for seen in server.asked(f"/shards/{shard_name(0)}")]
    assert ranges.count("bytes=0-29999") == 1


def test_a_set_that_was_published_anew_is_brought_anew(
    server: FaultServer, shards: ShardSet, make_cache: MakeCache, tmp_path: Path
) -> None:
    cache = make_cache()
    store = HttpStore(shards.serve(server), QUICK)
    touch(cache, store, 0)
    new = write_set(tmp_path / "new", seed=9)
    new.serve(server, etag='"second"')
    rows = store.index()
    samples = CheckedSamples(store, cache)
    assert [samples.read(row) for row in rows] == [new.piece(row) for row in new.rows]


def test_a_whole_hash_is_checked_and_asked_for_once_more(
    store: HttpStore, shards: ShardSet, make_cache: MakeCache, server: FaultServer
) -> None:
    cache, path = make_cache(), f"/shards/{shard_name(0)}"
    known = hashlib.sha256(shards.data(shard_name(0))).hexdigest()
    wrong = bytes(SHARD_BYTES)
    server.fail(path, instead(wrong), instead(wrong))  # the first asks for the size
    with cache.lease(store, shard_name(0), sha256=known) as copy:
        assert copy
        assert copy.read(0, SHARD_BYTES) == shards.data(shard_name(0))
    with (
        pytest.raises(InputError, match=rf"{shard_name(1)} is not the shard that was published"),
        cache.lease(store, shard_name(1), sha256=known),
    ):
        pass
    assert copies(cache) == [shard_name(0)]


def test_a_download_that_fails_leaves_nothing(store: HttpStore, make_cache: MakeCache, server: FaultServer) -> None:
    cache, path = make_cache(), f"/shards/{shard_name(0)}"
    server.fail(path, reset_after(10), reset_after(1000), *[status(500)] * 9)
    with pytest.raises(StreamError, match=f"{path} answers 500"), cache.lease(store, shard_name(0)):
        pass
    assert copies(cache) == []


def test_a_missing_shard_is_named(store: HttpStore, make_cache: MakeCache) -> None:
    with (
        pytest.raises(InputError, match=r"gone\.tar answers 404.*; check the address"),
        make_cache().lease(store, "gone.tar"),
    ):
        pass


@pytest.mark.parametrize("name", ["../escape.tar", "/etc/passwd", "a/b.tar", "..", ".lock", ""])
def test_names_that_lead_elsewhere_are_refused(name: str, store: HttpStore, make_cache: MakeCache) -> None:
    with pytest.raises(InputError, match="is no file name"), make_cache().lease(store, name):
        pass


def test_other_files_in_the_folder_are_left_alone(store: HttpStore, tmp_path: Path) -> None:
    mine = tmp_path / "cache" / "photographs" / "holiday.png"
    mine.parent.mkdir(parents=True)
    mine.write_bytes(bytes(10 * SHARD_BYTES))
    (mine.parent / ".draft.part").touch()
    cache = ShardCache(tmp_path / "cache", SHARD_BYTES)
    touch(cache, store, 0, 1)
    assert mine.stat().st_size == 10 * SHARD_BYTES
    assert (mine.parent / ".draft.part").exists()


def test_a_smaller_bound_holds_at_once(store: HttpStore, make_cache: MakeCache) -> None:
    touch(make_cache(4), store, 0, 1, 2, 3)
    assert copies(make_cache(2)) == [shard_name(2), shard_name(3)]


def test_leftovers_go_and_parts_in_the_making_stay(store: HttpStore, make_cache: MakeCache) -> None:
    cache = make_cache()
    touch(cache, store, 0)
    (folder,) = cache.folder.glob("[0-9a-f]*")
    left, made = folder / ".left.tar.part", folder / ".made.tar.part"
    left.write_bytes(b"half")
    with made.open("w+b") as stream:
        cache_module._lock_alone(stream)
        make_cache()
        assert not left.exists()
        assert made.exists()


@pytest.mark.parametrize("place", ["allocating", "writing"])
def test_a_full_disk_is_one_warning_and_shards_are_streamed(
    place: str,
    store: HttpStore,
    shards: ShardSet,
    make_cache: MakeCache,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    cache = make_cache()

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    if place == "allocating":
        monkeypatch.setattr(os, "posix_fallocate", full)
    else:
        monkeypatch.setattr(cache_module, "_write_all", full)
    samples = CheckedSamples(store, cache)
    with caplog.at_level(logging.WARNING):
        assert [samples.read(row) for row in shards.rows] == [shards.piece(row) for row in shards.rows]
    assert [record.getMessage() for record in caplog.records] == [
        f"{cache.folder}: No space left on device; shards are streamed, which is slower: free some space"
    ]
    assert copies(cache) == []


def test_a_disk_that_others_fill_is_met_by_eviction(
    store: HttpStore, make_cache: MakeCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = make_cache(5)
    touch(cache, store, 0, 1, 2)
    allocate = os.posix_fallocate

    def two_fit(descriptor: int, offset: int, size: int) -> None:
        if len(copies(cache)) > 2:  # the part among them
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        allocate(descriptor, offset, size)

    monkeypatch.setattr(os, "posix_fallocate", two_fit)
    touch(cache, store, 3)
    assert copies(cache) == [shard_name(2), shard_name(3)]


def test_a_file_system_that_cannot_allocate_serves_too(
    store: HttpStore, shards: ShardSet, make_cache: MakeCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cannot(*_: object) -> None:
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    monkeypatch.setattr(os, "posix_fallocate", cannot)
    with make_cache().lease(store, shard_name(0)) as copy:
        assert copy
        assert copy.read(0, SHARD_BYTES) == shards.data(shard_name(0))


def test_a_folder_that_cannot_be_used_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"file cannot hold shards: .*; name another folder for the cache"):
        ShardCache(tmp_path / "file", 1)


def test_a_process_that_was_stopped_in_the_middle_holds_up_nobody(
    store: HttpStore, shards: ShardSet, make_cache: MakeCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache_module, "_PATIENCE_SECONDS", 0.1)
    cache = make_cache()
    touch(cache, store, 1)
    (folder,) = cache.folder.glob("[0-9a-f]*")
    with (folder / f".{shard_name(0)}.part").open("w+b") as stream:
        assert cache_module._lock_alone(stream)
        assert CheckedSamples(store, cache).read(shards.rows[0]) == shards.piece(shards.rows[0])
    touch(cache, store, 0)
    assert copies(cache) == [shard_name(0), shard_name(1)]


def test_many_threads_share_one_download(
    store: HttpStore, shards: ShardSet, make_cache: MakeCache, server: FaultServer
) -> None:
    cache = make_cache(2)
    samples, wrong = CheckedSamples(store, cache), []

    def read(start: int) -> None:
        rows = shards.rows[:6][start:] + shards.rows[:6][:start]
        wrong.extend(row for row in rows if samples.read(row) != shards.piece(row))

    threads = [threading.Thread(target=read, args=(number % 2,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert [bodies(server, number) for number in range(2)] == [1, 1]


def test_a_copy_that_another_finished_just_now_is_not_brought_again(
    store: HttpStore, make_cache: MakeCache, server: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = make_cache()
    touch(cache, store, 0)
    look, looks = cache._open, []

    def too_early(path: Path) -> object:
        looks.append(path)
        return look(path) if len(looks) > 2 else None

    monkeypatch.setattr(cache, "_open", too_early)
    with cache.lease(store, shard_name(0)) as copy:
        assert copy
    assert bodies(server, 0) == 1
    assert copies(cache) == [shard_name(0)]


def test_a_cache_survives_pickling(store: HttpStore, shards: ShardSet, make_cache: MakeCache) -> None:
    cache = make_cache()
    touch(cache, store, 0)
    samples = pickle.loads(pickle.dumps(CheckedSamples(store, cache)))
    assert samples.read(shards.rows[5]) == shards.piece(shards.rows[5])


def test_forked_workers_use_connections_and_a_cache_of_their_own(
    store: HttpStore, shards: ShardSet, make_cache: MakeCache
) -> None:
    samples = CheckedSamples(store, make_cache(2))
    samples.read(shards.rows[0])
    workers = []
    for start in (0, 6):
        worker = os.fork()
        if not worker:
            # No clean-up of the parent's in the child, whatever happens.
            code = 1
            try:
                rows = shards.rows[start:] + shards.rows[:start]
                code = int([samples.read(row) for row in rows] != [shards.piece(row) for row in rows])
            finally:
                os._exit(code)
        workers.append(worker)
    assert [samples.read(row) for row in shards.rows] == [shards.piece(row) for row in shards.rows]
    assert [os.waitpid(worker, 0)[1] for worker in workers] == [0, 0]


def test_a_fork_does_not_keep_what_its_parent_held(store: HttpStore, make_cache: MakeCache) -> None:
    cache = make_cache(1)
    ended, end = os.pipe()
    with cache.lease(store, shard_name(0)):
        worker = os.fork()
        if not worker:
            os.close(end)
            os.read(ended, 1)
            os._exit(0)
    touch(cache, store, 1)
    assert copies(cache) == [shard_name(1)]
    os.close(end)
    os.waitpid(worker, 0)


def test_a_folder_far_away_is_cached_like_a_server(shards: ShardSet, make_cache: MakeCache) -> None:
    cache = make_cache()
    samples = CheckedSamples(LocalStore(shards.folder), cache)
    assert [samples.read(row) for row in shards.rows] == [shards.piece(row) for row in shards.rows]
    assert len(copies(cache)) == 3


def test_a_copy_that_gets_its_name_while_another_counts_is_counted(
    store: HttpStore, make_cache: MakeCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = make_cache(1)
    counting, named = threading.Event(), threading.Event()
    stat, rename = Path.stat, Path.rename

    def slow_stat(path: Path, **options: bool) -> os.stat_result:
        if path.name == f".{shard_name(0)}.part" and threading.current_thread() is not bringing:
            counting.set()
            named.wait(0.5)
        return stat(path, **options)

    def slow_rename(path: Path, target: Path) -> Path:
        counting.wait(0.5)
        done = rename(path, target)
        named.set()
        return done

    monkeypatch.setattr(Path, "stat", slow_stat)
    monkeypatch.setattr(Path, "rename", slow_rename)
    bringing = threading.Thread(target=touch, args=(cache, store, 0))
    bringing.start()
    time.sleep(0.1)
    touch(cache, store, 1)
    bringing.join()
    assert cache.used_bytes() <= cache.max_bytes
