"""Small programs that stand in for the servers and workers of an installation."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from services.plan import Plan
from services.ports import any_free
from services.service import Service
from services.starting import Start
from services.state import Options
from stage.workspace import Workspace

# A worker: its flow run is a process of a session of its own, which it asks to stop, waits for and schedules anew.
WORKER = """
import os, pathlib, signal, subprocess, sys, time
environment = {**os.environ, "PREFECT__FLOW_RUN_ID": "1"}
run = subprocess.Popen([sys.executable, "-c", sys.argv[1]], start_new_session=True, env=environment)
def end(*_):
    run.terminate()
    run.wait()
    pathlib.Path("anew").touch()
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
while True:
    time.sleep(0.1)
"""


def server(name: str, port: int) -> Service:
    """Something that answers 200."""
    address = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1"]
    return Service(name, command, {}, address, f"{address}/")


def worker(run: str, **environment: str) -> Service:
    """A worker with one flow run, which is a program."""
    return Service("worker-cpu", [sys.executable, "-c", WORKER, run], environment)


def start(
    place: Workspace,
    workers: tuple[Service, ...] = (),
    servers: tuple[Service, ...] | None = None,
    deploy: Callable[[], None] = lambda: None,
    patience: float = 60.0,
    said: list[str] | None = None,
) -> Start:
    """The start of an installation of a prefect, a mlflow and what is given."""
    options = Options(prefect_port=any_free(), mlflow_port=any_free())
    if servers is None:
        servers = (server("prefect", options.prefect_port), server("mlflow", options.mlflow_port))
    say = [].append if said is None else said.append
    return Start(place, Plan(servers, workers, {}), options, deploy, say, patience)


def until(question: Callable[[], object], seconds: float = 60.0) -> None:
    """Wait for an answer that is true."""
    deadline = time.monotonic() + seconds
    while not question():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def decoy(service: Service, folder: Path) -> "subprocess.Popen[bytes]":
    """A process of the same program that belongs to nobody, on another port where it listens."""
    command = [str(any_free()) if part.isdigit() else part for part in service.command]
    return subprocess.Popen(
        command, cwd=folder, env=dict(os.environ), stderr=subprocess.DEVNULL, start_new_session=True
    )


def bearing(place: Workspace) -> list[psutil.Process]:
    """All processes of a workspace's installation."""
    from services.marks import marked

    return marked(place)
