"""Temporary folders that do not outlive their owner for long, however it ends.

A process that is killed cannot clean up after itself. So it holds a lock in its folder, and the next one that makes such a folder
removes those whose locks nobody holds any more. Unlike a process id, a lock is never taken for another's.
"""

import fcntl
import os
import shutil
import tempfile
import time
from pathlib import Path

_LOCK = "owner"
# Longer than anybody takes from making a folder to locking it.
_SETTLING_SECONDS = 60.0


class OwnedFolder:
    """A temporary folder of this process; making one removes the abandoned ones of the same prefix.

    Args:
        prefix: start of its name.
        parent: the folder to make it in; the system's for temporary files where none is given.
    """

    def __init__(self, prefix: str, parent: Path | None = None) -> None:
        _remove_abandoned(prefix, parent or Path(tempfile.gettempdir()))
        self.path = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
        unready = self.path / f".{_LOCK}"
        self._lock = os.open(unready, os.O_RDWR | os.O_CREAT)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        # Under its name it is never seen unlocked.
        unready.rename(self.path / _LOCK)

    def subfolder(self) -> Path:
        """A new folder in it."""
        return Path(tempfile.mkdtemp(dir=self.path))

    def remove(self) -> None:
        """Delete it with all it holds."""
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)


def _remove_abandoned(prefix: str, parent: Path) -> None:
    for folder in parent.glob(f"{prefix}*"):
        if _is_abandoned(folder):
            shutil.rmtree(folder, ignore_errors=True)


def _is_abandoned(folder: Path) -> bool:
    """Whether a folder's owner has gone; others' folders that cannot be read are theirs to judge."""
    try:
        lock = os.open(folder / _LOCK, os.O_RDONLY)
    except FileNotFoundError:
        return folder.is_dir() and time.time() - folder.stat().st_mtime > _SETTLING_SECONDS
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(lock)
    return True
