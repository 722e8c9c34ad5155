"""The processes of the soak, known by a variable that they inherit: who is there, whom to kill, what they hold open."""

import os
import random
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass

import psutil

MARK = "VIEWFORGE_SOAK"
# What stands in a command line, from the particular to the general.
_KINDS = {
    "services.supervis": "supervisor",
    "prefect server": "Prefect server",
    "prefect.server": "Prefect server",
    "mlflow": "MLflow server",
    "flows.worker": "worker",
    "prefect.engine": "flow run",
    "prefect.runner": "flow run",
    "dvc repro": "dvc",
    "stage.worker_host": "Blender worker",
    "accelerate": "launcher",
    "training.run": "trainer",
    "cli.main": "stage",
    "viewforge": "stage",
}

PERMANENT = {"supervisor", "Prefect server", "MLflow server", "worker"}
"""The kinds that are there between runs."""


@dataclass(frozen=True)
class Held:
    """What the long-running processes of an installation hold."""

    processes: int
    handles: int
    """Open files, sockets and pipes of all of them."""
    ports: int
    """Ports that they listen on."""
    memory_mib: int


def marked(mark: str) -> list[psutil.Process]:
    """All living processes that inherited the mark, but for this one."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            living = process.pid != os.getpid() and process.status() != psutil.STATUS_ZOMBIE
            if living and process.environ().get(MARK) == mark:
                found.append(process)
    return found


def held(processes: Iterable[psutil.Process]) -> Held:
    """What some processes hold at the moment; those that end meanwhile hold nothing."""
    count = handles = ports = memory = 0
    for process in processes:
        with suppress(psutil.Error):
            handles += process.num_fds()
            ports += sum(c.status == psutil.CONN_LISTEN for c in process.net_connections("inet"))
            memory += process.memory_info().rss
            count += 1
    return Held(count, handles, ports, memory >> 20)


def kill_one(mark: str, permanent: Iterable[int], generator: random.Random, share_of_servers: float) -> str | None:
    """SIGKILL one of the marked processes, chosen at random; what it was, None where there was none to kill.

    Args:
        mark: the installation's.
        permanent: process ids of its servers and workers.
        generator: chooses.
        share_of_servers: how often one of these is chosen; otherwise one of those that a run started.
    """
    known = set(permanent)
    of_servers = generator.random() < share_of_servers
    candidates = [process for process in marked(mark) if (process.pid in known) == of_servers]
    if not candidates:
        return None
    chosen = generator.choice(sorted(candidates, key=lambda process: process.pid))
    with suppress(psutil.Error):
        what = described(chosen)
        chosen.kill()
        return what
    return None


def described(process: psutil.Process) -> str:
    """What a process is, in a word or two."""
    try:
        line = " ".join(process.cmdline())
        return next((name for word, name in _KINDS.items() if word in line), process.name())
    except psutil.Error:
        return "one that has ended"
