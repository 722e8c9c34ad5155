"""The installation that is soaked: its commands, its API, and what it takes on the disk."""

import os
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import httpx

from benchmarks.soak_processes import MARK
from stage.workspace import Workspace

PATIENCE_SECONDS = 900.0
_PLACES = {
    "data": "data",
    "DVC cache": ".dvc/cache",
    "scratch": "scratch",
    "MLflow": "mlflow",
    "Prefect": ".prefect",
    "logs": ".services",
}
_TERMINAL = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}


@dataclass(frozen=True)
class Installation:
    """An installation under test."""

    folder: Path
    mark: str
    prefect_port: int
    mlflow_port: int

    @property
    def workspace(self) -> Workspace:
        """Where its runs work."""
        return Workspace(self.folder / "workspace")

    @property
    def objects(self) -> Path:
        """The folder that gets an object more before each run."""
        return self.folder / "objects"

    @property
    def environment(self) -> dict[str, str]:
        """That of all its processes."""
        temporary = self.folder / "tmp"
        temporary.mkdir(exist_ok=True)
        return {
            **os.environ,
            MARK: self.mark,
            "TMPDIR": str(temporary),
            "PREFECT_API_URL": f"http://127.0.0.1:{self.prefect_port}/api",
            "MLFLOW_TRACKING_URI": f"http://127.0.0.1:{self.mlflow_port}",
            "VIEWFORGE_WORKSPACE": str(self.workspace.root),
            "PREFECT_WORKER_QUERY_SECONDS": "2",
            "OMP_NUM_THREADS": "1",
        }

    def viewforge(self, *arguments: str) -> str:
        """What a command of ours says.

        Raises:
            RuntimeError: when it fails.
        """
        command = [sys.executable, "-m", "cli.main", *arguments]
        result = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False)
        if result.returncode:
            raise RuntimeError(f"viewforge {' '.join(arguments)}: {result.stderr.strip()}")
        return result.stdout

    def up(self) -> None:
        """Start what does not run of the installation."""
        ports = ("--prefect-port", str(self.prefect_port), "--mlflow-port", str(self.mlflow_port))
        self.viewforge("up", "--workspace", str(self.workspace.root), *ports)

    def start_run(self, deployment: str, key: str) -> str:
        """Have a deployment run once; the flow run's id."""
        found = self._api("GET", f"/deployments/name/{deployment}", None)
        body = {"parameters": {"workspace": str(self.workspace.root)}, "idempotency_key": key}
        return str(self._api("POST", f"/deployments/{found['id']}/create_flow_run", body)["id"])

    def end_of(self, run: str) -> str:
        """The type of state in which a run ended; STUCK when it does not end."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            state = str(self._api("GET", f"/flow_runs/{run}", None)["state_type"])
            if state in _TERMINAL:
                return state
            time.sleep(1)
        return "STUCK"

    def _api(self, method: str, path: str, body: object) -> dict[str, object]:
        """An answer of the server, which may be away for a while after it was killed."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        address = f"http://127.0.0.1:{self.prefect_port}/api{path}"
        while True:
            try:
                answer = httpx.request(method, address, json=body, timeout=30, trust_env=False)
                answer.raise_for_status()
                return dict(answer.json())
            except httpx.HTTPError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(2)

    def disk(self) -> dict[str, int]:
        """MiB by kind of what it takes, the objects themselves aside."""
        root = self.workspace.root
        used = {name: _mebibytes(root / place) for name, place in _PLACES.items()}
        return {**used, "temporary": _mebibytes(self.folder / "tmp"), "all": _mebibytes(root)}


def _mebibytes(folder: Path) -> int:
    """What the files of a folder take; hard links count once."""
    seen = {}
    for path in folder.rglob("*"):
        # Servers go on writing, renaming and removing meanwhile.
        with suppress(FileNotFoundError):
            found = path.lstat()
            seen[found.st_dev, found.st_ino] = found.st_blocks * 512
    return sum(seen.values()) >> 20
