"""Writing shards when things go wrong: kills, a second writer, a full disk, keys that cannot be; nothing half-written is read."""

import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest
from PIL import Image

from blender_render.camera_sets import View
from blender_render.rendered_object import write_cameras
from catalog.table import Asset, write_table
from geometry.cameras import Intrinsics
from stage.errors import InputError, StageKilledError
from stage.files import folder_sha256
from stage.packs import object_folder
from stage.workspace import Workspace
from training.data.index import INDEX, read_index
from training.data.shard_parameters import ShardParameters
from training.data.verify import verify
from training.data.writer import write_shards

PROJECT = Path(__file__).resolve().parents[2]
SMALL = ShardParameters(max_bytes=8192, workers=1)
# Says so after each object, and waits.
WRITE = """
import sys, time
from pathlib import Path
import webdataset
from stage.workspace import Workspace
from training.data.shard_parameters import ShardParameters
from training.data.writer import write_shards

write = webdataset.TarWriter.write
def slowly(self, sample):
    size = write(self, sample)
    print("written", flush=True)
    time.sleep(float(sys.argv[2]))
    return size
webdataset.TarWriter.write = slowly
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


def start(workspace: Workspace, pause: float) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", WRITE, str(workspace.root), str(pause)]
    return subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True)


def wait_for(process: "subprocess.Popen[str]", objects: int) -> None:
    assert process.stdout is not None
    for _ in range(objects):
        assert process.stdout.readline() == "written\n"


def end(process: "subprocess.Popen[str]") -> None:
    process.kill()
    process.communicate()


@pytest.mark.slow
@pytest.mark.parametrize("objects", [1, 4, 5, 8])
def test_a_writer_killed_anywhere_is_continued_to_the_same_bytes(workspace, tmp_path, objects):
    process = start(workspace, 600 if objects == 1 else 0.02)
    wait_for(process, objects)
    end(process)
    with pytest.raises(InputError, match="no shard index"):
        read_index(workspace.shards)
    write_shards(SMALL, workspace)
    undisturbed = rendered(tmp_path / "undisturbed", UIDS)
    write_shards(SMALL, undisturbed)
    assert folder_sha256(workspace.shards) == folder_sha256(undisturbed.shards)


@pytest.mark.slow
def test_a_kill_while_a_set_grows_leaves_the_set_as_it_was(workspace):
    complete(workspace, UIDS[:5])
    before = write_shards(SMALL, workspace)
    complete(workspace, UIDS[2:])
    process = start(workspace, 0.1)
    wait_for(process, 4)
    end(process)
    assert read_index(workspace.shards) == before
    assert {damage.what for damage in verify(workspace.shards).damages} <= {"index.parquet does not list this shard"}
    assert [row.key for row in write_shards(SMALL, workspace)] == UIDS[2:]
    assert verify(workspace.shards).damages == []


@pytest.mark.slow
def test_a_second_writer_is_refused_and_the_first_goes_on(workspace, viewforge):
    workspace.parameters.write_text("shard: {max_bytes: 8192}\n")
    process = start(workspace, 0.5)
    wait_for(process, 1)
    result = viewforge("shard", cwd=workspace.root)
    assert result.returncode == 1
    assert "another process writes into" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert process.wait(60) == 0
    process.communicate()
    assert verify(workspace.shards).damages == []


@pytest.mark.slow
def test_processes_that_write_end_with_the_stage(tmp_path):
    workspace = rendered(tmp_path / "workspace", UIDS, size=256)
    script = tmp_path / "write.py"
    script.write_text(WRITE_BY_PROCESSES)
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    process = subprocess.Popen([sys.executable, script, workspace.root], cwd=PROJECT, env=environment)
    deadline = time.monotonic() + 120
    while not list(workspace.shards.glob("*.tar")):
        assert time.monotonic() < deadline
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.005)
    family = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.wait()
    _, alive = psutil.wait_procs(family, 20)
    assert not alive
    assert not (workspace.shards / INDEX).exists()
    parameters = ShardParameters(max_bytes=8192, workers=1, encoding="webp")
    assert [row.key for row in write_shards(parameters, workspace)] == UIDS
    assert verify(workspace.shards).damages == []


@pytest.mark.slow
def test_a_killed_process_of_several_is_one_error_and_a_rerun_continues(workspace, monkeypatch):
    def deadly(self, shard):
        os.kill(os.getpid(), signal.SIGKILL)

    parameters = SMALL.model_copy(update={"workers": 2})
    with monkeypatch.context() as patch:
        # Forked processes have the patch; spawned ones would not.
        context = multiprocessing.get_context("fork")
        patch.setattr("training.data.shard_crew.multiprocessing.get_context", lambda _: context)
        patch.setattr("training.data.shard_file.ShardWriter.write", deadly)
        with pytest.raises(StageKilledError, match="run viewforge shard again"):
            write_shards(parameters, workspace)
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
