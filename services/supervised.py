"""One service under supervision: started, started again when it dies, given up when it dies too often."""

import os
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

import psutil

from services import logs
from services.marks import mark, marked
from services.service import Service
from services.state import Condition, Known, Process
from stage.running import started
from stage.workspace import Workspace

MOST_DEATHS = 5
"""Within `FORGET_SECONDS`; with one more the service is given up."""
FORGET_SECONDS = 600.0
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
    _deaths: list[float] = field(default_factory=list)
    _all_deaths: int = 0
    _due: float = 0.0

    def look(self) -> str | None:
        """Start the service where it does not run and is due; one line about what happened, None when nothing did."""
        if self._child is not None:
            # Nobody else would ask how it ended.
            self._child.poll()
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
        return "given up" if len(self._deaths) > MOST_DEATHS else "waits"

    def known(self) -> Known:
        """For the state."""
        service = self.service
        return Known(
            name=service.name,
            process=self.process,
            address=service.address,
            health=service.health,
            condition=self.condition,
            deaths=self._all_deaths,
        )

    def _start(self) -> str:
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
        start = started(self._child.pid)
        # One that ended meanwhile is noticed at the next look.
        self.process = Process(pid=self._child.pid, started=start if start is not None else 0.0)
        return f"{self.service.name} started as process {self._child.pid}"

    def _note_death(self) -> str:
        how = self._child.returncode if self._child is not None else None
        self.process, self._child = None, None
        now = self.clock()
        self._deaths = [*(then for then in self._deaths if now - then < FORGET_SECONDS), now]
        self._all_deaths += 1
        self._end_remains()
        if self.condition == "given up":
            return f"{self.service.name} ended ({how}) for the {len(self._deaths)}th time and is given up"
        wait = min(_LONGEST_WAIT_SECONDS, 2.0 ** (len(self._deaths) - 1))
        self._due = now + wait
        return f"{self.service.name} ended ({how}); it is started again in {wait:.0f} s"

    def _end_remains(self) -> None:
        """End what a dead server left on its port. A worker's flow runs report by themselves and go on."""
        if self.service.address is None:
            return
        for process in marked(self.place, self.service.name):
            with suppress(psutil.Error):
                process.kill()
