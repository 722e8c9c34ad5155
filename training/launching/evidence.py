"""What the machine knows about the end of a process: how often the kernel has killed one for want of memory.

Read before a training and after it. The counters need no rights: that of the own control group, or else the machine's.
"""

import re
from contextlib import suppress
from pathlib import Path

_CONTROL_GROUPS = Path("/sys/fs/cgroup")
_OOM_KILLS = re.compile(r"^oom_kill (\d+)$", re.MULTILINE)


def oom_kills(process: str = "self", proc: Path = Path("/proc"), groups: Path = _CONTROL_GROUPS) -> int:
    """Processes that the kernel has killed for want of memory, in this control group or else on this machine; 0 where unknown.

    Args:
        process: whose control group.
        proc: where /proc is.
        groups: where control groups are.
    """
    for path in (*_group_files(proc / process / "cgroup", groups), proc / "vmstat"):
        with suppress(OSError):
            if found := _OOM_KILLS.search(path.read_text()):
                return int(found.group(1))
    return 0


def _group_files(membership: Path, groups: Path) -> list[Path]:
    """The files that count, of version 2 and 1 of control groups."""
    with suppress(OSError):
        rows = [line.split(":", 2) for line in membership.read_text().splitlines()]
        unified = [groups / row[2].lstrip("/") / "memory.events" for row in rows if row[:2] == ["0", ""]]
        memory = [groups / "memory" / row[2].lstrip("/") / "memory.oom_control" for row in rows if row[1] == "memory"]
        return [*unified, *memory]
    return []
