"""Processes that do not outlive the one that started them, and stages that do not run twice at once.

`python -m stage.lifeline PROGRAM …` becomes PROGRAM, to be killed when its parent dies: a pipeline that is killed leaves no
trainer on the GPU and no renderer writing into the folder that the next attempt works in.
"""

import ctypes
import fcntl
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from stage.errors import ViewforgeError
from stage.share import Share
from stage.workspace import Workspace

_PR_SET_PDEATHSIG = 1
_PATIENCE_SECONDS = 15.0


def die_with_parent() -> None:
    """Ask Linux to kill this process when its parent dies; the request survives exec. Nothing on other systems."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def die_with(parent: int) -> None:
    """As `die_with_parent`, for a process that started so long ago that its parent may be gone already.

    Args:
        parent: process id of the one that started it.
    """
    die_with_parent()
    if os.getppid() != parent:
        os._exit(1)


def end_group_with_me() -> None:
    """Have this process's group killed when this process ends, however it does: nothing that it started is left running.

    A small process in the group waits for that. Nothing on other systems than Linux.
    """
    if sys.platform != "linux":
        return
    me = os.getpid()
    if os.fork():
        return
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGUSR1)
    # Whoever waits for the end of its output must not wait for this process.
    os.closerange(0, 3)
    if os.getppid() == me:
        signal.sigwait({signal.SIGUSR1})
    os.killpg(0, signal.SIGKILL)


def tied(command: list[str]) -> list[str]:
    """The command, tied to the life of the process that starts it."""
    return [sys.executable, "-m", "stage.lifeline", *command]


@contextmanager
def exclusive(
    workspace: Workspace, stage: str, share: Share | None = None, patience: float | None = None
) -> Iterator[None]:
    """Hold the workspace's lock of one stage; the lock goes with the process, however that ends.

    Args:
        workspace: where the stage works.
        stage: its name.
        share: the part of it that runs; different shares run beside one another, and none beside the whole.
        patience: how many seconds another process is waited for; as long as a dying one takes when None.

    Raises:
        ViewforgeError: when another process holds it for longer.
    """
    if share is None:
        with _locked(workspace, stage, fcntl.LOCK_EX, patience):
            yield
    else:
        with (
            _locked(workspace, stage, fcntl.LOCK_SH, patience),
            _locked(workspace, f"{stage}-{share.name}", fcntl.LOCK_EX, patience),
        ):
            yield


@contextmanager
def exclusive_folder(folder: Path) -> Iterator[None]:
    """Hold a folder that one process at a time may write into; the lock goes with the process and leaves no file.

    Where the file system locks no folders, as some of networks do, nothing is held.

    Args:
        folder: it is made when absent.

    Raises:
        ViewforgeError: at once, when another process holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with suppress(OSError):
            _hold(descriptor, folder)
        yield
    finally:
        os.close(descriptor)


def _hold(descriptor: int, folder: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise ViewforgeError(f"another process writes into {folder}", "wait for it or end it") from None


@contextmanager
def _locked(workspace: Workspace, stage: str, kind: int, patience: float | None) -> Iterator[None]:
    path: Path = workspace.scratch / "locks" / stage
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as stream:
        _acquire(stream.fileno(), kind, path, patience)
        stream.truncate(0)
        stream.write(str(os.getpid()))
        stream.flush()
        yield


def _acquire(descriptor: int, kind: int, path: Path, patience: float | None) -> None:
    deadline = time.monotonic() + (_PATIENCE_SECONDS if patience is None else patience)
    while True:
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                holder = path.read_text() or "unknown"
                raise ViewforgeError(
                    f"the stage {path.name} is already running in {path.parents[2]} (process {holder})",
                    "wait for it or end it",
                ) from None
            time.sleep(0.2)
        else:
            return


def main() -> None:
    """Become the program on the command line."""
    die_with_parent()
    os.execvp(sys.argv[1], sys.argv[1:])  # noqa: S606 - that is what this module is for


if __name__ == "__main__":
    main()
