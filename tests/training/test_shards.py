"""The shard stage: what is in the tars, what the index says, and what a kill or a damaged byte does."""

import hashlib
import json
import shutil
import signal
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from threading import Event

import numpy as np
import pandas as pd
import pytest
import webdataset

from blender_render.rendered_object import read_rgba, read_views
from stage.errors import InputError
from stage.files import folder_sha256
from stage.packs import object_folder
from stage.workspace import Workspace
from training.data.index import INDEX, read_index
from training.data.reader import ShardReader
from training.data.shard_file import Draft, ShardWriter
from training.data.shard_plan import PlannedShard
from training.data.shard_tar import ShardTar
from training.data.writer import ShardParameters, write_shards

RenderBoxes = Callable[..., Workspace]
SMALL = ShardParameters(max_bytes=1024)  # two objects a shard


def tars(workspace: Workspace) -> list[str]:
    return sorted(path.name for path in workspace.shards.glob("*.tar"))


@pytest.mark.parametrize("parameters", [ShardParameters(), SMALL])
def test_two_fresh_workspaces_give_the_same_bytes(
    render_boxes: RenderBoxes, tmp_path: Path, parameters: ShardParameters
) -> None:
    hashes = set()
    for name in ("one", "two"):
        workspace = render_boxes(tmp_path / name, train=3, val=1)
        write_shards(parameters, workspace)
        hashes.add(folder_sha256(workspace.shards))
    assert len(hashes) == 1


def test_running_again_changes_nothing(render_boxes: RenderBoxes, tmp_path: Path) -> None:
    workspace = render_boxes(tmp_path / "w", train=3)
    first = write_shards(SMALL, workspace)
    before = folder_sha256(workspace.shards)
    assert write_shards(SMALL, workspace) == first == read_index(workspace.shards)
    assert folder_sha256(workspace.shards) == before


def test_stock_webdataset_reads_pictures_and_cameras(sharded: Workspace) -> None:
    dataset = webdataset.WebDataset(str(sharded.shards / "train-000000.tar"), shardshuffle=False).decode("pil")
    samples = list(dataset)
    assert [sample["__key__"] for sample in samples] == [f"{number:02d}train" for number in range(6)]
    for sample in samples:
        folder = object_folder(sharded.scratch / "renders", sample["__key__"])
        assert {key for key in sample if not key.startswith("__")} == {
            *(f"{view:03d}.png" for view in range(4)),
            "cameras.json",
        }
        assert sample["000.png"].size == (16, 16)
        views = read_views(folder)
        np.testing.assert_array_equal(sample["cameras.json"]["c2w"], [view.c2w for view in views])
        assert sample["cameras.json"]["intrinsics"] == vars(views[0].intrinsics)


def test_pictures_are_the_renders_own_bytes(sharded: Workspace) -> None:
    with tarfile.open(sharded.shards / "val-000000.tar") as archive:
        stream = archive.extractfile("01val.002.png")
        assert stream is not None
        assert stream.read() == (object_folder(sharded.scratch / "renders", "01val") / "002.png").read_bytes()


def test_index_hashes_are_those_of_the_bytes_at_its_offsets(render_boxes: RenderBoxes, tmp_path: Path) -> None:
    workspace = render_boxes(tmp_path / "w", train=5, test=2)
    write_shards(SMALL, workspace)
    for row in read_index(workspace.shards):
        data = (workspace.shards / row.shard).read_bytes()[row.offset : row.offset + row.size]
        assert hashlib.sha256(data).hexdigest() == row.sha256
        assert data[: len(row.key)].decode() == row.key
        assert (row.views, row.licence, row.source) == (4, "CC0-1.0", "folder")


def test_objects_fill_their_tar_without_gaps(sharded: Workspace) -> None:
    rows = [row for row in read_index(sharded.shards) if row.shard == "train-000000.tar"]
    ends = [row.offset + row.size for row in rows]
    assert [row.offset for row in rows] == [0, *ends[:-1]]
    rest = (sharded.shards / "train-000000.tar").read_bytes()[ends[-1] :]
    assert rest.strip(b"\0") == b""


def test_splits_lie_in_shards_of_their_own(sharded: Workspace) -> None:
    assert tars(sharded) == ["test-000000.tar", "train-000000.tar", "val-000000.tar"]
    for row in read_index(sharded.shards):
        assert row.shard.startswith(row.split)
        assert row.key.endswith(row.split)


def test_small_shards_hold_every_object_once(render_boxes: RenderBoxes, tmp_path: Path) -> None:
    workspace = render_boxes(tmp_path / "w", train=5)
    rows = write_shards(SMALL, workspace)
    assert 1 < len(tars(workspace)) < 5
    assert sorted(row.key for row in rows) == [f"{number:02d}train" for number in range(5)]
    read = [ShardReader(workspace.shards, "train")[number].uid for number in range(5)]
    assert read == [row.key for row in rows]


def test_fewer_shards_than_before_leave_no_old_one(render_boxes: RenderBoxes, tmp_path: Path) -> None:
    workspace = render_boxes(tmp_path / "w", train=3)
    write_shards(SMALL, workspace)
    assert len(tars(workspace)) == 2
    write_shards(ShardParameters(), workspace)
    assert tars(workspace) == ["train-000000.tar"]


def test_leftovers_of_a_killed_run_are_cleared(render_boxes: RenderBoxes, tmp_path: Path) -> None:
    workspace = render_boxes(tmp_path / "w", train=1)
    workspace.shards.mkdir(parents=True)
    (workspace.shards / ".index.parquet.123.tmp").write_bytes(b"half")
    write_shards(ShardParameters(), workspace)
    assert sorted(path.name for path in workspace.shards.iterdir()) == [INDEX, "train-000000.tar"]


def test_while_shards_are_rewritten_the_old_set_stays_whole(
    render_boxes: RenderBoxes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = render_boxes(tmp_path / "w", train=4)
    write_shards(ShardParameters(), workspace)
    before = folder_sha256(workspace.shards)
    undisturbed, finished = ShardWriter.finish, Event()

    def finish(writer: ShardWriter, shard: PlannedShard, draft: Draft) -> None:
        """The second shard fails when the first is finished."""
        if shard.name == "train-000001.tar":
            finished.wait()
            raise ZeroDivisionError
        undisturbed(writer, shard, draft)
        finished.set()

    with monkeypatch.context() as patch:
        patch.setattr(ShardWriter, "finish", finish)
        with pytest.raises(ZeroDivisionError):
            write_shards(SMALL, workspace)
    assert list((workspace.scratch / "shards").glob("*.tar"))
    assert folder_sha256(workspace.shards) == before
    assert len(write_shards(SMALL, workspace)) == 4
    assert tars(workspace) == ["train-000000.tar", "train-000001.tar"]


def test_incomplete_renders_are_left_out(render_boxes: RenderBoxes, tmp_path: Path) -> None:
    workspace = render_boxes(tmp_path / "w", train=3)
    table = pd.read_parquet(workspace.renders / "objects.parquet")
    table.loc[1, "complete"] = False
    table.to_parquet(workspace.renders / "objects.parquet")
    assert [row.key for row in write_shards(ShardParameters(), workspace)] == ["00train", "02train"]


def test_without_renders_the_stage_says_so(render_boxes: RenderBoxes, tmp_path: Path) -> None:
    workspace = render_boxes(tmp_path / "w", train=1)
    (workspace.renders / "objects.parquet").unlink()
    with pytest.raises(InputError, match=r"no rendered objects .*; run viewforge render first"):
        write_shards(ShardParameters(), workspace)


def test_reader_gives_pictures_and_cameras_as_rendered(sharded: Workspace) -> None:
    views = ShardReader(sharded.shards, "val")[1]
    folder = object_folder(sharded.scratch / "renders", "01val")
    assert views.uid == "01val"
    np.testing.assert_array_equal(views.rgba, [read_rgba(folder, number) for number in range(4)])
    np.testing.assert_array_equal(views.c2w, [view.c2w for view in read_views(folder)])


@pytest.fixture
def copied(sharded: Workspace, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sharded.shards, tmp_path / "shards"))


def test_a_flipped_byte_is_named_by_shard_key_and_offset(copied: Path) -> None:
    row = next(row for row in read_index(copied) if row.key == "03train")
    with (copied / row.shard).open("r+b") as stream:
        stream.seek(row.offset + 600)
        byte = stream.read(1)[0]
        stream.seek(row.offset + 600)
        stream.write(bytes([byte ^ 1]))
    reader = ShardReader(copied, "train")
    assert reader[2].uid == "02train"
    with pytest.raises(InputError, match=rf"{row.shard} is damaged at byte {row.offset}, object 03train") as caught:
        reader[3]
    assert "\n" not in str(caught.value)


def test_a_truncated_shard_is_damaged(copied: Path) -> None:
    row = next(row for row in read_index(copied) if row.key == "05train")
    data = (copied / row.shard).read_bytes()
    (copied / row.shard).write_bytes(data[: row.offset + 1000])
    with pytest.raises(InputError, match="object 05train"):
        ShardReader(copied, "train")[5]


def test_a_missing_shard_is_named(copied: Path) -> None:
    (copied / "val-000000.tar").unlink()
    with pytest.raises(InputError, match=r"lacks the shard val-000000\.tar; restore it"):
        read_index(copied)


def test_a_damaged_index_is_one_line(copied: Path) -> None:
    (copied / INDEX).write_bytes((copied / INDEX).read_bytes()[:200])
    with pytest.raises(InputError, match=r"index\.parquet is damaged") as caught:
        read_index(copied)
    assert "\n" not in str(caught.value)


def test_an_absent_split_is_named(render_boxes: RenderBoxes, tmp_path: Path) -> None:
    workspace = render_boxes(tmp_path / "w", train=1)
    write_shards(ShardParameters(), workspace)
    with pytest.raises(InputError, match="no object of the split val"):
        ShardReader(workspace.shards, "val")


KILLED_AT_SECOND_OBJECT_OF_THIRD_SHARD = """
import os, signal, sys, time
from pathlib import Path
from stage.workspace import Workspace
from training.data.shard_tar import ShardTar
from training.data.writer import ShardParameters, write_shards

add, calls = ShardTar.add, iter(range(100))

def deadly(self, sample):
    written = add(self, sample)
    if next(calls) == 5:
        # Finished shards get their names from another thread.
        while not list(Path(sys.argv[1], "data/shards").glob("*.tar")):
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGKILL)
    return written

ShardTar.add = deadly
write_shards(ShardParameters(max_bytes=1024, workers=1), Workspace(Path(sys.argv[1])))
"""


@pytest.fixture(scope="session")
def killed(render_boxes: RenderBoxes, tmp_path_factory: pytest.TempPathFactory) -> tuple[Workspace, Workspace]:
    """A workspace whose writer was killed, and one like it that nobody disturbed. Read only."""
    folder = tmp_path_factory.mktemp("killed")
    disturbed, undisturbed = (render_boxes(folder / name, train=9, val=1) for name in ("killed", "undisturbed"))
    process = subprocess.run(
        [sys.executable, "-c", KILLED_AT_SECOND_OBJECT_OF_THIRD_SHARD, str(disturbed.root)],
        cwd=Path(__file__).parents[2],
        check=False,
    )
    assert process.returncode == -signal.SIGKILL
    write_shards(SMALL, undisturbed)
    return disturbed, undisturbed


@pytest.fixture
def halfway(killed: tuple[Workspace, Workspace], tmp_path: Path) -> Workspace:
    """A copy of the killed writer's workspace."""
    return Workspace(Path(shutil.copytree(killed[0].root, tmp_path / "halfway")))


def test_a_killed_writer_leaves_no_index_and_no_half_shard_under_a_final_name(
    killed: tuple[Workspace, Workspace],
) -> None:
    disturbed, undisturbed = killed
    assert not (disturbed.shards / INDEX).exists()
    assert list((disturbed.scratch / "shards").glob(".*.tmp"))
    assert 0 < len(tars(disturbed)) < len(tars(undisturbed))
    for name in tars(disturbed):
        assert (disturbed.shards / name).read_bytes() == (undisturbed.shards / name).read_bytes()


def test_after_a_kill_the_shards_equal_undisturbed_ones(
    killed: tuple[Workspace, Workspace], halfway: Workspace
) -> None:
    write_shards(SMALL, halfway)
    assert folder_sha256(halfway.shards) == folder_sha256(killed[1].shards)
    assert not (halfway.scratch / "shards").exists()


def test_finished_shards_of_a_killed_writer_are_not_written_again(
    halfway: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    finished = {path.name for path in (halfway.scratch / "shards").glob("*.tar")}
    written: list[str] = []
    original = ShardTar.__init__

    def noted(self: ShardTar, path: Path) -> None:
        written.append(path.name)
        original(self, path)

    monkeypatch.setattr(ShardTar, "__init__", noted)
    rows = write_shards(SMALL, halfway)
    assert finished
    assert len(written) == len({row.shard for row in rows}) - len(finished)
    assert not any(name in target for name in finished for target in written)


def test_other_renders_after_a_kill_do_not_reuse_old_shards(halfway: Workspace) -> None:
    table = pd.read_parquet(halfway.renders / "objects.parquet")
    table["fingerprint"] = "other " + table["uid"]
    table.to_parquet(halfway.renders / "objects.parquet")
    folder = object_folder(halfway.scratch / "renders", "00train")
    shutil.copy(folder / "001.png", folder / "000.png")
    write_shards(SMALL, halfway)
    rgba = ShardReader(halfway.shards, "train")[0].rgba
    np.testing.assert_array_equal(rgba[0], rgba[1])


def test_cameras_are_json_with_sorted_keys(sharded: Workspace) -> None:
    with tarfile.open(sharded.shards / "test-000000.tar") as archive:
        stream = archive.extractfile("00test.cameras.json")
        assert stream is not None
        text = stream.read().decode()
    assert text == json.dumps(json.loads(text), sort_keys=True)


def test_the_bytes_of_a_set_are_those_of_its_format(render_boxes: RenderBoxes, tmp_path: Path) -> None:
    """A set that is there stays when code changes, under DVC as well: code that writes other bytes raises the format's number.

    Whoever changes the sum raises `training.data.shard_parameters._FORMAT` too.
    """
    workspace = render_boxes(tmp_path / "w", train=1)
    (folder,) = (workspace.scratch / "renders").glob("*/*")
    for picture in folder.glob("*.png"):
        picture.write_bytes(f"picture {picture.stem}".encode())
    cameras = folder / "transforms.json"
    cameras.write_text(
        json.dumps(json.loads(cameras.read_text(), parse_float=lambda text: round(float(text), 3) + 0.0))
    )
    write_shards(ShardParameters(), workspace)
    (tar,) = workspace.shards.glob("*.tar")
    assert (
        hashlib.sha256(tar.read_bytes()).hexdigest()
        == "60f5389e2fac28e638f7ff332a91bd83c14f362b189947576044376b28fccc2f"
    )
