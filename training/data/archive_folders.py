"""Reading a tar as it streams by, one folder's files after the other: published sets are too large to unpack or to seek in."""

import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from stage.errors import InputError
from stage.foreign_files import BoundedHeader

# Larger than any published picture; a member that claims more would only fill the memory.
MAX_FILE_BYTES = 256 * 2**20
# A folder is held in memory, all its pictures.
MAX_FOLDER_BYTES = 4 * 2**30
_REMEDY = "download it again"
_MAGIC_OFFSET, _MAGIC = 257, b"ustar"


def folders_in_archive(archive: Path) -> Iterator[tuple[str, dict[str, bytes]]]:
    """The folders of a tar, compressed or not, in its order: the folder's path, and its files by name.

    Files of a folder are expected side by side, as every program writes them; a folder that is come back to appears again.
    Links and what lies in no folder are passed over.

    Raises:
        InputError: when the tar is missing, damaged, truncated or holds an oversized file or folder, naming the last file
            that was whole.
    """
    current, files, size = "", dict[str, bytes](), 0
    for folder, name, data in _members(archive):
        if folder != current:
            if files:
                yield current, files
            current, files, size = folder, {}, 0
        files[name] = data
        size += len(data)
        if size > MAX_FOLDER_BYTES:
            raise InputError(
                f"{archive} holds a folder {folder[:80]} of {size:,} bytes", "this is not the published set"
            )
    if files:
        yield current, files


def _members(archive: Path) -> Iterator[tuple[str, str, bytes]]:
    """Folder, name and content of each file in a folder."""
    last = "its first file"
    try:
        check_end(archive)
        with tarfile.open(archive, "r|*", tarinfo=BoundedHeader) as stream:
            for member in stream:
                path = PurePosixPath(member.name)
                if not member.isfile() or path.parent.name == "":
                    continue
                last = member.name
                if member.size > MAX_FILE_BYTES:
                    raise InputError(
                        f"{archive} holds {last} of {member.size:,} bytes", "this is not the published set"
                    )
                content = stream.extractfile(member)
                if content:
                    yield str(path.parent), path.name, content.read()
    except FileNotFoundError:
        raise InputError(f"no archive {archive}", "name an existing file") from None
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise InputError(f"{archive} is damaged at {last}: {error}", _REMEDY) from None


def check_end(archive: Path) -> None:
    """Refuse an uncompressed tar without the two empty blocks at its end: cut between two members it would read as whole.

    Raises:
        InputError: when it is truncated.
    """
    end = 2 * tarfile.BLOCKSIZE
    with archive.open("rb") as stream:
        head = stream.read(_MAGIC_OFFSET + len(_MAGIC))
        if not head.endswith(_MAGIC):
            return
        stream.seek(-min(end, archive.stat().st_size), 2)
        if stream.read(end).strip(b"\0"):
            raise InputError(f"{archive} is truncated: it lacks a tar's end", _REMEDY)
