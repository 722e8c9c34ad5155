"""Writing shards when things go wrong: kills, a second writer, a full disk, keys that cannot be; nothing half-written is read."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest
from deadly_writer import DeadlyWriter
from PIL import Image

from blender_render.camera_sets import View
from blender_render.rendered_object import write_cameras
from catalog.table import Asset, write_table
from geometry.cameras import Intrinsics
from stage.errors import InputError, StageKilledError
from stage.files import folder_sha256
from stage.packs import object_folder
from stage.workspace import Workspace
from training.data.index import INDEX, IndexRow, read_index
from training.data.shard_parameters import ShardParameters
from training.data.verify import verify
from training.data.writer import write_shards

PROJECT = Path(__file__).resolve().parents[2]
SMALL = ShardParameters(max_bytes=8192, workers=1)
DRIVER = Path(__file__).with_name("killed_writer.py")
STANDSTILL = Path(__file__).parent / "standstill"
# Says so after each object, and waits for a line before it goes on.
WRITE = """
import sys
from pathlib import Path
from stage.workspace import Workspace
from training.data.shard_parameters import ShardParameters
from training.data.shard_tar import ShardTar
from training.data.writer import write_shards

add = ShardTar.add
def obediently(self, sample):
    written = add(self, sample)
    print("written", flush=True)
    sys.stdin.readline()
    return written
ShardTar.add = obediently
write_shards(ShardParameters(max_bytes=8192, workers=1), Workspace(Path(sys.argv[1])))
"""
WRITE_BY_PROCESSES = """
import sys
from pathlib import Path
from stage.workspace import Workspace
from training.data.shard_parameters import ShardParameters
from training.data.writer import write_shards

if __name__ == "__main__":
    write_shards(ShardParameters(max_bytes=8192, workers=2, encoding="webp"), Workspace(Path(sys.argv[1])))
"""


def asset(uid: str) -> Asset:
    return Asset(uid, "folder", f"{uid}.glb", uid, "", 1, "glb", "Y", "CC0-1.0", "", uid, (), "train", True, "")


def rendered(root: Path, uids: list[str], size: int = 32) -> Workspace:
    """A workspace with rendered noise."""
    workspace = Workspace(root)
    write_table(workspace.catalog / "catalog.parquet", [asset(uid) for uid in uids])
    for uid in uids:
        folder = object_folder(workspace.scratch / "renders", uid)
        folder.mkdir(parents=True, exist_ok=True)
        picture = np.random.default_rng(list(uid.encode())).integers(0, 256, (size, size, 4), dtype=np.uint8)
        Image.fromarray(picture).save(folder / "000.png")
        write_cameras(folder, [View(np.eye(4), Intrinsics.from_fov(0.8, size))], [])
    workspace.renders.mkdir(parents=True)
    complete(workspace, uids)
    return workspace


def complete(workspace: Workspace, uids: list[str]) -> None:
    frame = pd.DataFrame({"uid": uids, "complete": True, "fingerprint": uids})
    frame.to_parquet(workspace.renders / "objects.parquet")


UIDS = [f"{number:03d}" for number in range(12)]


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return rendered(tmp_path / "workspace", UIDS)


def die_everywhere(template: Workspace, place: Path, *, compact: bool = False) -> list[Workspace]:
    """A copy of the workspace for each file operation of its writer, which was killed just before it."""
    command = [sys.executable, DRIVER, template.root, place, SMALL.max_bytes, int(compact)]
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    result = subprocess.run(
        list(map(str, command)), cwd=PROJECT, env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    return [Workspace(place / str(number)) for number in range(int(result.stdout))]


def check_whole(workspace: Workspace, *sets: list[IndexRow]) -> None:
    """An index is one of these sets', and all that it names is there, byte by byte."""
    rows = list(read_index(workspace.shards))
    assert rows in [list(of_set) for of_set in sets]
    found = {damage.what for damage in verify(workspace.shards).damages}
    assert found <= {"index.parquet does not list this shard"}


def continued(workspace: Workspace, name: str, *, compact: bool = False) -> tuple[list[IndexRow], str]:
    """What a writer that nobody disturbs makes of a copy: the rows, and a hash of the folder."""
    copy = Workspace(Path(shutil.copytree(workspace.root, workspace.root.with_name(name))))
    return list(write_shards(SMALL, copy, compact)), folder_sha256(copy.shards)


@pytest.mark.slow
def test_a_writer_killed_anywhere_leaves_no_index_and_is_continued_to_the_same_bytes(tmp_path):
    workspace = rendered(tmp_path / "workspace", UIDS[:5])
    after, digest = continued(workspace, "undisturbed")
    killed = die_everywhere(workspace, tmp_path / "killed")
    assert len(killed) > 5 * len(after)
    for one in killed:
        if (one.shards / INDEX).exists():
            check_whole(one, after)
        else:
            with pytest.raises(InputError, match="no shard index"):
                read_index(one.shards)
        write_shards(SMALL, one)
        assert folder_sha256(one.shards) == digest


@pytest.mark.slow
@pytest.mark.parametrize("compact", [False, True])
def test_a_kill_while_a_set_grows_or_shrinks_leaves_a_whole_set_or_none(tmp_path, compact):
    workspace = rendered(tmp_path / "workspace", UIDS[:6])
    complete(workspace, UIDS[:4])
    before = list(write_shards(SMALL, workspace))
    complete(workspace, UIDS[1:6])
    after, digest = continued(workspace, "undisturbed", compact=compact)
    assert before != after
    killed = die_everywhere(workspace, tmp_path / "killed", compact=compact)
    assert len(killed) > 10
    without = 0
    for one in killed:
        if (one.shards / INDEX).exists():
            check_whole(one, before, after)
        else:
            without += 1
        assert [row.key for row in write_shards(SMALL, one, compact)] == UIDS[1:6]
        assert folder_sha256(one.shards) == digest
    assert compact or not without, "a set that grows keeps its index"


@pytest.mark.slow
def test_a_second_writer_is_refused_and_the_first_goes_on(workspace, viewforge):
    workspace.parameters.write_text("shard: {max_bytes: 8192}\n")
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    process = subprocess.Popen(
        [sys.executable, "-c", WRITE, workspace.root],
        cwd=PROJECT,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "written\n", "the first writer is in the middle of a shard, and stays there"
    result = viewforge("shard", cwd=workspace.root)
    assert result.returncode == 1
    assert "another process writes into" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    process.communicate()  # the end of its input lets it go on
    assert process.returncode == 0
    assert verify(workspace.shards).damages == []


@pytest.mark.slow
def test_processes_that_write_end_with_the_stage(tmp_path):
    workspace = rendered(tmp_path / "workspace", UIDS)
    script, note = tmp_path / "write.py", tmp_path / "standing"
    script.write_text(WRITE_BY_PROCESSES)
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join((str(PROJECT), str(STANDSTILL))),
        "STANDSTILL_PIECES": str(workspace.scratch / "shards" / "*.tar"),
        "STANDSTILL_NOTE": str(note),
    }
    process = subprocess.Popen([sys.executable, script, workspace.root], cwd=PROJECT, env=environment)
    deadline = time.monotonic() + 240
    while not note.exists():
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.02)
    family = psutil.Process(process.pid).children(recursive=True)
    assert len(family) >= 2
    process.kill()
    process.wait()
    _, alive = psutil.wait_procs(family, 60)
    assert not alive
    assert not (workspace.shards / INDEX).exists()
    parameters = ShardParameters(max_bytes=8192, workers=1, encoding="webp")
    assert [row.key for row in write_shards(parameters, workspace)] == UIDS
    assert verify(workspace.shards).damages == []


@pytest.mark.slow
def test_a_killed_process_of_several_is_one_error_and_a_rerun_continues(workspace, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("training.data.writer.ShardWriter", DeadlyWriter)
        with pytest.raises(StageKilledError, match="run viewforge shard again"):
            write_shards(SMALL.model_copy(update={"workers": 2}), workspace)
    assert not (workspace.shards / INDEX).exists()
    assert [row.key for row in write_shards(SMALL, workspace)] == UIDS


def test_keys_with_dots_are_named_before_anything_is_written(tmp_path):
    workspace = rendered(tmp_path / "workspace", ["plain", "with.dot", "with space"])
    with pytest.raises(InputError, match=r"catalog\.parquet: 'with space', 'with\.dot' cannot be keys of samples"):
        write_shards(SMALL, workspace)
    assert not workspace.shards.exists()


def test_duplicate_keys_are_named_before_anything_is_written(tmp_path):
    workspace = rendered(tmp_path / "workspace", ["once", "twice"])
    write_table(workspace.catalog / "catalog.parquet", [asset("once"), asset("twice"), asset("twice")])
    with pytest.raises(InputError, match=r"catalog\.parquet lists 'twice' more than once; keep one row of each"):
        write_shards(SMALL, workspace)
    assert not workspace.shards.exists()


@pytest.fixture
def small_disk(tmp_path):
    """A file system that the shards of twelve pictures do not fit on."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", place], capture_output=True, check=False
    )
    if mount.returncode:
        pytest.skip("mounting a small file system needs root")
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)


@pytest.mark.slow
def test_a_full_disk_is_one_line_and_a_rerun_continues(tmp_path, small_disk, viewforge):
    workspace = rendered(tmp_path / "elsewhere", UIDS, size=64)
    root = small_disk / "workspace"
    shutil.copytree(workspace.root / "data", root / "data")
    (root / "scratch").mkdir()
    (root / "scratch" / "renders").symlink_to(workspace.scratch / "renders")
    (root / "params.yaml").write_text("shard: {max_bytes: 20000}\n")
    result = viewforge("shard", cwd=root)
    assert result.returncode == 1
    assert len(result.stderr.strip().splitlines()) == 1
    assert "no space left on the disk" in result.stderr
    finished = {path: path.stat().st_mtime_ns for path in (root / "scratch" / "shards").glob("*.tar")}
    assert finished
    assert not (root / "data" / "shards" / INDEX).exists()
    assert not list(root.rglob(".*.tmp"))
    subprocess.run(["mount", "-o", "remount,size=30m", small_disk], check=True)
    assert viewforge("shard", cwd=root).returncode == 0
    assert viewforge("shards", "verify", cwd=root).returncode == 0
    written = {path.stat().st_mtime_ns for path in (root / "data" / "shards").glob("*.tar")}
    assert written >= set(finished.values()), "the re-run wrote finished shards again"
