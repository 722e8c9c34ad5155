"""An installation as it is: the servers and workers of one workspace, that `viewforge up` starts and `viewforge down` ends.

for status in overview(place): …
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from services import state
from services.health import answers
from services.marks import SUPERVISOR
from services.processes import Process
from stage.lifeline import exclusive_folder
from stage.workspace import Workspace


@dataclass(frozen=True)
class Status:
    """How one service of an installation is."""

    name: str
    """As in `Service`, and `supervisor`."""
    address: str | None
    healthy: bool
    pid: int | None
    since: float | None
    """When its process started, seconds since the epoch."""
    condition: str
    """`runs`, `waits` before it is started again, `given up`, or `gone` where nobody has noticed its end."""
    deaths: int


def overview(place: Workspace) -> list[Status]:
    """What belongs to the workspace's installation, and how it is; empty when nothing was started.

    Raises:
        InputError: when the state cannot be read.
    """
    known = state.read(place)
    if known is None:
        return []
    supervised = known.supervised
    process = known.supervisor if supervised else None
    supervisor = Status(SUPERVISOR, None, supervised, *_process(process), "runs" if supervised else "gone", 0)
    return [supervisor, *(_status(service) for service in known.services)]


def _status(known: state.Known) -> Status:
    alive = known.alive
    condition = "gone" if known.condition == "runs" and not alive else known.condition
    process = _process(known.process if alive else None)
    return Status(known.name, known.address, alive and answers(known.health), *process, condition, known.deaths)


def _process(process: Process | None) -> tuple[int | None, float | None]:
    return (process.pid, process.since) if process is not None else (None, None)


@contextmanager
def commanding(place: Workspace) -> Iterator[None]:
    """Be the one command that changes the installation.

    Raises:
        ViewforgeError: at once, when another one does.
    """
    with exclusive_folder(place.services / "commands"):
        yield
