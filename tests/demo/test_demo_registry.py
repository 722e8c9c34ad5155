"""The page's models in a real MLflow on SQLite, with real pipelines as its artifacts."""

import shutil

import mlflow
import numpy as np
import pytest
import torch
from demo_support import tiny_pipeline
from mlflow.tracking import MlflowClient
from PIL import Image

from demo.models import ModelCatalogue
from demo.studio import Studio
from demo.wishes import Wish
from evaluation.parameters import EvaluateParameters
from registry.parameters import RegisterParameters
from registry.served_pipeline import log_pipeline
from stage.errors import InputError
from stage.files import folder_sha256
from stage.workspace import Workspace
from training.tracking.mlflow_place import experiment_id, use_mlflow

MODEL = RegisterParameters().model_name


@pytest.fixture(scope="module")
def registered(model, tmp_path_factory, empty_database):
    """A workspace with two registered pipelines, the first of them champion; their folders."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        place = Workspace(tmp_path_factory.mktemp("registered"))
        place.parameters.write_text("register: {}\n")
        place.mlflow.mkdir()
        shutil.copy(empty_database, place.mlflow / "mlflow.db")
        other = tiny_pipeline(tmp_path_factory.mktemp("other") / "tiny", seed=1)
        client = _opened(place)
        client.create_registered_model(MODEL)
        for number, folder in enumerate((model, other), 1):
            _register(client, place, folder)
            client.set_registered_model_alias(MODEL, ("champion", "challenger")[number - 1], str(number))
        # A folder that people moved away: what is shown comes from the registry.
        shutil.rmtree(place.model)
        yield place, (model, other)
        mlflow.set_tracking_uri(None)


def _opened(place: Workspace) -> MlflowClient:
    use_mlflow(place)
    return MlflowClient()


def _register(client: MlflowClient, place: Workspace, folder) -> None:
    shutil.rmtree(place.model, ignore_errors=True)
    shutil.copytree(folder, place.model)
    with mlflow.start_run(experiment_id=experiment_id(place)) as run:
        model_id = log_pipeline(place, EvaluateParameters())
    client.create_model_version(MODEL, f"models:/{model_id}", run_id=run.info.run_id, model_id=model_id)


@pytest.fixture
def client(registered, monkeypatch):
    """Of that registry, as it was."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    opened = _opened(registered[0])
    yield opened
    opened.set_registered_model_alias(MODEL, "champion", "1")


def test_the_champion_is_offered_first_and_is_what_was_registered(registered, client):
    place, (model, _) = registered
    catalogue = ModelCatalogue(place)
    offered = catalogue.offered()
    assert [each.label for each in offered] == [f"{MODEL} v1 (champion)", f"{MODEL} v2 (challenger)"]
    assert folder_sha256(catalogue.folder(offered[0].key)) == folder_sha256(model)


def test_a_promotion_changes_what_the_next_visitor_is_shown(registered, client):
    place, (_, other) = registered
    catalogue = ModelCatalogue(place)
    before = catalogue.offered()[0]
    client.set_registered_model_alias(MODEL, "champion", "2")
    after = catalogue.offered()[0]
    assert (before.key, after.key) == (f"version:{MODEL}/1", f"version:{MODEL}/2")
    assert folder_sha256(catalogue.folder(after.key)) == folder_sha256(other)


def test_a_view_by_default_is_the_champions(registered, client, picture):
    place, (model, _) = registered
    torch.set_num_threads(1)
    made = []
    for folders in ((), (model,)):
        studio = Studio(place, folders, devices=["cpu"])
        try:
            key = studio.catalogue.offered()[0].key
            visitor = studio.visitors.of("ann")
            studio.accept(visitor, picture)
            studio.prepare(visitor, key, "auto")
            job = studio.begin(visitor, key, Wish(steps=2))
            assert job.wait(60)
            made.append(np.asarray(Image.open(job.result.picture)))
        finally:
            studio.close()
    assert np.array_equal(*made)


def test_a_version_whose_files_are_gone_is_named(registered, client, tmp_path):
    place, _ = registered
    with mlflow.start_run(experiment_id=experiment_id(place)) as run:
        pass
    version = client.create_model_version(MODEL, (tmp_path / "gone").as_uri(), run_id=run.info.run_id).version
    try:
        with pytest.raises(InputError, match=f"the pipeline of {MODEL} version {version} cannot be had"):
            ModelCatalogue(place).folder(f"version:{MODEL}/{version}")
    finally:
        client.delete_model_version(MODEL, str(version))
