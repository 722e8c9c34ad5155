"""Packs: object folders gathered in a few deterministic tar files, which are what DVC versions.

A stage works on loose folders `<uid[:2]>/<uid>/` in scratch space and publishes them as packs. An object's pack follows from its
uid alone, so an added object changes one pack, and the others are left as they are. On a machine that has only the packs (after
`dvc pull`) `unpack_missing` brings the loose folders back.
"""

import fcntl
import hashlib
import io
import os
import shutil
import tarfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from stage.changes import Changes
from stage.errors import InputError
from stage.files import remove_leftovers, replacing
from stage.foreign_files import members, write_member

# The files of an object that say what it was made of.
_RECORDS = {"record.json", "description.json"}


def object_folder(root: Path, uid: str) -> Path:
    """Where an object's files lie below `root`: `<uid[:2]>/<uid>`."""
    return root.joinpath(uid[:2], uid)


def pack_of(uid: str, count: int) -> int:
    """Number of the pack that an object belongs to, from its uid alone."""
    return int.from_bytes(hashlib.sha256(uid.encode()).digest()[:4], "big") % count


def write_packs(
    root: Path, uids: Iterable[str], target: Path, count: int, without: str = "", changes: Changes | None = None
) -> list[Path]:
    """Write the folders of the given objects as `pack-00000.tar` … in `target`; the same files give the same bytes.

    A pack that is there and holds just these objects as they are is left alone: its members have the names and sizes of the
    loose files, and the objects' records, which hold the fingerprints of what they were made of, are the same. Packs from before
    that none of the objects belongs to are removed, and what killed writers left; one process at a time writes into a folder.

    Args:
        root: folder of loose object folders.
        uids: objects to pack.
        target: folder that receives the packs.
        count: number of packs; empty ones are not written.
        without: name of a folder within an object's that stays out.
        changes: is told how many packs there are, and how many of them were written.
    """
    remove_leftovers(target)
    groups: dict[int, list[str]] = {}
    for uid in sorted(uids):
        groups.setdefault(pack_of(uid, count), []).append(uid)
    packs, written = [], 0
    for number, group in sorted(groups.items()):
        path = target / f"pack-{number:05d}.tar"
        if not _holds(path, root, group, without):
            with replacing(path) as temporary:
                write_tar(temporary, root, group, without)
            written += 1
        packs.append(path)
    for path in set(target.glob("pack-*.tar")) - set(packs):
        path.unlink()
    if changes:
        changes.files, changes.written = len(packs), written
    return packs


def _holds(path: Path, root: Path, uids: Iterable[str], without: str) -> bool:
    """Whether a pack is what `write_tar` would write, by names, sizes and records; all else in a header is the same in each."""
    expected = (
        (file, file.relative_to(root).as_posix()) for uid in uids for file in _files(object_folder(root, uid), without)
    )
    try:
        with tarfile.open(path, "r:") as archive:
            members = iter(archive)
            for file, name in expected:
                member = next(members, None)
                if member is None or (member.name, member.size) != (name, file.stat().st_size):
                    return False
                if file.name in _RECORDS and _content(archive, member) != file.read_bytes():
                    return False
            return next(members, None) is None
    except (OSError, tarfile.TarError):
        return False


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    stream = archive.extractfile(member)
    return stream.read() if stream else b""


def write_tar(path: Path, root: Path, uids: Iterable[str], without: str = "") -> None:
    """Write the folders of the given objects, in this order, as one tar; the same files give the same bytes.

    Args:
        path: the tar; it is not written atomically.
        root: folder of loose object folders, where the names in the tar start.
        uids: the objects.
        without: name of a folder within an object's that stays out.
    """
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as archive:
        for uid in uids:
            _add_folder(archive, root, object_folder(root, uid), without)


def _files(folder: Path, without: str) -> Iterator[Path]:
    """The files of an object in the order of its pack."""
    yield from sorted(p for p in folder.rglob("*") if p.is_file() and p.relative_to(folder).parts[0] != without)


def _add_folder(archive: tarfile.TarFile, root: Path, folder: Path, without: str) -> None:
    for path in _files(folder, without):
        data = path.read_bytes()
        entry = tarfile.TarInfo(path.relative_to(root).as_posix())
        entry.size, entry.mode = len(data), 0o644
        archive.addfile(entry, io.BytesIO(data))


def unpack_missing(packs: Path, root: Path, uids: Iterable[str]) -> None:
    """Bring the loose folders of the given objects back from the packs where they are absent; one process at a time does so.

    Raises:
        InputError: when a pack is damaged or an object is in none.
    """
    missing = _unpack_all(packs, root, uids)
    if missing:
        raise InputError(
            f"{packs} lacks {len(missing)} objects, {min(missing)} among them", "run the stage before again"
        )


def unpack_kept(packs: Path, root: Path, uids: Iterable[str]) -> None:
    """Bring back what the packs of a former run have of the given objects; the rest stays absent and is the stage's to make."""
    # What cannot be read is made anew.
    with suppress(InputError):
        _unpack_all(packs, root, uids)


def _unpack_all(packs: Path, root: Path, uids: Iterable[str]) -> set[str]:
    """Unpack what is absent; what then still is."""
    missing = _missing(root, uids)
    if not missing or not packs.is_dir():
        return missing
    root.mkdir(parents=True, exist_ok=True)
    with (root / ".unpacking").open("w") as lock:
        # Shares of a stage start at the same moment and lack the same objects.
        fcntl.flock(lock, fcntl.LOCK_EX)
        missing = _missing(root, missing)
        for path in sorted(packs.glob("pack-*.tar")):
            if missing:
                missing -= _unpack(path, root, missing)
    return missing


def _missing(root: Path, uids: Iterable[str]) -> set[str]:
    return {uid for uid in uids if not object_folder(root, uid).is_dir()}


def _unpack(path: Path, root: Path, uids: set[str]) -> set[str]:
    """Unpack the wanted objects of one pack; each folder appears whole or not at all."""
    found: set[str] = set()
    staging = root / f".{path.name}.tmp"
    shutil.rmtree(staging, ignore_errors=True)
    try:
        # Without the colon it would also try every compression, and name each in several lines.
        with tarfile.open(path, "r:") as archive:
            wanted = [m for m in members(archive, files_alone=True) if m.name.split("/")[1] in uids]
            for member in wanted:
                write_member(archive, member, staging)
    except (tarfile.TarError, IndexError, OSError) as error:
        shutil.rmtree(staging, ignore_errors=True)
        raise InputError(f"{path} is damaged: {error}", "restore it with dvc pull, or run its stage again") from None
    # A folder under its name is taken for whole, after a power cut too.
    os.sync()
    for folder in sorted(staging.glob("*/*")):
        final = object_folder(root, folder.name)
        final.parent.mkdir(parents=True, exist_ok=True)
        folder.rename(final)
        found.add(folder.name)
    shutil.rmtree(staging, ignore_errors=True)
    return found
