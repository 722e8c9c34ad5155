"""The supervisor of an installation: it starts services and starts again those that die.

    python -m services.supervisor WORKSPACE OPTIONS

`viewforge up` runs it. OPTIONS is `services.state.Options` as JSON. Each line on standard input is a service to keep up, as JSON,
since an environment may hold secrets; the end of input changes nothing. A service that runs already, as the state tells, is taken
over and not started. SIGTERM ends everything, as `viewforge down` does; SIGUSR1 ends the supervisor alone. It may also be killed:
services outlive it, and the next one takes them over.
"""

import json
import os
import signal
import sys
import threading
import time
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import IO

from services import logs, state
from services.ending import end_all
from services.marks import SUPERVISOR
from services.processes import Process, process_of
from services.service import Service
from services.supervised import Supervised
from stage.errors import ViewforgeError
from stage.lifeline import exclusive_folder
from stage.workspace import Workspace

LET_GO = signal.SIGUSR1
_TICK_SECONDS = 0.2
_LOGS_EVERY_SECONDS = 30.0


class Supervisor:
    """What keeps the services of one workspace up.

    Args:
        place: the workspace.
        options: what was asked for, for the state.
    """

    def __init__(self, place: Workspace, options: state.Options) -> None:
        self.place, self.options = place, options
        self._before = state.read(place)
        self._myself = process_of(os.getpid())
        self._services: list[Supervised] = []
        self._written: state.State | None = None
        self._logs_due = 0.0

    def keep(self, service: Service) -> None:
        """Keep a service up from now on, taking over the process that runs already."""
        known = self._before.service(service.name) if self._before else None
        running = known.process if known is not None and known.alive else None
        self._services.append(Supervised(self.place, service, running))

    def look(self) -> None:
        """Start what is due, and write down what changed.

        Raises:
            OSError: when something could not be written; what else is due has been started all the same.
        """
        failed = None
        for supervised in self._services:
            try:
                if said := supervised.look():
                    _say(said)
            except OSError as error:
                failed = error
        self._write(self._myself)
        if failed:
            raise failed
        if time.monotonic() >= self._logs_due:
            self._logs_due = time.monotonic() + _LOGS_EVERY_SECONDS
            for name in (SUPERVISOR, *(supervised.service.name for supervised in self._services)):
                logs.cut(logs.path(self.place, name))

    def let_go(self) -> None:
        """Write down that nobody keeps the services up any longer."""
        self._write(None)

    def _untold(self) -> list[state.Known]:
        """What runs of before and was not told yet: should this be killed now, it is not forgotten."""
        told = {each.service.name for each in self._services}
        before = self._before.services if self._before is not None else ()
        # How often it died was another supervisor's concern.
        return [known.model_copy(update={"deaths": 0}) for known in before if known.name not in told and known.alive]

    def _write(self, supervisor: Process | None) -> None:
        services = (*(each.known() for each in self._services), *self._untold())
        now = state.State(options=self.options, supervisor=supervisor, services=services)
        if now != self._written:
            state.write(self.place, now)
            self._written = now


def _say(line: str) -> None:
    # The log may lie on the disk that is full.
    with suppress(OSError):
        print(f"{time.strftime('%Y-%m-%d %H:%M:%S', time.gmtime())} {line}", flush=True)


def as_line(service: Service) -> bytes:
    """A service as a line of the supervisor's standard input."""
    return json.dumps(asdict(service)).encode() + b"\n"


def _read(stream: IO[bytes], found: "SimpleQueue[Service]") -> None:
    for line in stream:
        found.put(Service(**json.loads(line)))


def _supervise(supervisor: Supervisor, orders: "SimpleQueue[int]") -> int:
    """Until a signal; its number."""
    services: SimpleQueue[Service] = SimpleQueue()
    threading.Thread(target=_read, args=(sys.stdin.buffer, services), daemon=True).start()
    said = ""
    while True:
        while not services.empty():
            supervisor.keep(services.get())
        try:
            supervisor.look()
            said = ""
        except OSError as error:
            # A full disk ends neither the services nor their supervision, and is told once.
            if said != (said := f"{error}; trying again"):
                _say(said)
        try:
            return orders.get(timeout=_TICK_SECONDS)
        except Empty:
            continue


def main() -> None:
    """Supervise until a signal; exit status 1 when another supervisor does."""
    place, orders = Workspace(Path(sys.argv[1])), SimpleQueue[int]()
    for number in (signal.SIGTERM, LET_GO):
        signal.signal(number, lambda received, _: orders.put(received))
    for number in (signal.SIGINT, signal.SIGHUP):
        # Not SIG_IGN, which services would inherit.
        signal.signal(number, lambda *_: None)
    try:
        with exclusive_folder(place.services / SUPERVISOR):
            supervisor = Supervisor(place, state.Options.model_validate_json(sys.argv[2]))
            received = _supervise(supervisor, orders)
            supervisor.let_go()
            if received == signal.SIGTERM:
                _say("ending all services")
                end_all(place, _say)
    except ViewforgeError as error:
        _say(f"{error}")
        sys.exit(1)


if __name__ == "__main__":
    main()
