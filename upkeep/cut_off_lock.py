"""A `dvc.lock` that was cut off: DVC empties it before it writes it anew; killed in between, it refuses all commands.

Without it DVC takes every stage for one that never ran, and gives back what its run cache (`.dvc/cache/runs`) says of the same
inputs, code and parameters: nothing is computed that is in the cache.
"""

from pathlib import Path

import yaml

from registry.data_version import LOCK
from upkeep.aside import put_aside
from upkeep.repository import opened

_CONFLICT = "<<<<<<< "


def put_cut_off_lock_aside(root: Path) -> Path | None:
    """Move what a killed DVC, a full disk or a power cut left of dvc.lock to `scratch/damaged`; where it is then.

    What git left of a conflict stays: that is a person's to decide.

    Args:
        root: of a workspace.

    Returns:
        Its new place; None where dvc.lock is whole, or there is none.

    Raises:
        DvcBusyError: when a process that may be writing it does not end.
    """
    path = root.resolve() / LOCK
    if not _is_cut_off(path):
        return None
    with opened(root) as repo, repo.lock:
        # Who wrote it a moment ago has done so by now.
        return put_aside(path, path.parent / "scratch" / "damaged") if _is_cut_off(path) else None


def _is_cut_off(path: Path) -> bool:
    try:
        text = path.read_text()
        return not any(line.startswith(_CONFLICT) for line in text.splitlines()) and not _is_mapping(text)
    except FileNotFoundError:
        return False
    except UnicodeDecodeError:
        return True


def _is_mapping(text: str) -> bool:
    try:
        return isinstance(yaml.safe_load(text), dict)
    except yaml.YAMLError:
        return False
