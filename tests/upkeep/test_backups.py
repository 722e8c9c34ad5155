"""Backups: whole while others write, refused when damaged, rotated; a recovery brings back and deletes nothing."""

import errno
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from stage.errors import InputError
from stage.workspace import Workspace
from upkeep import backups, databases
from upkeep.backups import back_up, recover
from upkeep.databases import check_databases, copy_database, damage, refuse_damaged_file, users_of

# Commits two rows that belong together, without end.
WRITER = """
import sqlite3, sys
database = sqlite3.connect(sys.argv[1], isolation_level=None)
database.execute("PRAGMA journal_mode=WAL")
print("ready", flush=True)
while True:
    database.execute("BEGIN IMMEDIATE")
    database.execute("INSERT INTO runs (state) VALUES ('started')")
    database.execute("INSERT INTO runs (state) VALUES ('ended')")
    database.execute("COMMIT")
"""


# Dies in the middle of a transaction that has reached the file.
KILLED = """
import os, sqlite3, sys
database = sqlite3.connect(sys.argv[1])
database.execute("PRAGMA cache_size = 1")
database.execute("UPDATE runs SET state = printf('%.9000c', 'x')")
os.kill(os.getpid(), 9)
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A workspace with two databases of ten rows, and configuration."""
    place = Workspace(tmp_path / "workspace")
    monkeypatch.setenv("PREFECT_HOME", str(place.root / ".prefect"))
    for path in (place.mlflow / "mlflow.db", place.root / ".prefect" / "prefect.db"):
        path.parent.mkdir(parents=True)
        with closing(sqlite3.connect(path)) as database, database:
            database.execute("CREATE TABLE runs (id INTEGER PRIMARY KEY, state TEXT)")
            database.executemany("INSERT INTO runs (state) VALUES (?)", [("ended",)] * 10)
    (place.root / "dvc.lock").write_text("schema: '2.0'\n")
    place.parameters.write_text("seed: 0\n")
    (place.mlflow / "promotion.yaml").write_text("gates: {}\n")
    return place


@pytest.fixture
def stamps(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second passes between any two backups."""
    numbers = iter(range(10, 60))
    monkeypatch.setattr(backups, "stamp", lambda: f"20261122T1200{next(numbers)}Z")


def rows(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as database:
        return [state for (state,) in database.execute("SELECT state FROM runs ORDER BY id")]


def overwrite_pages(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[64:] = b"\xa5" * len(data[64:])
    path.write_bytes(data)


@pytest.fixture
def writer(place: Workspace) -> Iterator["subprocess.Popen[str]"]:
    """A process that writes into MLflow's database all the time."""
    command = [sys.executable, "-c", WRITER, str(place.mlflow / "mlflow.db")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    yield process
    process.kill()
    process.wait()


def test_a_backup_beside_a_writer_holds_whole_transactions(
    place: Workspace, writer: "subprocess.Popen[str]", tmp_path: Path
):
    time.sleep(0.2)
    made = back_up(place, tmp_path / "backups", keep=7)
    states = rows(made / "databases" / "mlflow.db")
    assert len(states) > 10
    assert states[10::2] == ["started"] * (len(states) // 2 - 5)
    assert states[11::2] == ["ended"] * (len(states) // 2 - 5)
    assert writer.poll() is None
    assert made.stat().st_mode & 0o077 == 0, "others can read it"


def test_a_transaction_that_was_killed_is_no_damage(place: Workspace, tmp_path: Path):
    """SQLite takes it back by its journal; a backup put in place would lose what was written since."""
    database = place.mlflow / "mlflow.db"
    subprocess.run([sys.executable, "-c", KILLED, database], check=False)
    assert Path(f"{database}-journal").is_file()
    assert damage(database, 2) == ""
    subprocess.run([sys.executable, "-c", KILLED, database], check=False)
    made = back_up(place, tmp_path / "backups", keep=7)
    assert [rows(path) for path in made.rglob("mlflow.db")] == [["ended"] * 10]


def test_a_copy_that_cannot_be_written_is_no_damage(place: Workspace, tmp_path: Path):
    """No remedy may ask for a sound database to be replaced."""
    with pytest.raises(InputError, match="cannot be copied") as refusal:
        copy_database(place.mlflow / "mlflow.db", tmp_path / "absent" / "mlflow.db")
    assert "viewforge recover" not in str(refusal.value)
    assert "room" in str(refusal.value)


def test_a_database_in_use_is_not_replaced(place: Workspace, writer: "subprocess.Popen[str]", tmp_path: Path):
    back_up(place, tmp_path / "backups", keep=7)
    with pytest.raises(InputError, match=rf"mlflow\.db is open in process {writer.pid} .*viewforge down"):
        recover(place, tmp_path / "backups")
    assert users_of(place.root / ".prefect" / "prefect.db") == []


def test_a_damaged_database_comes_back_and_is_kept_aside(place: Workspace, tmp_path: Path):
    back_up(place, tmp_path / "backups", keep=7)
    database = place.mlflow / "mlflow.db"
    overwrite_pages(database)
    assert damage(database)
    damaged = database.read_bytes()
    (place.root / "dvc.lock").unlink()
    place.parameters.write_text("seed: 1\n")
    found = recover(place, tmp_path / "backups")
    assert rows(database) == ["ended"] * 10
    assert damaged in [path.read_bytes() for path in found.aside]
    assert found.files == (place.root / "dvc.lock",)
    assert found.differing == (place.parameters,)
    assert place.parameters.read_text() == "seed: 1\n"
    recover(place, tmp_path / "backups", everything=True)
    assert place.parameters.read_text() == "seed: 0\n"


def test_old_backups_go_only_after_a_new_one_is_whole(place: Workspace, stamps: None, tmp_path: Path):
    folder = tmp_path / "backups"
    made = [back_up(place, folder, keep=2) for _ in range(3)]
    assert backups.backups(folder) == made[1:]
    overwrite_pages(place.mlflow / "mlflow.db")
    with pytest.raises(InputError, match=r"mlflow\.db .*viewforge recover DIR"):
        back_up(place, folder, keep=1)
    assert sorted(path.name for path in folder.iterdir()) == [path.name for path in made[1:]]


def test_backups_of_another_workspace_of_that_name_are_neither_taken_nor_deleted(
    place: Workspace, stamps: None, tmp_path: Path
):
    other = Workspace(tmp_path / "elsewhere" / "workspace")
    other.root.mkdir(parents=True)
    other.parameters.write_text("seed: 9\n")
    folder = tmp_path / "backups"
    theirs = back_up(other, folder, keep=1)
    mine = back_up(place, folder, keep=1)
    newest = back_up(other, folder, keep=1)
    assert backups.backups(folder) == [mine, newest]
    assert not theirs.exists()
    assert recover(place, folder).backup == mine


def test_a_backup_that_was_changed_is_refused(place: Workspace, tmp_path: Path):
    made = back_up(place, tmp_path / "backups", keep=7)
    (made / "files" / "dvc.lock").write_text("another\n")
    with pytest.raises(InputError, match="is not as it was written"):
        recover(place, made)


def test_nothing_to_back_up_and_nothing_to_recover_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "prefect"))
    with pytest.raises(InputError, match="has nothing to back up"):
        back_up(Workspace(tmp_path / "empty"), tmp_path / "backups", keep=7)
    with pytest.raises(InputError, match="has no backup of"):
        recover(Workspace(tmp_path / "empty"), tmp_path)


def test_what_a_killed_backup_left_goes_with_a_later_one(place: Workspace, tmp_path: Path) -> None:
    folder = tmp_path / "backups"
    made = back_up(place, folder, 3)
    old, present = (folder / f".{made.name}.host-{number}.tmp" for number in (1, 2))
    for path in (old, present):
        shutil.copytree(made, path)
    os.utime(old, (0, 0))
    back_up(place, folder, 3)
    assert not old.exists()
    assert present.exists()


def test_a_full_disk_is_no_reason_to_put_back_an_older_database(place: Workspace, tmp_path: Path) -> None:
    source = place.mlflow / "mlflow.db"
    with pytest.raises(InputError, match=r"make room there .* copy again") as caught:
        copy_database(source, tmp_path / "absent" / "mlflow.db")
    assert "recover" not in str(caught.value)
    source.write_bytes(b"no database at all" * 100)
    with pytest.raises(InputError, match="viewforge recover"):
        copy_database(source, tmp_path / "mlflow.db")


def test_a_recovery_without_room_leaves_what_was_there(
    place: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the next server would make an empty database where the damaged one was."""
    back_up(place, tmp_path / "backups", 3)
    database = place.mlflow / "mlflow.db"
    database.write_bytes(b"damaged" * 1000)
    database.chmod(0o600)

    def full(_: Path, target: Path) -> None:
        Path(target).write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(backups.shutil, "copyfile", full)
        with pytest.raises(OSError, match="No space"):
            recover(place, tmp_path / "backups")
    assert database.read_bytes() == b"damaged" * 1000
    assert [path.name for path in place.mlflow.iterdir() if path.name.startswith(".")] == []
    recover(place, tmp_path / "backups")
    assert damage(database) == ""
    assert database.stat().st_mode & 0o777 == 0o600, "whoever may read it is as before"


def test_a_database_that_a_full_disk_keeps_shut_is_not_called_damaged(
    place: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who put back a backup for that would lose what came after it."""
    database = place.mlflow / "mlflow.db"

    def full(*_: object) -> sqlite3.Connection:
        error = sqlite3.OperationalError("database or disk is full")
        error.sqlite_errorcode = sqlite3.SQLITE_FULL
        raise error

    monkeypatch.setattr(databases, "_opened", full)
    with pytest.raises(
        InputError, match=r"mlflow\.db cannot be opened \(database or disk is full\); make room"
    ) as caught:
        refuse_damaged_file(database, 1.0)
    assert "recover" not in str(caught.value)
    found = check_databases(place).findings
    assert {Path(finding.place).name for finding in found} == {"mlflow.db", "prefect.db"}
    assert all("make room" in finding.remedy and "recover" not in finding.remedy for finding in found)
