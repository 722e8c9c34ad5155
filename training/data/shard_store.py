"""Where the bytes of a shard set are: a folder, or a server that is asked again when it fails.

A store gives pieces of files as they are there; whether they are what the index promises is checked by `training.data.samples`.
`training.data.streams.open_store` makes the right one for an address.
"""

import os
import tempfile
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from pydantic import Field
from tenacity import RetryCallState, Retrying, retry_if_exception

from catalog.rate_limit import Timing
from stage.errors import InputError, ViewforgeError
from stage.parameters import Parameters
from stage.secrets import shown
from training.data.index import INDEX, TOMBSTONES, IndexRow, IndexRows, read_index, read_rows, read_tombstones

Write = Callable[[bytes], object]
Extents = Sequence[tuple[int, int]]
"""Pieces of a file: the first byte and the number of bytes of each."""

_CHUNK = 1 << 20
# An attempt that brought this much has shown that the server works: the count of failures starts anew.
_PROGRESS_BYTES = 1 << 20
_NEVER = threading.Event()


class StreamParameters(Parameters):
    """How patiently a server is asked for shards."""

    attempts: int = Field(default=6, ge=1)
    """Attempts in a row without progress before a read fails."""
    first_wait_seconds: float = Field(default=0.5, ge=0)
    """Wait before the second attempt; it doubles with each further one."""
    max_wait_seconds: float = Field(default=60.0, gt=0)
    """Longest wait between two attempts, also where a server asks for a longer one."""
    connect_timeout_seconds: float = Field(default=15.0, gt=0)
    """Longest time to wait for an HTTP connection."""
    read_timeout_seconds: float = Field(default=60.0, gt=0)
    """Longest silence of an HTTP server in the middle of an answer."""


class StreamError(ViewforgeError):
    """A server does not give what it has: it is away, fails, or refuses.

    No `InputError`, which a loader takes for a damaged sample and puts another one in its place: a network that is down for a
    while must end the run, which then goes on where it was, and not change what it trains on.

    Args:
        message: what is wrong, with the address.
        remedy: what to do about it.
        passing: whether another attempt may succeed.
        asked_wait: seconds that the server asked to wait, when it did.
    """

    def __init__(
        self, message: str, remedy: str = "", *, passing: bool = False, asked_wait: float | None = None
    ) -> None:
        self.passing, self.asked_wait = passing, asked_wait
        super().__init__(message, remedy)


class ShardStore(ABC):
    """The files of one shard set. May be used by many threads, and by processes that were forked or got it pickled."""

    identity: str
    """What tells this set from others, without secrets."""
    remedy: str
    """What helps when the set's bytes are not what its index says."""
    skipped_bytes: int
    """So few bytes between two pieces are sooner read than skipped."""
    remote: bool
    """Whether its tars lie elsewhere than on a disk."""

    @abstractmethod
    def where(self, name: str) -> str:
        """A file's place, for messages: without secrets."""

    @abstractmethod
    def index(self) -> IndexRows:
        """The rows of the set's index.

        Raises:
            InputError: when it is missing or damaged.
            StreamError: when it cannot be reached.
        """

    def rows(self) -> IndexRows:
        """As `index`, whether the shards that it names are there or not."""
        return self.index()

    @abstractmethod
    def tombstones(self, rows: Iterable[IndexRow]) -> list[IndexRow]:
        """What is in the set's tars and no longer alive.

        Args:
            rows: those of its index.

        Raises:
            InputError: when the list is damaged.
            StreamError: when it cannot be reached.
        """

    def tars(self) -> set[str] | None:
        """The names of all tars that are there; None where that cannot be told."""
        return None

    @abstractmethod
    def size(self, name: str) -> int:
        """Bytes of a file.

        Raises:
            InputError: when it is missing.
            StreamError: when it cannot be reached.
        """

    @abstractmethod
    def copy(self, name: str, write: Write, start: int = 0, stop: int | None = None) -> None:
        """Hand the bytes start ≤ place < stop of a file to `write`, piece by piece and each once; less where the file ends.

        Raises:
            InputError: when the file is missing.
            StreamError: when it cannot be reached.
        """

    def read(self, name: str, offset: int, size: int) -> bytes:
        """`size` bytes of a file from `offset`; fewer where the file ends.

        Raises:
            InputError: when the file is missing.
            StreamError: when it cannot be reached.
        """
        data = bytearray()
        self.copy(name, data.extend, offset, offset + size)
        return bytes(data)

    def read_pieces(self, name: str, extents: Extents) -> list[bytes]:
        """Several pieces of a file; raises as reading one does."""
        return [self.read(name, offset, size) for offset, size in extents]


class LocalStore(ShardStore):
    """A folder.

    Args:
        folder: the shard set.
    """

    remedy = "restore it with dvc pull, or run viewforge shard --compact"
    skipped_bytes = 4096
    remote = False

    def __init__(self, folder: Path) -> None:
        self.folder, self.identity = folder, str(folder.absolute())

    def where(self, name: str) -> str:
        """Its path."""
        return str(self.folder / name)

    def index(self) -> IndexRows:
        """The rows of the set's index, whose shards are all there."""
        return read_index(self.folder)

    def rows(self) -> IndexRows:
        """The rows of the set's index."""
        return read_rows(self.folder)

    def tombstones(self, rows: Iterable[IndexRow]) -> list[IndexRow]:
        """What is in the set's tars and no longer alive."""
        return read_tombstones(self.folder, rows)

    def tars(self) -> set[str]:
        """The names of all tars that are there."""
        return {path.name for path in self.folder.glob("*.tar")}

    def size(self, name: str) -> int:
        """Bytes of a file."""
        try:
            return (self.folder / name).stat().st_size
        except FileNotFoundError:
            raise self._missing(name) from None

    def copy(self, name: str, write: Write, start: int = 0, stop: int | None = None) -> None:
        """Hand the bytes start ≤ place < stop of a file to `write`."""
        left = self.size(name) - start if stop is None else stop - start
        with (self.folder / name).open("rb") as stream:
            stream.seek(start)
            while left > 0 and (piece := stream.read(min(_CHUNK, left))):
                write(piece)
                left -= len(piece)

    def read(self, name: str, offset: int, size: int) -> bytes:
        """`size` bytes of a file from `offset`; fewer where the file ends."""
        return self.read_pieces(name, [(offset, size)])[0]

    def read_pieces(self, name: str, extents: Extents) -> list[bytes]:
        """Several pieces of a file that is opened once."""
        try:
            # Not by `open`: its objects cost as much as the reading of a small picture.
            file = os.open(f"{self.folder}/{name}", os.O_RDONLY | os.O_CLOEXEC)
            try:
                return [os.pread(file, size, offset) for offset, size in extents]
            finally:
                os.close(file)
        except FileNotFoundError:
            raise self._missing(name) from None
        except OSError as error:
            raise InputError(f"{self.where(name)} cannot be read: {error.strerror}", self.remedy) from None

    def _missing(self, name: str) -> InputError:
        return InputError(f"{self.folder} lacks the shard {name}", self.remedy)


@dataclass
class Progress:
    """How far a copy has come over all its attempts."""

    at: int
    """Place of the next byte."""
    stop: int | None
    """Place after the last byte; the file's end when None."""
    version: str | None = None
    """By what the server recognised the file at the first attempt."""
    failures: int = 0
    """Attempts in a row that brought little or nothing."""
    _failed_at: int = field(init=False)

    def __post_init__(self) -> None:
        self._failed_at = self.at

    @property
    def done(self) -> bool:
        """Whether nothing is left to ask for."""
        return self.stop is not None and self.at >= self.stop

    def fail(self) -> None:
        """Note that an attempt has failed."""
        self.failures = 1 if self.at - self._failed_at >= _PROGRESS_BYTES else self.failures + 1
        self._failed_at = self.at


class RemoteStore(ShardStore):
    """A server: what fails in a way that may pass is asked for again, from where the attempt before ended.

    Args:
        address: URL of the folder.
        parameters: how patiently.
        timing: sleep and chance of the waits; such a store cannot be pickled.
    """

    remedy = "the index is older than the shard, or the shard is damaged there: publish the set again"
    # A tenth of the time that a request takes to come back.
    skipped_bytes = 64 * 2**10
    remote = True

    def __init__(self, address: str, parameters: StreamParameters, timing: Timing | None = None) -> None:
        self.address, self.identity = address, shown(address).rstrip("/")
        self.parameters, self._timing = parameters, timing

    @abstractmethod
    def attempt(self, name: str, progress: Progress, write: Write) -> None:
        """Bring what is left of a file, moving `progress.at` with each piece that was written.

        Raises:
            InputError: when the file is missing.
            StreamError: when the server does not give it.
        """

    def index(self) -> IndexRows:
        """The rows of the set's index, asked for anew by every call: it is small, and a stale one would be believed."""
        with self._fetched(INDEX) as folder:
            return read_rows(folder)

    def tombstones(self, rows: Iterable[IndexRow]) -> list[IndexRow]:
        """What is in the set's tars and no longer alive."""
        try:
            self.size(TOMBSTONES)
        except InputError:
            return []
        with self._fetched(TOMBSTONES) as folder:
            return read_tombstones(folder, rows)

    @contextmanager
    def _fetched(self, name: str) -> Iterator[Path]:
        """A folder with one of the set's lists, in a block that reads it."""
        with tempfile.TemporaryDirectory() as folder:
            with (Path(folder) / name).open("wb") as stream:
                self.copy(name, stream.write)
            try:
                yield Path(folder)
            except InputError:
                raise InputError(f"{self.where(name)} is damaged", "publish the set again") from None

    def copy(self, name: str, write: Write, start: int = 0, stop: int | None = None) -> None:
        """Hand the bytes start ≤ place < stop of a file to `write`."""
        progress = Progress(start, stop)
        if not progress.done:
            self.persistently(partial(self.attempt, name, progress, write), progress)

    def persistently(self, attempt: Callable[[], None], progress: Progress) -> None:
        """Repeat an attempt while its failure may pass."""
        Retrying(
            retry=retry_if_exception(lambda error: isinstance(error, StreamError) and error.passing),
            stop=lambda _: progress.failures >= self.parameters.attempts,
            wait=partial(self._wait, progress),
            sleep=self._sleep,
            reraise=True,
        )(_counted, attempt, progress)

    def _sleep(self, seconds: float) -> None:
        (self._timing or Timing()).sleep(seconds, _NEVER)

    def _wait(self, progress: Progress, state: RetryCallState) -> float:
        """Doubling from failure to failure, of which a random half may be missing so that workers do not march in step."""
        error = state.outcome.exception() if state.outcome else None
        asked = error.asked_wait if isinstance(error, StreamError) else None
        wait = self.parameters.first_wait_seconds * 2.0 ** min(max(progress.failures, 1) - 1, 60)
        chosen = wait * (0.5 + 0.5 * (self._timing or Timing()).random()) if asked is None else asked
        return min(chosen, self.parameters.max_wait_seconds)


def _counted(attempt: Callable[[], None], progress: Progress) -> None:
    try:
        attempt()
    except StreamError:
        progress.fail()
        raise
