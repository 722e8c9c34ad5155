"""What the `train` stage does when it is asked to stop: tell its trainers, and wait for their checkpoint.

The trainers are told again and again, as one that is still starting does not hear yet. What lies between them and the stage,
accelerate and torch's agent, ignores the signals: it would end the trainers at once.
"""

import os
import signal
import subprocess
import time
from contextlib import suppress
from types import FrameType, TracebackType
from typing import Any

import psutil

from training.preemption import SIGNALS

_AGAIN_SECONDS = 1.0


class Forwarding:
    """Hands the notice to stop on to the trainers for as long as it is entered; in the main thread alone.

    Args:
        process: leads the process group of the trainers.
        grace_seconds: after that the group is killed.
    """

    def __init__(self, process: "subprocess.Popen[str]", grace_seconds: float) -> None:
        self._process, self._grace = process, grace_seconds
        self._deadline = 0.0
        self._handlers: dict[int, Any] = {}
        self.asked = False
        """Whether the stage was asked to stop."""
        self.late = False
        """Whether the trainers did not end in time."""

    def __enter__(self) -> "Forwarding":
        self._handlers = {number: signal.signal(number, self._ask) for number in SIGNALS}
        self._handlers[signal.SIGALRM] = signal.signal(signal.SIGALRM, self._tell)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def _ask(self, number: int, _: FrameType | None) -> None:
        if self.asked:
            return
        self.asked = True
        self._deadline = time.monotonic() + self._grace
        self._tell(number, _)
        name = signal.Signals(number).name
        # Not through sys.stderr, whose lock the interrupted code may hold.
        os.write(2, f"train: {name}: saving a checkpoint, for at most {self._grace:g} s\n".encode())
        signal.setitimer(signal.ITIMER_REAL, _AGAIN_SECONDS, _AGAIN_SECONDS)

    def _tell(self, _: int, __: FrameType | None) -> None:
        if time.monotonic() > self._deadline:
            self.late = True
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            return
        for trainer in _trainers(self._process.pid):
            with suppress(psutil.Error):
                trainer.send_signal(signal.SIGTERM)


def _trainers(launcher: int) -> list[psutil.Process]:
    """The trainers below a launcher, without the processes that read for them."""
    with suppress(psutil.Error):
        family = psutil.Process(launcher).children(recursive=True)
        own = {process.pid for process in family if _trains(process)}
        return [process for process in family if process.pid in own and process.ppid() not in own]
    return []


def _trains(process: psutil.Process) -> bool:
    with suppress(psutil.Error):
        return process.cmdline()[1:3] == ["-m", "training.run"]
    return False
