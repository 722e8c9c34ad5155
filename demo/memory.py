"""What a request took of a machine's memory, in words that people read on the page."""

import psutil
import torch

_GIB = 2**30


def of_this_process(device: torch.device) -> str:
    """Most of a GPU's memory since its peak was last reset; what this process has of the machine's where there is no GPU."""
    if device.type != "cuda":
        return _of_cpu(psutil.Process().memory_info().rss)
    total = torch.cuda.get_device_properties(device).total_memory
    return _of_gpu(torch.cuda.max_memory_allocated(device), total, device)


class MemoryWatch:
    """The most that another process takes while it is looked at.

    Args:
        pid: its id; what it started counts, too.
        device: where it works. Of a GPU everything in use counts, as another process's share is not known here.
    """

    def __init__(self, pid: int, device: torch.device) -> None:
        self._pid, self._device = pid, device
        self._most, self._total = 0, 0

    def look(self) -> None:
        """Once more."""
        if self._device.type == "cuda":
            free, self._total = torch.cuda.mem_get_info(self._device)
            self._most = max(self._most, self._total - free)
        else:
            self._most = max(self._most, _of_family(self._pid))

    @property
    def words(self) -> str:
        """What was seen."""
        return _of_gpu(self._most, self._total, self._device) if self._total else _of_cpu(self._most)


def _of_family(pid: int) -> int:
    """Resident bytes of a process and of all that it started; of those that have just ended none."""
    found = 0
    try:
        parent = psutil.Process(pid)
        for process in (parent, *parent.children(recursive=True)):
            found += process.memory_info().rss
    except psutil.Error:
        # It ends while it is looked at.
        return found
    return found


def _of_cpu(used: int) -> str:
    return f"on the CPU, {used / _GIB:.1f} GiB of memory"


def _of_gpu(used: int, total: int, device: torch.device) -> str:
    return f"{used / _GIB:.1f} of {total / _GIB:.0f} GiB of {device}'s memory"
