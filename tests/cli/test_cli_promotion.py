"""`viewforge promote` and `viewforge rollback` on the command line, with a registry of three versions."""

import json
import os
import pwd
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest
from promotion_drill import registry_of_three

from cli import promotion
from cli.main import main
from stage import lifeline
from stage.workspace import Workspace

PROJECT = Path(__file__).resolve().parents[2]


@pytest.fixture
def workspace(tmp_path: Path, empty_database: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    """The second version is champion, the third a better challenger."""
    workspace = Workspace(tmp_path / "workspace")
    workspace.mlflow.mkdir(parents=True)
    shutil.copy(PROJECT / "mlflow" / "promotion.yaml", workspace.mlflow)
    shutil.copy(empty_database, workspace.mlflow / "mlflow.db")
    workspace.parameters.write_text("register: {approval: required}\n")
    uri = f"sqlite:///{workspace.mlflow / 'mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    mlflow.set_tracking_uri(uri)
    registry_of_three(workspace)
    yield workspace
    mlflow.set_tracking_uri(None)


def test_a_rollback_does_not_wait_for_an_evaluation(workspace: Workspace, monkeypatch: pytest.MonkeyPatch):
    """A promotion may evaluate a champion again for hours."""
    monkeypatch.setattr(lifeline, "_PATIENCE_SECONDS", 0.0)
    with lifeline.exclusive(workspace, "promotion"):
        promotion.rollback("it crashes", workspace=workspace.root)
    assert json.loads((workspace.root / "promotion.json").read_text())["version"] == "1"


def test_a_decision_about_another_model_is_not_in_this_workspaces_report(workspace: Workspace):
    workspace.parameters.write_text("register: {model_name: mine}\n")
    workspace.evaluation.mkdir(parents=True)
    # What a report would be made of, were one made: it would not get far.
    (workspace.evaluation / "metrics.json").write_text("{}")
    promotion.rollback("it crashes", model="viewforge-zero123", workspace=workspace.root)
    assert not workspace.report.exists()
    assert json.loads((workspace.root / "promotion.json").read_text())["model"] == "viewforge-zero123"


@pytest.mark.slow
def test_a_version_waits_is_approved_and_rolled_back(viewforge, workspace):
    place = ("-w", workspace.root)
    waits = viewforge("promote", "--version", "3", *place)
    assert "promote: a person must agree: viewforge promote --version 3 --approve WHY" in waits.stdout, waits.stderr
    approved = viewforge("promote", "--version", "3", "--approve", "looked at all galleries", *place)
    assert "promote: viewforge-zero123 version 3 is champion" in approved.stdout, approved.stderr
    assert "looked at all galleries" in (workspace.root / "promotion.md").read_text()
    back = viewforge("rollback", "--reason", "it paints seams", *place)
    assert "rollback: viewforge-zero123 version 2 is champion" in back.stdout, back.stderr
    assert json.loads((workspace.root / "promotion.json").read_text())["outcome"] == "rolled back"


MISTAKES = [
    (("promote", "--approve", "a", "--reject", "b"), "--override, --approve and --reject exclude one another"),
    (
        ("promote", "--model", "o'ther", "--version", "1"),
        '--model.model_name = "o\'ther": string should match pattern',
    ),
    (("rollback", "--model", "a/b", "--reason", "x"), "--model.model_name = 'a/b': string should match pattern"),
    (("promote", "--model", "other", "--version", "1"), "names no gate for the model 'other'; add it to models"),
]


@pytest.fixture
def without_registry(tmp_path: Path) -> Path:
    """A workspace with a policy and no MLflow."""
    (tmp_path / "mlflow").mkdir()
    shutil.copy(PROJECT / "mlflow" / "promotion.yaml", tmp_path / "mlflow")
    (tmp_path / "params.yaml").write_text("seed: 0\n")
    return tmp_path


@pytest.mark.parametrize(("arguments", "message"), MISTAKES)
def test_mistakes_are_one_line(without_registry, monkeypatch, capsys, arguments, message):
    """In this process: a program of its own would import the libraries anew, for seconds each."""
    monkeypatch.setattr(sys, "argv", ["viewforge", *arguments, "-w", str(without_registry)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert message in line


def test_libraries_add_no_line_to_a_mistake(viewforge, without_registry):
    """The one for which all of them are imported."""
    arguments, message = MISTAKES[-1]
    result = viewforge(*arguments, "-w", without_registry)
    assert result.returncode == 1
    (line,) = result.stderr.strip().splitlines()
    assert message in line


def test_a_user_without_a_name_is_a_number(monkeypatch: pytest.MonkeyPatch):
    """As in a container that runs under any number."""

    def unknown(uid: int) -> None:
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    assert promotion._approval("looked at all", None).by == f"user {os.getuid()}"
