"""What a killed DVC, a full disk or a reboot left in a workspace, put right before DVC is asked for anything."""

from pathlib import Path

from upkeep.cut_off_lock import put_cut_off_lock_aside
from upkeep.dvc_locks import mend_locks


def mend(root: Path) -> list[str]:
    """Put right what nobody works with; what was done, in a sentence each.

    Args:
        root: of a workspace.

    Raises:
        DvcBusyError: when another process may work with it.
    """
    done = []
    if mend_locks(root):
        done.append("DVC's list of locks was damaged or named processes that are gone: mended")
    if aside := put_cut_off_lock_aside(root):
        done.append(
            f"dvc.lock was cut off, and is now {aside}: what DVC's run cache knows comes back, the rest runs again"
        )
    return done
