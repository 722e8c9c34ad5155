"""A Prefect server with the project's deployments, the workers that tests start, and what they do with runs."""

import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from prefect_server import PROJECT, eventually, prefect_server, request
from tiny_pipeline import TINY, assignments

from flows.workspaces import chosen_parameters, prepare
from stage.workspace import Workspace

# Three objects, of which one is held out.
SMALL = {**TINY, "seed": 5, "catalog.objects": 3, "flow.delay_seconds": 0}


def small_workspace(root: Path, **more: object) -> Workspace:
    """A workspace of three objects in which nothing has run; other parameters by their names with `__` for the dots."""
    values = {**SMALL, **{name.replace("__", "."): value for name, value in more.items()}}
    options = assignments(values)[1::2]
    place = Workspace(root)
    prepare(place, chosen_parameters(PROJECT / "params.yaml", None, options))
    return place


@dataclass
class Installation:
    """A server, and the workers that were started for it."""

    environment: dict[str, str]
    folder: Path
    workers: dict[str, "subprocess.Popen[bytes]"] = field(default_factory=dict)

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """What the server answers; asked again where its SQLite is busy."""
        return eventually(lambda: [request(self.environment, method, path, body or {})])[0]

    def deploy(self, *options: str) -> "subprocess.CompletedProcess[str]":
        """`viewforge deploy` for the folder."""
        command = [sys.executable, "-m", "cli.main", "deploy", "-w", str(self.folder), *options]
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False, timeout=300)

    def start_worker(self, pool: str) -> None:
        """A worker of a pool; its output goes to a file of its name."""
        with (self.folder / f"worker-{pool}.log").open("ab") as log:
            self.workers[pool] = subprocess.Popen(
                [sys.executable, "-m", "flows.worker", "--pool", pool],
                env={**self.environment, "PREFECT_WORKER_QUERY_SECONDS": "1"},
                cwd=self.folder,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def deployment(self, name: str) -> dict[str, Any]:
        """A deployment by its `flow/deployment` name."""
        found: dict[str, Any] = self.ask("GET", f"/deployments/name/{name}")
        return found

    def start(self, deployment: str, **parameters: object) -> str:
        """Start a run of a deployment; its id."""
        path = f"/deployments/{self.deployment(deployment)['id']}/create_flow_run"
        body = {"parameters": parameters, "idempotency_key": uuid.uuid4().hex, "state": {"type": "SCHEDULED"}}
        return str(self.ask("POST", path, body)["id"])

    def run(self, run: str) -> dict[str, Any]:
        """A flow run as the server has it."""
        found: dict[str, Any] = self.ask("GET", f"/flow_runs/{run}")
        return found

    def runs(self, deployment: str) -> list[dict[str, Any]]:
        """All runs of a deployment."""
        only = {"deployments": {"id": {"any_": [self.deployment(deployment)["id"]]}}}
        found: list[dict[str, Any]] = self.ask("POST", "/flow_runs/filter", only)
        return found

    def ended(self, run: str) -> dict[str, Any]:
        """A flow run once it has ended."""
        final = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}
        found: dict[str, Any] = eventually(lambda: (seen := self.run(run))["state_type"] in final and seen)
        return found

    def tasks(self, run: str) -> list[dict[str, Any]]:
        """The task runs of a flow run, in the order in which they started."""
        only = {"flow_runs": {"id": {"any_": [run]}}}
        found: list[dict[str, Any]] = self.ask("POST", "/task_runs/filter", only)
        return sorted(found, key=lambda task: str(task["start_time"]))


@contextmanager
def installation(folder: Path) -> Iterator[Installation]:
    """An installation of its own that ends with the context."""
    with prefect_server(folder / "prefect") as environment:
        environment.pop("VIEWFORGE_WORKSPACE", None)
        made = Installation(environment, folder)
        try:
            yield made
        finally:
            for worker in made.workers.values():
                family = [psutil.Process(worker.pid), *psutil.Process(worker.pid).children(recursive=True)]
                for process in family if worker.poll() is None else ():
                    process.kill()
                worker.wait()


def processes_of(run: str) -> list[psutil.Process]:
    """All processes that know a flow run as theirs."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("PREFECT__FLOW_RUN_ID") == run:
                found.append(process)
        except psutil.Error:
            continue
    return found


def running(run: str, words: str) -> list[psutil.Process]:
    """Those of them with these words in their command line."""
    return [process for process in processes_of(run) if words in " ".join(_command(process))]


def gone(processes: list[psutil.Process]) -> bool:
    """Whether all of them ended, within a while."""
    _, alive = psutil.wait_procs(processes, 20)
    return all(_status(process) in {psutil.STATUS_ZOMBIE, ""} for process in alive)


def stop(worker: "subprocess.Popen[bytes]") -> None:
    """Ask a worker to stop, and wait for it."""
    os.kill(worker.pid, signal.SIGTERM)
    worker.wait(120)


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def _status(process: psutil.Process) -> str:
    try:
        return str(process.status())
    except psutil.NoSuchProcess:
        return ""
