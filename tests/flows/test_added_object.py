"""An added object costs one object: one is rendered, its pack and a shard are written, the rest keeps its bytes and its files."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from cheap_assets import cheap_workspace

from benchmarks.versions import write_box
from stage.files import file_sha256
from stage.workspace import Workspace
from training.data.index import read_index

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
BOXES = 40


@pytest.fixture(scope="module")
def place(tmp_path_factory, program_environment):
    """Forty boxes, rendered and in shards."""
    place = cheap_workspace(tmp_path_factory.mktemp("grows") / "workspace", BOXES)
    said = repro(place, program_environment)
    assert f"render: {BOXES} of {BOXES} objects rendered, 0 kept; 8 of 8 packs written" in said
    return place


def repro(place: Workspace, environment: dict[str, str]) -> str:
    command = [sys.executable, "-m", "dvc", "repro", "shard"]
    result = subprocess.run(command, cwd=place.root, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-2000:]
    return result.stdout


def tars(folder: Path) -> dict[str, str]:
    return {path.name: file_sha256(path) for path in folder.glob("*.tar")}


def test_an_added_object_costs_one_object(place, program_environment):
    packs, shards = tars(place.renders), tars(place.shards)
    write_box(place.root.parent / "boxes", BOXES)
    said = repro(place, program_environment)
    assert "catalog: 1 of 41 objects new, 40 kept" in said
    assert "render: 1 of 41 objects rendered, 40 kept; 1 of 8 packs written" in said
    assert "splatter: 0 of 1 objects made, 1 kept; 0 of 1 packs written" in said
    assert re.search(r"shard: 1 of 41 objects written, 40 kept; 1 of \d shards written", said)
    assert len(tars(place.renders).items() - packs.items()) == 1
    assert tars(place.shards).items() > shards.items()
    # Those that stayed are links to DVC's cache, and so take no room of their own.
    assert all((place.shards / name).stat().st_nlink > 1 for name in shards)
    assert "up to date" in repro(place, program_environment)


def test_it_does_so_where_scratch_space_is_empty_and_forgets_what_is_gone(place, program_environment):
    """As after `dvc pull` on another machine."""
    shutil.rmtree(place.scratch)
    write_box(place.root.parent / "boxes", BOXES + 1)
    (place.root.parent / "boxes" / "box00000.obj").unlink()
    said = repro(place, program_environment)
    assert "render: 1 of 41 objects rendered, 40 kept" in said
    assert "shard: 1 of 41 objects written, 40 kept; 1 of" in said
    assert len(read_index(place.shards)) == 41


def test_a_lost_cache_costs_no_rendering(place, program_environment):
    shutil.rmtree(place.root / ".dvc" / "cache")
    write_box(place.root.parent / "boxes", BOXES + 2)
    said = repro(place, program_environment)
    assert "render: 1 of 42 objects rendered, 41 kept" in said
    assert "shard: 42 of 42 objects written, 0 kept" in said
