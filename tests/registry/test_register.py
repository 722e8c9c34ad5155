"""Registering with MLflow on SQLite: versions, tags, runs, and what is missing."""

import json
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from mlflow.tracking import MlflowClient

from evaluation.parameters import EvaluateParameters
from registry.lineage import lineage_tags
from registry.parameters import RegisterParameters
from registry.promote import promote
from registry.register import register
from registry.served_pipeline import picture_size, requirements, signature
from stage.errors import InputError, ParameterError
from stage.files import file_sha256, folder_sha256
from stage.workspace import Workspace
from training.tracking.journal import Journal
from training.tracking.journals import journals_folder
from training.tracking.mlflow_place import experiment_id, use_mlflow

PARAMETERS = RegisterParameters()
MODEL = PARAMETERS.model_name


def test_a_version_leads_back_to_everything_that_made_it(workspace: Workspace, client: MlflowClient):
    (workspace.evaluation / "contact_sheet.png").write_bytes(b"picture")
    version = register(PARAMETERS, workspace)
    tags = version.tags
    assert (str(version.version), list(version.aliases)) == ("1", ["challenger"])
    assert tags["viewforge.model_sha256"] == folder_sha256(workspace.model)
    assert tags["data.catalog_sha256"] == file_sha256(workspace.catalog / "catalog.parquet")
    assert tags["data.shards_sha256"] == file_sha256(workspace.shards / "index.parquet")
    assert tags["dvc.lock_sha256"] == file_sha256(workspace.root / "dvc.lock")
    assert tags["params_sha256"] == file_sha256(workspace.parameters)
    assert tags["training.fingerprint"] == "first"
    assert (tags["evaluation.unseen.model.psnr"], tags["evaluation.unseen.mean_image.ssim"]) == ("20.0", "0.75")
    assert tags["evaluation.unseen.model.lpips"] == "not available"
    assert (tags["git.commit"], tags["git.dirty"]) == ("unknown", "unknown")
    artifacts = [artifact.path for artifact in client.list_artifacts(version.run_id, "evaluation")]
    expected = ("contact_sheet.png", "metrics.json", "per_object.parquet")
    assert artifacts == [f"evaluation/{name}" for name in expected]


def test_without_a_training_run_one_is_made_and_says_so(workspace: Workspace, client: MlflowClient):
    run = client.get_run(register(PARAMETERS, workspace).run_id)
    assert (run.info.run_name, run.info.status) == ("registered", "FINISHED")
    assert "no training run" in run.data.tags["viewforge.substitute"]
    assert run.data.params["evaluate.inference_steps"] == "3"
    assert run.data.metrics["evaluation.unseen.model.psnr"] == 20.0


def test_a_run_that_is_made_notes_the_names_of_variables_and_no_secret(
    workspace: Workspace, client: MlflowClient, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("SHARDS_PASSWORD", "hunter2-hunter2")
    place = "https://${SHARDS_USER}:${SHARDS_PASSWORD}@host.example/shards"
    parameters = "evaluate: {{inference_steps: 3}}\ntrain: {{data: {{datasets: [{{name: far, place: '{place}'}}]}}}}\n"
    workspace.parameters.write_text(parameters.format(place=place))
    said = str(client.get_run(register(PARAMETERS, workspace).run_id).data.params)
    assert "host.example/shards" in said
    assert "hunter2" not in said
    workspace.parameters.write_text(parameters.format(place="https://ada:hunter2-hunter2@host.example/shards"))
    with pytest.raises(
        ParameterError, match=r"train\.data\.datasets\.0\.place holds an address with a password"
    ) as error:
        register(PARAMETERS, workspace)
    assert "hunter2" not in str(error.value)


def test_the_training_run_is_found_by_its_weights_in_any_experiment(workspace: Workspace, client: MlflowClient):
    other = client.create_experiment("elsewhere", artifact_location=(workspace.mlflow / "elsewhere").as_uri())
    ended = 1_700_000_000_000
    runs = [client.create_run(e, run_name="train") for e in (experiment_id(workspace), other)]
    client.set_tag(runs[1].info.run_id, "viewforge.model_sha256", folder_sha256(workspace.model))
    client.set_terminated(runs[1].info.run_id, end_time=ended)
    version = register(PARAMETERS, workspace)
    run = client.get_run(version.run_id)
    assert version.run_id == runs[1].info.run_id
    assert run.info.end_time == ended, "registering made the training look longer"
    assert run.data.metrics["evaluation.unseen.copy_input.psnr"] == 15.0
    (model,) = client.search_logged_models([other])
    assert {m.key: m.value for m in model.metrics}["evaluation.unseen.model.ssim"] == 0.8


def test_the_training_run_is_found_on_a_server_of_many_teams(workspace: Workspace, client: MlflowClient):
    run = client.create_run(experiment_id(workspace)).info.run_id
    client.set_tag(run, "viewforge.model_sha256", folder_sha256(workspace.model))
    others = [(number, f"of team {number}", "active", 2**42, 2**42) for number in range(1000, 2000)]
    with closing(sqlite3.connect(workspace.mlflow / "mlflow.db")) as database, database:
        columns = "experiment_id, name, lifecycle_stage, creation_time, last_update_time"
        database.executemany(f"INSERT INTO experiments ({columns}) VALUES (?, ?, ?, ?, ?)", others)
    assert register(PARAMETERS, workspace).run_id == run


def test_a_training_run_that_mlflow_has_not_seen_yet_is_sent_first(workspace: Workspace, client: MlflowClient):
    """MLflow was away until the training had ended."""
    journal = Journal(journals_folder(workspace) / "one")
    start = {"journal": "a", "name": "train", "place": use_mlflow(workspace), "time": 1}
    journal.append({"kind": "start", **start})
    journal.append({"kind": "tags", "values": {"viewforge.model_sha256": folder_sha256(workspace.model)}})
    journal.append({"kind": "end", "status": "FINISHED", "time": 2})
    journal.close()
    found = client.get_run(register(PARAMETERS, workspace).run_id)
    assert (found.info.run_name, found.info.status) == ("train", "FINISHED")


def test_a_registration_that_fails_does_not_make_the_training_a_failed_one(
    workspace: Workspace, client: MlflowClient, monkeypatch: pytest.MonkeyPatch
):
    run = client.create_run(experiment_id(workspace)).info.run_id
    client.set_tag(run, "viewforge.model_sha256", folder_sha256(workspace.model))
    client.set_terminated(run, end_time=1_700_000_000_000)

    def full(*_: object) -> str:
        raise OSError("no space left on device")

    monkeypatch.setattr("registry.register.log_pipeline", full)
    with pytest.raises(OSError, match="no space"):
        register(PARAMETERS, workspace)
    info = client.get_run(run).info
    assert (info.status, info.end_time) == ("FINISHED", 1_700_000_000_000)


def test_registering_again_gives_the_same_version(workspace: Workspace, client: MlflowClient):
    first, second = register(PARAMETERS, workspace), register(PARAMETERS, workspace)
    assert first.version == second.version
    assert len(client.search_model_versions(f"name = '{MODEL}'")) == 1


def test_other_figures_of_the_same_weights_are_another_version(
    workspace: Workspace, finish: Callable[..., None], client: MlflowClient
):
    first = register(PARAMETERS, workspace)
    finish("first", psnr=21.0)
    second = register(PARAMETERS, workspace)
    assert (str(second.version), second.run_id) == ("2", first.run_id)


def test_returning_to_earlier_weights_makes_their_version_challenger_again(
    champion: Workspace, finish: Callable[..., None], train: Callable[..., str]
):
    assert train("second", psnr=10.0) == "2"
    assert train("third", psnr=11.0) == "3"
    assert train("second", psnr=10.0) == "2"
    assert promote(PARAMETERS, champion).version == "2"
    finish("first")
    again = register(PARAMETERS, champion)
    assert (str(again.version), list(again.aliases)) == ("1", ["champion"])


def test_git_commit_and_changes_are_noted(workspace: Workspace):
    def git(*arguments: str) -> str:
        identity = ("-c", "user.name=t", "-c", "user.email=t@example.org")
        command = ["git", "-C", str(workspace.root), *identity, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    git("init", "-q")
    assert lineage_tags(workspace)["git.commit"] == "unknown"
    git("add", ".")
    git("commit", "-qm", "first")
    # Outputs of a run do not make the code another.
    (workspace.root / "dvc.lock").write_text("newer")
    (workspace.root / "promotion.json").write_text("{}")
    assert lineage_tags(workspace)["git.dirty"] == "false"
    assert lineage_tags(workspace)["git.commit"] == git("rev-parse", "HEAD")
    workspace.parameters.write_text("seed: 1\n")
    assert lineage_tags(workspace)["git.dirty"] == "true"


def test_the_signature_names_the_size_and_serves_as_it_was_evaluated(pipeline_folder: Path):
    assert picture_size(pipeline_folder) == 16
    made = signature(16, EvaluateParameters(inference_steps=7, guidance_scale=2))
    assert [(s.name, s.shape, s.type) for s in made.inputs.inputs] == [
        ("image", (-1, -1, -1, -1), np.dtype("float32")),
        ("poses", (-1, -1), np.dtype("float32")),
    ]
    # The model itself answers pictures of another size.
    assert made.outputs.inputs[0].shape == (-1, 16, 16, 3)
    defaults = {p.name: p.default for p in made.params.params}
    assert defaults == {
        "num_inference_steps": 7,
        "guidance_scale": 2.0,
        "eta": 0.0,
        "scheduler": "as_saved",
        "drop_first_step": False,
        "null_condition": "after_projection",
        "seed": 0,
    }


def test_requirements_are_exact_and_installable_from_an_index():
    assert all("==" in line and "+" not in line for line in requirements())


def test_a_pipeline_that_does_not_say_its_size_takes_any(tmp_path: Path):
    for part, config in {"unet": {"sample_size": None}, "vae": {"block_out_channels": [1, 2, 3, 4]}}.items():
        (tmp_path / part).mkdir()
        (tmp_path / part / "config.json").write_text(json.dumps(config))
    assert picture_size(tmp_path) == -1
    (tmp_path / "unet" / "config.json").write_text(json.dumps({"sample_size": 32}))
    assert picture_size(tmp_path) == 256


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"no evaluation .*metrics\.json; run viewforge evaluate"),
        ("{", "is not JSON"),
        ("[]", "does not say which data"),
        ('{"data_sha256": "a"}', r"no figures of the model on unseen objects"),
    ],
)
def test_an_unusable_evaluation_is_one_line(workspace: Workspace, content: str | None, message: str):
    path = workspace.evaluation / "metrics.json"
    path.unlink() if content is None else path.write_text(content)
    with pytest.raises(InputError, match=message) as error:
        register(PARAMETERS, workspace)
    assert "\n" not in str(error.value)


def test_a_missing_pipeline_is_one_line(workspace: Workspace):
    (workspace.model / "model_index.json").unlink()
    with pytest.raises(InputError, match=r"no trained pipeline in .*; run viewforge train"):
        register(PARAMETERS, workspace)


def test_damaged_provenance_is_one_line(workspace: Workspace):
    (workspace.model / "provenance.json").write_text("[1]")
    with pytest.raises(InputError, match=r"provenance\.json is no JSON mapping"):
        register(PARAMETERS, workspace)


def test_an_mlflow_that_fails_is_one_line_without_its_password(workspace: Workspace, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://user:secret@127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(InputError, match=r"^MLflow at http://127\.0\.0\.1:9: .*check MLFLOW_TRACKING_URI") as error:
        register(PARAMETERS, workspace)
    assert "\n" not in str(error.value)
    assert "secret" not in str(error.value)


def test_a_name_that_mlflow_refuses_is_refused_before():
    with pytest.raises(ValueError, match="model_name"):
        RegisterParameters(model_name="team/model")
