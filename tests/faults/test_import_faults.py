"""Drills: imports and exports killed in the middle, and a full disk; what is there is whole, and a second run ends the work."""

import errno
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from geometry.cameras import look_at_origin, zero123_from_c2w
from stage.errors import InputError
from stage.files import folder_sha256
from stage.workspace import Workspace
from training.data.importers.views_release import views_release
from training.data.importers.workspace_import import import_set
from training.data.writer import ShardParameters, write_shards
from training.data.zero123_export import export_zero123
from training.data.zeronvs_layout import read_scenes

pytestmark = pytest.mark.slow
VIEWS = 3
# Kills itself in the middle of the third object, as a SIGKILL from outside may.
KILLED = """
import os, signal, sys
from pathlib import Path
import {module} as module
count = 0
original = module.zero123_from_c2w
def killing(c2w):
    global count
    count += 1
    if count == 8:
        os.kill(os.getpid(), signal.SIGKILL)
    return original(c2w)
module.zero123_from_c2w = killing
{work}
"""
IMPORT = """
from stage.workspace import Workspace
from training.data.importers.views_release import views_release
module.import_set(views_release(Path(sys.argv[1]), 3), Workspace(Path(sys.argv[2])), workers=1)
"""
EXPORT = "module.export_zero123(Path(sys.argv[1]), Path(sys.argv[2]))"


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """Six published objects."""
    rng = np.random.default_rng(0)
    for number in range(6):
        folder = tmp_path / "release" / f"object{number}"
        folder.mkdir(parents=True)
        for view in range(VIEWS):
            Image.fromarray(rng.integers(0, 256, (8, 8, 4), dtype=np.uint8)).save(folder / f"{view:03d}.png")
            np.save(folder / f"{view:03d}.npy", zero123_from_c2w(look_at_origin(1.0, 0.5 * view, 2.0)))
    return tmp_path / "release"


def killed(module: str, work: str, *arguments: Path) -> None:
    program = [sys.executable, "-c", KILLED.format(module=module, work=work), *map(str, arguments)]
    result = subprocess.run(program, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])
    assert result.returncode == -signal.SIGKILL, result.stderr


def test_a_killed_import_goes_on_where_it_was(release: Path, tmp_path: Path) -> None:
    disturbed, undisturbed = Workspace(tmp_path / "d"), Workspace(tmp_path / "u")
    killed("training.data.importers.workspace_import", IMPORT, release, disturbed.root)
    objects = [path for path in (disturbed.scratch / "renders").glob("*/*") if not path.name.startswith(".")]
    assert [path.name for path in objects] == ["object0", "object1"]
    assert all(len(list(path.iterdir())) == 2 * VIEWS + 2 for path in objects)
    with pytest.raises(InputError):
        write_shards(ShardParameters(), disturbed)
    times = {path: path.stat().st_mtime_ns for path in objects}
    for workspace in (disturbed, undisturbed):
        import_set(views_release(release, VIEWS), workspace)
    assert folder_sha256(disturbed.root) == folder_sha256(undisturbed.root)
    assert {path: path.stat().st_mtime_ns for path in objects} == times


def test_a_killed_export_has_no_list_and_is_finished_by_another(release: Path, tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "w")
    import_set(views_release(release, VIEWS), workspace)
    write_shards(ShardParameters(), workspace)
    killed("training.data.zero123_export", EXPORT, workspace.shards, tmp_path / "d")
    folders = [path for path in (tmp_path / "d").iterdir() if not path.name.startswith(".")]
    assert len(folders) == 2
    assert all(path.is_dir() and len(list(path.iterdir())) == 2 * VIEWS for path in folders)
    export_zero123(workspace.shards, tmp_path / "d")
    export_zero123(workspace.shards, tmp_path / "u")
    assert folder_sha256(tmp_path / "d") == folder_sha256(tmp_path / "u")


KILLED_IN_A_SHARD = """
import os, signal, sys
from dataclasses import replace
from pathlib import Path
import numpy as np
from geometry.cameras import Intrinsics, look_at_origin
from training.data.zeronvs_layout import Scene, write_scenes

def scenes():
    for number in range(4):
        if number == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        yield Scene("c", str(number), np.zeros((1, 4, 4, 3), np.uint8), look_at_origin(1, 0, 2)[None],
                    (Intrinsics(4, 4, 2, 2, 4, 4),), np.zeros((1, 4, 4)))

# Two scenes a shard: one alone has less.
write_scenes(Path(sys.argv[1]), "train", scenes(), max_bytes=600)
"""


def test_a_killed_writer_of_zeronvs_shards_leaves_whole_ones_alone(tmp_path: Path) -> None:
    program = [sys.executable, "-c", KILLED_IN_A_SHARD, str(tmp_path)]
    result = subprocess.run(program, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])
    assert result.returncode == -signal.SIGKILL, result.stderr
    assert [scene.name for path in sorted(tmp_path.glob("*.tar")) for scene in read_scenes(path)] == ["0", "1"]
    assert len(list(tmp_path.glob(".train-000001.tar.*.tmp"))) == 1


def test_a_full_disk_leaves_no_half_object(release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    workspace = Workspace(tmp_path / "w")
    with monkeypatch.context() as patch:
        patch.setattr("training.data.importers.workspace_import.write_cameras", full)
        with pytest.raises(OSError, match="No space left"):
            import_set(views_release(release, VIEWS), workspace)
    assert [path for path in (workspace.scratch / "renders").rglob("*") if path.is_file()] == []
    assert not (workspace.renders / "objects.parquet").exists()
    assert len(import_set(views_release(release, VIEWS), workspace)) == 6
