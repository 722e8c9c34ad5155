"""The cache of shards under kills, concurrency and a full disk: whole and right copies within the bound, none left locked."""

import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fault_server import FaultServer, end_after, reset_after, slowly, stall_after, status
from shard_sets import QUICK, ShardSet, shard_name, write_set

from training.data.cache import ShardCache
from training.data.http_store import HttpStore
from training.data.samples import CheckedSamples

READER = Path(__file__).with_name("cache_reader.py")
PROJECT = Path(__file__).resolve().parents[2]
SHARD_BYTES = 30_000

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> ShardSet:
    """Eight shards. Read only."""
    return write_set(tmp_path_factory.mktemp("drills") / "shards", shards=8)


@pytest.fixture
def url(server: FaultServer, shards: ShardSet) -> str:
    return shards.serve(server)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def start(url: str, folder: Path) -> Iterator[Start]:
    """Starts readers: `start(what, room=3, seed=0)`."""
    started: list[subprocess.Popen[str]] = []

    def reader(what: str | int, room: int = 3, seed: int = 0) -> "subprocess.Popen[str]":
        arguments = [url, folder, room * SHARD_BYTES, seed, what]
        started.append(
            subprocess.Popen(
                [sys.executable, str(READER), *map(str, arguments)],
                stdout=subprocess.PIPE,
                text=True,
                env={**os.environ, "PYTHONPATH": str(PROJECT)},
            )
        )
        return started[-1]

    yield reader
    for process in started:
        process.kill()
        process.wait()
        assert process.stdout
        process.stdout.close()


def copies(folder: Path) -> list[Path]:
    return sorted(folder.glob("*/*"))


def bytes_of(folder: Path) -> int:
    """Bytes of all files, each once, also one that gets its final name while it is looked at."""
    sizes = {}
    for path in copies(folder):
        try:
            state = path.stat()
        except FileNotFoundError:
            continue
        sizes[state.st_ino] = state.st_size
    return sum(sizes.values())


def check_whole(folder: Path, shards: ShardSet) -> None:
    """Every file under a final name is the shard, byte by byte."""
    for path in copies(folder):
        if not path.name.startswith("."):
            assert path.read_bytes() == shards.data(path.name)


def eventually(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 240
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def read_everything(url: str, folder: Path, shards: ShardSet, room: int = 3) -> ShardCache:
    cache = ShardCache(folder, room * SHARD_BYTES)
    samples = CheckedSamples(HttpStore(url, QUICK), cache)
    assert [samples.read(row) for row in shards.rows] == [shards.piece(row) for row in shards.rows]
    return cache


def test_killed_in_the_middle_of_a_copy(
    start: Start, server: FaultServer, url: str, folder: Path, shards: ShardSet
) -> None:
    name = shard_name(0)
    # The size, and then silence in the middle of the bytes.
    server.fail(f"/shards/{name}", slowly(1, 0), stall_after(6000))
    process = start("hold")
    eventually(lambda: sum(seen.sent for seen in server.asked(f"/shards/{name}")) > 5000)
    process.kill()
    process.wait()
    (part,) = copies(folder)
    assert part.name == f".{name}.part"
    assert part.stat().st_size == SHARD_BYTES, "it counted against the bound with its final size"
    cache = ShardCache(folder, 3 * SHARD_BYTES)
    assert copies(folder) == [], "the leftover is gone"
    read_everything(url, folder, shards)
    check_whole(folder, shards)
    assert cache.used_bytes() == 3 * SHARD_BYTES


def test_a_lock_dies_with_its_process(start: Start, url: str, folder: Path, shards: ShardSet) -> None:
    process = start("hold")
    assert process.stdout
    assert [process.stdout.readline(), process.stdout.readline()] == ["ready\n", "held\n"]
    # Used least recently of all, and yet it stays.
    read_everything(url, folder, shards, room=2)
    assert shard_name(0) in [path.name for path in copies(folder)]
    process.kill()
    process.wait()
    store = HttpStore(url, QUICK)
    cache = ShardCache(folder, 2 * SHARD_BYTES)
    for number in (6, 7):
        with cache.lease(store, shard_name(number)) as copy:
            assert copy
    assert [path.name for path in copies(folder)] == [shard_name(6), shard_name(7)]


def test_processes_that_want_the_same_shard_bring_it_once(
    start: Start, server: FaultServer, folder: Path, shards: ShardSet
) -> None:
    for number in range(8):
        server.fail(f"/shards/{shard_name(number)}", *[slowly(10_000, 0.01)] * 2)
    processes = [start(1, room=8) for _ in range(2)]
    for process in processes:
        assert process.communicate(timeout=240)[0] == "ready\nread\n"
        assert process.returncode == 0
    for number in range(8):
        asked = [seen.headers["Range"] for seen in server.asked(f"/shards/{shard_name(number)}")]
        assert asked.count(f"bytes=0-{SHARD_BYTES - 1}") == 1
    assert len(copies(folder)) == 8
    check_whole(folder, shards)


@pytest.mark.slow
def test_eviction_under_concurrency_keeps_to_the_bound(
    start: Start, server: FaultServer, folder: Path, shards: ShardSet
) -> None:
    faults = [end_after(9000), status(500), reset_after(20_000)]
    for number in range(8):
        server.fail(f"/shards/{shard_name(number)}", *faults * 3)
    processes = [start(4, room=3, seed=seed) for seed in range(3)]
    cache, most = ShardCache(folder, 3 * SHARD_BYTES), 0
    while any(process.poll() is None for process in processes):
        # Nobody makes room meanwhile.
        with cache._locked():
            most = max(most, bytes_of(folder))
        time.sleep(0.005)
    most = max(most, bytes_of(folder))
    assert 2 * SHARD_BYTES <= most <= 3 * SHARD_BYTES
    assert [process.communicate()[0] for process in processes] == ["ready\nread\n"] * 3
    check_whole(folder, shards)
    assert len(copies(folder)) == 3
    assert not [path for path in copies(folder) if path.name.startswith(".")]


@pytest.mark.slow
def test_kills_at_any_moment_leave_nothing_wrong(
    start: Start, server: FaultServer, url: str, folder: Path, shards: ShardSet
) -> None:
    chance = random.Random(5)
    survivor = start(60, room=3, seed=99)
    for turn in range(10):
        process = start(1000, room=3, seed=turn)
        assert process.stdout
        process.stdout.readline()
        server.fail(f"/shards/{shard_name(turn % 8)}", slowly(500, 0.002), slowly(500, 0.002))
        time.sleep(chance.uniform(0, 0.3))
        process.kill()
        process.wait()
        check_existing(folder, shards)
        assert survivor.poll() is None or survivor.returncode == 0
    assert survivor.communicate(timeout=240)[0] == "ready\nread\n"
    cache = read_everything(url, folder, shards)
    check_whole(folder, shards)
    assert cache.used_bytes() == 3 * SHARD_BYTES


def check_existing(folder: Path, shards: ShardSet) -> None:
    """As `check_whole`, while another process evicts."""
    for path in copies(folder):
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            continue
        assert path.name.startswith(".") or data == shards.data(path.name)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 100 kB, which three shards do not fit on with much else."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=100k", "tmpfs", place], capture_output=True, check=False
    )
    if mount.returncode:
        pytest.skip("mounting a small file system needs root")
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)


def test_a_full_disk_evicts_and_then_streams(
    small_disk: Path, url: str, shards: ShardSet, caplog: pytest.LogCaptureFixture
) -> None:
    # The bound promises more than the disk holds.
    read_everything(url, small_disk / "cache", shards, room=8)
    assert 1 <= len(copies(small_disk / "cache")) <= 3
    assert not caplog.records, "eviction was enough"
    check_whole(small_disk / "cache", shards)
    for path in copies(small_disk / "cache"):
        path.unlink()
    (small_disk / "others").write_bytes(bytes(80_000))
    read_everything(url, small_disk / "cache", shards, room=8)
    assert [record.getMessage() for record in caplog.records] == [
        f"{small_disk / 'cache'}: No space left on device; shards are streamed, which is slower: free some space"
    ]
    assert copies(small_disk / "cache") == []
