"""Pages of the SQLite databases are overwritten: one line names file and remedy, and the remedy brings everything back."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import mlflow
import pytest
from mlflow.tracking import MlflowClient
from promotion_drill import MODEL, registry_of_three
from versioned_workspace import versioned_workspace

from stage.workspace import Workspace

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
PROJECT = Path(__file__).resolve().parents[2]
Viewforge = Callable[..., "subprocess.CompletedProcess[str]"]


def overwrite_pages(path: Path) -> None:
    """What a bad disk leaves: the header, and noise after it."""
    size = path.stat().st_size
    with path.open("r+b") as stream:
        stream.seek(4096)
        stream.write(os.urandom(size - 4096))


@pytest.fixture
def place(tmp_path: Path, empty_database: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A registry of three versions in a workspace that is up to date."""
    place = versioned_workspace(tmp_path / "workspace")
    place.mlflow.mkdir(parents=True)
    shutil.copy(PROJECT / "mlflow" / "promotion.yaml", place.mlflow)
    shutil.copy(empty_database, place.mlflow / "mlflow.db")
    uri = f"sqlite:///{place.mlflow / 'mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    # Otherwise this process has the database open, and `recover` rightly refuses.
    monkeypatch.setenv("MLFLOW_SQLALCHEMYSTORE_POOLCLASS", "NullPool")
    mlflow.set_tracking_uri(uri)
    registry_of_three(place)
    mlflow.set_tracking_uri(None)
    return place


def champion(place: Workspace) -> str:
    version = MlflowClient(f"sqlite:///{place.mlflow / 'mlflow.db'}").get_model_version_by_alias(MODEL, "champion")
    return str(version.version)


def test_a_corrupted_registry_is_named_and_comes_back_from_a_backup(
    place: Workspace, viewforge: Viewforge, tmp_path: Path
):
    where = ("-w", place.root)
    assert viewforge("backup", tmp_path / "backups", *where).returncode == 0
    database = place.mlflow / "mlflow.db"
    overwrite_pages(database)
    for refused in (("promote", "--version", "3"), ("rollback", "--reason", "it paints seams")):
        result = viewforge(*refused, *where)
        assert result.returncode == 1
        (line,) = result.stderr.strip().splitlines()
        assert line.startswith(f"viewforge: the database {database.resolve()} is damaged"), line
        assert line.endswith("viewforge recover DIR"), line
    recovered = viewforge("recover", tmp_path / "backups", *where)
    assert recovered.returncode == 0, recovered.stderr
    assert champion(place) == "2"
    promoted = viewforge("promote", "--version", "3", *where)
    assert "is champion" in promoted.stdout, promoted.stderr
    assert [path.name for path in (place.mlflow / "damaged").iterdir()], "what was damaged is gone"


def test_a_corrupted_prefect_database_is_named_before_a_server_waits_for_it(place: Workspace, viewforge: Viewforge):
    database = place.root / ".prefect" / "prefect.db"
    database.parent.mkdir()
    shutil.copy(place.mlflow / "mlflow.db", database)
    overwrite_pages(database)
    result = viewforge("run", "-w", place.root)
    assert result.returncode == 1
    (line,) = result.stderr.strip().splitlines()
    assert line.startswith(f"viewforge: the database {database.resolve()} is damaged"), line
