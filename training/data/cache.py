"""Whole shards on the local disk, bounded by bytes, shared by all processes of a machine.

    cache = ShardCache(Path("/scratch/shards"), max_bytes=200 * 10**9)
    with cache.lease(store, "train-000000.tar") as copy:
        data = copy.read(offset, size) if copy else store.read("train-000000.tar", offset, size)

There is no ledger that a kill could leave wrong; the folder is the state:
- `<set>/<shard>` is a whole copy. Readers hold a shared lock on it, its time of change is its last use, and whoever needs room
  removes the copy least recently used whose lock can be had.
- `<set>/.<shard>.part` is a copy in the making, of its final size from the start so that it counts against the bound, and
  locked by its maker. A part that is not locked is a leftover, which the next one who needs room removes.
- `.lock` is held while room is made.

Locks are flock's: they end with their process, however it ends. The folder belongs on a local disk.
"""

import errno
import fcntl
import hashlib
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from stage.errors import InputError
from training.data.shard_store import ShardStore

_log = logging.getLogger(__name__)

_FULL_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_POLL_SECONDS = 0.02
# After a full disk shards are streamed for so long before room is looked for again.
_PAUSE_SECONDS = 30.0
# Longer than another process takes for a shard; one that was stopped in the middle of it must not hold up all others.
_PATIENCE_SECONDS = 600.0
_ATTEMPTS = 2
# Only in folders of such names anything is ever removed, should somebody name a folder that holds other things.
_SET_LETTERS = 16
_SET = "[0-9a-f]" * _SET_LETTERS


class CachedShard:
    """A copy that is not evicted while it is held.

    Args:
        path: where it lies.
        stream: the file, open and locked.
    """

    def __init__(self, path: Path, stream: IO[bytes]) -> None:
        self._path, self._stream = path, stream

    def read(self, offset: int, size: int) -> bytes:
        """`size` bytes from `offset`; fewer where the file ends."""
        return os.pread(self._stream.fileno(), size, offset)

    def discard(self) -> None:
        """Have the next lease bring the shard anew; whoever reads this copy goes on reading it."""
        if _is_at(self._stream, self._path):
            self._path.unlink(missing_ok=True)


@dataclass(frozen=True)
class _Entry:
    path: Path
    size: int
    used: int
    """Time of the last use in nanoseconds since 1970."""


class ShardCache:
    """Copies of shards of any number of sets. May be used by many threads and processes, and be forked and pickled.

    Args:
        folder: where the copies lie; made when absent.
        max_bytes: bound on the copies, those in the making included.

    Raises:
        InputError: when the folder cannot be used.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self.folder, self.max_bytes = folder, max_bytes
        self._too_large: set[Path] = set()
        self._paused_until = 0.0
        self._warned = False
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with self._locked():
                self._make_room(0)
        except OSError as error:
            raise self._unusable(error) from None

    @contextmanager
    def lease(self, store: ShardStore, name: str, *, sha256: str | None = None) -> Iterator[CachedShard | None]:
        """A shard's copy, brought when there is none; None when it must be streamed, for want of room.

        Another process that brings the same shard is waited for, ten minutes at most.

        Args:
            store: where the shard is.
            name: its file name.
            sha256: hash of the whole shard, hexadecimal, where it is known.

        Raises:
            InputError: when the shard is missing or not of this hash, or the cache's folder cannot be used.
            StreamError: when it cannot be reached.
        """
        path = self._path(store, name)
        stream = self._open(path) or self._bring(store, name, path, sha256)
        if stream is None:
            yield None
            return
        try:
            yield CachedShard(path, stream)
        finally:
            _release(stream)

    def touch(self, store: ShardStore, name: str) -> bool:
        """Mark a shard's copy as used just now; whether there is one.

        Raises:
            InputError: when the cache's folder cannot be used.
        """
        try:
            stream = self._open(self._path(store, name))
        except OSError as error:
            raise self._unusable(error) from None
        if stream:
            _release(stream)
        return stream is not None

    def used_bytes(self) -> int:
        """Bytes of all copies, those in the making included."""
        return sum(entry.size for entry in self._entries())

    def _path(self, store: ShardStore, name: str) -> Path:
        # An index comes from elsewhere: its names must not lead out of the folder.
        if not name or name.startswith(".") or Path(name).name != name:
            raise InputError(
                f"{store.where('index.parquet')} names a shard {name!r}, which is no file name", store.remedy
            )
        return self.folder / hashlib.sha256(store.identity.encode()).hexdigest()[:_SET_LETTERS] / name

    def _open(self, path: Path) -> IO[bytes] | None:
        """The copy at a path, locked and marked as used; None when there is none."""
        while True:
            try:
                stream = path.open("rb", buffering=0)
            except FileNotFoundError:
                return None
            fcntl.flock(stream, fcntl.LOCK_SH)
            # It may have been removed before the lock was had.
            if _is_at(stream, path):
                os.utime(stream.fileno())
                return stream
            _release(stream)

    def _bring(self, store: ShardStore, name: str, path: Path, sha256: str | None) -> IO[bytes] | None:
        if path in self._too_large or time.monotonic() < self._paused_until:
            return None
        try:
            path.parent.mkdir(exist_ok=True)
            stream, part = self._claim(path)
            if not stream or not part:
                return stream
            try:
                if self._fill(store, name, path, stream, sha256):
                    # Whoever counts bytes would find a copy under neither name while it changes its own.
                    with self._locked():
                        part.rename(path)
                    fcntl.flock(stream, fcntl.LOCK_SH)
                    return stream
            except BaseException:
                _drop(stream, part)
                raise
            _drop(stream, part)
        except OSError as error:
            if error.errno not in _FULL_DISK:
                raise self._unusable(error) from None
            self._pause(error)
        return None

    def _claim(self, path: Path) -> tuple[IO[bytes] | None, Path | None]:
        """The part file of a shard, held by this thread alone; or the copy that another one has finished meanwhile.

        Neither when another one has held the part for too long.
        """
        part, deadline = path.with_name(f".{path.name}.part"), time.monotonic() + _PATIENCE_SECONDS
        while time.monotonic() < deadline:
            if finished := self._open(path):
                return finished, None
            stream = os.fdopen(os.open(part, os.O_RDWR | os.O_CREAT, 0o644), "r+b", buffering=0)
            if not _lock_alone(stream):
                stream.close()
                time.sleep(_POLL_SECONDS)
            elif not _is_at(stream, part):
                # It was finished, or removed as a leftover, between its opening and its locking.
                _release(stream)
            elif path.exists():
                _drop(stream, part)
            else:
                return stream, part
        return None, None

    def _fill(self, store: ShardStore, name: str, path: Path, stream: IO[bytes], sha256: str | None) -> bool:
        """Bring the shard into its part file; False when there is no room for it."""
        size = store.size(name)
        if size > self.max_bytes:
            self._too_large.add(path)
            return False
        if not self._reserve(stream, size):
            return False
        for _ in range(_ATTEMPTS):
            digest = hashlib.sha256() if sha256 else None
            stream.seek(0)

            def write(piece: bytes, digest: "hashlib._Hash | None" = digest) -> None:
                _write_all(stream, piece)
                if digest:
                    digest.update(piece)

            store.copy(name, write, 0, size)
            if stream.tell() == size and (digest is None or digest.hexdigest() == sha256):
                return True
        raise InputError(f"{store.where(name)} is not the shard that was published", store.remedy)

    def _reserve(self, stream: IO[bytes], size: int) -> bool:
        """Give a part file its final size, evicting others; False when those that may go are not enough.

        Raises:
            OSError: when the disk is full nevertheless.
        """
        os.ftruncate(stream.fileno(), 0)
        with self._locked():
            if not self._make_room(size):
                return False
            while not _allocated(stream, size):
                if not self._evict(size):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return True

    def _make_room(self, size: int) -> bool:
        """Remove leftovers, and evict until `size` more bytes are within the bound; False when that cannot be."""
        for part in self.folder.glob(f"{_SET}/.*.part"):
            _remove_unlocked(part)
        excess = self.used_bytes() + size - self.max_bytes
        return excess <= 0 or self._evict(excess) >= excess

    def _evict(self, size: int) -> int:
        """Remove copies that nobody reads, least recently used first, until `size` bytes are free; how many became free."""
        freed = 0
        for entry in sorted(self._entries(), key=lambda entry: entry.used):
            if freed >= size:
                break
            if _remove_unlocked(entry.path):
                freed += entry.size
        return freed

    def _entries(self) -> list[_Entry]:
        entries = []
        for path in self.folder.glob(f"{_SET}/*"):
            try:
                state = path.stat()
            except FileNotFoundError:
                continue
            entries.append(_Entry(path, state.st_size, state.st_mtime_ns))
        return entries

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with (self.folder / ".lock").open("a") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.flock(stream, fcntl.LOCK_UN)

    def _pause(self, error: OSError) -> None:
        self._paused_until = time.monotonic() + _PAUSE_SECONDS
        if not self._warned:
            self._warned = True
            _log.warning("%s: %s; shards are streamed, which is slower: free some space", self.folder, error.strerror)

    def _unusable(self, error: OSError) -> InputError:
        return InputError(
            f"{self.folder} cannot hold shards: {error.strerror or error}", "name another folder for the cache"
        )


def _allocated(stream: IO[bytes], size: int) -> bool:
    """Give a file its size, on the disk where the file system can do that; False when the disk is full."""
    try:
        os.posix_fallocate(stream.fileno(), 0, max(size, 1))
    except OSError as error:
        if error.errno in _FULL_DISK:
            os.ftruncate(stream.fileno(), 0)
            return False
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
            raise
    os.ftruncate(stream.fileno(), size)
    return True


def _write_all(stream: IO[bytes], piece: bytes) -> None:
    """A raw file may take a part of what it is given."""
    left = memoryview(piece)
    while left:
        left = left[stream.write(left) :]


def _lock_alone(stream: IO[bytes]) -> bool:
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _release(stream: IO[bytes]) -> None:
    # Closing alone would leave the lock to a process that was forked meanwhile.
    fcntl.flock(stream, fcntl.LOCK_UN)
    stream.close()


def _drop(stream: IO[bytes], part: Path) -> None:
    part.unlink(missing_ok=True)
    _release(stream)


def _remove_unlocked(path: Path) -> bool:
    """Delete a file that nobody holds a lock on; whether it was."""
    try:
        stream = path.open("rb", buffering=0)
    except FileNotFoundError:
        return False
    try:
        if not _lock_alone(stream) or not _is_at(stream, path):
            return False
        path.unlink(missing_ok=True)
        return True
    finally:
        _release(stream)


def _is_at(stream: IO[bytes], path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(stream.fileno()), path.stat())
    except FileNotFoundError:
        return False
