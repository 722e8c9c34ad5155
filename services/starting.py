"""Starting an installation: one supervisor that owns the processes, told one service after the other.

What runs already is taken over. When something does not come up, what was started is ended again, and what ran before stays.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from services import logs, state
from services.ending import end_all, end_servers, release
from services.health import answers
from services.marks import SUPERVISOR, mark
from services.plan import Plan, check_ports
from services.service import Service
from services.supervisor import as_line
from stage.errors import ViewforgeError
from stage.workspace import Workspace

_TICK_SECONDS = 0.2
_SAY_EVERY_SECONDS = 10.0

Say = Callable[[str], None]


@dataclass(frozen=True)
class Start:
    """What it takes to start an installation.

    Args:
        place: its workspace.
        plan: its services.
        options: from which they were planned.
        deploy: tells Prefect's server its pools and deployments; called when the servers answer, before workers start.
        say: is told what is waited for.
        patience: seconds that all may take.
    """

    place: Workspace
    plan: Plan
    options: state.Options
    deploy: Callable[[], None]
    say: Say
    patience: float


def up(start: Start) -> bool:
    """Start what does not run, and wait until all answers. To be called while commanding (`services.installation`).

    Returns:
        Whether anything was started.

    Raises:
        InputError: when a port is taken.
        ViewforgeError: when a service ends, with the last lines of its log, or does not answer in time.
    """
    before = state.read(start.place)
    alive = {known.name for known in before.services if known.alive} if before is not None else set()
    missing = {service.name for service in start.plan.services} - alive
    deadline = time.monotonic() + start.patience
    if not missing and before is not None and before.supervised:
        _wait(start, start.plan.services, deadline)
        return False
    check_ports(start.options, missing)
    _release_supervisor(before)
    try:
        _start(start, alive, deadline)
    except BaseException:
        start.say("ending what was started")
        _withdraw(start, alive)
        raise
    return True


def _start(start: Start, alive: set[str], deadline: float) -> None:
    running = [worker for worker in start.plan.workers if worker.name in alive]
    others = [worker for worker in start.plan.workers if worker.name not in alive]
    with _supervisor(start) as supervisor:
        _keep(supervisor, [*start.plan.servers, *running])
        _wait(start, start.plan.servers, deadline, supervisor)
        if others or "prefect" not in alive:
            start.say("telling Prefect its pools and deployments")
            start.deploy()
        _keep(supervisor, others)
        _wait(start, start.plan.services, deadline, supervisor)


def _withdraw(start: Start, alive: set[str]) -> None:
    """End what was started, and supervise again what ran before."""
    if not alive:
        end_all(start.place, start.say)
        return
    known = state.read(start.place)
    _release_supervisor(known)
    end_servers(start.place, known, [each.name for each in start.plan.services if each.name not in alive])
    with _supervisor(start) as supervisor:
        _keep(supervisor, [each for each in start.plan.services if each.name in alive])


def _release_supervisor(known: state.State | None) -> None:
    if known is not None and known.supervisor is not None:
        release(known.supervisor)


@contextmanager
def _supervisor(start: Start) -> Iterator["subprocess.Popen[bytes]"]:
    """A supervisor that outlives this process, to be told services while the context lasts."""
    root = str(start.place.root.resolve())
    with logs.opened(start.place, SUPERVISOR) as log:
        supervisor = subprocess.Popen(
            [sys.executable, "-m", "services.supervisor", root, start.options.model_dump_json()],
            env={**os.environ, **mark(start.place, SUPERVISOR)},
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield supervisor
    finally:
        assert supervisor.stdin is not None  # noqa: S101 - for the type checker
        supervisor.stdin.close()


def _keep(supervisor: "subprocess.Popen[bytes]", services: Iterable[Service]) -> None:
    """Tell a supervisor services; when it ended, whoever waits for them finds out."""
    assert supervisor.stdin is not None  # noqa: S101 - for the type checker
    with suppress(BrokenPipeError):
        supervisor.stdin.write(b"".join(as_line(service) for service in services))
        supervisor.stdin.flush()


def _wait(
    start: Start,
    services: Iterable[Service],
    deadline: float,
    supervisor: "subprocess.Popen[bytes] | None" = None,
) -> None:
    """Wait until services answer.

    Args:
        start: what is started.
        services: which of it.
        deadline: on the monotonic clock.
        supervisor: that was started for them; None when one supervised them before.

    Raises:
        ViewforgeError: when one ended, or time is up.
    """
    waiting = [service.name for service in services]
    began = said = time.monotonic()
    while waiting := [name for name in waiting if not _is_up(start.place, name, supervisor)]:
        now = time.monotonic()
        if now > deadline:
            raise _failure(start.place, waiting[0], f"did not answer for {now - began:.0f} s")
        if now > said + _SAY_EVERY_SECONDS:
            said = now
            start.say(f"waiting for {', '.join(waiting)} ({now - began:.0f} s)")
        time.sleep(_TICK_SECONDS)


def _is_up(place: Workspace, name: str, supervisor: "subprocess.Popen[bytes] | None") -> bool:
    if supervisor is not None and supervisor.poll() is not None:
        raise _failure(place, SUPERVISOR, "ended")
    known = state.read(place)
    if (
        known is None
        or known.supervisor is None
        or (supervisor is not None and known.supervisor.pid != supervisor.pid)
    ):
        # What another one knew of the services is not about these.
        return False
    service = known.service(name)
    if service is None:
        return False
    if service.condition == "given up" or (supervisor is not None and service.deaths):
        raise _failure(place, name, "ended while it started")
    return service.alive and answers(service.health)


def _failure(place: Workspace, name: str, what: str) -> ViewforgeError:
    log = logs.path(place, name)
    lines = "\n".join(f"    {line}" for line in logs.tail(log).splitlines())
    return ViewforgeError(f"{name} {what}; {log} ends with\n{lines}\n", "mend that and run viewforge up again")
