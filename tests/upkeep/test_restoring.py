"""A registered version's data on another machine: the same bytes, nothing computed, nothing of anybody's lost."""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
from mini_pipeline import PARAMETERS, configuration, mini_workspace, reproduced
from mlflow.tracking import MlflowClient

from flows.drift import explain
from registry.data_version import log_data_version
from registry.lineage import MODEL_TAG, lineage_tags
from stage.errors import InputError
from stage.files import folder_sha256, write_text
from stage.workspace import Workspace
from training.tracking.mlflow_place import experiment_id
from upkeep.remote_data import REMOTE_TAG, push, secure
from upkeep.restoring import restore
from upkeep.retention import collect
from upkeep.retention_parameters import RetentionParameters

MODEL = "toy"


@dataclass
class Team:
    """Two machines, one registry, one remote."""

    mine: Workspace
    theirs: Workspace
    client: MlflowClient
    remote: Path

    def register(self, alias: str | None = "champion") -> str:
        """Register what is in `mine`; the version's number."""
        run = self.client.create_run(experiment_id(self.mine)).info.run_id
        tags = {MODEL_TAG: folder_sha256(self.mine.model), **lineage_tags(self.mine)}
        tags |= log_data_version(self.client, run, self.mine)
        version = str(self.client.create_model_version(MODEL, self.mine.model.as_uri(), run, tags=tags).version)
        if alias:
            self.client.set_registered_model_alias(MODEL, alias, version)
        return version

    def retrain(self, steps: int) -> None:
        """Other parameters, other data."""
        write_text(self.mine.parameters, PARAMETERS.replace("steps: 5", f"steps: {steps}"))
        write_text(self.mine.root / "inputs" / "objects" / "0.txt", f"object of {steps}\n")
        reproduced(self.mine)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace that ran."""
    place = mini_workspace(tmp_path_factory.mktemp("trained") / "mine")
    reproduced(place)
    return place.root


@pytest.fixture
def team(empty_database: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Team:
    shutil.copy(empty_database, tmp_path / "mlflow.db")
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setattr("mlflow.tracking._tracking_service.utils._tracking_uri", None)
    monkeypatch.chdir(tmp_path)
    remote = tmp_path / "remote"
    mine = Workspace(Path(shutil.copytree(trained, tmp_path / "mine")))
    theirs = mini_workspace(tmp_path / "theirs", str(remote))
    write_text(mine.root / ".dvc" / "config", configuration(str(remote)))
    client = MlflowClient(uri)
    client.create_registered_model(MODEL)
    # A fresh clone has the code and no parameters of its own.
    theirs.parameters.unlink()
    return Team(mine, theirs, client, remote)


def test_the_champion_comes_to_another_machine_and_nothing_is_computed(team: Team) -> None:
    team.register()
    push(team.mine)
    done = restore(team.theirs, MODEL)
    assert (done.version, done.fetched > 0) == ("1", True)
    assert folder_sha256(team.theirs.root / "data") == folder_sha256(team.mine.root / "data")
    assert team.theirs.parameters.read_bytes() == team.mine.parameters.read_bytes()
    assert explain(team.theirs.root) == []
    assert reproduced(team.theirs) == []


def test_an_earlier_version_comes_back_by_its_number(team: Team) -> None:
    team.register()
    push(team.mine)
    first = folder_sha256(team.mine.root / "data")
    team.retrain(6)
    team.register()
    push(team.mine)
    restore(team.theirs, MODEL)
    assert folder_sha256(team.theirs.root / "data") == folder_sha256(team.mine.root / "data") != first
    restore(team.theirs, MODEL, "1", force=True)
    assert folder_sha256(team.theirs.root / "data") == first


def test_the_champion_comes_back_after_what_nobody_needs_is_deleted_although_nobody_pushed_it(team: Team) -> None:
    team.register()
    champion = folder_sha256(team.mine.root / "data")
    for steps in (6, 7):
        team.retrain(steps)
    present = folder_sha256(team.mine.root / "data")
    outcome = collect(team.mine, RetentionParameters(), delete=True)
    assert [item.kind for item in outcome.deleted] == ["cache"]
    assert outcome.left == []
    assert folder_sha256(team.mine.root / "data") == present
    assert restore(team.mine, MODEL, force=True).fetched == 0
    assert folder_sha256(team.mine.root / "data") == champion


def test_what_is_committed_nowhere_is_not_lost(team: Team) -> None:
    team.register()
    push(team.mine)
    write_text(team.theirs.parameters, "seed: 99\n")
    with pytest.raises(InputError, match=r"params\.yaml has changes that are committed nowhere"):
        restore(team.theirs, MODEL)
    assert team.theirs.parameters.read_text() == "seed: 99\n"
    subprocess.run(["git", "init", "-q"], cwd=team.theirs.root, check=True)
    for command in (["add", "params.yaml"], ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "mine"]):
        subprocess.run(["git", *command], cwd=team.theirs.root, check=True)
    assert restore(team.theirs, MODEL).version == "1"


def test_outputs_that_are_in_no_cache_stay(team: Team) -> None:
    team.register()
    push(team.mine)
    write_text(team.theirs.root / "data" / "model" / "weights", "mine alone\n")
    with pytest.raises(InputError, match="in no cache"):
        restore(team.theirs, MODEL)
    assert (team.theirs.model / "weights").read_text() == "mine alone\n"
    assert not (team.theirs.root / "dvc.lock").exists()
    restore(team.theirs, MODEL, force=True)
    assert folder_sha256(team.theirs.model) == folder_sha256(team.mine.model)


def test_data_that_nobody_pushed_change_nothing_and_say_so(team: Team) -> None:
    version = team.register()
    said = secure(team.mine, MODEL, version, "check")
    assert said.startswith("data: 8 of 8 files are not in")
    with pytest.raises(InputError, match="nobody pushed them"):
        restore(team.theirs, MODEL)
    assert not (team.theirs.root / "dvc.lock").exists()
    assert not team.theirs.parameters.exists()


def test_pushed_with_the_version_its_tag_says_where(team: Team) -> None:
    version = team.register()
    assert secure(team.mine, MODEL, version, "leave") == ""
    assert secure(team.mine, MODEL, version, "push") == f"data: all 8 files are in {team.remote}"
    assert team.client.get_model_version(MODEL, version).tags[REMOTE_TAG] == str(team.remote)
    write_text(team.theirs.root / ".dvc" / "config", "[core]\n    no_scm = True\n")
    with pytest.raises(InputError, match=f"pushed to {team.remote}"):
        restore(team.theirs, MODEL)
    assert restore(team.theirs, MODEL, remote=str(team.remote)).version == version


def test_a_lock_of_other_data_than_the_model_is_told(team: Team) -> None:
    push(team.mine)
    shutil.rmtree(team.mine.model)
    write_text(team.mine.model / "weights", "trained without DVC\n")
    team.register()
    with pytest.raises(InputError, match="is not the model of toy version 1"):
        restore(team.theirs, MODEL)


def test_a_lock_that_is_not_what_its_tag_says_is_refused(team: Team) -> None:
    version = team.register()
    team.client.set_model_version_tag(MODEL, version, "dvc.lock_sha256", "0" * 64)
    with pytest.raises(InputError, match="not what its tag"):
        restore(team.theirs, MODEL)


def test_an_alias_that_nobody_holds_names_those_that_are_held(team: Team) -> None:
    team.register("challenger")
    with pytest.raises(InputError, match="challenger is version 1"):
        restore(team.theirs, MODEL)


def test_a_version_without_data_says_so(team: Team) -> None:
    run = team.client.create_run(experiment_id(team.mine)).info.run_id
    team.client.create_model_version(MODEL, team.mine.model.as_uri(), run)
    with pytest.raises(InputError, match="names no data"):
        restore(team.theirs, MODEL, "1")
