"""Processes told apart by when they started, since a process id that became free is given again."""

import psutil

_TOLERANCE_SECONDS = 1.0


def started(process: int) -> float | None:
    """When a process started, seconds since the epoch; None when there is none of that id, or only what is left of it.

    Args:
        process: its id.
    """
    try:
        found = psutil.Process(process)
        return None if found.status() == psutil.STATUS_ZOMBIE else float(found.create_time())
    except psutil.NoSuchProcess:
        return None


def runs(process: int, start: float) -> bool:
    """Whether the process of this id that started then still runs.

    Args:
        process: its id.
        start: seconds since the epoch.
    """
    now = started(process)
    return now is not None and abs(now - start) < _TOLERANCE_SECONDS
