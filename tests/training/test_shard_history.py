"""Shard sets that grow and shrink: what stays, what is a tombstone, what compacting gives, and how many processes write."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from shard_support import SMALL, render_anew, render_only, tars, times

from catalog.table import read_table, write_table
from stage.errors import ViewforgeError
from stage.files import folder_sha256
from stage.lifeline import exclusive_folder
from stage.workspace import Workspace
from training.data.index import INDEX, TOMBSTONES, read_index, read_tombstones, write_tombstones
from training.data.reader import ShardReader
from training.data.shard_parameters import ShardParameters
from training.data.verify import verify
from training.data.writer import write_shards

RenderBoxes = Callable[..., Workspace]
ALL = tuple(f"{number:02d}train" for number in range(7))


@pytest.fixture(scope="session")
def rendered(render_boxes: RenderBoxes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return render_boxes(tmp_path_factory.mktemp("history") / "rendered", train=7).root


@pytest.fixture
def workspace(rendered: Path, tmp_path: Path) -> Workspace:
    """Seven rendered objects, of which the even ones are in shards."""
    workspace = Workspace(Path(shutil.copytree(rendered, tmp_path / "workspace")))
    render_only(workspace, *ALL[::2])
    write_shards(SMALL, workspace)
    return workspace


def dead(workspace: Workspace) -> list[str]:
    return [row.key for row in read_tombstones(workspace.shards, read_index(workspace.shards))]


def test_new_objects_append_shards_and_old_ones_keep_their_bytes(workspace: Workspace) -> None:
    before = tars(workspace)
    render_only(workspace, *ALL)
    rows = write_shards(SMALL, workspace)
    assert tars(workspace).items() > before.items()
    assert [row.key for row in rows] == [*ALL[::2], *ALL[1::2]]
    assert rows == read_index(workspace.shards)
    assert dead(workspace) == []
    assert verify(workspace.shards).damages == []
    read = ShardReader(workspace.shards, "train")
    assert [read[number].uid for number in range(7)] == [row.key for row in rows]


def test_without_a_change_nothing_is_written(workspace: Workspace) -> None:
    before = times(workspace)
    write_shards(SMALL, workspace)
    assert times(workspace) == before


def test_unchanged_objects_need_no_renders(workspace: Workspace) -> None:
    shutil.rmtree(workspace.scratch / "renders")
    assert [row.key for row in write_shards(SMALL, workspace)] == list(ALL[::2])


def test_removed_objects_are_tombstones(workspace: Workspace) -> None:
    before = tars(workspace)
    render_only(workspace, ALL[0], ALL[4], ALL[6])
    assert [row.key for row in write_shards(SMALL, workspace)] == [ALL[0], ALL[4], ALL[6]]
    assert tars(workspace) == before
    assert dead(workspace) == [ALL[2]]
    assert verify(workspace.shards).damages == []


def test_a_changed_object_is_written_anew_and_its_old_piece_is_a_tombstone(workspace: Workspace) -> None:
    old = {row.key: row for row in read_index(workspace.shards)}
    render_anew(workspace, ALL[2])
    shutil.copy(
        workspace.scratch / "renders" / "02" / ALL[2] / "001.png",
        workspace.scratch / "renders" / "02" / ALL[2] / "000.png",
    )
    rows = {row.key: row for row in write_shards(SMALL, workspace)}
    assert read_tombstones(workspace.shards, rows.values()) == [old[ALL[2]]]
    assert {key for key in rows if rows[key] != old[key]} == {ALL[2]}
    rgba = next(
        views.rgba
        for views in map(ShardReader(workspace.shards, "train").__getitem__, range(4))
        if views.uid == ALL[2]
    )
    assert (rgba[0] == rgba[1]).all()


def test_an_object_that_comes_back_lives_again(workspace: Workspace) -> None:
    before = folder_sha256(workspace.shards)
    render_only(workspace, *ALL[:4:2])
    write_shards(SMALL, workspace)
    render_only(workspace, *ALL[::2])
    write_shards(SMALL, workspace)
    assert folder_sha256(workspace.shards) == before
    assert not (workspace.shards / TOMBSTONES).exists()


def test_another_split_moves_the_object_and_another_licence_does_not(workspace: Workspace) -> None:
    before = tars(workspace)
    path = workspace.catalog / "catalog.parquet"
    assets = read_table(path)
    write_table(path, [replace(assets[0], split="val"), replace(assets[2], licence="CC-BY-4.0"), *assets[3:]])
    rows = {row.key: row for row in write_shards(SMALL, workspace)}
    assert rows[ALL[0]].shard == "val-000000.tar"
    assert (rows[ALL[2]].licence, rows[ALL[2]].shard) == ("CC-BY-4.0", "train-000000.tar")
    assert tars(workspace).keys() - before.keys() == {"val-000000.tar"}
    assert dead(workspace) == [ALL[0]]


def test_compacting_gives_the_bytes_of_a_run_from_nothing(
    workspace: Workspace, rendered: Path, tmp_path: Path
) -> None:
    fresh = Workspace(Path(shutil.copytree(rendered, tmp_path / "fresh")))
    for each in (workspace, fresh):
        render_only(each, *ALL[1:])
        write_shards(SMALL, each)
    assert folder_sha256(workspace.shards) != folder_sha256(fresh.shards)
    write_shards(SMALL, workspace, compact=True)
    assert folder_sha256(workspace.shards) == folder_sha256(fresh.shards)
    assert dead(workspace) == []


def test_the_same_history_gives_the_same_bytes(rendered: Path, tmp_path: Path) -> None:
    hashes = set()
    for name in ("one", "two"):
        workspace = Workspace(Path(shutil.copytree(rendered, tmp_path / name)))
        for chosen in (ALL[:3], ALL[1:6], ALL[2:]):
            render_only(workspace, *chosen)
            write_shards(SMALL, workspace)
        hashes.add(folder_sha256(workspace.shards))
    assert len(hashes) == 1


def test_other_parameters_write_the_set_anew(workspace: Workspace) -> None:
    render_only(workspace, *ALL[2:])
    write_shards(SMALL, workspace)
    assert dead(workspace) == [ALL[0]]
    write_shards(ShardParameters(), workspace)
    assert list(tars(workspace)) == ["train-000000.tar"]
    assert dead(workspace) == []


def test_shards_become_larger_with_the_set_and_old_ones_stay(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, size in (("_SMALL_SHARD", 1024), ("_LARGE_SHARD", 4000), ("_LARGE_SET", 9000)):
        monkeypatch.setattr(f"training.data.shard_parameters.{name}", size)
    write_shards(ShardParameters(), workspace)
    before = tars(workspace)
    assert list(before) == ["train-000000.tar", "train-000001.tar"]
    render_only(workspace, *ALL)
    rows = write_shards(ShardParameters(), workspace)
    assert tars(workspace).items() > before.items()
    assert {row.shard for row in rows if row.key in ALL[1::2]} == {"train-000002.tar"}


def test_processes_are_started_for_work_that_outlasts_their_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.data.shard_parameters.os.sched_getaffinity", lambda _: range(4))
    copying, encoding = ShardParameters(), ShardParameters(encoding="webp")
    assert [copying.processes(work) for work in (0, 2**30, 2**32, 2**40)] == [1, 1, 4, 4]
    assert [encoding.processes(work) for work in (0, 2**25, 2**26, 2**40)] == [1, 1, 2, 4]
    assert ShardParameters(workers=3).processes(0) == 3


def test_the_automatic_size_follows_from_the_whole_set() -> None:
    sizes = [ShardParameters().shard_bytes(total) for total in (0, 2**33 - 1, 2**33, 2**50)]
    assert sizes == [2**26, 2**26, 2**28, 2**28]
    assert ShardParameters(max_bytes=5000).shard_bytes(2**50) == 5000


@pytest.mark.parametrize("harm", ["missing", "short", "index"])
def test_a_set_that_is_not_whole_is_written_anew(workspace: Workspace, harm: str) -> None:
    before = folder_sha256(workspace.shards)
    tar = workspace.shards / "train-000000.tar"
    if harm == "missing":
        tar.unlink()
    elif harm == "short":
        tar.write_bytes(tar.read_bytes()[:3000])
    else:
        (workspace.shards / INDEX).write_bytes(b"PAR1")
    write_shards(SMALL, workspace)
    assert folder_sha256(workspace.shards) == before


def test_the_index_decides_what_is_alive(workspace: Workspace) -> None:
    rows = read_index(workspace.shards)
    # As a process leaves it that dies between writing the tombstones and the index.
    write_tombstones(workspace.shards, rows[:1])
    assert dead(workspace) == []
    before = read_index(workspace.shards)
    assert write_shards(SMALL, workspace) == before
    assert not (workspace.shards / TOMBSTONES).exists()


def test_a_killed_append_leaves_the_old_set_in_place(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    before = read_index(workspace.shards)
    render_only(workspace, *ALL[1:])
    monkeypatch.setattr("training.data.writer.write_tombstones", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_shards(SMALL, workspace)
    monkeypatch.undo()
    assert read_index(workspace.shards) == before
    assert [ShardReader(workspace.shards, "train")[number].uid for number in range(4)] == [row.key for row in before]
    write_shards(SMALL, workspace)
    assert {row.key for row in read_index(workspace.shards)} == set(ALL[1:])
    assert verify(workspace.shards).damages == []


@pytest.mark.slow
def test_many_processes_write_the_same_bytes(workspace: Workspace, rendered: Path, tmp_path: Path) -> None:
    parallel = Workspace(Path(shutil.copytree(rendered, tmp_path / "parallel")))
    for each, parameters in ((workspace, SMALL), (parallel, SMALL.model_copy(update={"workers": 2}))):
        render_only(each, *ALL)
        write_shards(parameters, each, compact=True)
    assert folder_sha256(parallel.shards) == folder_sha256(workspace.shards)


def test_a_second_writer_is_refused(workspace: Workspace) -> None:
    with (
        exclusive_folder(workspace.shards),
        pytest.raises(ViewforgeError, match=r"another process writes into .*shards"),
    ):
        write_shards(SMALL, workspace)
    write_shards(SMALL, workspace)
