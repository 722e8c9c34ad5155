"""What a workspace takes up on the disk, by kind; a file with several names is counted once, where it is met first."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from stage.workspace import Workspace


def disk_use(place: Workspace) -> dict[str, int]:
    """Bytes by kind, and what is free; kinds that are not there are 0."""
    kinds = {
        "DVC cache": place.root / ".dvc" / "cache",
        "data": place.root / "data",
        "scratch": place.scratch,
        "MLflow": place.mlflow,
        "Prefect": place.root / ".prefect",
        "other workspaces": place.root / "runs",
    }
    seen: set[tuple[int, int]] = set()
    used = {kind: sum(_sizes(folder, seen)) for kind, folder in kinds.items()}
    return {**used, "free": shutil.disk_usage(place.root).free}


def _sizes(folder: Path, seen: set[tuple[int, int]]) -> Iterator[int]:
    """What each file below a folder takes up, in whole blocks."""
    try:
        entries = list(os.scandir(folder))
    except OSError:
        return
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            yield from _sizes(Path(entry.path), seen)
        elif entry.is_file(follow_symlinks=False) and (size := _size(entry, seen)):
            yield size


def _size(entry: "os.DirEntry[str]", seen: set[tuple[int, int]]) -> int:
    try:
        status = entry.stat(follow_symlinks=False)
    except OSError:
        # It went away meanwhile.
        return 0
    if status.st_nlink > 1:
        identity = (status.st_dev, status.st_ino)
        if identity in seen:
            return 0
        seen.add(identity)
    return status.st_blocks * 512
