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
# Its commands leave a process behind that sends the report, in a test's folder.
os.environ.setdefault("DVC_NO_ANALYTICS", "1")
# Tensors are small here, and tests run beside one another; set before torch is imported, and for every subprocess.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# rembg imports pymatting, which numba compiles for most of a minute in a new environment; nothing here makes its mattes.
os.environ.setdefault("NUMBA_DISABLE_JIT", "1")


# Before pytest-xdist's own, which reads the groups.
@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """For several processes (`make test-slow`): the longest tests begin first, or one would be left to run alone at the end.

    Tests that share a module's fixture share a process, or each process would make it.
    """
    for item in items:
        if not item.get_closest_marker("xdist_group") and _shares_a_fixture(item):
            item.add_marker(pytest.mark.xdist_group(item.nodeid.partition("::")[0]))
    items.sort(key=_minutes, reverse=True)


def _shares_a_fixture(item: pytest.Item) -> bool:
    definitions = item._fixtureinfo.name2fixturedefs.values()  # type: ignore[attr-defined]
    return any(definition[-1].scope == "module" for definition in definitions)


def _minutes(item: pytest.Item) -> float:
    """What the test says of itself; most take less than one."""
    mark = item.get_closest_marker("minutes")
    return float(mark.args[0]) if mark else 0.0


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
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow's tables in SQLite, made once: making them takes seconds, copying them none."""
    from mlflow.tracking import MlflowClient

    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture(scope="session")
def tiny_parameters() -> dict[str, object]:
    """Parameters of the smallest whole pipeline."""
    return dict(TINY)
