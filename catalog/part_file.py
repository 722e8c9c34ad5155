"""The part of a file that has arrived so far, kept beside its final name so that a later attempt continues it.

A part file `.NAME.part` belongs to whoever holds its lock. A lock was chosen over unique names because a part must be found
again by the next attempt, which is another process, and because the second of two processes that want the same file then waits
for the first and finds it done. The kernel drops the lock with the process, however that ends.

Beside it `.NAME.part.json` says which URL it came from and by what the server recognises that version.
"""

import fcntl
import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from stage.files import file_sha256, json_sha256, write_json

_POLL_SECONDS = 0.1


class PartFile:
    """A part file whose lock is held.

    Args:
        target: final name of the file.
        url: where it comes from; what another URL left is thrown away.
        stream: the part file, open and locked.
    """

    def __init__(self, target: Path, url: str, stream: IO[bytes]) -> None:
        self.target, self.path = target, part_path(target)
        self._stream = stream
        self._note = note_path(self.path)
        # Not the URL itself: it may carry a signature.
        self._origin = json_sha256(url)
        self.size = stream.seek(0, os.SEEK_END)
        self.version = self._noted_version()

    def _noted_version(self) -> str | None:
        """The version that the note speaks of; a part without a note for this URL is emptied."""
        try:
            note = json.loads(self._note.read_text())
            if note["origin"] == self._origin:
                return str(note["version"]) if note["version"] else None
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            pass
        self.clear()
        return None

    def resume_headers(self, *, checked: bool) -> dict[str, str]:
        """Headers that ask for the rest alone; empty when the whole must be asked for.

        Args:
            checked: whether a checksum will show that two versions were mixed, so that a server without versions may be asked.
        """
        if not self.size or not (self.version or checked):
            return {}
        return {"Range": f"bytes={self.size}-", **({"If-Range": self.version} if self.version else {})}

    def is_of(self, version: str | None) -> bool:
        """Whether the part belongs to the version that a server sends, as far as both say."""
        return not (version and self.version) or version == self.version

    def begin(self, version: str | None) -> None:
        """Empty the part and note the version that it is going to hold."""
        # In this order: a kill in between leaves an empty part, never bytes under another version's note.
        self.clear()
        write_json(self._note, {"origin": self._origin, "version": version})
        self.version = version

    def append(self, data: bytes) -> None:
        """Add bytes at the end."""
        self._stream.write(data)
        self.size += len(data)

    def sha256(self) -> str:
        """Hex SHA-256 of what has arrived."""
        self._stream.flush()
        return file_sha256(self.path)

    def clear(self) -> None:
        """Throw away what has arrived."""
        self._stream.seek(0)
        self._stream.truncate()
        self.size = 0

    def publish(self) -> None:
        """Give the file its final name; it is on the disk by then."""
        self._stream.flush()
        os.fsync(self._stream.fileno())
        self.path.replace(self.target)
        self._note.unlink(missing_ok=True)

    def remove_if_empty(self) -> None:
        """Leave nothing behind where nothing has arrived."""
        if not self.size and _is_at(self._stream, self.path):
            self._note.unlink(missing_ok=True)
            self.path.unlink()


def part_path(target: Path) -> Path:
    """Name of a target's part file: hidden, in the same folder."""
    return target.with_name(f".{target.name}.part")


def note_path(part: Path) -> Path:
    """Name of the note beside a part file, which says where its bytes are from."""
    return part.with_name(f"{part.name}.json")


@contextmanager
def claimed(target: Path, url: str, stop: threading.Event) -> Iterator[PartFile]:
    """Hold the part file of a target, waiting while another process or thread has it.

    Args:
        target: final name; its folder is made when absent.
        url: where the file comes from.
        stop: ends the waiting.

    Raises:
        InterruptedError: when `stop` was set while waiting.
        OSError: when the file or its lock cannot be had.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with _locked(part_path(target), stop) as stream:
        part = PartFile(target, url, stream)
        try:
            yield part
        finally:
            part.remove_if_empty()


@contextmanager
def _locked(path: Path, stop: threading.Event) -> Iterator[IO[bytes]]:
    while True:
        with path.open("a+b") as stream:
            _acquire(stream, stop)
            # The holder before may have renamed or removed the file that was waited for.
            if _is_at(stream, path):
                yield stream
                return


def _acquire(stream: IO[bytes], stop: threading.Event) -> None:
    while True:
        try:
            return fcntl.flock(stream.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if stop.wait(_POLL_SECONDS):
                raise InterruptedError(f"gave up waiting for {stream.name}") from None


def _is_at(stream: IO[bytes], path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(stream.fileno()), path.stat())
    except FileNotFoundError:
        return False
