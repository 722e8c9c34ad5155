"""The launcher's watch over a training: it ends all processes of a machine when one of them, here or elsewhere, is gone.

Torch's agent notices at once a process of its own machine that ends. It does not notice one that is stopped, and not a machine
that vanished: the others would wait in their exchange for an hour, the time that slow data are given.
"""

import os
import shutil
import signal
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal

from training.launching.heartbeat import HEARTBEATS_VARIABLE, Beat, read_beats
from training.parameters import LaunchParameters

_LOOK_SECONDS = 1.0
# A watch that stood still itself, as on a machine that sleeps or a disk that hangs, has not heard a silence.
_LONGEST_LOOK = 3 * _LOOK_SECONDS
# Libraries that load from a slow disk hold the interpreter; safetensors and torch, which save and load, do not.
_PATIENCE_AT_START = 3.0
_SLOWEST = 20.0


@dataclass(frozen=True)
class Verdict:
    """Which process holds the others up."""

    kind: Literal["silent", "stuck"]
    """Whether it gave no sign of life, or hangs in a step."""
    message: str
    """Which one, where and since when."""
    beat: Beat
    """Its last sign of life."""


@dataclass
class _Heard:
    """What is known of one process."""

    beat: Beat
    alive: bool
    silent_seconds: float = 0.0


class Listener:
    """Judges heartbeats.

    Args:
        parameters: how patient it is.
        own: the folder of this machine's heartbeats, which holds no old ones. Those of others count once they have changed.
    """

    def __init__(self, parameters: LaunchParameters, own: str) -> None:
        self._parameters, self._own = parameters, own
        self._heard: dict[str, _Heard] = {}

    def hear(self, beats: dict[str, Beat], seconds: float) -> Verdict | None:
        """Take in the heartbeats as they are so many seconds after the last time; what is wrong, if anything."""
        for name in self._heard.keys() - beats.keys():
            del self._heard[name]
        for name, beat in beats.items():
            self._note(name, beat, seconds)
        return self._silence() or self._stuck()

    def _note(self, name: str, beat: Beat, seconds: float) -> None:
        known = self._heard.get(name)
        if known is None:
            self._heard[name] = _Heard(beat, alive=name.startswith(f"{self._own}/"))
        elif (known.beat.process, known.beat.count) != (beat.process, beat.count):
            self._heard[name] = _Heard(beat, alive=True)
        else:
            known.silent_seconds += seconds

    def _silence(self) -> Verdict | None:
        for heard in self._heard.values():
            patience = _PATIENCE_AT_START if heard.beat.phase == "start" else 1.0
            limit = patience * self._parameters.silence_seconds
            if heard.alive and heard.silent_seconds > limit:
                seconds = f"{heard.silent_seconds:.0f} s"
                return Verdict("silent", f"{_named(heard.beat)} has given no sign of life for {seconds}", heard.beat)
        return None

    def _stuck(self) -> Verdict | None:
        """The processes at the lowest step, when all of them compute it for too long: the others wait for them."""
        beats = [heard.beat for heard in self._heard.values() if heard.alive]
        last = [beat for beat in beats if beat.step == min(beat.step for beat in beats)]
        if not last or any(beat.phase != "step" for beat in last):
            return None
        shortest = min(last, key=lambda beat: beat.computing_seconds)
        limit = max(self._parameters.stuck_seconds, _SLOWEST * shortest.slowest_seconds)
        if shortest.computing_seconds <= limit:
            return None
        who = (
            _named(shortest) if len(last) < len(beats) else f"all {len(beats)} processes together, {_named(shortest)}"
        )
        computed = f"{shortest.computing_seconds:.0f} s, and the slowest before took {shortest.slowest_seconds:.1f} s"
        return Verdict("stuck", f"{who} has computed for {computed}", shortest)


class Watch:
    """Watches over the processes of a training for as long as it is entered.

    Args:
        parameters: how patient it is.
        room: the folder of all machines' heartbeats, on the disk that they share.
        machine: this one's number.
    """

    def __init__(self, parameters: LaunchParameters, room: Path, machine: int) -> None:
        self._room, self._own = room, f"machine-{machine}"
        self._listener = Listener(parameters, self._own)
        self._group = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._work, name="watch", daemon=True)
        self.verdict: Verdict | None = None
        """Why the processes were ended."""

    def environment(self) -> dict[str, str]:
        """What the processes need to know; heartbeats of an earlier attempt go."""
        folder = self._room / self._own
        shutil.rmtree(folder, ignore_errors=True)
        # A network disk keeps a folder in which a file is open.
        folder.mkdir(parents=True, exist_ok=True)
        return {HEARTBEATS_VARIABLE: str(folder)}

    def over(self, group: int) -> "Watch":
        """Watch over a process group from when it is entered."""
        self._group = group
        return self

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    def _work(self) -> None:
        last = time.monotonic()
        while not self._ended.wait(_LOOK_SECONDS):
            try:
                beats, now = read_beats(self._room), time.monotonic()
            except OSError:
                # A folder that goes while it is listed, a disk that is away for a moment: nothing was heard.
                continue
            self.verdict = self._listener.hear(beats, min(now - last, _LONGEST_LOOK))
            last = now
            if self.verdict:
                with suppress(ProcessLookupError):
                    os.killpg(self._group, signal.SIGKILL)
                return


def _named(beat: Beat) -> str:
    return f"rank {beat.rank} on {beat.host} (process {beat.process}, step {beat.step})"
