"""A promotion or rollback that is killed leaves a champion, the old one or the new one; running it again completes it."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import pytest
from promotion_drill import registry_of_three

from stage.workspace import Workspace

pytestmark = pytest.mark.slow
DRILL = Path(__file__).with_name("killed_promotion.py")
PROJECT = DRILL.parents[2]


@pytest.fixture
def workspace(tmp_path: Path, empty_database: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    """A workspace with three versions: the second champion, the third a better challenger."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow' / 'mlflow.db'}")
    workspace = Workspace(tmp_path)
    shutil.copytree(PROJECT / "mlflow", workspace.mlflow, ignore=shutil.ignore_patterns("*.db*", "artifacts"))
    shutil.copy(empty_database, workspace.mlflow / "mlflow.db")
    mlflow.set_tracking_uri(os.environ["MLFLOW_TRACKING_URI"])
    registry_of_three(workspace)
    yield workspace
    mlflow.set_tracking_uri(None)


def drill(workspace: Workspace, command: str) -> list[dict[str, Any]]:
    """What became of an attempt that was killed at each write, and of the next one; the last attempt got through."""
    arguments = [sys.executable, DRILL, workspace.root, workspace.mlflow / "mlflow.db", command]
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    result = subprocess.run(arguments, env=environment, capture_output=True, text=True, check=False, timeout=280)
    assert result.returncode == 0, result.stderr[-2000:]
    attempts = [json.loads(line) for line in result.stdout.splitlines()]
    assert [attempt["killed"] for attempt in attempts] == [True] * (len(attempts) - 1) + [False]
    return attempts


def test_a_promotion_killed_at_any_write_leaves_a_champion_and_is_completed(workspace: Workspace):
    attempts = drill(workspace, "promote")
    # Claims, seven tags and more, the page, the alias.
    assert len(attempts) > 12
    seen = [attempt["after"]["aliases"]["champion"] for attempt in attempts]
    assert seen == sorted(seen), "the champion went back and forth"
    assert set(seen) == {"2", "3"}
    for attempt in attempts:
        again = attempt["again"]
        assert again["aliases"] == {"champion": "3"}, attempt
        assert (again["decisions"]["3"], again["claims"]) == ("promoted", 0), attempt


def test_a_rollback_killed_at_any_write_goes_one_version_back_in_all(workspace: Workspace):
    attempts = drill(workspace, "rollback")
    assert len(attempts) > 8
    assert {attempt["after"]["aliases"]["champion"] for attempt in attempts} == {"1", "2"}
    for attempt in attempts:
        again = attempt["again"]
        assert (again["aliases"]["champion"], again["claims"], again["pending"]) == ("1", 0, False), attempt
