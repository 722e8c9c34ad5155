"""Where the machines of a training meet for an attempt: machine 0 names the meeting, and the others come to it.

Each counts its own attempts, so that a machine which was started again alone is at its first one while the others are at a later
one. Machine 0 writes the name again and again, beside the heartbeats: what an earlier launch left behind changes no more.
"""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from uuid import uuid4

from stage.errors import StageKilledError
from training.launching.attempts import stoppable
from training.rendezvous import JOIN_SECONDS

_LOOK_SECONDS = 1.0


@dataclass(frozen=True)
class Meeting:
    """The meeting of one attempt."""

    name: str = "alone"
    """By which the processes of all machines find one another; no other attempt has it."""
    attempt: int = 1
    """Of machine 0, counted from 1; the heartbeats of all lie together under it."""
    count: int = 0
    """How often machine 0 has named it before."""


class Meetings:
    """The meetings of one machine's stage.

    Args:
        room: for what concerns the launch, on the disk that the machines share.
        machine: this one's number.
        machines: how many there are.
        heed: is called while machine 0 is waited for; raises when that is in vain.
    """

    def __init__(self, room: Path, machine: int, machines: int, heed: Callable[[], None]) -> None:
        self._path = room / "meeting.json"
        self._machine, self._machines, self._heed = machine, machines, heed
        self._last = ""

    @contextmanager
    def at(self, attempt: int) -> Iterator[Meeting]:
        """The meeting of an attempt: named for as long as it is entered, or found.

        Raises:
            StageKilledError: when machine 0 names none for as long as machines may take to start after one another.
            StagePreemptedError: when this machine was asked to stop meanwhile.
        """
        if self._machine or self._machines == 1:
            yield self._found() if self._machine else Meeting(attempt=attempt)
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        meeting, ended = Meeting(uuid4().hex, attempt), threading.Event()
        thread = threading.Thread(target=self._call, args=(meeting, ended), name="meeting", daemon=True)
        thread.start()
        try:
            yield meeting
        finally:
            ended.set()
            thread.join()
            with suppress(OSError):
                self._path.unlink()

    def _call(self, meeting: Meeting, ended: threading.Event) -> None:
        while not ended.is_set():
            # On a disk that is full or away for a moment the others wait.
            with suppress(OSError):
                temporary = self._path.with_suffix(".tmp")
                temporary.write_text(json.dumps(asdict(meeting)))
                temporary.replace(self._path)
            meeting = replace(meeting, count=meeting.count + 1)
            ended.wait(_LOOK_SECONDS)

    def _found(self) -> Meeting:
        deadline, seen = time.monotonic() + JOIN_SECONDS, None
        with stoppable():
            while time.monotonic() < deadline:
                told = self._read()
                if told and seen and told.name == seen.name != self._last and told.count != seen.count:
                    self._last = told.name
                    return told
                seen = told
                self._heed()
                time.sleep(_LOOK_SECONDS)
        raise StageKilledError(
            f"machine 0 called to no attempt for {JOIN_SECONDS} s in {self._path.parent}",
            "start it in the same workspace",
            "silent",
        )

    def _read(self) -> Meeting | None:
        with suppress(OSError, ValueError, TypeError):
            return Meeting(**json.loads(self._path.read_text()))
        return None
