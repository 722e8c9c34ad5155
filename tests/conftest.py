"""What several rooms' tests share: the real assets, the command line as a subprocess, and the smallest whole pipeline."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from fault_server import FaultServer
from tiny_pipeline import TINY, Viewforge

PROJECT = Path(__file__).resolve().parents[1]
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
# Tensors are small here, and tests run beside one another; set before torch is imported, and for every subprocess.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(autouse=True)
def own_environment() -> Iterator[None]:
    """Every test leaves the environment as it found it.

    What a command sets for its own process, as `PREFECT_HOME` of its workspace, would otherwise be the next test's, too.
    """
    before = dict(os.environ)
    yield
    for name in os.environ.keys() - before.keys():
        del os.environ[name]
    os.environ.update(before)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultServer]:
    """An HTTP server on loopback that fails as it is told, of this test's own."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    server = FaultServer()
    yield server
    server.close()


@pytest.fixture(scope="session")
def shared_assets() -> Path:
    """The folder of real and broken 3D files; tests that need it skip where it is absent."""
    root = Path(os.environ.get("VIEWFORGE_SHARED", PROJECT.parent / "shared")) / "assets"
    if not root.is_dir():
        pytest.skip(f"no real assets in {root}; set VIEWFORGE_SHARED to the folder that holds them")
    return root


@pytest.fixture(scope="session")
def program_environment() -> dict[str, str]:
    """The environment of subprocesses: this interpreter's commands first, no server or home of the outside."""
    foreign = {"PREFECT_API_URL", "PREFECT_HOME", "MLFLOW_TRACKING_URI"}
    kept = {key: value for key, value in os.environ.items() if key not in foreign}
    return {**kept, "PATH": os.pathsep.join([str(Path(sys.executable).parent), kept["PATH"]]), "COLUMNS": "200"}


@pytest.fixture(scope="session")
def viewforge(program_environment: dict[str, str]) -> Viewforge:
    """Runs `viewforge ARGUMENTS` in a folder, the project's own by default."""

    def run(*arguments: str | Path, cwd: Path = PROJECT, timeout: float = 280) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "cli.main", *map(str, arguments)],
            cwd=cwd,
            env=program_environment,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    return run


@pytest.fixture(scope="session")
def tiny_parameters() -> dict[str, object]:
    """Parameters of the smallest whole pipeline."""
    return dict(TINY)
