"""A reconstruction in MLflow: terms, previews, parameters and files, over a kill and a resume, in a local database."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from mlflow.entities import Run
from mlflow.tracking import MlflowClient
from tiny_task import LineTask

from geometry.triangle_mesh import TriangleMesh
from reconstruction.optimisation.loop import optimise
from reconstruction.optimisation.section import ReconstructSection
from reconstruction.tracked_run import tell_files, tell_mesh, tracked_run
from stage.errors import StageFailedError
from stage.workspace import Workspace
from training.tracking.journal import Journal
from training.tracking.journals import Flushed, flush, forget_delivered, journal_files, note_tag

LOOP = {"steps": 12, "checkpoint_every": 4, "preview_every": 6, "report_every": 2}
TOLD = {"trackers": ["mlflow"], "system_metrics_seconds": None, "patience_seconds": 60}

KILLED = """
import os, signal, sys
from pathlib import Path
sys.path[:0] = sys.argv[2:]
from test_tracked_run import LineTask, optimise, section, tracked_run, work
from stage.workspace import Workspace

workspace = Workspace(Path(sys.argv[1]))
task = LineTask()

def watch(step, figures):
    if step == 9:
        os.kill(os.getpid(), signal.SIGKILL)

with tracked_run(section(), workspace, "ruler", work(workspace)) as tracker:
    optimise(task, work(workspace), section().loop, tracker, watch)
"""


def section(**tracking: object) -> ReconstructSection:
    return ReconstructSection.model_validate({"method": "sjc", "loop": LOOP, "tracking": {**TOLD, **tracking}})


def work(workspace: Workspace) -> Path:
    return workspace.scratch / "reconstruct" / "ruler-sjc-12345678"


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    return Workspace(tmp_path)


def only_run(workspace: Workspace) -> tuple[MlflowClient, Run]:
    client = MlflowClient(f"sqlite:///{workspace.mlflow.resolve() / 'mlflow.db'}")
    (run,) = client.search_runs([experiment.experiment_id for experiment in client.search_experiments()])
    return client, run


def steps(client: MlflowClient, run: Run, key: str) -> list[int]:
    return [metric.step for metric in client.get_metric_history(run.info.run_id, key)]


def killed(workspace: Workspace) -> None:
    """Killed after nine of twelve steps, of which eight are in a checkpoint."""
    paths = [str(Path(__file__).parent), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    command = [sys.executable, "-c", KILLED, str(workspace.root), *paths]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL


@pytest.mark.slow
def test_a_killed_reconstruction_is_one_run_with_every_figure_once(workspace: Workspace) -> None:
    killed(workspace)
    made = workspace.root / "model.ply"
    made.write_bytes(b"ply")
    with tracked_run(section(), workspace, "ruler", work(workspace)) as tracker:
        assert optimise(LineTask(), work(workspace), section().loop, tracker) == 4
        tell_mesh(tracker, 12, TriangleMesh(np.eye(3), np.array([[0, 1, 2]])))
        tell_files(tracker, [made])
    client, run = only_run(workspace)
    assert (run.info.status, run.info.run_name) == ("FINISHED", "reconstruct sjc ruler")
    for term in ("loss", "fit", "small"):
        assert steps(client, run, f"reconstruct/{term}") == [2, 4, 6, 8, 10, 12]
    assert run.data.metrics["reconstruct/mesh/faces"] == 1
    assert run.data.metrics["reconstruct/mesh/closed"] == 0
    told = run.data.params
    assert (told["subject"], told["reconstruct.loop.steps"], told["reconstruct.sjc.guidance_scale"]) == (
        *("ruler", "12", "100.0"),
    )
    # Other methods' parameters say nothing of this run.
    assert not [key for key in told if key.startswith(("reconstruct.neus", "reconstruct.tracking"))]
    tags = run.data.tags
    assert (tags["mlflow.source.name"], tags["viewforge.reconstruct.method"]) == ("viewforge reconstruct", "sjc")
    # By which the run of a model's training is found.
    assert "viewforge.model_sha256" not in tags
    previews = [f.path for f in client.list_artifacts(run.info.run_id, "images") if f.path.endswith(".png")]
    assert len(previews) == 2
    assert "model.ply" in [file.path for file in client.list_artifacts(run.info.run_id)]

    # What happens to trainings is no business of it: neither an exit reason of theirs nor what they forget.
    note_tag(workspace, "viewforge.exit_reason", "preempted", since=0.0, patience=0.0)
    forget_delivered(workspace, workspace.scratch / "tracking" / "kept")
    (path,) = journal_files(workspace)
    assert "viewforge.exit_reason" not in path.read_text()
    # A server that lost it gets it again.
    assert flush(workspace, patience=60, again=True) == Flushed(sent=1)


@pytest.mark.slow
def test_one_that_fails_says_so_and_one_that_is_off_notes_nothing(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(step, terms):
        return terms if step < 5 else {**terms, "fit": terms["fit"] * float("nan")}

    with tracked_run(section(trackers=[]), workspace, "ruler", work(workspace) / "silent") as tracker:
        optimise(LineTask(), work(workspace) / "silent", section().loop, tracker)
    assert journal_files(workspace) == []
    with (
        pytest.raises(StageFailedError, match="step 5: the fit term is nan"),
        tracked_run(section(), workspace, "ruler", work(workspace)) as tracker,
    ):
        optimise(LineTask(fault=broken), work(workspace), section().loop, tracker)
    client, run = only_run(workspace)
    assert run.info.status == "FAILED"
    assert steps(client, run, "reconstruct/loss") == [2, 4]
    assert "train:" not in capsys.readouterr().err


def test_a_server_that_is_away_costs_nothing_but_a_line(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nobody listens there; the figures wait in the journal."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with tracked_run(section(patience_seconds=0.0), workspace, "ruler", work(workspace)) as tracker:
        assert optimise(LineTask(), work(workspace), section().loop, tracker) == 12
    (path,) = journal_files(workspace)
    assert path.parent == workspace.scratch / "tracking" / "reconstruct" / work(workspace).name
    entries = Journal(path.parent).entries()
    assert [entry["step"] for entry in entries if entry["kind"] == "metrics"] == [2, 4, 6, 8, 10, 12]
    assert [entry["kind"] for entry in entries[-1:]] == ["end"]
    told = capsys.readouterr().err
    assert "reconstruct: MLflow at http://127.0.0.1:9 is away" in told
    assert "viewforge tracking flush" in told
