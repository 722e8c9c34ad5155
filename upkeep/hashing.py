"""Hashing many files: side by side, a piece at a time, in the order in which they are given.

Hashing leaves the interpreter free, so threads are enough; no more files are open than there are threads, and no list of files is
kept.
"""

import hashlib
import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from stage.progress import Progress

_AHEAD_PER_WORKER = 4


@dataclass(frozen=True)
class Hashed:
    """A file and its hash."""

    path: Path
    digest: str | None
    """Hexadecimal; None where the file cannot be read."""
    bytes: int
    error: str = ""
    """Why it cannot be read."""


def hash_files(paths: Iterable[Path], algorithm: str, subject: str, total: int) -> Iterator[Hashed]:
    """Read files from their start to their end.

    Args:
        paths: the files; taken no further than a few ahead.
        algorithm: as `hashlib` names it.
        subject: what they are, for progress.
        total: how many there are, for progress.
    """
    waiting, running = iter(paths), deque[Future[Hashed]]()
    workers = len(os.sched_getaffinity(0))
    with Progress(subject, total, "files") as progress, ThreadPoolExecutor(workers) as pool:
        while True:
            free = workers * _AHEAD_PER_WORKER - len(running)
            running += [pool.submit(_hashed, path, algorithm) for path in islice(waiting, free)]
            if not running:
                return
            yield running.popleft().result()
            progress.advance()


def _hashed(path: Path, algorithm: str) -> Hashed:
    try:
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, algorithm).hexdigest()
            return Hashed(path, digest, stream.tell())
    except OSError as error:
        return Hashed(path, None, 0, error.strerror or str(error))
