"""Where finished shards go: a folder, or whatever else fsspec can write to.

A target gives a file its name when it is whole and not before, and lets one process at a time write. It knows nothing of indexes:
in which order files come and go is decided by `training.data.writer`.
"""

import os
import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from stage.files import remove_leftovers, replacing
from stage.lifeline import exclusive_folder
from training.data.shard_store import StreamParameters


@dataclass(frozen=True)
class Stored:
    """A file of a target."""

    size: int
    version: str
    """What changes with its content, as far as the place tells: a hash, or else the time of its change."""


class ShardTarget(ABC):
    """A place for the files of one shard set. May be used by many threads."""

    place: str
    """Its path or URL, without secrets."""

    @abstractmethod
    def held(self, scratch: Path) -> AbstractContextManager[None]:
        """Hold the place, as one process at a time may, and clear away what killed ones left half-written.

        Args:
            scratch: folder of this workspace that outlives a killed process, by which its next one is known.

        Raises:
            ViewforgeError: when another process holds it.
            StreamError: when it cannot be reached.
        """

    @abstractmethod
    def files(self) -> dict[str, Stored]:
        """The files that are there, by name."""

    @abstractmethod
    def put(self, path: Path, name: str) -> Stored:
        """Bring a local file there, in place of one of that name."""

    @abstractmethod
    def move(self, name: str, final: str) -> Stored:
        """Give a file another name, in place of one that has it."""

    @abstractmethod
    def remove(self, name: str) -> None:
        """Delete a file, if it is there."""

    @abstractmethod
    def fetch(self, name: str, path: Path) -> None:
        """Bring a file from there to a local path."""


class FolderTarget(ShardTarget):
    """A folder.

    Args:
        folder: it is made when absent.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.place = folder, str(folder)

    @contextmanager
    def held(self, scratch: Path) -> Iterator[None]:  # noqa: ARG002 - a lock of the file system needs none
        """Hold the folder's lock."""
        with exclusive_folder(self.folder):
            remove_leftovers(self.folder)
            yield

    def files(self) -> dict[str, Stored]:
        """The files that are there."""
        return {path.name: _stored(path) for path in self.folder.iterdir() if path.is_file()}

    def put(self, path: Path, name: str) -> Stored:
        """Bring a file there: as a link where the file system allows, otherwise as a copy."""
        with replacing(self.folder / name) as temporary:
            try:
                os.link(path, temporary)
            except OSError:
                shutil.copyfile(path, temporary)
        return _stored(self.folder / name)

    def move(self, name: str, final: str) -> Stored:
        """Rename a file."""
        (self.folder / name).replace(self.folder / final)
        return _stored(self.folder / final)

    def remove(self, name: str) -> None:
        """Delete a file."""
        (self.folder / name).unlink(missing_ok=True)

    def fetch(self, name: str, path: Path) -> None:
        """Copy a file."""
        shutil.copyfile(self.folder / name, path)


def open_target(root: str, below: Path, streams: StreamParameters) -> ShardTarget:
    """The target of a URL or path.

    Args:
        root: URL, or a path, which counts from `below`.
        below: folder.
        streams: how patiently a server is asked.
    """
    if "://" not in root:
        return FolderTarget(below.absolute() / root)
    parts = urlsplit(root)
    if parts.scheme in ("file", "local"):
        return FolderTarget(Path(unquote(parts.path)))
    from training.data.fsspec_target import FsspecTarget

    return FsspecTarget(root, streams)


def _stored(path: Path) -> Stored:
    state = path.stat()
    return Stored(state.st_size, str(state.st_mtime_ns))
