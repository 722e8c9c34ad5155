"""DVC's cache, hashed again: an object's name is the MD5 sum of its bytes. DVC itself trusts an object once it is there."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from upkeep.aside import put_aside
from upkeep.findings import Checked, Finding
from upkeep.hashing import hash_files

_NAME = re.compile(r"[0-9a-f]{30}(\.dir)?")
_COMES_BACK = "dvc pull brings it back, or viewforge run makes it again"


@dataclass
class CacheContents:
    """What the cache was found to hold."""

    folder: Path
    sound: set[str] = field(default_factory=set)
    """Names of the whole objects, `.dir` included."""
    damaged: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Device and inode of damaged objects by name: outputs that are links to one have the same bytes."""
    digests: dict[tuple[int, int], str] = field(default_factory=dict)
    """MD5 by device and inode, of objects with other links, so that those are not read again."""

    def object_path(self, md5: str) -> Path:
        """Where an object lies."""
        return self.folder / md5[:2] / md5[2:]


def aside_folder(cache: Path) -> Path:
    """Where what is damaged is put: in the cache's folder, beside `files/md5`, where DVC does not look."""
    return cache.parent.parent / "damaged"


def check_cache(folder: Path, repair: bool = False) -> tuple[CacheContents, Checked]:
    """Every object of the cache, of former versions of the data too.

    Args:
        folder: `files/md5` of the cache.
        repair: whether damaged objects are put aside, so that DVC fetches or makes them again.
    """
    contents, found, size = CacheContents(folder), list[Finding](), 0
    total = sum(1 for _ in _objects(folder))
    for file in hash_files(_objects(folder), "md5", "cache", total):
        size += file.bytes
        name = file.path.parent.name + file.path.name
        try:
            status = file.path.stat()
        except FileNotFoundError:
            # Somebody cleaned up meanwhile.
            continue
        identity = (status.st_dev, status.st_ino)
        if file.digest == name.removesuffix(".dir"):
            contents.sound.add(name)
        else:
            contents.damaged[name] = identity
            found.append(_finding(file.path, file.digest, aside_folder(folder) if repair else None))
        if file.digest and status.st_nlink > 1:
            contents.digests[identity] = file.digest
    return contents, Checked(tuple(found), total, size)


def identity_of(path: Path) -> tuple[int, int]:
    """Device and inode of a file."""
    status = path.stat()
    return status.st_dev, status.st_ino


def _objects(folder: Path) -> Iterator[Path]:
    if not folder.is_dir():
        return
    for part in sorted(folder.iterdir()):
        if part.is_dir():
            with os.scandir(part) as entries:
                yield from sorted(Path(entry.path) for entry in entries if _NAME.fullmatch(entry.name))


def _finding(path: Path, digest: str | None, aside: Path | None) -> Finding:
    problem = f"its bytes have the hash {digest[:12]}…, not that of its name" if digest else "cannot be read"
    if aside is None:
        remedy = f"viewforge verify --repair puts it aside, and {_COMES_BACK}"
    else:
        name = f"{path.parent.name}{path.name}"
        remedy = f"put aside at {put_aside(path, aside / name)}; {_COMES_BACK}"
    return Finding("cache", str(path), problem, remedy)
