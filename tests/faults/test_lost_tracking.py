"""MLflow's database and artifacts are deleted for good: what comes back from the workspace, and what is lost."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import mlflow
import pytest
from gate_records import DETAILS, metrics, objects
from mlflow.tracking import MlflowClient
from tiny_modules import IMAGE_ENCODER
from versioned_workspace import versioned_workspace

from registry.lineage import MODEL_TAG
from registry.parameters import RegisterParameters
from stage.files import folder_sha256
from stage.workspace import Workspace
from systems.zero123.modules import build_modules
from systems.zero123.parameters import Zero123Parameters
from systems.zero123.pipeline import Zero123Pipeline
from training.tracking.mlflow_run import MlflowRun
from training.tracking.parameters import TrackingParameters

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
PROJECT = Path(__file__).resolve().parents[2]
MODEL = RegisterParameters().model_name
# What `viewforge promote` does, without the report, which a figure made by hand is not enough for.
PROMOTE = """
import sys
from pathlib import Path
from registry.parameters import RegisterParameters
from registry.promote import promote
from registry.register import register
from stage.workspace import Workspace
place = Workspace(Path(sys.argv[1]))
print(promote(RegisterParameters(), place, str(register(RegisterParameters(), place).version)).outcome)
"""
Viewforge = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A workspace with a trained and evaluated model, whose training has told MLflow of itself."""
    place = versioned_workspace(tmp_path / "workspace")
    parameters = {"unet": {"block_channels": [32, 32]}, "autoencoder": {"factor": 4}, "image_encoder": IMAGE_ENCODER}
    modules = build_modules(Zero123Parameters.model_validate(parameters), 0)
    modules.unet.register_to_config(sample_size=4)
    Zero123Pipeline(
        modules.unet, modules.cc_projection, modules.image_encoder, modules.vae, modules.scheduler
    ).save_pretrained(place.model)
    (place.model / "provenance.json").write_text("{}")
    place.evaluation.mkdir()
    (place.evaluation / "metrics.json").write_text(json.dumps(metrics()))
    (place.evaluation / "details.json").write_text(json.dumps(DETAILS))
    objects().to_parquet(place.evaluation / "per_object.parquet", index=False)
    place.parameters.write_text("seed: 0\nevaluate: {inference_steps: 3, guidance_scale: 2.0, eta: 1.0}\n")
    place.mlflow.mkdir()
    shutil.copy(PROJECT / "mlflow" / "promotion.yaml", place.mlflow)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    # No connection outlives the file that it is to.
    monkeypatch.setenv("MLFLOW_SQLALCHEMYSTORE_POOLCLASS", "NullPool")
    told = TrackingParameters(system_metrics_seconds=None, patience_seconds=120)
    run = MlflowRun(place, "train", place.scratch / "tracking" / "one", told)
    run.continue_after(0)
    for step in (1, 2, 3):
        run.metrics({"loss": 1 / step}, step)
    run.tag(MODEL_TAG, folder_sha256(place.model))
    run.finish()
    mlflow.set_tracking_uri(None)
    return place


def champion(place: Workspace) -> tuple[str, str, list[int]]:
    """The champion's number, the hash of its weights, and the steps of which its training run has the loss."""
    client = MlflowClient(f"sqlite:///{place.mlflow / 'mlflow.db'}")
    version = client.get_model_version_by_alias(MODEL, "champion")
    history = client.get_metric_history(str(version.run_id), "loss")
    return str(version.version), version.tags[MODEL_TAG], sorted(metric.step for metric in history)


def promoted(place: Workspace, environment: dict[str, str]) -> str:
    """What a process that registers the model and puts it before the gate says last."""
    command = [sys.executable, "-c", PROMOTE, str(place.root)]
    result = subprocess.run(
        command, cwd=PROJECT, env=environment, capture_output=True, text=True, check=False, timeout=400
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.splitlines()[-1]


def test_champion_and_curves_come_back_from_the_workspace(
    place: Workspace, viewforge: Viewforge, program_environment: dict[str, str]
):
    where = ("-w", place.root)
    assert promoted(place, program_environment) == "promoted"
    before = champion(place)
    assert before == ("1", folder_sha256(place.model), [1, 2, 3])
    (place.mlflow / "mlflow.db").unlink()
    shutil.rmtree(place.mlflow / "artifacts")
    # A server that never heard of the model: serving, rolling back and deciding on a number have nothing to go by.
    lost = viewforge("rollback", "--reason", "any", *where)
    assert lost.returncode == 1
    assert "no model is registered" in lost.stderr
    sent = viewforge("tracking", "flush", "--again", *where)
    assert "1 runs sent" in sent.stdout, sent.stderr
    assert promoted(place, program_environment) == "promoted"
    assert champion(place) == before
    verified = viewforge("verify", "--json", *where)
    found = [
        finding for finding in json.loads(verified.stdout)["findings"] if finding["what"] in {"model", "registry"}
    ]
    assert found == [], verified.stderr
