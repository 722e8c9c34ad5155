"""Arrays on disk: what is written is found, by other processes too; what is damaged, gone or too much is not."""

import errno
import logging
import multiprocessing
import os
import time
from pathlib import Path

import numpy as np
import pytest

from systems import array_cache
from systems.array_cache import KEY_BYTES, Array, ArrayCache

GENERATION, OTHER = "a" * 64, "b" * 64
SIDE = 8
BOUND = 10**6


def key(number: int) -> bytes:
    return number.to_bytes(KEY_BYTES, "big")


def pictures(*numbers: int, side: int = SIDE) -> dict[bytes, Array]:
    """Pictures that follow from their numbers."""
    return {key(n): np.random.default_rng(n).integers(0, 256, (3, side, side), dtype=np.uint8) for n in numbers}


def opened(folder: Path, max_bytes: int = BOUND, generation: str = GENERATION) -> ArrayCache:
    cache = ArrayCache(folder, max_bytes)
    cache.use(generation)
    return cache


def same(found: dict[bytes, Array], wanted: dict[bytes, Array]) -> bool:
    return found.keys() == wanted.keys() and all(np.array_equal(found[k], wanted[k]) for k in wanted)


def files(folder: Path, generation: str = GENERATION) -> list[Path]:
    return sorted((folder / generation).glob("*"), key=lambda path: path.stat().st_mtime_ns)


def test_what_is_written_is_found_by_whoever_comes(tmp_path: Path) -> None:
    cache, wanted = opened(tmp_path), pictures(1, 2, 3)
    early = opened(tmp_path)
    assert early.missing(wanted) == list(wanted)
    cache.write(wanted)
    for reader in (cache, early, opened(tmp_path)):
        assert same(reader.read([key(2), key(3), key(9)]), pictures(2, 3))
        assert reader.missing([key(1), key(9), key(9)]) == [key(9)]


def test_many_pictures_are_few_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = opened(tmp_path)
    cache.write(pictures(*range(200)))
    assert len(files(tmp_path)) == 1
    monkeypatch.setattr(array_cache, "_FILE_BYTES", 100 * (3 * SIDE**2 + 512))
    cache.write(pictures(*range(200, 400)))
    assert len(files(tmp_path)) == 3
    assert same(cache.read([key(n) for n in range(400)]), pictures(*range(400)))


def test_other_generations_are_swept_and_nothing_else(tmp_path: Path) -> None:
    opened(tmp_path).write(pictures(1))
    (tmp_path / "notes").mkdir()
    cache = opened(tmp_path, generation=OTHER)
    assert {path.name for path in tmp_path.iterdir()} == {"notes"}
    assert cache.read([key(1)]) == {}
    cache.write(pictures(1))
    cache.use(GENERATION)
    assert cache.read([key(1)]) == {}
    assert {path.name for path in tmp_path.iterdir()} == {"notes"}


def test_the_oldest_files_give_way(tmp_path: Path) -> None:
    picture = 3 * SIDE**2
    cache = opened(tmp_path, max_bytes=4 * (picture + 512))
    for number in range(8):
        cache.write(pictures(number))
        assert sum(path.stat().st_size for path in files(tmp_path)) <= cache.max_bytes
    kept = [number for number in range(8) if cache.read([key(number)])]
    assert len(kept) >= 3
    assert kept == list(range(8 - len(kept), 8))
    assert opened(tmp_path).missing(pictures(*range(8))) == [key(number) for number in range(8 - len(kept))]


def test_a_bound_below_one_picture_keeps_nothing(tmp_path: Path) -> None:
    cache = opened(tmp_path, max_bytes=100)
    cache.write(pictures(1))
    assert cache.read([key(1)]) == {}
    assert not files(tmp_path)


def test_what_another_process_deleted_is_missing(tmp_path: Path) -> None:
    cache = opened(tmp_path)
    cache.write(pictures(1, 2))
    files(tmp_path)[0].unlink()
    assert cache.read([key(1)]) == {}
    assert cache.missing([key(1), key(2)]) == [key(1), key(2)]


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("damage", ["cut", "empty", "flipped", "noise"])
def test_a_damaged_file_is_told_and_sampled_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: str, known: bool
) -> None:
    writer = opened(tmp_path)
    writer.write(pictures(1))
    writer.write(pictures(2))
    first = files(tmp_path)[0]
    data = first.read_bytes()
    # The tensors lie behind the header, the largest elements' first: checksums, then bytes; the last bytes are a value's.
    changed = {"cut": data[:-40], "empty": b"", "flipped": data[:-1] + bytes([data[-1] ^ 1]), "noise": b"\xff" * 300}
    first.write_bytes(changed[damage])
    cache = writer if known else opened(tmp_path)
    with caplog.at_level(logging.WARNING):
        assert same(cache.read([key(1), key(2)]), pictures(2))
    assert f"{first} is damaged; it is made again" in caplog.text
    assert not first.exists()
    cache.write(pictures(1))
    assert same(cache.read([key(1), key(2)]), pictures(1, 2))


def test_a_full_disk_is_told_once_and_ends_the_writing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = opened(tmp_path)
    cache.write(pictures(1))

    def fails(path: Path, data: bytes) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(array_cache, "write_bytes", fails)
    with caplog.at_level(logging.WARNING):
        cache.write(pictures(2))
        cache.write(pictures(3))
    assert cache.full
    assert len(caplog.records) == 1
    assert "No space left on device; nothing is kept any more, which is slow: free some space" in caplog.text
    assert same(cache.read([key(1), key(2)]), pictures(1))


def test_only_old_leftovers_are_removed(tmp_path: Path) -> None:
    folder = tmp_path / GENERATION
    folder.mkdir()
    old, new = folder / ".x.safetensors.host-1.tmp", folder / ".y.safetensors.host-2.tmp"
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (time.time() - 7200,) * 2)
    opened(tmp_path)
    assert files(tmp_path) == [new]


def _writer(folder: Path, first: int) -> None:
    cache = opened(folder)
    for start in range(first, first + 40, 4):
        cache.write(pictures(*range(start, start + 4)))
        assert same(cache.read([key(start)]), pictures(start))


def test_processes_share_a_folder(tmp_path: Path) -> None:
    """The halves overlap: both write some views, and neither waits for the other."""
    context = multiprocessing.get_context("forkserver")
    writers = [context.Process(target=_writer, args=(tmp_path, first)) for first in (0, 20)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
        assert writer.exitcode == 0
    assert same(opened(tmp_path).read([key(n) for n in range(60)]), pictures(*range(60)))
    assert not list((tmp_path / GENERATION).glob(".*"))
