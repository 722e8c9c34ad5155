"""Workspaces whose pipeline is tiny and untrained, with an MLflow of their own on SQLite."""

import json
import shutil
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import mlflow
import pytest
import torch
from gate_records import DETAILS, metrics, objects
from mlflow.tracking import MlflowClient
from promotion_drill import registry_of_three

from registry.parameters import RegisterParameters
from registry.promote import promote
from registry.register import register
from stage.workspace import Workspace
from systems.zero123.modules import build_modules
from systems.zero123.parameters import (
    AutoencoderParameters,
    ImageEncoderParameters,
    UNetParameters,
    Zero123Parameters,
)
from systems.zero123.pipeline import Zero123Pipeline

REPOSITORY = Path(__file__).resolve().parents[2]
PARAMETERS = RegisterParameters()
_TINY = Zero123Parameters(
    unet=UNetParameters(block_channels=(32, 32)),
    autoencoder=AutoencoderParameters(factor=4),
    image_encoder=ImageEncoderParameters(
        image_size=16, patch_size=8, hidden_size=16, layers=1, heads=2, embedding_dim=16
    ),
)


@pytest.fixture(scope="session")
def pipeline_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved pipeline with random weights for 16×16 pictures."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("pipeline") / "model"
    modules = build_modules(_TINY, 0)
    modules.unet.register_to_config(sample_size=4)
    Zero123Pipeline(
        modules.unet, modules.cc_projection, modules.image_encoder, modules.vae, modules.scheduler
    ).save_pretrained(folder)
    return folder


def _made(root: Path, pipeline_folder: Path, database: Path) -> Workspace:
    workspace = Workspace(root)
    shutil.copytree(pipeline_folder, workspace.model)
    for path in (workspace.catalog / "catalog.parquet", workspace.shards / "index.parquet", root / "dvc.lock"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(path.name)
    _lay_out(workspace, database)
    workspace.parameters.write_text("seed: 0\nevaluate: {inference_steps: 3, guidance_scale: 2.0, eta: 1.0}\n")
    _finish(workspace)
    return workspace


def _database(workspace: Workspace) -> Path:
    return workspace.mlflow / "mlflow.db"


def _isolate(monkeypatch: pytest.MonkeyPatch, workspace: Workspace) -> None:
    # Both: what an earlier test told MLflow counts for more than the variable, and MLflow exports the variable itself.
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{_database(workspace)}")
    mlflow.set_tracking_uri(f"sqlite:///{_database(workspace)}")
    # Loading a served model puts its code at the head of the path.
    monkeypatch.setattr(sys, "path", list(sys.path))


@pytest.fixture
def workspace(
    tmp_path: Path, pipeline_folder: Path, empty_database: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Workspace]:
    """A workspace in which everything up to evaluation has been run."""
    workspace = _made(tmp_path / "workspace", pipeline_folder, empty_database)
    _isolate(monkeypatch, workspace)
    yield workspace
    mlflow.set_tracking_uri(None)


def _finish(workspace: Workspace, fingerprint: str = "first", **figures: Any) -> None:
    (workspace.model / "provenance.json").write_text(json.dumps({"fingerprint": fingerprint}))
    workspace.evaluation.mkdir(exist_ok=True)
    (workspace.evaluation / "metrics.json").write_text(json.dumps(metrics(**figures)))
    (workspace.evaluation / "details.json").write_text(json.dumps(DETAILS))
    figures.pop("data", None)
    objects(**figures).to_parquet(workspace.evaluation / "per_object.parquet", index=False)


@pytest.fixture
def finish(workspace: Workspace) -> Callable[..., None]:
    """Pretend that another training and its evaluation ended: weights of another hash, and these figures."""
    return partial(_finish, workspace)


@pytest.fixture(scope="session")
def champion_database(tmp_path_factory: pytest.TempPathFactory, pipeline_folder: Path, empty_database: Path) -> Path:
    """MLflow's database with the first model, of 20 dB, as champion."""
    workspace = _made(tmp_path_factory.mktemp("champion") / "workspace", pipeline_folder, empty_database)
    with pytest.MonkeyPatch.context() as monkeypatch:
        _isolate(monkeypatch, workspace)
        register(PARAMETERS, workspace)
        assert promote(PARAMETERS, workspace).promoted
    return _database(workspace)


@pytest.fixture
def champion(workspace: Workspace, champion_database: Path) -> Workspace:
    """A workspace whose first model, of 20 dB, is champion."""
    shutil.copy(champion_database, _database(workspace))
    return workspace


@pytest.fixture
def train(workspace: Workspace, finish: Callable[..., None]) -> Callable[..., str]:
    """Finish a training with these figures and register it: the version's number."""

    def trained(fingerprint: str, **figures: Any) -> str:
        finish(fingerprint, **figures)
        return str(register(PARAMETERS, workspace).version)

    return trained


@pytest.fixture
def client(workspace: Workspace) -> MlflowClient:
    """The workspace's MLflow."""
    return MlflowClient(f"sqlite:///{_database(workspace)}")


@pytest.fixture(scope="session")
def three_database(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> Path:
    """MLflow's database with three versions and no pipelines: the second is champion, the third a better challenger."""
    workspace = Workspace(tmp_path_factory.mktemp("three"))
    _lay_out(workspace, empty_database)
    with pytest.MonkeyPatch.context() as monkeypatch:
        _isolate(monkeypatch, workspace)
        registry_of_three(workspace)
    return _database(workspace)


@pytest.fixture
def three(tmp_path: Path, three_database: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    """A workspace with such a registry of its own."""
    workspace = Workspace(tmp_path / "three")
    _lay_out(workspace, three_database)
    _isolate(monkeypatch, workspace)
    yield workspace
    mlflow.set_tracking_uri(None)


def _lay_out(workspace: Workspace, database: Path) -> None:
    workspace.mlflow.mkdir(parents=True)
    shutil.copy(REPOSITORY / "mlflow" / "promotion.yaml", workspace.mlflow)
    shutil.copy(database, _database(workspace))
