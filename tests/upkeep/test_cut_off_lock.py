"""A `dvc.lock` that DVC was writing when it was killed: put aside, and what was made comes back without computing."""

from pathlib import Path

import pytest
from mini_pipeline import dvc, mini_workspace, reproduced

from flows.graph import stale_stages
from stage.errors import InputError
from stage.workspace import Workspace
from upkeep.cut_off_lock import put_cut_off_lock_aside
from upkeep.repository import locked_stages


@pytest.fixture
def place(tmp_path: Path) -> Workspace:
    """A workspace that ran."""
    place = mini_workspace(tmp_path / "workspace")
    assert reproduced(place) == ["catalog", "train"]
    return place


@pytest.mark.parametrize(
    "left", [b"", b"\0" * 40, b"sche", b"schema: '2.0'\nstages:\n  catalog:\n    cmd: mkdir\n    de"]
)
def test_a_lock_that_was_cut_off_costs_no_stage(place: Workspace, left: bytes) -> None:
    """DVC empties it before it writes it anew: a kill, a full disk or a power cut leaves this, and DVC then refuses all."""
    lock = place.root / "dvc.lock"
    before = locked_stages(place.root)
    lock.write_bytes(left)
    with pytest.raises(InputError, match=r"dvc\.lock"):
        stale_stages(place.root)
    aside = put_cut_off_lock_aside(place.root)
    assert aside is not None
    assert aside.read_bytes() == left
    assert dvc(place.root, "repro").stdout.count("is cached - skipping run") == 2
    assert locked_stages(place.root) == before


def test_a_sound_lock_stays_and_so_does_what_a_person_has_to_decide(place: Workspace) -> None:
    lock = place.root / "dvc.lock"
    sound = lock.read_text()
    conflict = sound.replace("stages:\n", "<<<<<<< HEAD\nstages:\n=======\nstages: {}\n>>>>>>> other\n", 1)
    for text in (sound, conflict, "stages: {}\n"):
        lock.write_text(text)
        assert put_cut_off_lock_aside(place.root) is None
        assert lock.read_text() == text
    lock.unlink()
    assert put_cut_off_lock_aside(place.root) is None
