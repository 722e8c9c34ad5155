"""A preparation as a whole: the same bytes by any number of processes, reports, going on, and what it refuses."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from preparation_support import co3d_set, die, opened, scenes
from published_zeronvs import published_scenes

from stage.errors import InputError, ParameterError, StageKilledError
from stage.files import folder_sha256
from training.data.preparation.prepared_shards import PreparationParameters, prepare
from training.data.preparation.report import read_report
from training.data.preparation.scene_making import Making
from training.data.preparation.source_scenes import LoadedFrame, OpenedScene, SourceScene
from training.data.preparation.sources import SceneSource, open_source
from training.data.zeronvs_source import ZeroNvsScenes

SMALL = Making(side=16)
EACH = PreparationParameters.model_validate({"max_bytes": 1, "shares": {"val": 0.3, "test": 0.2}})


def written(target: Path, source: list[SourceScene], making=SMALL, parameters=EACH, **options):
    return prepare(SceneSource({"name": "world"}, source), target, making, parameters, **options)


def test_two_processes_write_the_bytes_of_one(tmp_path):
    one, two = (written(tmp_path / f"{number}", scenes(), processes=number) for number in (1, 2))
    assert one == two
    assert folder_sha256(tmp_path / "1") == folder_sha256(tmp_path / "2")
    assert {row.split for row in one} == {"train", "val", "test"}
    assert len({row.shard for row in one}) == 8


def test_a_process_that_is_killed_ends_it_and_another_run_goes_on(tmp_path):
    source = [replace(scene, split="train") for scene in scenes(3)]
    with pytest.raises(StageKilledError, match="run it again: finished shards are kept"):
        written(tmp_path, [*source[:2], replace(source[2], open=die)], processes=2)
    assert len(written(tmp_path, source)) == 3


def test_a_shard_takes_scenes_until_it_is_full(tmp_path):
    parameters = EACH.model_copy(update={"max_bytes": 12_000})
    rows = written(tmp_path, [replace(scene, split="train") for scene in scenes()], parameters=parameters)
    counts = pd.Series([row.shard for row in rows]).value_counts().sort_index()
    assert counts.iloc[0] > 1
    assert len(counts) > 1
    assert sorted(counts.index) == [f"train/train-{number:06d}.tar" for number in range(len(counts))]


def test_the_report_is_a_table_that_everybody_reads(tmp_path):
    def broken() -> OpenedScene:
        frames = opened(1).frames
        return OpenedScene([*frames, replace(frames[0], name="cut", load=partial(_fail, "it is cut off"))])

    source = [replace(scene, split="train") for scene in scenes(2)]
    rows = written(tmp_path, [source[0], replace(source[1], open=broken)])
    assert rows == read_report(tmp_path / "prepared.parquet")
    table = pd.read_parquet(tmp_path / "prepared.parquet")
    assert table.scene.tolist() == ["world/00", "world/01"]
    assert table.frames.tolist() == [2, 2]
    assert table.known_depth.tolist() == [1.0, 1.0]
    assert [dict(each) for each in table.left_out[1]] == [{"frame": "cut", "why": "it is cut off"}]


def _fail(why: str) -> LoadedFrame:
    raise ValueError(why)


def test_a_run_goes_on_behind_the_last_finished_shard(tmp_path):
    made: list[int] = []

    def counted(number: int, fatal: bool) -> OpenedScene:
        if fatal:
            raise KeyboardInterrupt
        made.append(number)
        return opened(number)

    def source(stop: int | None) -> list[SourceScene]:
        chosen = [replace(scene, split="train") for scene in scenes(5)]
        return [replace(scene, open=partial(counted, n, n == stop)) for n, scene in enumerate(chosen)]

    with pytest.raises(KeyboardInterrupt):
        written(tmp_path / "a", source(3))
    assert not (tmp_path / "a/prepared.parquet").exists()
    made.clear()
    rows = written(tmp_path / "a", source(None))
    assert made == [3, 4]
    assert [row.frames for row in rows] == [2] * 5
    made.clear()
    assert written(tmp_path / "a", source(None)) == rows
    assert made == []
    written(tmp_path / "b", source(None))
    assert folder_sha256(tmp_path / "a") == folder_sha256(tmp_path / "b")
    (tmp_path / "a/train/train-000001.tar").unlink()
    written(tmp_path / "a", source(None))
    assert folder_sha256(tmp_path / "a") == folder_sha256(tmp_path / "b")


def test_splits_may_be_written_one_after_the_other(tmp_path):
    for split in ("val", "train", "test"):
        rows = written(tmp_path / "a", scenes(), splits=[split])
    assert rows == written(tmp_path / "b", scenes())
    assert folder_sha256(tmp_path / "a") == folder_sha256(tmp_path / "b")


def test_other_scenes_or_another_way_do_not_mix(tmp_path):
    written(tmp_path / "a", scenes(3))
    before = folder_sha256(tmp_path / "a")
    for source, making in ((scenes(4), SMALL), (scenes(3), Making(side=17)), (scenes(3), Making(16, "re10k"))):
        with pytest.raises(InputError, match="prepared of other scenes, or in another way; name another folder"):
            written(tmp_path / "a", source, making)
    assert folder_sha256(tmp_path / "a") == before
    (tmp_path / "b").mkdir()
    (tmp_path / "b/mine.tar").write_bytes(b"precious")
    with pytest.raises(InputError, match="holds shards; name another folder"):
        written(tmp_path / "b", scenes(3))
    assert (tmp_path / "b/mine.tar").read_bytes() == b"precious"


def test_a_scene_that_comes_twice_is_refused(tmp_path):
    with pytest.raises(InputError, match="world/00 comes twice"):
        written(tmp_path, [*scenes(2), *scenes(1)])


def test_depth_may_be_made_dense_of_what_is_known(tmp_path):
    def densify(picture: np.ndarray, depth: np.ndarray) -> np.ndarray:
        assert picture.shape == (*depth.shape, 3)
        return np.full_like(depth, depth.max())

    written(tmp_path, [replace(scene, split="train") for scene in scenes(1)], Making(16, densify=densify))
    (scene,) = published_scenes(tmp_path / "train/train-000000.tar", "co3d", side=16)
    assert (scene.depths == scene.depths.max(axis=(1, 2), keepdims=True)).all()


def test_a_split_is_a_source_of_views(tmp_path):
    rows = written(tmp_path, scenes())
    train = ZeroNvsScenes(tmp_path / "train", tmp_path / "index.parquet")
    assert len(train) == sum(row.split == "train" for row in rows)
    assert train.counts.tolist() == [2] * len(train)


def test_an_option_of_another_source_is_refused(tmp_path):
    with pytest.raises(ParameterError, match="min_quality is not for colmap; it belongs to co3d"):
        open_source("colmap", tmp_path, min_quality=0.5)


def test_what_is_asked_of_a_source_counts(tmp_path):
    root = co3d_set(tmp_path / "co3d", sequences=2, views=2)
    prepare(open_source("co3d", root), tmp_path / "out", SMALL, EACH)
    with pytest.raises(InputError, match="in another way"):
        prepare(open_source("co3d", root, min_quality=0.7), tmp_path / "out", SMALL, EACH)
