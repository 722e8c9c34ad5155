"""What of MLflow's runs, logged models, versions and artifacts goes, and above all what stays."""

import json
import os
import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import mlflow
import pytest
from mlflow.entities import ViewType
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from promotion_drill import MODEL, registry_of_three
from typer.testing import CliRunner

from cli.main import app
from registry.decision_record import SINCE_TAG
from registry.lineage import MODEL_TAG
from stage.errors import InputError
from stage.files import folder_sha256
from stage.lifeline import exclusive
from stage.workspace import Workspace
from training.tracking.mlflow_place import experiment_id
from upkeep.retention import Collected, collect
from upkeep.retention_item import Item
from upkeep.retention_mlflow import ModelCollector, RunCollector, VersionCollector
from upkeep.retention_parameters import RetentionParameters
from upkeep.retention_registry import Holdings

PROJECT = Path(__file__).resolve().parents[2]
PARAMETERS = RetentionParameters()
DAY = 86_400
LATER = 40 * DAY


@pytest.fixture
def place(tmp_path: Path, empty_database: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    """A workspace with a database of its own, seen forty days later."""
    workspace = Workspace(tmp_path / "workspace")
    workspace.mlflow.mkdir(parents=True)
    shutil.copy(PROJECT / "mlflow" / "promotion.yaml", workspace.mlflow)
    shutil.copy(empty_database, workspace.mlflow / "mlflow.db")
    workspace.parameters.write_text("seed: 0\n")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{workspace.mlflow / 'mlflow.db'}")
    mlflow.set_tracking_uri(os.environ["MLFLOW_TRACKING_URI"])
    clock = SimpleNamespace(time=lambda: time.time() + LATER)
    monkeypatch.setattr("upkeep.retention_registry.time", clock)
    yield workspace
    mlflow.set_tracking_uri(None)


@pytest.fixture
def client(place: Workspace) -> MlflowClient:
    """The workspace's MLflow."""
    return MlflowClient()


def _run(client: MlflowClient, place: Workspace, tags: dict[str, str] | None = None, end: bool = True) -> str:
    run = client.create_run(experiment_id(place), tags=tags or {}).info.run_id
    client.log_text(run, "x" * 1000, "notes.txt")
    if end:
        client.set_terminated(run)
    return str(run)


def _runs(client: MlflowClient, place: Workspace) -> set[str]:
    return {run.info.run_id for run in client.search_runs([experiment_id(place)], run_view_type=ViewType.ALL)}


def _found(outcome: Collected) -> set[tuple[str, str]]:
    return {(item.kind, item.name) for item in outcome.found}


def test_an_old_run_of_no_version_goes_with_its_artifacts_and_only_when_asked(place: Workspace, client: MlflowClient):
    run = _run(client, place)
    listed = collect(place, PARAMETERS)
    assert _found(listed) == {("run", run)}
    assert (listed.found[0].bytes, listed.deleted, listed.left) == (1000, [], [])
    assert (place.mlflow / "artifacts" / run).is_dir()
    outcome = collect(place, PARAMETERS, delete=True)
    assert outcome.deleted == listed.found
    assert _runs(client, place) == set()
    assert not (place.mlflow / "artifacts" / run).exists()
    assert collect(place, PARAMETERS, delete=True) == Collected()


def test_what_is_young_runs_is_tagged_or_referred_to_stays(place: Workspace, client: MlflowClient):
    registry_of_three(place)
    kept = {version.run_id for version in client.search_model_versions(f"name = '{MODEL}'")}
    kept |= {_run(client, place, end=False), _run(client, place, {"keep": "figure 3 of the paper"})}
    place.model.mkdir(parents=True)
    (place.model / "weights").write_text("present")
    kept.add(_run(client, place, {MODEL_TAG: folder_sha256(place.model)}))
    journal = place.scratch / "tracking" / "one"
    journal.mkdir(parents=True)
    (journal / "journal.jsonl").write_text(json.dumps({"kind": "start", "journal": "j1"}) + "\n")
    kept.add(_run(client, place, {"viewforge.journal": "j1"}))
    assert collect(place, RetentionParameters(days=60)).found == []
    spare = {_run(client, place), _run(client, place, {"keep": "false"})}
    outcome = collect(place, PARAMETERS, delete=True)
    assert {item.name for item in outcome.deleted} == spare
    assert _runs(client, place) == kept


def test_other_experiments_of_the_database_are_not_touched(place: Workspace, client: MlflowClient):
    _run(client, place)
    other = client.create_experiment("theirs", artifact_location=(place.mlflow / "theirs").as_uri())
    run = client.create_run(other).info.run_id
    client.set_terminated(run)
    binned = client.create_run(other).info.run_id
    client.delete_run(binned)
    gone = client.create_experiment("their old one", artifact_location=(place.mlflow / "gone").as_uri())
    client.delete_experiment(gone)
    assert len(collect(place, PARAMETERS, delete=True).deleted) == 1
    assert len(client.search_runs([other], run_view_type=ViewType.ALL)) == 2
    assert client.get_experiment(gone).lifecycle_stage == "deleted"


def test_a_deletion_that_was_killed_goes_on(place: Workspace, client: MlflowClient, monkeypatch: pytest.MonkeyPatch):
    """Killed after each of its steps: in the bin, without artifacts, without its row."""
    runs = [_run(client, place) for _ in range(2)]
    client.delete_run(runs[0])
    client.delete_run(runs[1])
    shutil.rmtree(place.mlflow / "artifacts" / runs[1])
    # And one whose row went first, as a hand would have it.
    shutil.copytree(place.mlflow / "artifacts" / runs[0], place.mlflow / "artifacts" / ("0" * 32))
    outcome = collect(place, PARAMETERS, delete=True)
    assert {(i.kind, i.name) for i in outcome.deleted} == {("run", runs[0]), ("run", runs[1]), ("orphan", "0" * 32)}
    assert list((place.mlflow / "artifacts").iterdir()) == []
    assert collect(place, PARAMETERS, delete=True) == Collected()


def test_logged_models_of_no_version_go(place: Workspace, client: MlflowClient):
    run = _run(client, place, {"keep": "yes"})
    models = []
    for name in ("registered", "forgotten", "kept"):
        model = client.create_logged_model(experiment_id(place), name, source_run_id=run)
        folder = Path(model.artifact_location.removeprefix("file://"))
        folder.mkdir(parents=True)
        (folder / "weights").write_text("w" * 500)
        models.append(model.model_id)
    client.create_registered_model(MODEL)
    client.create_model_version(MODEL, f"models:/{models[0]}", run, model_id=models[0])
    client.set_logged_model_tags(models[2], {"keep": "true"})
    stray = place.mlflow / "artifacts" / "models" / f"m-{'0' * 32}"
    stray.mkdir()
    (stray / "weights").write_text("w")
    outcome = collect(place, PARAMETERS, delete=True)
    assert outcome.left == []
    assert {(i.kind, i.name, i.bytes) for i in outcome.deleted} == {
        ("logged model", models[1], 500),
        ("orphan", f"models/m-{'0' * 32}", 1),
    }
    assert client.get_logged_model(models[0]).model_id == models[0]
    with pytest.raises(MlflowException):
        client.get_logged_model(models[1])
    assert collect(place, PARAMETERS, delete=True) == Collected()


def test_the_row_of_a_deleted_model_goes_and_those_of_others_and_of_versions_stay(
    place: Workspace, client: MlflowClient
):
    """As a kill leaves it before the last step, or a deletion behind a server."""
    theirs = client.create_experiment("theirs", artifact_location=(place.mlflow / "theirs").as_uri())
    ours = [client.create_logged_model(experiment_id(place), name).model_id for name in ("left", "versions")]
    other = client.create_logged_model(theirs, "other").model_id
    client.create_registered_model(MODEL)
    client.create_model_version(MODEL, f"models:/{ours[1]}", model_id=ours[1])
    weights = place.mlflow / "artifacts" / "models" / ours[1] / "weights"
    weights.parent.mkdir(parents=True)
    weights.write_text("w")
    for model in (*ours, other):
        client.delete_logged_model(model)
    assert [(i.kind, i.name) for i in collect(place, PARAMETERS).found] == [("logged model", ours[0])]
    assert _deleted_models(place) == {*ours, other}
    assert [i.name for i in collect(place, PARAMETERS, delete=True).deleted] == [ours[0]]
    assert _deleted_models(place) == {ours[1], other}
    assert weights.is_file()
    assert collect(place, PARAMETERS, delete=True) == Collected()


def _deleted_models(place: Workspace) -> set[str]:
    with closing(sqlite3.connect(place.mlflow / "mlflow.db")) as database:
        return {
            row for (row,) in database.execute("SELECT model_id FROM logged_models WHERE lifecycle_stage = 'deleted'")
        }


def test_old_versions_go_when_a_number_is_given_and_never_champions(place: Workspace, client: MlflowClient):
    registry_of_three(place)
    for _ in range(3):
        client.create_model_version(MODEL, place.root.as_uri(), _run(client, place))
    versions = {v.version: v for v in client.search_model_versions(f"name = '{MODEL}'")}
    client.set_model_version_tag(MODEL, "4", "promotion.decision", "awaiting approval")
    assert collect(place, PARAMETERS).found == []
    outcome = collect(place, RetentionParameters(versions=1), delete=True)
    # 1 and 2 were champions, 3 is challenger, 4 awaits a person, 6 is the newest.
    assert [(i.kind, i.name) for i in outcome.deleted] == [("version", f"{MODEL}/5"), ("run", versions[5].run_id)]
    left = {str(v.version) for v in client.search_model_versions(f"name = '{MODEL}'")}
    assert left == {"1", "2", "3", "4", "6"}
    assert client.get_model_version(MODEL, "1").tags[SINCE_TAG]


def test_a_version_that_gets_an_alias_meanwhile_stays_with_its_run(
    place: Workspace, client: MlflowClient, monkeypatch: pytest.MonkeyPatch
):
    client.create_registered_model(MODEL)
    runs = [_run(client, place) for _ in range(2)]
    for run in runs:
        client.create_model_version(MODEL, place.root.as_uri(), run)
    delete = VersionCollector.delete

    def meanwhile(self: VersionCollector, item: object) -> None:
        client.set_registered_model_alias(MODEL, "champion", "1")
        delete(self, item)  # type: ignore[arg-type]

    monkeypatch.setattr(VersionCollector, "delete", meanwhile)
    outcome = collect(place, RetentionParameters(versions=1), delete=True)
    assert outcome.deleted == []
    assert "has an alias now" in outcome.left[0]
    assert _runs(client, place) == set(runs)


def test_a_run_that_is_registered_meanwhile_stays(place: Workspace, client: MlflowClient):
    """By a workspace elsewhere, whose locks nobody holds here: before it has a version, and then."""
    run = _run(client, place)
    client.create_registered_model(MODEL)
    holdings = Holdings(client, place, PARAMETERS)
    collector = RunCollector(holdings)
    (item,) = collector.find()
    young = SimpleNamespace(time=lambda: time.time())
    model = client.create_logged_model(experiment_id(place), "pipeline", source_run_id=run)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("upkeep.retention_registry.time", young)
        with pytest.raises(InputError, match="is needed now"):
            collector.delete(item)
    client.create_model_version(MODEL, f"models:/{model.model_id}", run, model_id=model.model_id)
    with pytest.raises(InputError, match="is needed now"):
        collector.delete(item)
    with pytest.raises(InputError, match="is needed now"):
        ModelCollector(holdings).delete(Item("logged model", str(model.model_id), 0, ""))
    assert _runs(client, place) == {run}
    assert (place.mlflow / "artifacts" / run).is_dir()


def test_a_run_that_a_version_names_by_its_address_alone_stays(place: Workspace, client: MlflowClient):
    """As somebody registered it by hand, without a run."""
    run = _run(client, place)
    client.create_registered_model(MODEL)
    client.create_model_version(MODEL, f"{client.get_run(run).info.artifact_uri}/model")
    assert collect(place, PARAMETERS).found == []


def test_the_run_of_a_logged_model_that_is_kept_stays(place: Workspace, client: MlflowClient):
    model = client.create_logged_model(experiment_id(place), "kept", source_run_id=_run(client, place))
    client.set_logged_model_tags(model.model_id, {"keep": "figure 3"})
    assert collect(place, PARAMETERS).found == []


def test_a_version_that_is_tagged_meanwhile_stays(place: Workspace, client: MlflowClient):
    client.create_registered_model(MODEL)
    client.create_model_version(MODEL, place.root.as_uri(), _run(client, place))
    collector = VersionCollector(Holdings(client, place, PARAMETERS))
    for key, value in (("keep", "figure 3"), ("promotion.decision", "promoting")):
        client.set_model_version_tag(MODEL, "1", key, value)
        with pytest.raises(InputError, match="is needed now"):
            collector.delete(Item("version", f"{MODEL}/1", 0, ""))
        client.delete_model_version_tag(MODEL, "1", key)
    assert client.get_model_version(MODEL, "1").version


def test_the_data_of_a_version_that_awaits_approval_or_is_kept_are_restorable(place: Workspace, client: MlflowClient):
    client.create_registered_model(MODEL)
    for tags in ({"promotion.decision": "awaiting approval"}, {"keep": "yes"}, {}):
        client.create_model_version(MODEL, place.root.as_uri(), _run(client, place), tags=tags)
    assert [str(v.version) for v in Holdings(client, place, PARAMETERS).restorable] == ["2", "1"]


def test_a_registry_that_lost_the_last_decision_costs_nothing(
    place: Workspace, client: MlflowClient, empty_database: Path, monkeypatch: pytest.MonkeyPatch
):
    """The environment names another database, or it is new: neither artifacts nor DVC's objects are known to it."""
    registry_of_three(place)
    folders = set((place.mlflow / "artifacts").iterdir())
    new = place.mlflow / "new.db"
    shutil.copy(empty_database, new)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{new}")
    mlflow.set_tracking_uri(f"sqlite:///{new}")
    _run(MlflowClient(), place)
    outcome = collect(place, PARAMETERS, delete=True)
    assert outcome.found == []
    assert [line.split(":")[0] for line in outcome.left] == ["MLflow", "DVC's cache"]
    assert all("knows no version 2" in line for line in outcome.left)
    assert folders <= set((place.mlflow / "artifacts").iterdir())


def test_artifacts_that_are_young_or_older_than_their_experiment_are_no_orphans(
    place: Workspace, client: MlflowClient
):
    client.delete_run(_run(client, place, {"keep": "yes"}))
    root = place.mlflow / "artifacts"
    old, young = root / ("1" * 32), root / ("2" * 32)
    for folder in (old, young):
        folder.mkdir()
        (folder / "weights").write_text("w")
    for path in (old, old / "weights"):
        os.utime(path, (1, 1))
    later = time.time() + LATER
    for path in (young, young / "weights"):
        os.utime(path, (later, later))
    assert collect(place, PARAMETERS).found == []


def test_nothing_is_deleted_while_a_stage_or_promotion_runs(place: Workspace, client: MlflowClient):
    run = _run(client, place)
    for name in ("train", "promotion"):
        with exclusive(place, name):
            assert _found(collect(place, PARAMETERS)) == {("run", run)}
            # DVC's count would hold DVC's own lock, for which the stage would not wait long.
            assert any(line.startswith("DVC's cache: the stage") for line in collect(place, PARAMETERS).left)
            outcome = collect(place, PARAMETERS, delete=True)
        assert outcome.deleted == []
        assert f"the stage {name} is already running" in outcome.left[0]
    assert _runs(client, place) == {run}


def test_a_server_that_is_away_costs_its_own_kinds_alone(place: Workspace, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://ada:hunter2@127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    old = place.scratch / "preview"
    old.mkdir(parents=True)
    os.utime(old, (1, 1))
    outcome = collect(place, PARAMETERS, delete=True)
    assert [item.kind for item in outcome.deleted] == ["scratch"]
    assert any("MLflow" in line for line in outcome.left)
    assert "hunter2" not in " ".join(outcome.left)


def test_a_mistyped_database_of_the_server_is_named_and_not_made(
    place: Workspace, client: MlflowClient, monkeypatch: pytest.MonkeyPatch
):
    holdings = Holdings(client, place, PARAMETERS)
    mlflow.set_tracking_uri("http://127.0.0.1:9")
    absent = place.mlflow / "mistyped.db"
    monkeypatch.setenv("MLFLOW_BACKEND_STORE_URI", f"sqlite:///{absent}")
    for collector in (RunCollector, ModelCollector):
        with pytest.raises(InputError, match=r"no database sqlite:.*mistyped.db; check MLFLOW_BACKEND_STORE_URI"):
            collector(holdings)
    assert not absent.exists()


def test_the_command_lists_then_deletes_then_has_nothing_to_do(place: Workspace, client: MlflowClient):
    run = _run(client, place)

    def told(*options: str) -> list[str]:
        result = CliRunner().invoke(app, ["gc", "--workspace", str(place.root), *options], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.output.splitlines()

    assert told()[0].split()[:4] == ["run", "1000", "B", run]
    assert told()[-1] == "gc: 1 things, 1000 B, could be deleted (viewforge gc --delete)"
    assert told("--delete")[-1] == "gc: 1 things, 1000 B, deleted"
    assert told("--delete") == ["gc: 0 things, 0 B, deleted"]
