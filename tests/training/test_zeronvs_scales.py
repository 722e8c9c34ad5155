"""Scales of ZeroNVS's scenes: by hand from depth and cameras, found by one scan that can be ended and gone on with."""

import json
import multiprocessing
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from estimator_support import midas, saved
from scene_support import archive_files, scene, write_archive

from stage.errors import InputError
from training.data import zeronvs_index
from training.data.dense_depth import TransformersEstimator, densified
from training.data.zeronvs_index import SceneIndex, scene_index
from training.data.zeronvs_layout import Scene, encode_depth, write_scenes
from training.data.zeronvs_scales import WantedScales
from training.data.zeronvs_shards import shards_in
from training.data.zeronvs_source import ZeroNvsScenes

STORED = WantedScales()


def walls(name: str, *depths: float) -> Scene:
    """A wide scene whose view n sees a wall at the n-th depth, and something nearer to the left of the middle square."""
    depth = np.tile(np.array(depths)[:, None, None], (1, 8, 16))
    depth[:, :, :4] = 0.01
    return replace(scene(name, views=len(depths), size=(16, 8)), depth=depth.astype(np.float32))


def tall(*depths: float) -> Scene:
    """The same upright."""
    depth = np.tile(np.array(depths)[:, None, None], (1, 16, 8))
    depth[:, :4] = 0.01
    return replace(scene("1_1", views=len(depths), size=(8, 16)), depth=depth.astype(np.float32))


def radius(made: Scene) -> float:
    centres = made.c2w[:, :3, 3]
    return float(np.linalg.norm(centres - centres.mean(axis=0), axis=1).mean())


def scales(folder: Path, wanted: WantedScales | None = STORED) -> list[np.ndarray | None]:
    """Of all views of each scene."""
    source = ZeroNvsScenes(folder, folder.parent / "index.parquet", scales=wanted)
    return [source.read_views(n, range(source.view_count(n))).scales for n in range(len(source))]


@pytest.mark.parametrize("form", ["co3d", "re10k"])
def test_scales_are_those_of_the_middle_squares(tmp_path: Path, form: str) -> None:
    made = walls("1_1", 2.0, 4.0, 3.0) if form == "co3d" else tall(2.0, 4.0, 3.0)
    write_scenes(tmp_path / "s", "train", [made], form)
    (found,) = scales(tmp_path / "s")
    # Of 2, 3, 4 the tenth percent lies at 0.2 from 2.
    np.testing.assert_allclose(
        found, [[radius(made), 2.2, 2], [radius(made), 2.2, 4], [radius(made), 2.2, 3]], rtol=1e-6
    )


def test_they_are_told_for_the_views_that_are_asked_for(tmp_path: Path) -> None:
    write_scenes(tmp_path / "s", "train", [walls("a_1", 1.0, 1.0), walls("b_1", 2.0, 4.0, 3.0)])
    source = ZeroNvsScenes(tmp_path / "s", scales=STORED)
    read = source.read_views(1, [2, 0])
    np.testing.assert_allclose(read.scales[:, 2], [3.0, 2.0])
    assert read.decoded().scales is read.scales


def test_without_being_asked_for_there_are_none(tmp_path: Path) -> None:
    write_scenes(tmp_path / "s", "train", [walls("1_1", 2.0, 4.0)])
    assert scales(tmp_path / "s", None) == [None]


def rewritten(shard: Path, change: Callable[[dict[str, bytes]], None]) -> None:
    files = archive_files(shard)
    change(files)
    write_archive(shard, files)


def test_stored_depth_is_adjusted_by_its_scale(tmp_path: Path) -> None:
    made = walls("1_1", 2.0, 4.0, 3.0)
    (shard,) = write_scenes(tmp_path / "s", "train", [made])

    def adjust(files: dict[str, bytes]) -> None:
        for name in [name for name in files if name.endswith("_metadata.json")]:
            files[name] = json.dumps({**json.loads(files[name]), "scale_adjustment": 0.5}).encode()

    rewritten(shard, adjust)
    (found,) = scales(tmp_path / "s")
    np.testing.assert_allclose(found, [[radius(made), 1.1, q] for q in (1.0, 2.0, 1.5)], rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("frame000002_depth.png", None),
        ("frame000002_depth.png", b"no picture"),
        ("frame000002_depth.png", encode_depth(np.ones((3, 3)))),
        ("frame000002_metadata.json", b"{}"),
    ],
)
def test_a_frame_without_depth_or_with_damage_counts_for_nothing(
    tmp_path: Path, name: str, data: bytes | None
) -> None:
    made = walls("1_1", 2.0, 4.0, 3.0)
    (shard,) = write_scenes(tmp_path / "s", "train", [made])

    def harm(files: dict[str, bytes]) -> None:
        del files[f"book/1_1/{name}"]
        if data is not None:
            files[f"book/1_1/{name}"] = data

    rewritten(shard, harm)
    source = ZeroNvsScenes(tmp_path / "s", scales=STORED)
    found = source._index.scales
    assert np.isnan(found[1, 2])
    # Of 2 and 3 the tenth percent lies at 0.1 from 2.
    np.testing.assert_allclose(found[[0, 2], 1:], [[2.1, 2], [2.1, 3]], rtol=1e-6)
    whole = replace(made, c2w=made.c2w[[0, 2]]) if "metadata" in name else made
    np.testing.assert_allclose(found[:, 0], radius(whole), rtol=1e-6)


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    return saved(midas(), tmp_path_factory.mktemp("network") / "dpt", 32, 8)


def test_an_estimator_makes_depth_dense_before_the_quantile(tmp_path: Path, network: Path) -> None:
    made = scene("1_1", views=2, size=(24, 24), seed=3)
    sparse = np.zeros((2, 24, 24), dtype=np.float32)
    sparse[0, ::3, ::3] = np.random.default_rng(0).uniform(1.0, 4.0, (8, 8)).astype(np.float16)
    sparse[1, 0, :5] = 2.0
    write_scenes(tmp_path / "s", "train", [replace(made, depth=sparse)])
    (found,) = scales(tmp_path / "s", WantedScales(network))
    dense = densified(TransformersEstimator(network).disparity(made.pictures[0]), sparse[0])
    assert found[0, 2] == pytest.approx(np.quantile(dense[::4, ::4], 0.2), rel=1e-6)
    assert np.isnan(found[1, 2]), "five points are too few to align with"
    near = [np.quantile(view[view > 0], 0.05) for view in sparse]
    np.testing.assert_allclose(found[:, 1], np.quantile(near, 0.1), rtol=1e-6)
    (stored,) = scales(tmp_path / "s")
    assert stored[0, 2] != found[0, 2]


def test_an_estimator_that_is_not_there_is_said(tmp_path: Path) -> None:
    write_scenes(tmp_path / "s", "train", [walls("1_1", 2.0)])
    with pytest.raises(InputError, match=r"the depth estimator in .*nowhere is not available"):
        ZeroNvsScenes(tmp_path / "s", scales=WantedScales(tmp_path / "nowhere"))


@pytest.fixture
def scans(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the shards that are scanned from now on."""
    names: list[str] = []
    scan = zeronvs_index.scan_shard
    monkeypatch.setattr(
        zeronvs_index, "scan_shard", lambda shard, wanted: names.append(shard.name) or scan(shard, wanted)
    )
    return names


def four_shards(folder: Path) -> Path:
    write_scenes(folder, "train", [walls(f"{n}_1", 1.0 + n, 2.0) for n in range(4)], max_bytes=1)
    return folder


def test_depth_is_read_when_scales_are_first_wanted_and_never_again(tmp_path: Path, scans: list[str]) -> None:
    folder = four_shards(tmp_path / "s")
    hashes: dict[WantedScales | None, set[str]] = {}
    radius_alone = WantedScales(depth=False)
    for wanted, scanned in ((None, 4), (radius_alone, 4), (STORED, 4), (STORED, 0), (radius_alone, 0), (None, 0)):
        scans.clear()
        hashes.setdefault(wanted, set()).add(ZeroNvsScenes(folder, scales=wanted).index_sha256())
        assert len(scans) == scanned
    assert [len(found) for found in hashes.values()] == [1, 1, 1], "what the index happens to hold does not count"
    assert len(set.union(*hashes.values())) == 3


def test_for_the_radius_alone_no_depth_is_read(tmp_path: Path) -> None:
    made = walls("1_1", 2.0, 4.0)
    (shard,) = write_scenes(tmp_path / "s", "train", [made])
    rewritten(shard, lambda files: files.update({"book/1_1/frame000001_depth.png": b"no picture"}))
    (found,) = scales(tmp_path / "s", WantedScales(depth=False))
    np.testing.assert_allclose(found, [[radius(made), np.nan, np.nan]] * 2, rtol=1e-6)


def test_only_a_shard_that_changed_is_read_again(tmp_path: Path, scans: list[str]) -> None:
    folder = four_shards(tmp_path / "s")
    before = ZeroNvsScenes(folder, scales=STORED)
    (other,) = write_scenes(tmp_path / "other", "train", [walls("9_1", 5.0, 5.0)])
    other.rename(folder / "train-000002.tar")
    scans.clear()
    after = ZeroNvsScenes(folder, scales=STORED)
    assert scans == ["train-000002.tar"]
    assert [after.key(n) for n in range(4)] == ["book_0_1", "book_1_1", "book_9_1", "book_3_1"]
    np.testing.assert_array_equal(after.views(3, [0]).scales, before.views(3, [0]).scales)
    np.testing.assert_allclose(after.views(2, [0]).scales[:, 1:], [[5.0, 5.0]])


def test_a_scan_that_was_ended_goes_on_where_it_was(
    tmp_path: Path, scans: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = four_shards(tmp_path / "s")
    whole = (folder / "train-000002.tar").read_bytes()
    (folder / "train-000002.tar").write_bytes(whole[: len(whole) // 2])
    monkeypatch.setattr(zeronvs_index, "_SAVED_EVERY_SECONDS", 0.0)
    with pytest.raises(InputError, match=r"train-000002\.tar is (truncated|damaged)"):
        ZeroNvsScenes(folder, scales=STORED)
    (folder / "train-000002.tar").write_bytes(whole)
    scans.clear()
    resumed = ZeroNvsScenes(folder, scales=STORED)
    assert scans == ["train-000002.tar", "train-000003.tar"]
    anew = ZeroNvsScenes(folder, tmp_path / "anew.parquet", scales=STORED)
    assert resumed.index_sha256() == anew.index_sha256()


def _index(folder: Path, barrier: "multiprocessing.synchronize.Barrier", queue: "multiprocessing.Queue[str]") -> None:
    barrier.wait()
    scan = zeronvs_index.scan_shard

    def counted(shard: Path, wanted: WantedScales | None) -> object:
        queue.put(shard.name)
        return scan(shard, wanted)

    zeronvs_index.scan_shard = counted  # type: ignore[assignment]
    ZeroNvsScenes(folder, scales=STORED)


def test_of_processes_that_start_together_one_scans(tmp_path: Path) -> None:
    folder = four_shards(tmp_path / "s")
    context = multiprocessing.get_context("fork")
    barrier, queue = context.Barrier(3), context.Queue()
    processes = [context.Process(target=_index, args=(folder, barrier, queue)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    assert sorted(queue.get(timeout=10) for _ in range(4)) == [f"train-{n:06d}.tar" for n in range(4)]
    assert queue.empty()


def test_several_processes_find_the_same_scales(tmp_path: Path) -> None:
    folder = four_shards(tmp_path / "s")
    found: list[SceneIndex] = [
        scene_index(shards_in(folder), tmp_path / f"{count}.parquet", count, STORED) for count in (1, 2)
    ]
    assert found[0].sha256() == found[1].sha256()
    assert (tmp_path / "1.parquet").read_bytes() == (tmp_path / "2.parquet").read_bytes()
