"""Ending an installation: exactly the processes that it started, workers first, and nothing else.

A worker that is asked to end (SIGTERM) takes no more flow runs, asks those that it has to stop, which a training answers with a
checkpoint, and schedules them anew (`flows/worker.py`). Runs that take longer than the grace are killed, and the worker schedules
them anew all the same. Servers end after the workers, whose runs report to them.
"""

import os
import signal
import time
from collections.abc import Callable, Iterable
from contextlib import suppress

import psutil

from services import ports, state
from services.marks import SUPERVISOR, marked
from services.patience import GRACE_SECONDS
from services.prefect_services import POOLS
from services.processes import Process, process_of
from stage.errors import InputError, ViewforgeError
from stage.workspace import Workspace

WORKERS = tuple(f"worker-{pool}" for pool in POOLS)
_SERVERS = ("mlflow", "prefect", "store")
_SERVER_SECONDS = 20.0
_WORKER_SECONDS = 10.0
_PORT_SECONDS = 5.0
_KILL_SECONDS = 10.0
_TICK_SECONDS = 0.15
_FLOW_RUN = "PREFECT__FLOW_RUN_ID"

Say = Callable[[str], None]


def end_all(place: Workspace, say: Say, grace: float = GRACE_SECONDS) -> bool:
    """End everything that the installation started, and forget it.

    Args:
        place: the installation's workspace.
        say: is told what is waited for.
        grace: seconds that flow runs have to stop.

    Returns:
        Whether anything ran.

    Raises:
        ViewforgeError: when a process or a port outlives this.
    """
    known = _known(place, say)
    ran = bool(marked(place)) or (known is not None and any(service.alive for service in known.services))
    _release_all(place, known)
    _end_workers(place, known, say, grace)
    end_servers(place, known, _SERVERS)
    _kill(lambda: family(place, known, None))
    # Whoever has one of the ports now is none of ours, and the next `down` need not ask again.
    state.path(place).unlink(missing_ok=True)
    if known is not None:
        _check_ports(known)
    return ran


def release(supervisor: Process) -> None:
    """End a supervisor and leave what it supervises."""
    for number in (signal.SIGUSR1, signal.SIGKILL):
        if supervisor.alive and supervisor.pid != os.getpid():
            os.kill(supervisor.pid, number)
            _until(lambda: not supervisor.alive, _KILL_SECONDS)


def _release_all(place: Workspace, known: state.State | None) -> None:
    """Also the supervisor of a state that nobody can read: it would start again what is ended."""
    if known is not None and known.supervisor is not None:
        release(known.supervisor)
    for found in marked(place, SUPERVISOR):
        if (supervisor := process_of(found.pid)) is not None:
            release(supervisor)


def end_servers(place: Workspace, known: state.State | None, names: Iterable[str]) -> None:
    """End services that no flow run depends on, by SIGTERM and after a while by SIGKILL."""

    def remaining() -> list[psutil.Process]:
        return [process for name in names for process in family(place, known, name)]

    _Asking(remaining).wait(remaining, _SERVER_SECONDS)
    _kill(remaining)


def family(place: Workspace, known: state.State | None, name: str | None) -> list[psutil.Process]:
    """The processes of a service: what bears its mark, the one of the state, and what descends from that.

    Args:
        place: the installation's workspace.
        known: its state, None where there is none.
        name: the service's; all services and the supervisor when None.
    """
    found = {process.pid: process for process in marked(place, name)}
    for service in known.services if known is not None else ():
        if name in (None, service.name) and service.process is not None and service.process.alive:
            with suppress(psutil.Error):
                process = psutil.Process(service.process.pid)
                found |= {each.pid: each for each in (process, *process.children(recursive=True))}
    return list(found.values())


def _known(place: Workspace, say: Say) -> state.State | None:
    try:
        return state.read(place)
    except InputError as error:
        say(f"{error}")
        return None


def _end_workers(place: Workspace, known: state.State | None, say: Say, grace: float) -> None:
    def remaining() -> list[psutil.Process]:
        return [process for name in WORKERS for process in family(place, known, name)]

    def runs() -> list[psutil.Process]:
        return [process for process in remaining() if _is_run(process)]

    if running := _tops(runs()):
        say(f"{len(running)} flow run(s) asked to stop; killed in {grace:.0f} s")
    asking = _Asking(remaining)
    asking.wait(runs, grace)
    _kill(runs)
    asking.wait(remaining, _WORKER_SECONDS)
    _kill(remaining)


def _is_run(process: psutil.Process) -> bool:
    """Whether it is of a flow run, and not of the worker that started that."""
    try:
        return _FLOW_RUN in process.environ()
    except (psutil.Error, OSError):
        return False


def _tops(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Those of them that none of the others started: signals go there, and each passes them on as it sees fit."""
    pids = {process.pid for process in processes}
    tops = []
    for process in processes:
        with suppress(psutil.Error):
            if process.ppid() not in pids:
                tops.append(process)
    return tops


class _Asking:
    """Processes are asked to end, once each; those whose parent did not pass it on, when that is gone."""

    def __init__(self, remaining: Callable[[], list[psutil.Process]]) -> None:
        self._remaining = remaining
        self._asked: set[int] = set()

    def wait(self, remaining: Callable[[], list[psutil.Process]], seconds: float) -> None:
        """Ask, and wait until `remaining` is empty."""

        def gone() -> bool:
            fresh = [process for process in _tops(self._remaining()) if process.pid not in self._asked]
            self._asked.update(process.pid for process in fresh)
            for process in fresh:
                with suppress(psutil.Error):
                    process.terminate()
            return not remaining()

        _until(gone, seconds)


def _kill(remaining: Callable[[], list[psutil.Process]]) -> None:
    """Kill until none is left, since one may start another meanwhile.

    Raises:
        ViewforgeError: when one outlives it, as in a disk's or driver's wait.
    """

    def gone() -> bool:
        alive = remaining()
        for process in alive:
            with suppress(psutil.Error):
                process.kill()
        return not alive

    if not _until(gone, _KILL_SECONDS):
        pids = ", ".join(str(process.pid) for process in remaining())
        raise ViewforgeError(
            f"processes {pids} cannot be killed", "see what they wait for, and run viewforge down again"
        )


def _check_ports(known: state.State) -> None:
    options = known.options
    taken = [options.prefect_port, options.mlflow_port, *([options.store_port] if options.store_port else [])]
    for port in taken:
        if not _until(lambda port=port: _is_free(options.host, port), _PORT_SECONDS):  # type: ignore[misc]
            raise ViewforgeError(
                f"port {port} is still taken, by process {ports.holder(port) or 'unknown'}, which is none of ours",
                "choose another port the next time",
            )


def _is_free(host: str, port: int) -> bool:
    try:
        return ports.is_free(host, port)
    except OSError:
        # An address that this machine no longer has, on which nobody listens.
        return True


def _until(question: Callable[[], bool], seconds: float) -> bool:
    """Whether the answer becomes true in time."""
    deadline = time.monotonic() + seconds
    while not question():
        if time.monotonic() > deadline:
            return False
        time.sleep(_TICK_SECONDS)
    return True
