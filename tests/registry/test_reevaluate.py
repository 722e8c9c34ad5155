"""A champion with stale figures is evaluated again. The stage itself stands in here; `test_promotion_run.py` runs it."""

import errno
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from gate_records import DETAILS, metrics, objects
from mlflow.tracking import MlflowClient

from registry import reevaluate
from registry.parameters import RegisterParameters
from registry.promote import promote
from registry.rollback import roll_back
from registry.run_artifacts import OutOfReachError
from registry.version_records import AGAIN_TAG, REGISTERED_TAG, records
from stage.errors import InputError
from stage.files import folder_sha256
from stage.workspace import Workspace

PARAMETERS = RegisterParameters()
MODEL = PARAMETERS.model_name
NEW = "b" * 64
# What an evaluation leaves that says something of its model.
OF_THE_MODEL = (
    "scratch/evaluation/predictions/unseen/a",
    "scratch/evaluation/made/unseen/a",
    "scratch/evaluation/timing.json",
)
# What a workspace has beside that, some of it on another disk.
KEPT = ("scratch/evaluation/unseen/a", "scratch/assets/a", "light/studio.exr", "inputs/gso/a", *OF_THE_MODEL)


@pytest.fixture
def evaluated_again(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What the stage was called with; it finds 19 dB on the new data."""
    calls: list[dict[str, Any]] = []

    def evaluate(parameters: Any, seed: int, place: Workspace) -> None:
        weights = folder_sha256(place.model)
        calls.append({"seed": seed, "weights": weights, "steps": parameters.inference_steps, "place": place.root})
        assert (place.catalog / "catalog.parquet").read_text() == "catalog.parquet"
        seen = {name for name in KEPT if (place.root / name).exists()}
        assert seen in (set(), set(KEPT) - set(OF_THE_MODEL))
        calls[-1] |= {"resolution": parameters.resolution, "path": parameters.path, "objects": parameters.objects}
        calls[-1] |= {"reconstruct": parameters.reconstruct}
        for name in OF_THE_MODEL:
            (place.root / name).parent.mkdir(parents=True, exist_ok=True)
            (place.root / name).write_text("of the champion")
        place.evaluation.mkdir(parents=True)
        (place.evaluation / "metrics.json").write_text(json.dumps(metrics(19.0, data=NEW)))
        (place.evaluation / "details.json").write_text(json.dumps(DETAILS))
        objects(19.0).to_parquet(place.evaluation / "per_object.parquet")

    monkeypatch.setattr(reevaluate, "evaluate", evaluate)
    return calls


def test_a_champion_of_other_data_is_evaluated_again_and_then_compared(
    champion: Workspace, train: Callable[..., str], client: MlflowClient, evaluated_again: list[dict[str, Any]]
):
    weights = client.get_model_version(MODEL, "1").tags["viewforge.model_sha256"]
    train("second", psnr=18.8, data=NEW)
    decision = promote(PARAMETERS, champion)
    (call,) = evaluated_again
    assert (call["weights"], call["steps"], call["seed"]) == (weights, 3, 0)
    assert not Path(call["place"]).exists(), "the scratch workspace is still there"
    (check,) = decision.checks
    assert (decision.promoted, check.reference, check.advantage) == (True, 19.0, pytest.approx(-0.2))


def test_nothing_of_the_present_model_is_lost_and_nothing_is_made_or_fetched_twice(
    champion: Workspace, train: Callable[..., str], evaluated_again: list[dict[str, Any]]
):
    for name in KEPT:
        (champion.root / name).parent.mkdir(parents=True, exist_ok=True)
        (champion.root / name).write_text("of this workspace")
    killed = champion.scratch / "promotion" / "version-1-killed" / "download"
    killed.mkdir(parents=True)
    champion.parameters.write_text(
        "evaluate: {inference_steps: 3, guidance_scale: 2.0, eta: 1.0, path: ../gso, objects: names.txt}\n"
    )
    train("second", psnr=18.8, data=NEW)
    promote(PARAMETERS, champion)
    assert [(champion.root / name).read_text() for name in KEPT] == ["of this workspace"] * len(KEPT)
    assert not list((champion.scratch / "promotion").iterdir()), "what a killed promotion left is still there"
    (call,) = evaluated_again
    # Relative paths start at the present workspace, and pictures of another size than the champion's would be found out.
    assert (call["path"], call["objects"]) == (str(champion.root / "../gso"), str(champion.root / "names.txt"))
    assert call["resolution"] == 16


def test_the_new_figures_stay_with_the_champion_beside_the_old(
    champion: Workspace, train: Callable[..., str], client: MlflowClient, evaluated_again: list[dict[str, Any]]
):
    train("second", psnr=5.0, data=NEW)
    for _ in range(2):
        assert not promote(PARAMETERS, champion).promoted
    assert len(evaluated_again) == 1, "what was measured once is measured again"
    version = client.get_model_version(MODEL, "1")
    assert version.tags["reevaluation.data_sha256"] == NEW
    assert version.tags[AGAIN_TAG] != version.tags[REGISTERED_TAG]
    assert [r.figure("psnr", "unseen") for r in records(client, version)] == [19.0, 20.0]


@pytest.mark.parametrize("metric", ["psnr", "reconstruction.unseen.chamfer_l1"])
def test_a_champion_is_reconstructed_again_where_the_gate_compares_reconstructions(
    champion: Workspace, train: Callable[..., str], evaluated_again: list[dict[str, Any]], metric: str
):
    """They take hours, which a gate that compares pictures does not wait for."""
    champion.parameters.write_text("evaluate: {inference_steps: 3, reconstruct: {method: neus, max_objects: 2}}\n")
    check = {"metric": metric, "direction": "lower", "champion": {}}
    (champion.root / "gates.yaml").write_text(json.dumps({"gates": {"own": {"checks": [check]}}}))
    train("second", data=NEW)
    promote(RegisterParameters(policy="gates.yaml", gate="own"), champion)
    (call,) = evaluated_again
    assert (call["reconstruct"] and call["reconstruct"].max_objects) == (None if metric == "psnr" else 2)


def test_a_champion_that_cannot_be_evaluated_again_refuses_and_says_why(
    champion: Workspace, train: Callable[..., str], client: MlflowClient, monkeypatch: pytest.MonkeyPatch
):
    def fails(*_: Any) -> None:
        raise InputError("the model was trained on every object that would evaluate it", "raise catalog.split.test")

    monkeypatch.setattr(reevaluate, "evaluate", fails)
    train("second", psnr=30.0, data=NEW)
    decision = promote(PARAMETERS, champion)
    assert (decision.promoted, decision.checks) == (False, ())
    assert decision.reasons[0].startswith("the champion, version 1, has no evaluation on the terms of this model")
    assert decision.reasons[0].endswith("trained on every object that would evaluate it; raise catalog.split.test")
    assert str(client.get_registered_model(MODEL).aliases["champion"]) == "1"


@pytest.mark.parametrize(
    "error", [OutOfReachError("its pipeline cannot be had", "run it again"), OSError(errno.ENOSPC, "no space left")]
)
def test_nobody_is_refused_because_the_network_or_the_disk_failed(
    champion: Workspace,
    train: Callable[..., str],
    client: MlflowClient,
    monkeypatch: pytest.MonkeyPatch,
    evaluated_again: list[dict[str, Any]],
    error: Exception,
):
    def fails(*_: Any) -> Path:
        raise error

    number = train("second", psnr=30.0, data=NEW)
    with monkeypatch.context() as bad:
        bad.setattr(reevaluate, "download_pipeline", fails)
        with pytest.raises(type(error), match=r"cannot be had|no space"):
            promote(PARAMETERS, champion)
    assert "promotion.decision" not in client.get_model_version(MODEL, number).tags
    assert promote(PARAMETERS, champion).promoted
    assert len(evaluated_again) == 1


def test_another_workspaces_version_is_not_compared_with_what_this_one_would_measure(
    champion: Workspace, train: Callable[..., str], finish: Callable[..., None], evaluated_again: list[dict[str, Any]]
):
    train("second", psnr=30.0, data=NEW)
    finish("third", data="c" * 64)
    decision = promote(PARAMETERS, champion, version="2")
    assert not evaluated_again
    assert "this workspace cannot make one: its own evaluation differs in data_sha256" in decision.reasons[0]


def test_lost_artifacts_of_the_champion_are_one_line(
    workspace: Workspace, train: Callable[..., str], client: MlflowClient
):
    train("first")
    assert promote(PARAMETERS, workspace).promoted
    model = str(client.get_model_version(MODEL, "1").source).removeprefix("models:/")
    place = urlsplit(client.get_logged_model(model).artifact_location).path
    train("second", psnr=30.0, data=NEW)
    shutil.rmtree(place)
    (reason,) = promote(PARAMETERS, workspace).reasons
    assert f"the pipeline of {MODEL} version 1 cannot be had" in reason
    assert reason.endswith("restore its artifacts")


def test_no_password_gets_into_the_registry(
    champion: Workspace, train: Callable[..., str], client: MlflowClient, monkeypatch: pytest.MonkeyPatch
):
    def fails(*_: Any) -> Path:
        raise OSError("GET https://ada:secret@host/api failed")

    train("second", psnr=30.0, data=NEW)
    monkeypatch.setattr(reevaluate, "download_pipeline", fails)
    promote(PARAMETERS, champion)
    said = client.get_model_version(MODEL, "2").tags["promotion.reasons"]
    assert said.endswith("failed: GET https://host/api failed")


def test_a_champion_whose_run_somebody_deleted_refuses_at_once_and_says_how_to_restore_it(
    champion: Workspace, train: Callable[..., str], client: MlflowClient, evaluated_again: list[dict[str, Any]]
):
    """MLflow takes no figure for a run in its bin: to find that out after the evaluation would cost hours at each attempt."""
    run = client.get_model_version(MODEL, "1").run_id
    client.delete_run(run)
    train("second", psnr=30.0, data=NEW)
    refused = promote(PARAMETERS, champion)
    assert refused.reasons[0].endswith(f"its run is deleted; mlflow runs restore --run-id {run} brings it back")
    assert not evaluated_again
    client.restore_run(run)
    assert promote(PARAMETERS, champion).promoted


def test_a_champion_whose_run_was_removed_refuses_and_gives_way_to_an_override(
    champion: Workspace, train: Callable[..., str], client: MlflowClient, evaluated_again: list[dict[str, Any]]
):
    run = client.get_model_version(MODEL, "1").run_id
    client.delete_run(run)
    client._tracking_client.store._hard_delete_run(run)
    train("second", psnr=30.0)
    refused = promote(PARAMETERS, champion)
    assert refused.reasons[0].endswith("and its run, which would carry one, is gone")
    assert not evaluated_again
    assert promote(PARAMETERS, champion, override="looked at all galleries").promoted
    assert roll_back(champion, MODEL, "no").version == "1"
