"""What comes back before a stage runs, and that neither the cache nor a finished stage suffers from it."""

import shutil
from pathlib import Path

import pytest
from mini_pipeline import mini_workspace, reproduced

from stage.files import folder_sha256, write_text
from stage.workspace import Workspace
from upkeep.repository import locked_stages
from upkeep.stage_records import read_record
from upkeep.under_dvc import put_back, under_dvc


@pytest.fixture
def place(tmp_path: Path) -> Workspace:
    """A workspace that ran, whose catalogue DVC has deleted, as it does before the stage runs again."""
    place = mini_workspace(tmp_path / "workspace")
    reproduced(place)
    shutil.rmtree(place.catalog)
    return place


def cached(place: Workspace, md5: str) -> Path:
    return place.root / ".dvc" / "cache" / "files" / "md5" / md5[:2] / md5[2:]


def listing(place: Workspace) -> Path:
    return cached(place, locked_stages(place.root)["catalog"]["outs"][0]["md5"])


def test_the_version_that_the_lock_names_comes_back(place: Workspace) -> None:
    put_back(place, "catalog")
    assert {path.name: path.read_text() for path in place.catalog.iterdir()} == {
        f"{number}.txt": f"object {number}\n" for number in range(3)
    }


def test_replacing_what_came_back_leaves_the_cache_as_it_was(place: Workspace) -> None:
    put_back(place, "catalog")
    before = folder_sha256(place.root / ".dvc" / "cache")
    for path in place.catalog.iterdir():
        write_text(path, "made anew\n")
    assert folder_sha256(place.root / ".dvc" / "cache") == before


def test_what_the_cache_lacks_stays_absent(place: Workspace) -> None:
    (lost,) = [
        path
        for path in (place.root / ".dvc" / "cache").rglob("*")
        if path.is_file() and path.read_text() == "object 1\n"
    ]
    lost.chmod(0o644)
    lost.unlink()
    put_back(place, "catalog")
    assert {path.name for path in place.catalog.iterdir()} == {"0.txt", "2.txt"}


@pytest.mark.parametrize("content", [None, "[", "{}"])
def test_without_a_list_that_can_be_read_nothing_comes_back(place: Workspace, content: str | None) -> None:
    path = listing(place)
    path.chmod(0o644)
    path.unlink() if content is None else path.write_text(content)
    put_back(place, "catalog")
    assert not place.catalog.exists()


def test_it_comes_back_where_data_is_a_link_to_another_disk(place: Workspace, tmp_path: Path) -> None:
    (place.root / "data").rename(tmp_path / "disk")
    (place.root / "data").symlink_to(tmp_path / "disk")
    put_back(place, "catalog")
    assert len(list(place.catalog.iterdir())) == 3


def test_a_workspace_may_be_named_from_elsewhere(place: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place.root.parent)
    put_back(Workspace(Path("workspace")), "catalog")
    assert len(list(place.catalog.iterdir())) == 3


def test_a_stage_that_dvc_does_not_run_is_left_alone(place: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    for runs in ("", "train"):
        monkeypatch.setenv("DVC_STAGE", runs)
        with under_dvc(place, "catalog"):
            assert not place.catalog.exists()
        assert read_record(place, "catalog") is None


def test_a_finished_stage_is_put_on_record(place: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DVC_STAGE", "catalog")
    with under_dvc(place, "catalog"):
        assert place.catalog.is_dir()
    record = read_record(place, "catalog")
    assert record is not None
    assert set(record.files) == {"inputs/objects", "rooms"}


def test_what_cannot_be_put_on_record_fails_no_finished_stage(
    place: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The record of another run does not stand for this one either."""
    monkeypatch.setenv("DVC_STAGE", "catalog")
    with under_dvc(place, "catalog"):
        pass
    monkeypatch.setattr("upkeep.stage_records.marks", _unreadable)
    with under_dvc(place, "catalog"):
        pass
    assert read_record(place, "catalog") is None


def _unreadable(_: Path) -> dict[str, str]:
    raise PermissionError
