"""Putting damaged things aside: they are moved, never deleted, so that whoever wants to look at them can."""

import shutil
from datetime import UTC, datetime
from pathlib import Path


def stamp() -> str:
    """The time as a name that sorts, UTC."""
    return datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")


def put_aside(path: Path, folder: Path) -> Path:
    """Move a file or folder below `folder`, under its own name and the time; where it is then.

    Args:
        path: what is moved.
        folder: it is made when absent, and may be on another disk.
    """
    folder.mkdir(parents=True, exist_ok=True)
    named = folder / f"{path.name}.{stamp()}"
    target, number = named, 1
    while target.exists():
        target, number = named.with_name(f"{named.name}-{number}"), number + 1
    shutil.move(path, target)
    return target
