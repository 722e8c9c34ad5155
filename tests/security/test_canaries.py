"""A whole pipeline run with a canary in every secret: none is in anything that is written, said, or seen in a process list."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from canaries_support import CANARY, VARIABLES, leaks_in, leaks_on_command_lines
from prefect_server import PROJECT, eventually, free_port

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200), pytest.mark.minutes(2)]
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Everything that these runs write is below it: home, temporary files, workspace, and the tracking server's own."""
    folder = tmp_path_factory.mktemp("canaries")
    for name in ("home", "tmp", "mlflow"):
        (folder / name).mkdir()
    return folder


@pytest.fixture(scope="module")
def tracking(place: Path) -> Iterator[str]:
    """An MLflow server, known by an address with a password."""
    port = free_port()
    stores = {
        "MLFLOW_BACKEND_STORE_URI": f"sqlite:///{place / 'mlflow' / 'mlflow.db'}",
        "MLFLOW_ARTIFACTS_DESTINATION": (place / "mlflow" / "artifacts").as_uri(),
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "mlflow", "server", "--port", str(port), "--workers", "1"],
        env={**os.environ, **stores},
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        eventually(lambda: httpx.get(f"http://127.0.0.1:{port}/health", timeout=2, trust_env=False).is_success)
        yield f"http://viewer:{CANARY}-tracking@127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, 9)
        process.wait()


@pytest.fixture(scope="module")
def run(place: Path, tracking: str, program_environment: dict[str, str]) -> Run:
    """Runs a subcommand with all the secrets in its environment."""
    own = {
        "HOME": str(place / "home"),
        "TMPDIR": str(place / "tmp"),
        "PYTHONPATH": str(PROJECT),
        "NO_PROXY": "127.0.0.1",
    }

    def started(*arguments: str | Path, **changes: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "cli.main", *map(str, arguments)],
            cwd=PROJECT,
            env={**program_environment, **VARIABLES, "MLFLOW_TRACKING_URI": tracking, **own, **changes},
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )

    return started


@pytest.fixture(scope="module")
def whole_run(place: Path, run: Run, tiny_parameters: dict[str, object]) -> tuple[Path, str, set[str]]:
    """The workspace, what the run said, and which command lines showed a secret meanwhile."""
    seen: set[str] = set()
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(0.2):
            seen.update(leaks_on_command_lines())

    watcher = threading.Thread(target=watch)
    watcher.start()
    workspace = place / "workspace"
    try:
        options = [part for key, value in tiny_parameters.items() for part in ("--set", f"{key}={value}")]
        done = run("--verbose", "run", "-w", workspace, *options)
    finally:
        ended.set()
        watcher.join()
    assert done.returncode == 0, done.stderr[-3000:]
    return workspace, done.stdout + done.stderr, seen


def test_a_run_says_and_writes_no_secret(place: Path, whole_run: tuple[Path, str, set[str]]) -> None:
    workspace, said, seen = whole_run
    assert "MLflow      http://127.0.0.1:" in said
    assert CANARY not in said
    assert not seen, "a secret was on a command line"
    written = {path.relative_to(place).parts[0] for path in place.rglob("*") if path.is_file()}
    assert {"workspace", "mlflow"} <= written
    assert (workspace / ".prefect" / "prefect.db").is_file()
    assert (workspace / "report.html").is_file()
    assert leaks_in(place) == []


@pytest.mark.parametrize(
    ("arguments", "changes"),
    [
        (("rollback", "--reason", "why"), {"MLFLOW_TRACKING_URI": f"http://viewer:{CANARY}-away@127.0.0.1:9"}),
        (("rollback", "--reason", "why"), {"MLFLOW_TRACKING_URI": f"http://viewer:{CANARY}-bad@[127.0.0.1:9"}),
        (("run", "--no-promote"), {"PREFECT_API_URL": f"http://viewer:{CANARY}-api@127.0.0.1:9/api"}),
    ],
    ids=["server away", "no address", "prefect away"],
)
def test_a_failure_says_and_writes_no_secret(
    arguments: tuple[str, ...],
    changes: dict[str, str],
    place: Path,
    run: Run,
    whole_run: tuple[Path, str, set[str]],
) -> None:
    # Otherwise a server that is away is asked for minutes.
    patience = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", "PREFECT_CLIENT_MAX_RETRIES": "0"}
    done = run("--verbose", *arguments, "-w", whole_run[0], **patience, **changes)
    said = done.stdout + done.stderr
    assert done.returncode != 0, said
    assert said.strip()
    assert CANARY not in said
    assert leaks_in(place) == []
