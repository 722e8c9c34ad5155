"""Processes told apart by when they started, since a process id that became free is given again.

The time of start counts from the machine's own: what counts from 1970 changes when somebody sets the clock.
"""

from pathlib import Path

import psutil
from pydantic import BaseModel, ConfigDict

_TOLERANCE_SECONDS = 0.1
# Linux has it; elsewhere the time since the machine's start must do.
_BOOT = Path("/proc/sys/kernel/random/boot_id")


class Process(BaseModel):
    """A process that was started."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    pid: int
    boot: str
    """Which start of the machine it belongs to."""
    started: float
    """Seconds since then."""

    @property
    def alive(self) -> bool:
        """Whether it, and not another of the same id, still runs."""
        now = process_of(self.pid)
        return now is not None and now.boot == self.boot and abs(now.started - self.started) < _TOLERANCE_SECONDS

    @property
    def since(self) -> float:
        """When it started, seconds since the epoch by the clock as it is now."""
        return psutil.boot_time() + self.started


def process_of(pid: int) -> Process | None:
    """The process of an id; None when there is none, or only what is left of it until somebody asks how it ended."""
    try:
        found = psutil.Process(pid)
        if found.status() == psutil.STATUS_ZOMBIE:
            return None
        return Process(pid=pid, boot=_boot(), started=round(found.create_time() - psutil.boot_time(), 2))
    except psutil.NoSuchProcess:
        return None


def _boot() -> str:
    return _BOOT.read_text().strip() if _BOOT.is_file() else ""
