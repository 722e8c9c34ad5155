"""What DVC keeps outside of a workspace, damaged: one line with the place and what to do."""

from pathlib import Path

import pytest
from mini_pipeline import mini_workspace, reproduced

from flows.graph import stale_stages
from stage.errors import InputError
from upkeep.repository import locked_stages, opened


@pytest.mark.parametrize("content", [b"\xa5" * 8192, None])
def test_a_damaged_state_database_is_named_and_may_be_deleted(tmp_path: Path, content: bytes | None) -> None:
    place = mini_workspace(tmp_path / "workspace")
    assert reproduced(place)
    with opened(place.root) as repo:
        state = Path(repo.site_cache_dir)
    databases = list(state.rglob("hashes/**/cache.db"))
    assert databases
    for database in databases:
        if content is None:
            database.unlink()
            database.mkdir()
        else:
            database.write_bytes(content)
            for log in database.parent.glob("cache.db-*"):
                log.unlink()
    with pytest.raises(
        InputError, match=rf"DVC's notes about {place.root} in {state.parent} .*; .*delete that folder"
    ):
        stale_stages(place.root)


def test_a_lock_file_of_noise_names_no_stages(tmp_path: Path) -> None:
    (tmp_path / "dvc.lock").write_bytes(b"\xff\xfe\xa5")
    assert locked_stages(tmp_path) == {}
