"""The heartbeat of a training process: a small file that a thread writes again and again, for as long as the process can.

It tells where the process is: its step and its phase. A process that was killed or stopped, and a machine that is cut off, write
no more; one that waits for slow data goes on writing. `training.launching.watch` reads the files.
"""

import json
import os
import socket
import threading
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal, TypeAlias

Phase: TypeAlias = Literal["start", "data", "step", "save"]
"""What a process does: it starts, reads, computes a step, or saves checkpoints, figures and pictures."""

HEARTBEATS_VARIABLE = "VIEWFORGE_HEARTBEATS"
"""The folder of a machine's heartbeats; without it nothing is written."""
_BEATS_OF_A_SILENCE = 10.0
_LONGEST_PAUSE = 2.0


@dataclass(frozen=True)
class Beat:
    """What a heartbeat says."""

    rank: int
    """Of the process among all."""
    host: str
    """Its machine."""
    process: int
    """Its id there."""
    step: int
    """The step it works on, counted from 1; 0 before the first."""
    phase: Phase
    """What it does."""
    computing_seconds: float
    """How long it has computed this step; 0 in other phases, and in the first step, which may compile."""
    slowest_seconds: float
    """The longest that a step took to compute so far, but for the first."""
    count: int
    """How many were written before."""


class Pulse:
    """Where a training process is, as it says itself."""

    def __init__(self) -> None:
        self.step = 0
        self.phase: Phase = "start"
        self.slowest_seconds = 0.0
        self._since, self._computed = time.monotonic(), 0

    def enter(self, phase: Phase, step: int) -> None:
        """Begin a phase of a step, which is counted from 1."""
        now = time.monotonic()
        if self.phase == "step":
            if self._computed:
                self.slowest_seconds = max(self.slowest_seconds, now - self._since)
            self._computed += 1
        self.phase, self.step, self._since = phase, step, now

    @property
    def computing_seconds(self) -> float:
        """How long the present step has been computed; 0 in other phases and in the first step."""
        return time.monotonic() - self._since if self.phase == "step" and self._computed else 0.0


class Heartbeat:
    """Writes a process' heartbeat for as long as it is entered, where `VIEWFORGE_HEARTBEATS` says.

    It leaves no file, except where the process ends by an error: a file that is not written any more tells other machines, which
    may wait for the process in an exchange, that it is gone.

    Args:
        pulse: where the process is.
        silence_seconds: after which it would count as dead.
    """

    def __init__(self, pulse: Pulse, silence_seconds: float) -> None:
        self._pulse, self._count = pulse, 0
        self._pause = min(_LONGEST_PAUSE, silence_seconds / _BEATS_OF_A_SILENCE)
        self._ended = threading.Event()
        folder = os.environ.get(HEARTBEATS_VARIABLE)
        self._path = Path(folder) / f"{os.environ.get('LOCAL_RANK', '0')}.json" if folder else None
        self._thread = threading.Thread(target=self._work, name="heartbeat", daemon=True)

    def __enter__(self) -> "Heartbeat":
        if self._path:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        if self._path:
            self._thread.join()
            if kind is None:
                self._path.unlink(missing_ok=True)

    def _work(self) -> None:
        while not self._ended.is_set():
            # A disk that is full or away for a moment ends no training; for long it is what silence is.
            with suppress(OSError):
                self._write()
            self._ended.wait(self._pause)

    def _write(self) -> None:
        assert self._path  # noqa: S101 - the thread runs only then
        temporary = self._path.with_suffix(".tmp")
        temporary.write_text(json.dumps(asdict(self._beat())))
        # Flushed to no disk: a beat is worth nothing after the machine's end.
        temporary.replace(self._path)
        self._count += 1

    def _beat(self) -> Beat:
        pulse = self._pulse
        return Beat(
            rank=int(os.environ.get("RANK", "0")),
            host=socket.gethostname(),
            process=os.getpid(),
            step=pulse.step,
            phase=pulse.phase,
            computing_seconds=round(pulse.computing_seconds, 1),
            slowest_seconds=round(pulse.slowest_seconds, 3),
            count=self._count,
        )


def read_beats(room: Path) -> dict[str, Beat]:
    """The heartbeats of all machines by their files' names, `machine-0/1.json`; those that are no heartbeats are left out."""
    beats = {}
    for path in sorted(room.glob("machine-*/*.json")):
        with suppress(OSError, ValueError, TypeError):
            beats[path.relative_to(room).as_posix()] = Beat(**json.loads(path.read_text()))
    return beats
