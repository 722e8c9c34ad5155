"""One service under supervision: started, started again when it dies, given up when it never lives long."""

import math
import os
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import psutil

from services import logs
from services.marks import mark, marked
from services.processes import Process, process_of
from services.service import Service
from services.state import Condition, Known
from stage.workspace import Workspace

MOST_DEATHS = 5
"""In a row, each within `LIFE_SECONDS` of its start; with one more the service is given up."""
LIFE_SECONDS = 60.0
_LONGEST_WAIT_SECONDS = 30.0


@dataclass
class Supervised:
    """A service and its process.

    Args:
        place: the installation's workspace.
        service: what to keep up.
        process: where it runs already.
        clock: seconds that never go back.
    """

    place: Workspace
    service: Service
    process: Process | None = None
    clock: Callable[[], float] = time.monotonic
    _child: "subprocess.Popen[bytes] | None" = None
    _early_deaths: int = 0
    _deaths: int = 0
    _due: float = 0.0
    _began: float = -math.inf

    def look(self) -> str | None:
        """Start the service where it does not run and is due; one line about what happened, None when nothing did."""
        if self.process is not None:
            return None if self.process.alive else self._note_death()
        if self.condition == "waits" and self.clock() >= self._due:
            return self._start()
        return None

    @property
    def condition(self) -> Condition:
        """Whether it runs, waits for its next start, or gets none."""
        if self.process is not None:
            return "runs"
        return "given up" if self._early_deaths > MOST_DEATHS else "waits"

    def known(self) -> Known:
        """For the state."""
        service = self.service
        return Known(
            name=service.name,
            process=self.process,
            address=service.address,
            health=service.health,
            condition=self.condition,
            deaths=self._deaths,
        )

    def _start(self) -> str:
        self._began = self.clock()
        environment = {**os.environ, **self.service.environment, **mark(self.place, self.service.name)}
        with logs.opened(self.place, self.service.name) as log:
            try:
                self._child = subprocess.Popen(
                    self.service.command,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    cwd=self.place.root,
                )
            except OSError as error:
                log.write(f"{error}\n".encode())
                return self._note_death()
        # One that ended meanwhile is noticed at the next look.
        self.process = process_of(self._child.pid) or Process(pid=self._child.pid, boot="", started=0.0)
        return f"{self.service.name} started as process {self._child.pid}"

    def _note_death(self) -> str:
        # Asked again: it may have ended since the last time, and nobody else would take its end off the system's list.
        how = self._child.poll() if self._child is not None else None
        self.process, self._child = None, None
        now = self.clock()
        self._early_deaths = self._early_deaths + 1 if now - self._began < LIFE_SECONDS else 1
        self._deaths += 1
        self._end_remains()
        if self.condition == "given up":
            return f"{self.service.name} ended ({how}) for the {self._early_deaths}th time in a row and is given up"
        wait = min(_LONGEST_WAIT_SECONDS, 2.0 ** (self._early_deaths - 1))
        self._due = now + wait
        return f"{self.service.name} ended ({how}); it is started again in {wait:.0f} s"

    def _end_remains(self) -> None:
        """End what a dead server left on its port. A worker's flow runs are left to themselves."""
        if self.service.address is None:
            return
        for remaining in marked(self.place, self.service.name):
            with suppress(psutil.Error):
                remaining.kill()
