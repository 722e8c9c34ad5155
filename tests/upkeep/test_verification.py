"""`verify` over a whole workspace: assets, shards, registered versions, databases, and the command around it."""

import fcntl
import hashlib
import json
import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import mlflow
import pytest
from mlflow.entities.model_registry import ModelVersion
from mlflow.tracking import MlflowClient
from promotion_drill import MODEL, registry_of_three
from typer.testing import CliRunner
from versioned_workspace import rot, versioned_workspace

from catalog.asset_files import PLACE
from catalog.part_file import note_path
from catalog.table import Asset, write_table
from cli.main import app
from registry.version_records import REGISTERED_TAG
from stage.errors import InputError
from stage.workspace import Workspace
from upkeep.asset_check import check_assets
from upkeep.databases import check_databases, damage, refuse_damaged
from upkeep.findings import Finding
from upkeep.registry_check import check_registry
from upkeep.shard_check import check_shards
from upkeep.verification import verify

PROJECT = Path(__file__).resolve().parents[2]


def asset(uid: str, path: str, data: bytes, source: str, url: str = "") -> Asset:
    """A row of the catalogue for a file with these bytes."""
    sha256 = hashlib.sha256(data).hexdigest()
    return Asset(uid, source, path, sha256, "", len(data), "glb", "Y", "CC0-1.0", "", uid, (), "train", True, "", url)


@pytest.fixture
def assets(tmp_path: Path) -> Workspace:
    """A downloaded object in the store, one of a folder, and an unfinished download."""
    place = Workspace(tmp_path)
    stored = hashlib.sha256(b"downloaded").hexdigest()
    store = place.root / PLACE
    file = store / stored[:2] / f"{stored}.glb"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"downloaded")
    (place.root / "inputs").mkdir()
    (place.root / "inputs" / "mine.glb").write_bytes(b"mine")
    (store / "incoming").mkdir()
    (store / "incoming" / ".x.glb.part").write_bytes(b"the first half")
    (store / "incoming" / ".x.glb.part.json").write_text("{}")
    rows = [
        asset("a", f"{PLACE}/{file.relative_to(store)}", b"downloaded", "objaverse", "https://host/a"),
        asset("b", "inputs/mine.glb", b"mine", "folder"),
        asset("c", f"{PLACE}/not/there.glb", b"absent", "objaverse", "https://host/c"),
    ]
    write_table(place.catalog / "catalog.parquet", rows)
    return place


def the_file(place: Workspace) -> Path:
    (found,) = (place.root / PLACE).glob("[0-9a-f][0-9a-f]/*.glb")
    return found


def test_whole_assets_are_sound_and_absent_ones_no_damage(assets: Workspace):
    checked = check_assets(assets)
    assert checked.findings == ()
    assert checked.bytes == len(b"downloaded" + b"mine")


def test_a_damaged_download_is_put_aside_when_asked(assets: Workspace):
    damaged = the_file(assets)
    rot(damaged)
    (found,) = check_assets(assets).findings
    assert (found.what, found.place) == ("asset", str(damaged))
    assert damaged.is_file()
    (found,) = check_assets(assets, repair=True).findings
    assert "fetches it again" in found.remedy
    assert not damaged.exists()
    assert [path.read_bytes()[1:] for path in (assets.root / PLACE / "damaged").iterdir()] == [b"ownloaded"]
    assert check_assets(assets).findings == ()


def test_a_users_own_file_that_changed_is_named_and_left(assets: Workspace):
    mine = assets.root / "inputs" / "mine.glb"
    mine.write_bytes(b"another")
    (found,) = check_assets(assets, repair=True).findings
    assert found.remedy == "put the file back, or take it as it is now: viewforge catalog"
    assert mine.read_bytes() == b"another"


def test_an_unfinished_download_of_unknown_origin_is_named(assets: Workspace):
    (assets.root / PLACE / "incoming" / ".x.glb.part.json").unlink()
    (found,) = check_assets(assets).findings
    assert "does not say what it is of" in found.problem


def test_a_damaged_catalogue_is_a_finding(assets: Workspace):
    (assets.catalog / "catalog.parquet").write_bytes(b"PAR1")
    assert [finding.what for finding in check_assets(assets).findings] == ["catalogue"]


def test_a_shard_set_that_cannot_be_read_is_a_finding(tmp_path: Path):
    place = Workspace(tmp_path)
    assert "has no index.parquet" in check_shards(place).skipped[0]
    place.shards.mkdir(parents=True)
    (place.shards / "index.parquet").write_bytes(b"no parquet")
    (found,) = check_shards(place).findings
    assert (found.what, found.place) == ("shard", str(place.shards))


def test_a_shard_set_that_its_stage_writes_is_left_out(tmp_path: Path):
    place = Workspace(tmp_path)
    place.shards.mkdir(parents=True)
    (place.shards / "index.parquet").write_bytes(b"no parquet")
    lock = place.scratch / "locks" / "shard"
    lock.parent.mkdir(parents=True)
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        checked = check_shards(place)
    assert checked.findings == ()
    assert "is being written" in checked.skipped[0]
    assert check_shards(place).findings


@pytest.fixture
def three(tmp_path: Path, empty_database: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    """A registry of three versions: the second champion, the third challenger."""
    place = Workspace(tmp_path / "three")
    place.mlflow.mkdir(parents=True)
    place.parameters.write_text("seed: 0\n")
    shutil.copy(PROJECT / "mlflow" / "promotion.yaml", place.mlflow)
    shutil.copy(empty_database, place.mlflow / "mlflow.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{place.mlflow / 'mlflow.db'}")
    monkeypatch.setenv("PREFECT_HOME", str(place.root / ".prefect"))
    mlflow.set_tracking_uri(f"sqlite:///{place.mlflow / 'mlflow.db'}")
    registry_of_three(place)
    yield place
    mlflow.set_tracking_uri(None)


def stored_figures(place: Workspace, version: ModelVersion) -> Path:
    return place.mlflow / "artifacts" / str(version.run_id) / "artifacts" / version.tags[REGISTERED_TAG]


def test_the_registrys_damage_is_told_apart(three: Workspace):
    """Figures that were changed, artifacts that are gone, a promotion that was killed; what has no alias is left out."""
    assert check_registry(three).findings == ()
    client = MlflowClient()
    champion, challenger = (client.get_model_version_by_alias(MODEL, alias) for alias in ("champion", "challenger"))
    figures = stored_figures(three, champion)
    (figures / "metrics.json").write_text((figures / "metrics.json").read_text().replace("21.0", "99.0"))
    shutil.rmtree(stored_figures(three, challenger))
    client.set_model_version_tag(MODEL, challenger.version, "promotion.decision", "promoting")
    client.set_model_version_tag(MODEL, challenger.version, "viewforge.model_sha256", "0" * 64)
    client.set_registered_model_tag(MODEL, "rollback.pending", "{}")
    found = {(finding.what, finding.place): finding.problem for finding in check_registry(three).findings}
    assert found["registry", MODEL] == "a rollback stopped half-way"
    assert found["registry", f"{MODEL} version 3"] == "its promotion stopped half-way"
    assert "is not what was stored there" in found["evaluation", f"{MODEL} version 2"]
    assert "is gone" in found["evaluation", f"{MODEL} version 3"]
    assert "cannot be had" in found["model", f"{MODEL} version 3"]
    assert len(found) == 5


def test_a_damaged_database_is_named_before_anything_uses_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    place = Workspace(tmp_path)
    place.mlflow.mkdir()
    place.parameters.write_text("seed: 0\n")
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / ".prefect"))
    database = place.mlflow / "mlflow.db"
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("CREATE TABLE runs (name TEXT)")
        connection.executemany("INSERT INTO runs VALUES (?)", [("x" * 1000,)] * 20)
    refuse_damaged(place)
    assert check_databases(place).findings == ()
    data = bytearray(database.read_bytes())
    data[4096:-4096] = b"\xa5" * len(data[4096:-4096])
    database.write_bytes(data)
    with pytest.raises(InputError, match=r"the database .*mlflow\.db is damaged .*viewforge recover DIR"):
        refuse_damaged(place)
    found = verify(place)
    assert [finding.what for finding in found.findings] == ["database"]
    assert "registry: a database is damaged" in found.skipped


def test_a_busy_database_is_not_damaged_and_is_waited_for_briefly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "busy.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as writer:
        writer.execute("CREATE TABLE runs (name TEXT)")
        writer.execute("BEGIN EXCLUSIVE")
        started = time.monotonic()
        assert damage(path, 0.2) == ""
        assert time.monotonic() - started < 2
    # Another process recovers its log: SQLite's code for that is 5 with a detail.
    recovers = sqlite3.OperationalError("database is locked")
    recovers.sqlite_errorcode = sqlite3.SQLITE_BUSY_RECOVERY

    def refused(*_: object) -> None:
        raise recovers

    monkeypatch.setattr("upkeep.databases._opened", refused)
    assert damage(path) == ""


def test_a_download_that_ends_meanwhile_is_no_damage(assets: Workspace, monkeypatch: pytest.MonkeyPatch):
    part = assets.root / PLACE / "incoming" / ".x.glb.part"
    note = note_path(part)

    def ended(_: Path) -> Path:
        part.unlink(missing_ok=True)
        note.unlink(missing_ok=True)
        return note

    monkeypatch.setattr("upkeep.asset_check.note_path", ended)
    assert check_assets(assets).findings == ()


def test_the_command_fails_and_names_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    place = versioned_workspace(tmp_path / "workspace")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    monkeypatch.setenv("PREFECT_HOME", str(place.root / ".prefect"))
    command = ["verify", "--json", "-w", str(place.root)]
    result = CliRunner().invoke(app, command)
    assert (result.exit_code, json.loads(result.stdout)["findings"]) == (0, [])
    rot(place.training_report / "metrics.json")
    result = CliRunner().invoke(app, command)
    assert isinstance(result.exception, InputError)
    assert "is damaged in" in str(result.exception)
    found = [Finding(**finding) for finding in json.loads(result.stdout)["findings"]]
    assert str(place.training_report / "metrics.json") in {finding.place for finding in found}
    text = CliRunner().invoke(app, ["verify", "-w", str(place.root)]).stdout
    assert all(str(finding) in text for finding in found)
    assert "verify: not looked at: shards:" in text


def test_a_folder_that_is_no_workspace_is_refused(tmp_path: Path):
    with pytest.raises(InputError, match=r"has no params\.yaml"):
        verify(Workspace(tmp_path))
