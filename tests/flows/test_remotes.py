"""Data in remotes: a folder and an S3-speaking server; what is missing there is told, and credentials appear nowhere."""

import shutil
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from mini_pipeline import dvc, mini_workspace, reproduced
from object_store import ObjectStore, door_of, empty_bucket, reach, s3_server

from flows.workspaces import PROJECT
from stage.errors import InputError
from stage.files import folder_sha256
from stage.workspace import Workspace
from upkeep import surroundings
from upkeep.remote_data import push, remote_state
from upkeep.repository import opened
from upkeep.surroundings import checks

CANARY = {"AWS_ACCESS_KEY_ID": "canary-of-the-key", "AWS_SECRET_ACCESS_KEY": "canary-of-the-secret"}


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[str, int]]:
    with s3_server() as behind:
        yield behind


@pytest.fixture
def store(server: tuple[str, int], monkeypatch: pytest.MonkeyPatch) -> Iterator[ObjectStore]:
    """An empty bucket `data` of an S3-speaking server that the environment names."""
    with door_of(server) as store:
        reach(store, monkeypatch)
        empty_bucket("data")
        yield store


@pytest.fixture(params=["folder", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Workspace:
    """A workspace that ran, with a remote of either kind that has nothing yet."""
    if request.param == "s3":
        request.getfixturevalue("store")
    remote = "s3://data/versions" if request.param == "s3" else str(tmp_path / "remote")
    place = mini_workspace(tmp_path / "workspace", remote)
    reproduced(place)
    return place


def test_what_is_not_pushed_is_told_and_then_pushed_and_pulled(place: Workspace) -> None:
    before = folder_sha256(place.root / "data")
    state = remote_state(place)
    assert (state.missing, state.files) == (8, 8)
    assert str(state).startswith("8 of 8 files are not in ")
    assert push(place) >= 8
    assert remote_state(place).complete
    for folder in ("data", ".dvc/cache"):
        shutil.rmtree(place.root / folder)
    with opened(place.root) as repo:
        repo.pull()
    assert folder_sha256(place.root / "data") == before
    assert reproduced(place) == []


def test_another_machine_recomputes_nothing_where_the_run_cache_was_pushed(tmp_path: Path) -> None:
    place = mini_workspace(tmp_path / "workspace", str(tmp_path / "remote"))
    reproduced(place)
    push(place)
    for name in ("data", ".dvc/cache", "dvc.lock"):
        path = place.root / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    said = dvc(place.root, "repro", "--pull")
    assert said.returncode == 0, said.stderr
    assert said.stdout.count("is cached - skipping run") == 2


def test_credentials_of_the_environment_are_written_nowhere(store: ObjectStore, tmp_path: Path) -> None:
    place = mini_workspace(tmp_path / "workspace", "s3://data/versions")
    environment = {**CANARY, "AWS_ENDPOINT_URL": store.url}
    reproduced(place)
    printed = dvc(place.root, "push", "-v", **environment)
    assert printed.returncode == 0, printed.stderr
    assert store.puts(r".*/files/md5/.*")
    texts = [printed.stdout, printed.stderr]
    texts += [path.read_bytes().decode(errors="replace") for path in place.root.rglob("*") if path.is_file()]
    assert not [text for text in texts for secret in CANARY.values() if secret in text]


def test_the_endpoint_may_lie_in_the_configuration_that_is_not_committed(
    store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    place = mini_workspace(tmp_path / "workspace", "s3://data/local")
    (place.root / ".dvc" / "config.local").write_text(f"['remote \"team\"']\n    endpointurl = {store.url}\n")
    reproduced(place)
    push(place)
    assert remote_state(place).complete
    assert "config.local" in (PROJECT / ".dvc" / ".gitignore").read_text()


def test_a_remote_that_does_not_answer_is_one_line_without_secrets(
    store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {**CANARY, "AWS_ENDPOINT_URL": "http://127.0.0.1:9"}.items():
        monkeypatch.setenv(name, value)
    place = mini_workspace(tmp_path / "workspace", "s3://data/elsewhere")
    reproduced(place)
    with pytest.raises(InputError, match="s3://data/elsewhere cannot be used") as caught:
        remote_state(place)
    assert "\n" not in str(caught.value)
    assert "canary" not in str(caught.value)


def test_an_address_is_shown_without_its_password(tmp_path: Path) -> None:
    place = mini_workspace(tmp_path / "workspace", "ssh://user:canary@127.0.0.1:1/data")
    reproduced(place)
    with pytest.raises(InputError) as caught:
        remote_state(place)
    assert "canary" not in str(caught.value)


def test_without_a_remote_the_remedy_is_named(tmp_path: Path) -> None:
    place = mini_workspace(tmp_path / "workspace")
    reproduced(place)
    with pytest.raises(InputError, match="dvc remote add --default"):
        remote_state(place)


def test_the_doctor_tells_faults_of_the_surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "http://user:canary@127.0.0.1:9/api")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "false")
    place = mini_workspace(tmp_path / "workspace", str(tmp_path / "remote"))
    reproduced(place)
    found = {check.name: check for check in checks(place)}
    assert not found["Prefect"].sound
    assert "does not answer" in found["Prefect"].text
    assert "canary" not in found["Prefect"].text
    assert not found["telemetry"].sound
    assert "MLFLOW_DISABLE_TELEMETRY=false" in found["telemetry"].text
    assert found["data"].text.startswith("8 of 8 files are not in")
    assert found["disk"].sound


def test_the_doctor_does_not_wait_for_a_store_that_is_silent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """S3's own library would ask five times for a minute each."""
    monkeypatch.setattr(surroundings, "_REMOTE_SECONDS", 8.0)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        for name, value in {**CANARY, "AWS_ENDPOINT_URL": endpoint}.items():
            monkeypatch.setenv(name, value)
        place = mini_workspace(tmp_path / "workspace", "s3://data/versions")
        reproduced(place)
        started = time.monotonic()
        (data,) = [check for check in checks(place) if check.name == "data"]
    assert time.monotonic() - started < 40
    assert not data.sound
    assert data.text.startswith("the DVC remote has not answered within 8 s")


def test_the_doctor_says_why_a_remote_cannot_be_used(tmp_path: Path) -> None:
    place = mini_workspace(tmp_path / "workspace")
    reproduced(place)
    (data,) = [check for check in checks(place) if check.name == "data"]
    assert not data.sound
    assert data.text.endswith("has no default DVC remote; dvc remote add --default NAME URL")
