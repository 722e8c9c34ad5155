"""A run in MLflow through its journal: exactly once over kills, bounded waits for a server that hangs, sending later."""

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import mlflow.data
import pytest
from mlflow.entities import Run
from mlflow.tracking import MlflowClient
from PIL import Image

from stage.workspace import Workspace
from training.tracking.journal import Journal
from training.tracking.journals import Flushed, flush, journals_folder
from training.tracking.mlflow_run import MlflowRun
from training.tracking.parameters import TrackingParameters
from training.tracking.tracker import DatasetInput

Viewforge = Callable[..., "subprocess.CompletedProcess[str]"]
Trainable = Callable[..., Workspace]

KILLED = """
import os, signal, sys, time
from pathlib import Path
from stage.workspace import Workspace
from training.tracking.mlflow_run import MlflowRun
from training.tracking.parameters import TrackingParameters

workspace = Workspace(Path(sys.argv[1]))
run = MlflowRun(workspace, "train", workspace.scratch / "tracking" / "one", TrackingParameters(system_metrics_seconds=0.2))
run.tag("before", "kill")
if sys.argv[2] == "sent":
    run.continue_after(0)
    for step in range(1, 5):
        run.metrics({"loss": step / 10}, step)
    while not run._journal.complete:
        time.sleep(0.05)
run.metrics({"loss": 0.5}, 5)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def workspace(trainable: Trainable, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """With MLflow's tables made, and the environment as it was at the end."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    return trainable()


@pytest.fixture
def hanging(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A server that takes connections and never answers."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


def opened(workspace: Workspace, system_metrics_seconds: float | None = None, patience: float = 60) -> MlflowRun:
    parameters = TrackingParameters(system_metrics_seconds=system_metrics_seconds, patience_seconds=patience)
    return MlflowRun(workspace, "train", journals_folder(workspace) / "one", parameters)


def killed(workspace: Workspace, when: str) -> None:
    process = subprocess.run([sys.executable, "-c", KILLED, str(workspace.root), when], check=False)
    assert process.returncode == -signal.SIGKILL


def only_run(client: MlflowClient) -> Run:
    (run,) = client.search_runs([experiment.experiment_id for experiment in client.search_experiments()])
    return run


def local(workspace: Workspace) -> MlflowClient:
    return MlflowClient(f"sqlite:///{workspace.mlflow.resolve() / 'mlflow.db'}")


def steps(client: MlflowClient, key: str) -> list[int]:
    history = client.get_metric_history(only_run(client).info.run_id, key)
    return sorted(metric.step for metric in history)


def test_a_killed_run_continues_with_every_figure_once(workspace: Workspace) -> None:
    killed(workspace, "sent")
    run = opened(workspace, system_metrics_seconds=0.2)
    run.continue_after(2)
    for step in range(3, 9):
        run.metrics({"loss": step / 10}, step)
    time.sleep(0.5)
    run.finish()
    client = local(workspace)
    assert steps(client, "loss") == list(range(1, 9))
    system = steps(client, "system/cpu_utilization_percentage")
    assert system == list(range(len(system)))
    assert len(system) >= 2
    assert only_run(client).info.status == "FINISHED"
    assert only_run(client).data.tags["before"] == "kill"


def test_what_a_killed_run_left_is_sent_by_the_command(workspace: Workspace, viewforge: Viewforge) -> None:
    killed(workspace, "unsent")
    outcome = viewforge("tracking", "flush", "-w", workspace.root)
    assert outcome.returncode == 0, outcome.stderr
    assert outcome.stdout.strip() == "tracking: 1 runs sent, 0 in training send their own"
    assert steps(local(workspace), "loss") == [5]
    assert Journal(journals_folder(workspace) / "one").complete


def test_pictures_files_and_inputs_are_there_once(workspace: Workspace, tmp_path: Path) -> None:
    picture, note = tmp_path / "grid.png", tmp_path / "note.json"
    Image.new("RGB", (8, 8), (255, 0, 0)).save(picture)
    note.write_text("{}")
    digest = "ab" * 32
    run = opened(workspace)
    run.inputs([DatasetInput("objects.train", "s3://bucket/set", digest, "training", {"objects": "6"})])
    run.artifact(note)
    run.image("samples_val", picture, 3)
    run.parameters({"train.steps": 3})
    run.finish()
    journal = Journal(journals_folder(workspace) / "one")
    journal.forget_deliveries()
    journal.close()
    assert flush(workspace, patience=60) == Flushed(sent=1)
    client = local(workspace)
    run_id = only_run(client).info.run_id
    pictures = [file.path for file in client.list_artifacts(run_id, "images")]
    assert len([path for path in pictures if path.endswith(".png")]) == 1
    assert "note.json" in [file.path for file in client.list_artifacts(run_id)]
    (used,) = only_run(client).inputs.dataset_inputs
    assert digest.startswith(used.dataset.digest)
    assert len(used.dataset.digest) == 36
    tags = {tag.key: tag.value for tag in used.tags}
    assert tags == {"mlflow.data.context": "training", "index_sha256": digest, "objects": "6"}
    assert mlflow.data.get_source(used.dataset).uri == "s3://bucket/set"


def test_a_run_that_was_deleted_is_made_anew_with_everything(workspace: Workspace) -> None:
    run = opened(workspace)
    run.continue_after(0)
    run.metrics({"loss": 0.1}, 1)
    run.finish()
    client = local(workspace)
    client.delete_run(only_run(client).info.run_id)
    again = opened(workspace)
    again.continue_after(1)
    again.metrics({"loss": 0.2}, 2)
    again.finish()
    assert steps(client, "loss") == [1, 2]


def test_a_figure_that_mlflow_refuses_costs_no_other(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    run = opened(workspace)
    run.continue_after(0)
    run.metrics({"loss": 0.1, "no name?": 1.0}, 1)
    run.metrics({"loss": float("nan")}, 2)
    run.finish()
    assert steps(local(workspace), "loss") == [1, 2]
    assert "MLflow does not take metrics: Invalid value" in capsys.readouterr().err


def test_training_never_waits_for_a_server_that_hangs(
    workspace: Workspace, hanging: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", hanging)
    run = opened(workspace, patience=1)
    run.continue_after(0)
    started = time.monotonic()
    for step in range(1, 200):
        run.metrics({"loss": 0.1}, step)
    assert time.monotonic() - started < 1, "noting 200 figures takes no round trip"
    run.finish()
    assert time.monotonic() - started < 20
    assert "send it with viewforge tracking flush" in capsys.readouterr().err
    journal = Journal(journals_folder(workspace) / "one")
    assert not journal.complete
    assert len([entry for entry in journal.entries() if entry["kind"] == "metrics"]) == 199


def test_a_journal_is_not_sent_to_another_server(workspace: Workspace, viewforge: Viewforge) -> None:
    folder = journals_folder(workspace) / "one"
    journal = Journal(folder)
    journal.append({"kind": "start", "journal": "a", "name": "train", "place": "http://elsewhere:5000", "time": 1})
    journal.close()
    outcome = viewforge("tracking", "flush", "-w", workspace.root)
    assert outcome.returncode == 1
    assert "is meant for MLflow at http://elsewhere:5000" in outcome.stderr
