"""The mark of an installation: two variables that a service gets and all that it starts inherits.

By it the processes of an installation are found when nothing else knows them any more, as a flow run whose worker was killed, and
no others are: not one with the same command line, and not one that was given the number of a process that ended.
"""

import hashlib
import os
from collections.abc import Iterator
from contextlib import suppress

import psutil

from stage.workspace import Workspace

INSTALLATION = "VIEWFORGE_INSTALLATION"
SERVICE = "VIEWFORGE_SERVICE"


def identity(place: Workspace) -> str:
    """Twelve hexadecimal digits of the SHA-256 of the workspace's absolute path."""
    return hashlib.sha256(str(place.root.resolve()).encode()).hexdigest()[:12]


def mark(place: Workspace, service: str) -> dict[str, str]:
    """The variables of one service of the workspace's installation."""
    return {INSTALLATION: identity(place), SERVICE: service}


def marked(place: Workspace, service: str | None = None) -> list[psutil.Process]:
    """The processes that bear the installation's mark, without this one and those that it descends from.

    Processes of other users cannot be looked into and are none of ours.

    Args:
        place: the installation's workspace.
        service: the service, by its name; all when None.
    """
    wanted = {INSTALLATION: identity(place)} | ({SERVICE: service} if service else {})
    mine = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    return [process for process in _readable() if process.pid not in mine and _bears(process, wanted)]


def _readable() -> Iterator[psutil.Process]:
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.status() != psutil.STATUS_ZOMBIE:
                yield process


def _bears(process: psutil.Process, wanted: dict[str, str]) -> bool:
    try:
        environment = process.environ()
    except (psutil.Error, OSError):
        return False
    return all(environment.get(name) == value for name, value in wanted.items())
