"""A run in MLflow, of a training or a reconstruction: noted in a journal on the disk, and brought to the server from there.

Neither ever waits for the server, and its being away loses nothing. A killed and restarted one continues its run.
"""

import os
import sys
import time
import uuid
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict
from pathlib import Path

import mlflow

from stage.errors import ViewforgeError
from stage.lifeline import exclusive_folder
from stage.secrets import redacted
from stage.workspace import Workspace
from training.tracking.drain import Delivery, Drain
from training.tracking.journal import Journal, program_of
from training.tracking.mlflow_place import bound_requests, use_mlflow
from training.tracking.parameters import TrackingParameters
from training.tracking.system_metrics import SystemMetrics
from training.tracking.tracker import DatasetInput

_PATIENCE_SECONDS = 20.0


class MlflowRun:
    """A run in MLflow.

    Args:
        workspace: whose MLflow is used.
        name: display name, whose first word is the program that messages name.
        folder: of the journal, the same for each attempt at the run.
        parameters: how patiently the server is asked.
    """

    def __init__(self, workspace: Workspace, name: str, folder: Path, parameters: TrackingParameters) -> None:
        bound_requests(parameters.request_seconds)
        self._place = redacted(use_mlflow(workspace))
        self._lock = _held(folder)
        self._folder, self._parameters, self._program = folder, parameters, program_of({"name": name})
        self._journal = Journal(folder)
        if self._journal.empty:
            start = {"journal": uuid.uuid4().hex, "name": name, "place": self._place}
            self._journal.append({"kind": "start", **start, "time": _now()})
        else:
            self._journal.append({"kind": "resume", "time": _now()})
        self._drain = drain_of(self._journal, workspace)
        self._system: SystemMetrics | None = None

    def continue_after(self, step: int) -> None:
        """Begin to report, the next step being the one after this."""
        self._journal.rewind(step)
        self._drain.start()
        if self._parameters.system_metrics_seconds:
            self._system = SystemMetrics(self._journal, self._parameters.system_metrics_seconds)
            self._system.start()

    def parameters(self, values: Mapping[str, object]) -> None:
        """Note what the run was asked to do; a continued run keeps what it has."""
        self._journal.append({"kind": "parameters", "values": {key: str(value) for key, value in values.items()}})

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        """Note figures of a step."""
        self._journal.append_step("metrics", values, step, _now())

    def tag(self, key: str, value: str) -> None:
        """Label the run."""
        self._journal.append({"kind": "tags", "values": {key: value}})

    def inputs(self, datasets: Sequence[DatasetInput]) -> None:
        """Note what the run reads."""
        self._journal.append({"kind": "inputs", "datasets": [asdict(dataset) for dataset in datasets]})

    def image(self, name: str, path: Path, step: int) -> None:
        """Show a PNG file, which stays where it is."""
        self._journal.append_step("image", {name: self._relative(path)}, step, _now())

    def artifact(self, path: Path) -> None:
        """Keep a file with the run, which stays where it is."""
        self._journal.append({"kind": "artifact", "path": self._relative(path)})

    def finish(self) -> None:
        """Mark the run as successful, and wait a moment for the server to have it all."""
        self._end("FINISHED")

    def fail(self) -> None:
        """Mark the run as failed, and wait a moment for the server to have it all."""
        self._end("FAILED")

    def _end(self, status: str) -> None:
        if self._system:
            self._system.stop()
        self._journal.append({"kind": "end", "status": status, "time": _now()})
        if not self._drain.close(self._parameters.patience_seconds):
            print(
                f"{self._program}: MLflow at {self._place} is away; what it lacks is kept: send it with viewforge tracking flush",
                file=sys.stderr,
                flush=True,
            )
        if self._drain.ended:
            # Otherwise the journal stays this process' own until it ends.
            self._journal.close()
            self._lock.__exit__(None, None, None)

    def _relative(self, path: Path) -> str:
        """As seen from the journal, with which the files may be moved."""
        return os.path.relpath(path.resolve(), self._folder.resolve())


def _held(folder: Path) -> AbstractContextManager[None]:
    """The lock of a folder, entered; what a killed attempt left behind, as workers that read, may hold it a moment longer.

    Raises:
        ViewforgeError: when another process keeps it.
    """
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        lock = exclusive_folder(folder)
        try:
            lock.__enter__()
        except ViewforgeError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)
        else:
            return lock


def drain_of(journal: Journal, workspace: Workspace) -> Drain:
    """What brings a journal to the workspace's MLflow."""

    def connect() -> Delivery:
        from training.tracking.mlflow_delivery import MlflowDelivery

        return MlflowDelivery(workspace, journal.folder, journal.entries()[0])

    return Drain(journal, connect, redacted(mlflow.get_tracking_uri()), program_of(journal.entries()[0]))


def _now() -> int:
    """Milliseconds, as MLflow counts time."""
    return int(time.time() * 1000)
