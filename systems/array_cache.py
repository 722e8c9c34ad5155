"""Arrays on disk that take long to make again: by their keys, many to a file, shared by the processes of a training.

    cache = ArrayCache(scratch / "prompts", max_bytes=20 * 10**9)
    cache.use(generation)  # a hash of the weights that make them; what others made is swept
    cache.write({key: array})
    found = cache.read([key])

The folder is the state, and there is no ledger: `<generation>/<name>.safetensors` holds `values`, their `keys` and a CRC-32 of
each. A file appears whole, and is never changed; the oldest ones are deleted where the bound is passed. Whatever is missing or
damaged is simply not found, and is made again. Cascade-Zero123 keeps its prompts here, Zero-1-to-G its codes.
"""

import errno
import hashlib
import logging
import re
import shutil
import time
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
from jaxtyping import Shaped
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from stage.files import write_bytes

_log = logging.getLogger(__name__)

Array: TypeAlias = Shaped[np.ndarray, "*shape"]

KEY_BYTES = 16
_FILE_BYTES = 64 * 2**20
# Bytes of a file for each array beside its own: key, checksum, a share of the header.
_BESIDE = 512
_FULL_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# Only folders of such names are ever removed, should somebody name a folder that holds other things.
_GENERATION = re.compile("[0-9a-f]{64}")
# Longer than any file takes to be written.
_LEFTOVER_SECONDS = 3600.0


@dataclass(frozen=True)
class _Place:
    """Where an array lies."""

    file: str
    row: int


class ArrayCache:
    """The arrays of one generation at a time.

    Args:
        folder: where the generations lie; made when the first array is written.
        max_bytes: bound on the files of a generation.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self._root, self.max_bytes = folder, max_bytes
        self._generation = ""
        self._forget_all()
        self.full = False
        """Whether the disk was full: then nothing more is written."""

    @property
    def folder(self) -> Path:
        """That of the present generation."""
        return self._root / self._generation

    def use(self, generation: str) -> None:
        """Turn to the arrays of a generation, a hash of 64 letters, and sweep all others."""
        if generation == self._generation:
            return
        self._generation = generation
        self._forget_all()
        for other in self._root.iterdir() if self._root.is_dir() else ():
            if _GENERATION.fullmatch(other.name) and other.name != generation:
                shutil.rmtree(other, ignore_errors=True)
        for leftover in self.folder.glob(".*.tmp"):
            if time.time() - _modified(leftover) > _LEFTOVER_SECONDS:
                leftover.unlink(missing_ok=True)

    def missing(self, keys: Iterable[bytes]) -> list[bytes]:
        """Those keys, each once, of which no process has written an array."""
        wanted = dict.fromkeys(keys)
        if any(key not in self._places for key in wanted):
            self._look()
        return [key for key in wanted if key not in self._places]

    def read(self, keys: Collection[bytes]) -> dict[bytes, Array]:
        """The arrays that are there and whole."""
        absent = set(self.missing(keys))
        files: dict[str, dict[bytes, int]] = {}
        for key in set(keys) - absent:
            place = self._places[key]
            files.setdefault(place.file, {})[key] = place.row
        found: dict[bytes, Array] = {}
        for name, rows in files.items():
            found |= self._from_file(name, rows)
        return found

    def write(self, arrays: Mapping[bytes, Array]) -> None:
        """Keep arrays of one size, in as few files as may be. A full disk is told once, and then nothing is kept."""
        for keys in _portions(arrays, min(_FILE_BYTES, self.max_bytes)):
            if self.full:
                return
            data = _encoded({key: arrays[key] for key in keys})
            name = f"{hashlib.sha256(b''.join(keys)).hexdigest()[:32]}.safetensors"
            self._make_room(len(data))
            try:
                write_bytes(self.folder / name, data)
            except OSError as error:
                self._disk_is_full(error)
                return
            self._note(name, keys)

    def _from_file(self, name: str, rows: Mapping[bytes, int]) -> dict[bytes, Array]:
        path = self.folder / name
        try:
            with safe_open(path, framework="np") as file:
                arrays, sums = file.get_slice("values"), file.get_tensor("checksums")
                found = {key: arrays[row] for key, row in rows.items()}
            damaged = any(_checksum(found[key]) != sums[row] for key, row in rows.items())
        except FileNotFoundError:
            # Another process needed the room.
            self._forget(name)
            return {}
        except (SafetensorError, OSError, IndexError):
            damaged = True
        if not damaged:
            return found
        _log.warning("%s is damaged; it is made again", path)
        self._forget(name)
        path.unlink(missing_ok=True)
        return {}

    def _look(self) -> None:
        """Take note of files that other processes, or earlier ones, have written."""
        for path in self.folder.glob("*.safetensors"):
            if path.name not in self._files:
                try:
                    with safe_open(path, framework="np") as file:
                        keys = [row.tobytes() for row in file.get_tensor("keys")]
                except FileNotFoundError:
                    continue
                except (SafetensorError, OSError):
                    _log.warning("%s is damaged; it is made again", path)
                    path.unlink(missing_ok=True)
                    continue
                self._note(path.name, keys)

    def _make_room(self, size: int) -> None:
        """Delete the oldest files until `size` more bytes are within the bound."""
        files = []
        for path in self.folder.glob("*.safetensors"):
            try:
                state = path.stat()
            except FileNotFoundError:
                continue
            files.append((state.st_mtime_ns, path, state.st_size))
        excess = sum(size for _, _, size in files) + size - self.max_bytes
        for _, path, freed in sorted(files):
            if excess <= 0:
                return
            path.unlink(missing_ok=True)
            self._forget(path.name)
            excess -= freed

    def _disk_is_full(self, error: OSError) -> None:
        if error.errno not in _FULL_DISK:
            raise error
        self.full = True
        _log.warning("%s: %s; nothing is kept any more, which is slow: free some space", self.folder, error.strerror)

    def _note(self, name: str, keys: Iterable[bytes]) -> None:
        self._files[name] = list(keys)
        self._places |= {key: _Place(name, row) for row, key in enumerate(self._files[name])}

    def _forget(self, name: str) -> None:
        for key in self._files.pop(name, ()):
            if (place := self._places.get(key)) and place.file == name:
                del self._places[key]

    def _forget_all(self) -> None:
        self._places: dict[bytes, _Place] = {}
        self._files: dict[str, list[bytes]] = {}


def _portions(arrays: Mapping[bytes, Array], max_bytes: int) -> Iterator[list[bytes]]:
    """The keys of each file, in order; none where not even one array fits."""
    keys = sorted(arrays)
    if keys and (count := max_bytes // (arrays[keys[0]].nbytes + _BESIDE)):
        yield from (keys[first : first + count] for first in range(0, len(keys), count))


def _encoded(arrays: Mapping[bytes, Array]) -> bytes:
    stacked = np.stack(list(arrays.values()))
    return save(
        {
            "values": stacked,
            "keys": np.frombuffer(b"".join(arrays), dtype=np.uint8).reshape(-1, KEY_BYTES),
            "checksums": np.array([_checksum(array) for array in stacked], dtype=np.int64),
        }
    )


def _checksum(array: Array) -> int:
    return zlib.crc32(np.ascontiguousarray(array).data)


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return time.time()
