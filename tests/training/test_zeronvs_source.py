"""ZeroNVS's shards as a source: the same views as after an import, an index of what is there, and damage by name."""

import logging
import os
import pickle
import shutil
import tarfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from scene_support import archive_files, scene, write_archive

from stage.errors import InputError
from stage.workspace import Workspace
from training.data import zeronvs_index
from training.data.batches import ViewChoice
from training.data.importers.published import open_published
from training.data.importers.workspace_import import import_set
from training.data.index import read_index
from training.data.loader import PlannedLoader
from training.data.mixture import Mixed, draws_at_rate
from training.data.plan import Plan
from training.data.reader import ShardReader
from training.data.writer import ShardParameters, write_shards
from training.data.zeronvs_layout import Scene, write_scenes
from training.data.zeronvs_source import ZeroNvsScenes

FORMS = ("co3d", "re10k")


def scenes(form: str) -> list[Scene]:
    """Five scenes; those of RealEstate10K's form are tall."""
    size = (16, 12) if form == "co3d" else (10, 14)
    return [scene(f"{n}_1", "book" if n % 2 else "bowl", 3 + n, size, seed=n) for n in range(5)]


@pytest.fixture(params=FORMS)
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Shards of a scene or two, below a folder."""
    write_scenes(tmp_path / request.param / "train", "train", scenes(request.param), request.param, max_bytes=9000)
    return tmp_path / request.param


def test_views_are_those_that_were_written(folder: Path) -> None:
    source = ZeroNvsScenes(folder)
    written = scenes(folder.name)
    assert len(source) == 5
    assert source.counts.tolist() == [3, 4, 5, 6, 7] == [source.view_count(number) for number in range(5)]
    assert len(source.shards) > 1
    assert sum(source.shards) == 5
    for number, one in enumerate(written):
        views = source.views(number, [2, 0])
        assert views.uid == f"{one.category}_{one.name}"
        np.testing.assert_array_equal(views.rgba[..., :3], one.pictures[[2, 0]])
        assert (views.rgba[..., 3] == 255).all()
        np.testing.assert_allclose(views.c2w, one.c2w[[2, 0]], atol=1e-12)
        lens = one.intrinsics[0]
        np.testing.assert_allclose(views.intrinsics, [[lens.fx, lens.fy, lens.cx, lens.cy]] * 2)


def test_an_import_gives_the_same_views(folder: Path, tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "w")
    import_set(open_published("zeronvs", folder, 12), workspace, workers=1)
    write_shards(ShardParameters(), workspace)
    splits = {row.split for row in read_index(workspace.shards)}
    readers = [ShardReader(workspace.shards, split) for split in sorted(splits)]
    imported = {one.uid: one for reader in readers for one in map(reader.__getitem__, range(len(reader)))}
    source = ZeroNvsScenes(folder)
    assert len(imported) == len(source)
    for number in range(len(source)):
        views = source.views(number, range(source.view_count(number)))
        same = imported[views.uid]
        np.testing.assert_array_equal(views.rgba, same.rgba)
        np.testing.assert_allclose(views.c2w, same.c2w, atol=1e-12)
        np.testing.assert_allclose(views.intrinsics, same.intrinsics, rtol=1e-12)


# Probability, views and draws of a scene. The probabilities of `sd-objaverse-finetune-c_concat-256.yaml`; its 100, 200 and 200
# views at a rate of 0.025 are two, five and five draws, as 10, 20 and 20 at 0.25 are.
PUBLISHED = {"co3d": (0.34, 10, 2), "re10k": (0.33, 20, 5), "acid": (0.33, 20, 5)}


def test_the_published_mixture_is_planned_and_read_exactly(tmp_path: Path) -> None:
    sources: dict[str, ZeroNvsScenes] = {}
    for name, (_, views, _) in PUBLISHED.items():
        tiny = [scene(f"{name}{n}", name, views, (8, 8), seed=n) for n in range(6)]
        write_scenes(tmp_path / name, "train", tiny, "co3d" if name == "co3d" else "re10k")
        sources[name] = ZeroNvsScenes(tmp_path / name, tmp_path / f"{name}.parquet")
    mixed = [
        Mixed(name, 6, probability, draws_at_rate(0.25, sources[name].counts), sources[name].shards)
        for name, (probability, *_) in PUBLISHED.items()
    ]
    assert [part.length for part in mixed] == [6 * draws for *_, draws in PUBLISHED.values()]
    plan = Plan(tuple(mixed), batch_size=50, seed=0, draws=100, order="window", window=3)
    ranks = [PlannedLoader(plan, sources, ViewChoice(), rank=rank, ranks=2) for rank in range(2)]
    names = list(PUBLISHED)
    of_ranks = [Counter(names[d] for batch in rank.epoch() for d in batch.dataset) for rank in ranks]
    assert sum(of_ranks, Counter()) == {"co3d": 34, "re10k": 33, "acid": 33}
    assert all(abs(counts[name] - 50 * PUBLISHED[name][0]) < 2 for counts in of_ranks for name in names)


def test_workers_are_sent_the_source(folder: Path) -> None:
    source = ZeroNvsScenes(folder)
    sent = pickle.loads(pickle.dumps(source))
    np.testing.assert_array_equal(sent.views(3, [1]).rgba, source.views(3, [1]).rgba)


def test_several_processes_find_the_same(folder: Path, tmp_path: Path) -> None:
    ZeroNvsScenes(folder, tmp_path / "one.parquet")
    ZeroNvsScenes(folder, tmp_path / "two.parquet", processes=2)
    assert (tmp_path / "one.parquet").read_bytes() == (tmp_path / "two.parquet").read_bytes()


@pytest.fixture
def scans(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the shards that are scanned from now on."""
    names: list[str] = []
    scan = zeronvs_index.scan_shard
    monkeypatch.setattr(
        zeronvs_index, "scan_shard", lambda shard, wanted: names.append(shard.name) or scan(shard, wanted)
    )
    return names


def test_shards_are_scanned_once(folder: Path, scans: list[str]) -> None:
    first = ZeroNvsScenes(folder)
    scanned = len(scans)
    assert scanned == len(first.shards)
    assert ZeroNvsScenes(folder).counts.tolist() == first.counts.tolist()
    assert len(scans) == scanned


def test_a_stale_index_is_made_anew(folder: Path, scans: list[str]) -> None:
    ZeroNvsScenes(folder)
    shard = min(folder.rglob("*.tar"))
    (other,) = write_scenes(folder / "other", "train", [scene("other", views=2, size=(8, 8))])
    assert ZeroNvsScenes(folder).counts.tolist() == [2, 3, 4, 5, 6, 7]
    other.rename(shard)
    assert min(ZeroNvsScenes(folder).counts) == 2
    scans.clear()
    os.utime(shard, ns=(0, 0))
    ZeroNvsScenes(folder)
    assert shard.name in scans


def test_a_damaged_index_is_made_anew(folder: Path) -> None:
    expected = ZeroNvsScenes(folder).counts.tolist()
    index = folder / zeronvs_index.NAME
    index.write_bytes(index.read_bytes()[:100])
    assert ZeroNvsScenes(folder).counts.tolist() == expected


def test_an_index_that_cannot_be_written_names_another_place(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"cannot be written: .*; name another place for the index"):
        ZeroNvsScenes(folder, tmp_path / "file" / "frames.parquet")


def only_shard(tmp_path: Path) -> Path:
    (shard,) = write_scenes(tmp_path / "s", "train", [scene("one"), scene("two", seed=1)])
    return shard


@pytest.mark.parametrize("suffix", [".png", "_metadata.json"])
def test_a_scene_that_lacks_a_file_is_left_out_by_name(
    tmp_path: Path, suffix: str, caplog: pytest.LogCaptureFixture
) -> None:
    shard = only_shard(tmp_path)
    files = archive_files(shard)
    del files[f"book/one/frame000002{suffix}"]
    write_archive(shard, files)
    with caplog.at_level(logging.WARNING):
        source = ZeroNvsScenes(shard.parent)
    assert [source.views(number, [0]).uid for number in range(len(source))] == ["book_two"]
    assert f"{shard}: book/one" in caplog.text


def test_depth_may_be_missing_and_frames_may_be_numbered_with_gaps(tmp_path: Path) -> None:
    shard = only_shard(tmp_path)
    files = {name: data for name, data in archive_files(shard).items() if "_depth" not in name and "0002" not in name}
    write_archive(shard, {name.replace("frame000001", "frame000000"): data for name, data in files.items()})
    assert ZeroNvsScenes(shard.parent).counts.tolist() == [2, 2]


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("frame000002.png", b"no picture", "it is no PNG"),
        ("frame000002_metadata.json", b"{}", "its metadata lacks extrinsics"),
        ("frame000002_metadata.json", b"[", "Expecting value"),
    ],
)
def test_a_damaged_frame_is_named_and_another_scene_stands_in(
    tmp_path: Path, name: str, data: bytes, words: str
) -> None:
    shard = only_shard(tmp_path)
    write_archive(shard, {**archive_files(shard), f"book/one/{name}": data})
    source = ZeroNvsScenes(shard.parent)
    assert source.views(0, [0, 2]).rgba.shape[0] == 2, "other frames are whole"
    with pytest.raises(InputError, match=f"train-000000.tar: book/one/frame000002: {words}"):
        source.views(0, [1])
    reading = PlannedLoader(
        Plan((Mixed("s", 2),), 2, 0), {"s": source}, ViewChoice((0, 1, 2), 0), max_failure_rate=0.5
    )
    assert {uid for batch in reading.epoch() for uid in batch.uids} == {"book_two"}


def test_a_shard_that_goes_or_shrinks_later_is_named(tmp_path: Path) -> None:
    shard = only_shard(tmp_path)
    source = ZeroNvsScenes(shard.parent)
    os.truncate(shard, shard.stat().st_size // 2)
    with pytest.raises(InputError, match=r"train-000000\.tar: book/two/frame00000\d: "):
        source.views(1, [2])
    shard.unlink()
    with pytest.raises(InputError, match=r"train-000000\.tar: book/one: No such file"):
        source.views(0, [0])


@pytest.mark.parametrize("into_the_second_scene", [0, 300, 700])
def test_a_truncated_shard_is_not_indexed(tmp_path: Path, into_the_second_scene: int) -> None:
    shard = only_shard(tmp_path)
    with tarfile.open(shard) as archive:
        start = archive.getmember("book/two/frame000001.png").offset
    os.truncate(shard, start + into_the_second_scene)
    with pytest.raises(InputError, match=r"train-000000\.tar is (truncated|damaged)"):
        ZeroNvsScenes(shard.parent)


def test_pictures_of_two_sizes_are_no_scene(tmp_path: Path) -> None:
    shard = only_shard(tmp_path)
    (other,) = write_scenes(tmp_path / "other", "train", [scene("one", size=(8, 8))])
    wrong = {name: data for name, data in archive_files(other).items() if "0002" in name}
    write_archive(shard, {**archive_files(shard), **wrong})
    with pytest.raises(InputError, match="book/one: its pictures differ in size"):
        ZeroNvsScenes(shard.parent).views(0, [0, 1])


def test_a_folder_without_scenes_is_named(tmp_path: Path, sharded: Workspace) -> None:
    with pytest.raises(InputError, match="no shard in"):
        ZeroNvsScenes(tmp_path)
    shutil.copytree(sharded.shards, tmp_path / "ours")
    with pytest.raises(InputError, match="no whole scene in the shards of"):
        ZeroNvsScenes(tmp_path / "ours")
