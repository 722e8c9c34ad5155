"""Model cards: what they say, where it comes from, and that they follow every change of the registry."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from gate_records import metrics
from huggingface_hub import ModelCard
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from typer.testing import CliRunner

from catalog.table import Asset, write_table
from cli.main import app
from registry.card_publication import card_of
from registry.model_card import LONGEST_DESCRIPTION, description
from registry.parameters import RegisterParameters
from registry.promote import promote
from registry.register import register
from registry.rollback import roll_back
from registry.version_records import logged_model_id
from stage.errors import StageFailedError
from stage.files import file_sha256, write_json
from stage.workspace import Workspace

PARAMETERS = RegisterParameters()
MODEL = PARAMETERS.model_name
DUCK = Asset(
    "d" * 32, "objaverse", "d.glb", "0" * 64, "", 9, "glb", "Y", "by", "Ann", "Duck", (), "train", True, "",
    page="https://sketchfab.com/3d-models/duck",
)  # fmt: skip
BOAT = replace(DUCK, uid="2" * 32, title="Boat", licence="by-nc", author="unknown", source="gso")
HELD_OUT = replace(DUCK, uid="3" * 32, title="Crane", split="test")


@pytest.fixture
def trained(workspace: Workspace) -> Workspace:
    """A workspace whose model learnt a duck and a boat, and whose evaluation has intervals."""
    write_table(workspace.catalog / "catalog.parquet", [DUCK, BOAT, HELD_OUT])
    rows = [{"shard": "0.tar", "key": asset.uid, "split": asset.split} for asset in (DUCK, BOAT, HELD_OUT)]
    pd.DataFrame(rows).to_parquet(workspace.shards / "index.parquet")
    index = file_sha256(workspace.shards / "index.parquet")
    asked = {"system": "zero123", "batch_size": 16, "steps": 2000, "optimizer": {"learning_rate": 1e-3}}
    origin = {"fingerprint": "f", "seed": 7, "parameters": asked, "shards_sha256": {"objects": index}}
    write_json(workspace.model / "provenance.json", origin)
    write_json(workspace.training_report / "metrics.json", {"steps": 1500, "loss_mean_of_last_20": 0.25})
    figures = metrics(psnr=15.5)
    figures |= {"intervals": {"unseen": {"model": {"psnr": [14.5, 16.25]}}}, "unseen_objects": 6}
    write_json(workspace.evaluation / "metrics.json", figures)
    return workspace


def _card(client: MlflowClient, number: str, folder: Path) -> str:
    return card_of(client, MODEL, number, folder)


def test_a_card_says_what_the_model_learnt_how_good_it_is_and_who_decided(
    trained: Workspace, client: MlflowClient, tmp_path: Path
):
    version = register(PARAMETERS, trained)
    decision = promote(PARAMETERS, trained)
    assert decision.promoted
    card = _card(client, "1", tmp_path)
    for said in (
        "a `Zero123Pipeline` of the system [zero123](docs/systems/zero123.md), pictures of 16 × 16 pixels",
        "**Status:** champion since 20",
        f"- {decision.reasons[0]}",
        "2 objects, from `gso` (1), `objaverse` (1).",
        "| 1 | no | yes | yes |",
        "The author of 1 is unknown",
        "The licences of 1 of the 2 training objects do not allow commercial use.",
        "| PSNR, dB ↑ | 15.50 [14.50, 16.25] | 15.00 | 16.00 |",
        "lpips is not available: the package lpips is not installed",
        "By mean PSNR it is no better than the mean training image (15.50 against 16.00 dB).",
        "- steps: 1500",
        "- optimizer learning_rate: 0.001",
        f"MLflow run: `{version.run_id}`",
    ):
        assert said in card
    assert str(trained.root) not in card


def test_its_front_matter_is_what_hugging_face_reads(trained: Workspace, client: MlflowClient, tmp_path: Path):
    register(PARAMETERS, trained)
    card = ModelCard(_card(client, "1", tmp_path))
    assert (card.data.license, card.data.license_link, card.data.library_name) == (
        "other",
        "attribution.md",
        "diffusers",
    )
    figures = {result.metric_type: result.metric_value for result in card.data.eval_results}
    assert figures == {"psnr": 15.5, "ssim": 0.8}
    assert "zero123" in card.data.tags


def test_it_is_the_description_an_artifact_and_lies_with_the_logged_model(
    trained: Workspace, client: MlflowClient, tmp_path: Path
):
    version = register(PARAMETERS, trained)
    card = _card(client, "1", tmp_path)
    stored = client.get_model_version(MODEL, "1").description
    assert stored == description(card)
    assert not stored.startswith("---")
    assert Path(client.download_artifacts(version.run_id, "cards/version-1.md")).read_text() == card
    names = {file.path for file in client.list_logged_model_artifacts(str(logged_model_id(version)))}
    assert {"README.md", "attribution.md", "MLmodel"} <= names


def test_it_follows_promotion_and_rollback(
    trained: Workspace, train: Callable[..., str], client: MlflowClient, tmp_path: Path
):
    register(PARAMETERS, trained)
    promote(PARAMETERS, trained)
    train("better", psnr=30.0)
    promote(PARAMETERS, trained)
    said = {n: client.get_model_version(MODEL, n).description for n in ("1", "2")}
    assert "**Status:** a former champion" in said["1"]
    assert "**Status:** champion since" in said["2"]
    roll_back(trained, MODEL, "it\n# paints ghosts")
    said = {n: client.get_model_version(MODEL, n).description for n in ("1", "2")}
    assert "**Status:** champion" in said["1"]
    assert "**Status:** rolled back: it # paints ghosts" in said["2"]


def test_nothing_is_supposed_of_a_version_that_carries_nothing(three: Workspace, tmp_path: Path):
    client = MlflowClient()
    card = card_of(client, MODEL, "3", tmp_path)
    assert "Which objects they were is not recorded." in card
    assert "is not recorded." in card
    assert "Zero123Pipeline" not in card
    client.delete_run(client.get_model_version(MODEL, "3").run_id)
    assert "## Evaluation" in card_of(client, MODEL, "3", tmp_path)


def test_the_command_prints_the_champion_s_or_else_the_challenger_s(three: Workspace):
    three.parameters.write_text("seed: 0\n")

    def told(*options: str) -> str:
        return (
            CliRunner().invoke(app, ["card", *options, "--workspace", str(three.root)], catch_exceptions=False).output
        )

    assert f"# {MODEL} version 2\n" in told()
    assert told("3").startswith("---\n")
    MlflowClient().delete_registered_model_alias(MODEL, "champion")
    assert f"# {MODEL} version 3\n" in told("--write")
    assert MlflowClient().get_model_version(MODEL, "3").description.startswith(f"# {MODEL} version 3")


def test_a_long_card_is_cut_at_a_line_where_the_registry_ends():
    card = "---\nlicense: other\n---\n\n# Model\n" + "a line of the card\n" * 500
    text = description(card)
    assert len(text) <= LONGEST_DESCRIPTION
    assert text.startswith("# Model")
    assert text.endswith("a line of the card\n\n… The whole card is README.md of the logged model.")


def test_a_card_that_cannot_be_written_stops_no_promotion(
    trained: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    register(PARAMETERS, trained)

    def away(*_: object, **__: object) -> None:
        raise MlflowException("https://ada:hunter2@host.example is away")

    monkeypatch.setattr(MlflowClient, "update_model_version", away)
    assert promote(PARAMETERS, trained).promoted
    said = capsys.readouterr().err
    assert "run viewforge card 1 --write" in said
    assert "hunter2" not in said
    trained.parameters.write_text("seed: 0\n")
    command = ["card", "1", "--write", "--workspace", str(trained.root)]
    with pytest.raises(StageFailedError, match="is not in the registry"):
        CliRunner().invoke(app, command, catch_exceptions=False)


def test_models_are_found_by_a_figure_and_the_data_that_it_is_about(
    trained: Workspace, train: Callable[..., str], client: MlflowClient
):
    version = register(PARAMETERS, trained)
    first, second = (
        logged_model_id(version),
        logged_model_id(client.get_model_version(MODEL, train("better", psnr=30.0))),
    )
    experiment = client.get_run(version.run_id).info.experiment_id
    data = json.loads((trained.evaluation / "metrics.json").read_text())["data_sha256"]

    def found(figures: str, digest: str) -> set[str]:
        datasets = [{"dataset_name": "evaluation.heldout", "dataset_digest": digest}]
        return {m.model_id for m in client.search_logged_models([experiment], figures, datasets=datasets)}

    better = "metrics.`evaluation.unseen.model.psnr` > 20"
    assert found(better, data[:36]) == {second}
    assert found("metrics.`evaluation.unseen.model.psnr` > 1", data[:36]) == {first, second}
    assert found(better, "other") == set()
    model = client.get_logged_model(first)
    assert model.tags["checkpoint.step"] == "1500"
    shards = file_sha256(trained.shards / "index.parquet")
    assert model.tags["data.shards_sha256.objects"] == shards
    learnt = {m.key: (m.value, m.step) for m in model.metrics if m.dataset_digest == shards[:36]}
    assert learnt["training.loss_mean_of_last_20"] == (0.25, 1500)
    outputs = client.get_run(version.run_id).outputs.model_outputs
    assert [(output.model_id, output.step) for output in outputs] == [(first, 1500)]
