"""Which models the page offers."""

import shutil
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
from mlflow.entities.model_registry import ModelVersion

from demo import models
from demo.models import ModelCatalogue
from stage.errors import InputError
from stage.workspace import Workspace


@pytest.fixture
def place(tmp_path):
    (tmp_path / "params.yaml").write_text("register: {}\n")
    return Workspace(tmp_path)


@pytest.fixture
def registry(monkeypatch, model):
    """Three versions of a registered model, the second of which is champion; where they are downloaded to."""
    versions = [ModelVersion("viewforge-zero123", str(n), n, source=f"models:/m-{n}") for n in (1, 2, 3)]
    aliases = {"champion": "2", "challenger": "3"}
    client = SimpleNamespace(
        get_registered_model=lambda _: SimpleNamespace(aliases=aliases), search_model_versions=lambda _: versions
    )
    fetched = []

    @contextmanager
    def opened(_):
        yield client

    def download(version, folder):
        fetched.append(version.version)
        return shutil.copytree(model, folder / "artifacts" / "model")

    monkeypatch.setattr(models, "open_registry", opened)
    monkeypatch.setattr(models, "download_pipeline", download)
    return SimpleNamespace(aliases=aliases, fetched=fetched)


def test_the_champion_is_the_default_and_then_the_challenger(place, registry):
    labels = [each.label.removeprefix("viewforge-zero123 ") for each in ModelCatalogue(place).offered()]
    assert labels == ["v2 (champion)", "v3 (challenger)", "v1"]
    registry.aliases["champion"] = "1"
    assert ModelCatalogue(place).offered()[0].key == "version:viewforge-zero123/1"


def test_a_version_is_fetched_once(place, registry, model):
    key = ModelCatalogue(place).offered()[0].key
    first = ModelCatalogue(place).folder(key)
    assert (first / "model_index.json").read_text() == (model / "model_index.json").read_text()
    assert ModelCatalogue(place).folder(key) == first
    assert registry.fetched == ["2"]


def test_a_version_that_is_not_there_is_named(place, registry):
    with pytest.raises(InputError, match="has no version '9'; its versions are 1, 2, 3"):
        ModelCatalogue(place).folder("version:viewforge-zero123/9")


def test_folders_come_first_and_the_workspaces_own_last(place, registry, model):
    shutil.copytree(model, place.model)
    catalogue = ModelCatalogue(place, (model,))
    keys = [each.key for each in catalogue.offered()]
    assert keys[0] == f"folder:{model}"
    assert catalogue.folder(keys[-1]) == place.model


def test_a_registry_that_is_away_leaves_what_is_here(place, model, monkeypatch):
    def away(_):
        raise InputError("MLflow at http://nowhere: no answer", "check its server")

    monkeypatch.setattr(models, "open_registry", away)
    assert [each.label for each in ModelCatalogue(place, (model,)).offered()] == ["tiny (folder)"]
    with pytest.raises(InputError, match=r"there is no model to show.*MLflow at http://nowhere"):
        ModelCatalogue(place).offered()
