"""A workspace's MLflow database is whole or not there."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from stage.workspace import Workspace
from training.tracking.mlflow_place import experiment_id, use_mlflow

MAKING = "import sys; from pathlib import Path; from stage.workspace import Workspace; "
MAKING += "from training.tracking.mlflow_place import use_mlflow; use_mlflow(Workspace(Path(sys.argv[1])))"


def test_a_kill_while_it_is_made_leaves_none_and_the_next_use_makes_it(
    tmp_path: Path, program_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    process = subprocess.Popen([sys.executable, "-c", MAKING, str(tmp_path)], env=program_environment)
    deadline = time.monotonic() + 60
    while not any(path.stat().st_size for path in (tmp_path / "mlflow").glob("**/mlflow.db")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "mlflow" / "mlflow.db").exists()
    use_mlflow(Workspace(tmp_path))
    assert experiment_id(Workspace(tmp_path))
    assert [path.name for path in (tmp_path / "mlflow").iterdir()] == ["mlflow.db"]


def test_it_is_made_where_files_have_one_name_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr(os, "link", refuse)
    use_mlflow(Workspace(tmp_path))
    assert [path.name for path in (tmp_path / "mlflow").iterdir()] == ["mlflow.db"]
