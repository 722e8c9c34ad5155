"""Logs of services: one file each, `.services/<name>.log`, cut when it grows too long.

A service writes to its file itself, so that it goes on when its supervisor dies. A file that is too long is therefore copied
and cut in place, which `O_APPEND` allows; what is written between the two is lost.
"""

import shutil
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from stage.workspace import Workspace

MOST_BYTES = 10 << 20
KEPT = 3
_TAIL_BYTES = 1 << 14


def path(place: Workspace, name: str) -> Path:
    """The log of a service; older ones have `.1` to `.3` after its name."""
    return place.services / f"{name}.log"


def opened(place: Workspace, name: str) -> IO[bytes]:
    """The log to append to, with a line that says when this was."""
    file = path(place, name)
    file.parent.mkdir(parents=True, exist_ok=True)
    stream = file.open("ab", buffering=0)
    stream.write(f"--- {name} started by viewforge, {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC\n".encode())
    return stream


def cut(file: Path, most: int = MOST_BYTES, kept: int = KEPT) -> None:
    """Begin a log anew when it is longer than `most` bytes, keeping the last `kept` under numbered names."""
    if not file.is_file() or file.stat().st_size <= most:
        return
    copy = numbered(file, 0)
    try:
        shutil.copyfile(file, copy)
    except OSError:
        # On a full disk the older ones stay as they are.
        copy.unlink(missing_ok=True)
        raise
    for number in range(kept - 1, -1, -1):
        with suppress(FileNotFoundError):
            numbered(file, number).replace(numbered(file, number + 1))
    with file.open("r+b") as stream:
        stream.truncate(0)


def numbered(file: Path, number: int) -> Path:
    """An older log's name."""
    return file.with_name(f"{file.name}.{number}")


def tail(file: Path, lines: int = 15) -> str:
    """The last lines of a log; empty without one."""
    if not file.is_file():
        return ""
    with file.open("rb") as stream:
        stream.seek(max(0, file.stat().st_size - _TAIL_BYTES))
        return "\n".join(stream.read().decode(errors="replace").splitlines()[-lines:])
