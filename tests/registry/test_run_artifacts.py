"""Artifacts of a version's run that are gone, and artifacts that are out of reach for a moment: two different things."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
import requests
from fault_server import FaultServer, end_after, status
from mlflow.entities.model_registry import ModelVersion
from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository
from mlflow.tracking import MlflowClient

from registry.model_facts import FACTS_TAG, fetch_facts
from registry.parameters import RegisterParameters
from registry.promote import promote
from registry.run_artifacts import OutOfReachError, fetch_folder
from registry.version_records import REGISTERED_TAG, download_pipeline, own_record, records
from stage.errors import InputError
from stage.workspace import Workspace

API = "/api/2.0/mlflow-artifacts/artifacts"


@pytest.fixture
def keeper(monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultServer]:
    """What keeps artifacts, which MLflow asks once."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    server = FaultServer()
    yield server
    server.close()


@pytest.fixture
def version(keeper: FaultServer, client: MlflowClient) -> ModelVersion:
    """A version whose run's artifacts are kept there."""
    experiment = client.create_experiment("kept elsewhere", artifact_location=keeper.url(f"{API}/e"))
    run = client.create_run(experiment).info.run_id
    client.create_registered_model("m")
    tags = {REGISTERED_TAG: "figures/abc", FACTS_TAG: "card/abc"}
    return client.create_model_version("m", "file:///nowhere", run_id=run, tags=tags)


def _listing(keeper: FaultServer, *files: str, of: str = "") -> None:
    """What it says that a folder holds; any folder if none is named."""
    found = [{"path": name, "is_dir": "." not in name, "file_size": 100} for name in files]
    keeper.serve(f"{API}?path={quote(of, safe='')}" if of else API, json.dumps({"files": found}).encode())


def test_what_is_gone_is_not_recorded(
    keeper: FaultServer, version: ModelVersion, client: MlflowClient, tmp_path: Path
):
    _listing(keeper)
    with pytest.raises(InputError, match="carries no evaluation; register it again"):
        own_record(client, version)
    assert records(client, version) == []
    assert fetch_facts(client, version, tmp_path) == {}
    assert fetch_folder(client, "0" * 32, "card/abc", tmp_path) is None


def test_what_is_out_of_reach_is_an_error_and_not_absent(
    keeper: FaultServer, version: ModelVersion, client: MlflowClient, tmp_path: Path
):
    keeper.fail(API, *[status(503)] * 3)
    for ask in (own_record, records, lambda *of: fetch_facts(*of, tmp_path)):
        with pytest.raises(InputError, match=r"abc of the run .* cannot be had from MLflow at .*503"):
            ask(client, version)
    keeper.close()
    with pytest.raises(InputError, match="cannot be had"):
        records(client, version)


def test_what_breaks_off_is_an_error(keeper: FaultServer, version: ModelVersion, client: MlflowClient, tmp_path: Path):
    root = f"e/{version.run_id}/artifacts/card"
    _listing(keeper, "abc", of=root)
    _listing(keeper, "facts.json", of=f"{root}/abc")
    keeper.serve(f"{API}/{root}/abc/facts.json", b'{"system": 1}' + b" " * 87)
    keeper.fail(f"{API}/{root}/abc/facts.json", end_after(20))
    with pytest.raises(InputError, match="cannot be had"):
        fetch_facts(client, version, tmp_path)
    assert fetch_facts(client, version, tmp_path) == {"system": 1}
    keeper.serve(f"{API}/{root}/abc/facts.json", b"[1]")
    with pytest.raises(InputError, match=r"card/abc/facts.json of the run .* cannot be read"):
        fetch_facts(client, version, tmp_path)


@pytest.fixture
def stored(keeper: FaultServer, client: MlflowClient) -> ModelVersion:
    """A version whose model is kept there: one of no flavour."""
    client.create_registered_model("m")
    found = [{"path": "MLmodel", "is_dir": False, "file_size": 100}]
    keeper.serve(f"{API}?path=model", json.dumps({"files": found}).encode())
    keeper.serve(f"{API}/model/MLmodel", b"flavors: {}" + b" " * 89)
    return client.create_model_version("m", keeper.url(f"{API}/model"))


@pytest.mark.parametrize("what", ["the version", "the files", "the pipeline"])
def test_a_pipeline_that_is_gone_is_told_so(
    keeper: FaultServer, stored: ModelVersion, client: MlflowClient, tmp_path: Path, what: str
):
    if what == "the version":
        client.delete_model_version("m", stored.version)
    if what == "the files":
        _listing(keeper, of="model")
    with pytest.raises(InputError, match=r"m version 1 cannot be had .*; restore its artifacts") as caught:
        download_pipeline(stored, tmp_path)
    assert not isinstance(caught.value, OutOfReachError)


def test_a_pipeline_that_is_out_of_reach_is_asked_for_again(keeper: FaultServer, stored: ModelVersion, tmp_path: Path):
    faults = {
        "it breaks off": lambda: keeper.fail(f"{API}/model/MLmodel", end_after(20)),
        "busy": lambda: keeper.fail(API, *[status(503)] * 3),
        "away": keeper.close,
    }
    for fail in faults.values():
        fail()
        with pytest.raises(OutOfReachError, match=r"m version 1 cannot be had .*; check its server.* run it again"):
            download_pipeline(stored, tmp_path)


def test_no_model_is_refused_because_the_champion_s_figures_are_out_of_reach(
    champion: Workspace, train: Callable[..., str], client: MlflowClient, monkeypatch: pytest.MonkeyPatch
):
    number = train("second", psnr=30.0)
    first = client.get_model_version(RegisterParameters().model_name, "1").run_id
    whole = LocalArtifactRepository.list_artifacts

    def away(self: LocalArtifactRepository, path: str | None = None) -> object:
        if first in self.artifact_uri:
            raise requests.ConnectionError("the connection was reset")
        return whole(self, path)

    monkeypatch.setattr(LocalArtifactRepository, "list_artifacts", away)
    with pytest.raises(InputError, match="connection was reset"):
        promote(RegisterParameters(), champion)
    tags = client.get_model_version(RegisterParameters().model_name, number).tags
    assert "promotion.decision" not in tags
    monkeypatch.setattr(LocalArtifactRepository, "list_artifacts", whole)
    assert promote(RegisterParameters(), champion).promoted
