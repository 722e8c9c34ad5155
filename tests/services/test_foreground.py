"""One service in the foreground: what is refused, and that the process becomes it."""

import subprocess
import sys
from pathlib import Path

import pytest

from services.foreground import service_named
from stage.errors import ViewforgeError
from stage.workspace import Workspace

PROJECT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("name", "options", "fragment"),
    [
        ("redis", {}, "no service redis; choose one of prefect"),
        ("prefect", {"limit": 2}, "--limit means nothing to prefect"),
        ("mlflow", {"grace": 9}, "--grace means nothing to mlflow"),
        ("worker-cpu", {"host": "0.0.0.0"}, "--host means nothing to worker-cpu"),
        ("store", {"host": "0.0.0.0"}, "--host means nothing to store"),
        ("worker-gpu", {}, "PREFECT_API_URL is not set"),
        ("prefect", {"host": "0.0.0.0"}, "without credentials"),
        ("mlflow", {"host": "0.0.0.0"}, "without credentials"),
    ],
)
def test_what_cannot_run_is_refused(
    name: str, options: dict[str, str | int], fragment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("PREFECT_API_URL", "PREFECT_SERVER_API_AUTH_STRING", "MLFLOW_AUTH_ADMIN_PASSWORD"):
        monkeypatch.delenv(variable, raising=False)
    with pytest.raises(ViewforgeError, match=fragment):
        service_named(name, Workspace(tmp_path), **options)  # type: ignore[arg-type]


def test_a_worker_takes_what_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:4200/api")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:5000")
    service = service_named("worker-gpu", Workspace(tmp_path), port=8099, limit=3, grace=45)
    options = dict(zip(service.command, service.command[1:], strict=False))
    assert (options["--pool"], options["--limit"], options["--grace-seconds"]) == ("gpu", "3", "45")
    assert service.health == "http://127.0.0.1:8099/health"


def test_the_process_becomes_the_service() -> None:
    program = (
        "import os, sys; from services.foreground import become; from services.service import Service;"
        "print(os.getpid(), flush=True);"
        "become(Service('some', [sys.executable, '-c', 'import os; print(os.getpid(), os.environ[\"WORD\"])'], {'WORD': 'own'}))"
    )
    answer = subprocess.run([sys.executable, "-c", program], cwd=PROJECT, capture_output=True, text=True, check=True)
    before, after, word = answer.stdout.split()
    assert (before, word) == (after, "own")
