"""ZeroNVS's shards as sets of `train.data`: opened, mixed with our own, planned, looked at beforehand and trained on."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scene_support import scene

from stage.errors import InputError, ParameterError
from stage.parameters import validated
from stage.workspace import Workspace
from training.data.batches import ViewChoice
from training.data.dataset_parameters import DataParameters
from training.data.datasets import (
    index_hashes,
    open_datasets,
    picture_size,
    plan_of,
    sources_of,
    validation_datasets,
)
from training.data.loader import PlannedLoader
from training.data.zeronvs_layout import write_scenes
from training.dry_run.dry_run import dry_run
from training.dry_run.inspection import inspected
from training.dry_run.questions import Questions
from training.parameters import load_training
from training.run import train_here
from training.sample_pairs import sample_pairs
from training.tracking.dataset_inputs import dataset_inputs

Trainable = Callable[..., Workspace]


def made(count: int, first: int = 0, size: tuple[int, int] = (24, 16)) -> list[Any]:
    return [scene(f"{n}_1", "book", 3 + n % 2, size, seed=n) for n in range(first, first + count)]


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six scenes of train and two of val, one a shard. Read only: where the index is kept is elsewhere."""
    folder = tmp_path_factory.mktemp("scenes")
    write_scenes(folder, "train", made(6), max_bytes=1)
    write_scenes(folder, "val", made(2, first=6), max_bytes=1)
    return folder


def data(scenes: object, **values: Any) -> DataParameters:
    own = {"name": "scenes", "place": str(scenes), "layout": "zeronvs", **values}
    return validated(DataParameters, {"datasets": [own], "size": 16}, "params.yaml: train.data")


def test_splits_are_told_apart_by_the_names_of_shards(scenes: Path, tmp_path: Path) -> None:
    parameters = data(scenes)
    (training,) = open_datasets(parameters, tmp_path).values()
    (unseen,) = validation_datasets(parameters, tmp_path).values()
    assert [training.key(n) for n in range(len(training))] == [f"book_{n}_1" for n in range(6)]
    assert [unseen.key(n) for n in range(len(unseen))] == ["book_6_1", "book_7_1"]
    assert (training.split, unseen.split) == ("train", "val")
    np.testing.assert_array_equal(unseen.views(1, [2]).rgba[0, ..., :3], made(1, first=7)[0].pictures[2])
    assert not (scenes / "frames.parquet").exists(), "published shards may lie where nobody may write"


def test_splits_may_be_folders_and_what_has_no_split_is_trained_on(scenes: Path, tmp_path: Path) -> None:
    for source, name in (("train-000000", "train/1"), ("val-000000", "val/train-1"), ("train-000001", "shard-7")):
        (tmp_path / "s" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(scenes / f"{source}.tar", tmp_path / "s" / f"{name}.tar")
    parameters = data("s")
    (training,) = open_datasets(parameters, tmp_path).values()
    (unseen,) = validation_datasets(parameters, tmp_path).values()
    assert sorted(training.key(n) for n in range(len(training))) == ["book_0_1", "book_1_1"]
    assert [unseen.key(0)] == ["book_6_1"]


def test_without_a_val_training_scenes_are_shown(scenes: Path, tmp_path: Path) -> None:
    parameters = data(f"{scenes}/train-{{000000..000005}}.tar")
    assert validation_datasets(parameters, tmp_path) == {}
    readers = open_datasets(parameters, tmp_path)
    pairs = sample_pairs(parameters, tmp_path, readers, 7, 4, 16)
    assert pairs is not None
    assert pairs.split == "train"


def test_pairs_to_look_at_are_squares_with_their_lenses_and_scales(scenes: Path, tmp_path: Path) -> None:
    parameters = data(scenes)
    readers = open_datasets(parameters, tmp_path, "depth_quantile")
    pairs = sample_pairs(parameters, tmp_path, readers, 7, 4, 16, "depth_quantile")
    assert pairs is not None
    assert pairs.split == "val"
    assert sorted(pairs.views.uids) == ["book_6_1", "book_7_1"]
    assert pairs.views.rgba.shape == (2, 2, 16, 16, 4)
    # The middle of 24×16 pixels begins 4 columns in.
    np.testing.assert_allclose(pairs.views.intrinsics[..., 2:], 8.0)
    assert np.isfinite(pairs.views.scales.numpy()).all()


def test_they_mix_with_our_own_shards(scenes: Path, sharded: Workspace, tmp_path: Path) -> None:
    shutil.copytree(sharded.shards, tmp_path / "data" / "shards")
    parameters = validated(
        DataParameters,
        {
            "datasets": [
                {"name": "objects", "place": "data/shards", "probability": 0.25},
                {"name": "scenes", "place": str(scenes), "layout": "zeronvs", "probability": 0.75, "rate": 0.67},
            ],
            "size": 16,
            "order": "window",
            "window": 2,
        },
        "train.data",
    )
    readers = open_datasets(parameters, tmp_path, "scene_radius")
    assert picture_size(parameters, readers) == 16
    plan = plan_of(parameters, readers, 8, seed=0)
    assert plan.datasets[1].draws.tolist() == [2] * 6
    assert plan.datasets[1].shards == (1,) * 6
    loader = PlannedLoader(plan, sources_of(parameters, readers), ViewChoice(drawn=2), size=16)
    epoch = list(islice(loader, plan.batches))
    numbers = np.concatenate([batch.dataset for batch in epoch])
    assert np.bincount(numbers).tolist() == plan.counts == [6, 18]
    known = np.isfinite(np.concatenate([batch.scales.numpy() for batch in epoch])).all(axis=1)
    # No depth is read for the radius, and our own shards have none.
    assert known.tolist() == [[True, False, False]] * 24


def test_what_stands_for_their_bytes_moves_with_them(scenes: Path, tmp_path: Path) -> None:
    def hashed(place: Path, **options: Any) -> str:
        return index_hashes(open_datasets(data(place), tmp_path, **options))["scenes"]

    first = hashed(scenes)
    copy = shutil.copytree(scenes, tmp_path / "copy")
    assert hashed(copy) == first
    assert hashed(copy, scale="depth_quantile") != first
    (copy / "val-000001.tar").unlink()
    assert hashed(copy) == first, "what is not trained on does not count"
    (copy / "train-000005.tar").unlink()
    assert hashed(copy) != first


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"scenes": 7}, "train.data.datasets: scenes: 7 scenes are stated, the shards in .* hold 6; state what is"),
        ({"shards": 7}, "train.data.datasets: scenes: 7 shards are stated, .* holds 8; mend either"),
        ({"place": "nowhere"}, "train.data.datasets: scenes: no shard in .*nowhere; name a folder"),
        ({"place": "s3://bucket/set"}, "scenes: s3://bucket/set is no folder: .*; download them"),
        ({"place": "{shard}.tar"}, r"scenes: nothing says how many shards \{shard\}\.tar stands for; give their"),
        ({"place": "{0..3}.tar", "shards": 3}, r"names 4 shards, 3 are said to be there; mend either"),
    ],
)
def test_a_set_that_is_not_as_stated_is_named(
    scenes: Path, tmp_path: Path, values: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        open_datasets(data(**{"scenes": scenes, **values}) if "place" in values else stated(scenes, values), tmp_path)
    assert "\n" not in str(caught.value)


def stated(scenes: Path, values: dict[str, Any]) -> DataParameters:
    own = {"name": "scenes", "place": str(scenes), "layout": "zeronvs", **values}
    return validated(DataParameters, {"datasets": [own]}, "train.data")


def test_counts_are_of_scenes_alone() -> None:
    with pytest.raises(ParameterError, match="scenes states shards or scenes; set layout: zeronvs"):
        stated(Path("somewhere"), {"layout": "object", "scenes": 3})


def test_pictures_that_are_no_squares_ask_for_a_size(scenes: Path, tmp_path: Path) -> None:
    parameters = stated(scenes, {})
    with pytest.raises(InputError, match=r"book_0_1 has pictures of 24×16 pixels; set train\.data\.size"):
        picture_size(parameters, open_datasets(parameters, tmp_path))
    _, problems = inspected(parameters, tmp_path)
    (problem,) = problems
    assert "pictures of 24×16 pixels" in problem.what
    assert problem.remedy == "set train.data.size, or render square views"


def test_a_look_beforehand_finds_a_damaged_shard(scenes: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(scenes, tmp_path / "copy")
    whole = (copy / "train-000003.tar").read_bytes()
    (copy / "train-000003.tar").write_bytes(whole[: len(whole) // 2])
    _, problems = inspected(data(copy), tmp_path)
    (problem,) = problems
    assert problem.place == "data scenes"
    assert "train-000003.tar is " in problem.what
    assert problem.remedy == "download it again"


def test_a_scene_without_the_scale_that_is_needed_is_stood_in_for(tmp_path: Path) -> None:
    blind = made(4)
    blind[1] = replace(blind[1], depth=np.zeros_like(blind[1].depth))
    write_scenes(tmp_path / "s", "train", blind)
    parameters = data("s")
    readers = open_datasets(parameters, tmp_path, "depth_quantile")
    plan = plan_of(parameters, readers, 8, seed=0)
    options = {"size": 16, "max_failure_rate": 0.25}
    loader = PlannedLoader(plan, sources_of(parameters, readers), ViewChoice(drawn=2), **options)
    read = {uid for batch in islice(loader, 4) for uid in batch.uids}
    assert read == {"book_0_1", "book_2_1", "book_3_1"}
    assert [damage.message for damage in loader.damaged] == [
        "book_1_1: a view has no depth_quantile; give its shards the depth of all views, or leave it out"
    ]


def test_a_look_beforehand_finds_that_scales_are_missing(sharded: Workspace, tmp_path: Path) -> None:
    shutil.copytree(sharded.shards, tmp_path / "data" / "shards")
    assert inspected(DataParameters(), tmp_path, "scene_radius")[1] == []
    (problem,) = inspected(DataParameters(), tmp_path, "depth_quantile")[1]
    assert "a view has no depth_quantile" in problem.what
    assert problem.remedy == "give its shards the depth of all views, or leave it out"


def test_trackers_are_told_of_them(scenes: Path, tmp_path: Path) -> None:
    parameters = data(scenes)
    readers, unseen = open_datasets(parameters, tmp_path), validation_datasets(parameters, tmp_path)
    training, validation = dataset_inputs(parameters, tmp_path, index_hashes(readers), readers, unseen)
    assert (training.name, validation.name) == ("scenes.train", "scenes.val")
    assert training.facts == {"split": "train", "objects": "6", "views": "21", "licences": "not stated"}
    assert validation.facts["objects"] == "2"


def test_a_training_reads_them_and_does_so_again(scenes: Path, trainable: Trainable) -> None:
    own = {"name": "scenes", "place": str(scenes), "layout": "zeronvs", "rate": "2_per_scene"}
    changes = {"steps": 2, "data": {"datasets": [own], "size": 16}, "tracking": {"trackers": []}}
    first, second = (trainable(name, samples={"every": None}, **changes) for name in ("first", "second"))
    plan = dry_run(load_training(first), 7, first, Questions())
    assert [problem.what for problem in plan.problems if problem.fatal] == []
    assert plan.reading is not None
    (reading,) = plan.reading.datasets
    assert (reading.objects, reading.views, reading.shards, reading.pairs_per_epoch) == (6, 21, 6, 12)
    for workspace in (first, second):
        train_here(load_training(workspace), 7, workspace)
    origins = [json.loads((workspace.model / "provenance.json").read_text()) for workspace in (first, second)]
    assert origins[0] == origins[1]
    assert set(origins[0]["shards_sha256"]) == {"scenes"}
    names = {path.name for path in (first.model / "unet").iterdir()}
    for name in names:
        assert (first.model / "unet" / name).read_bytes() == (second.model / "unet" / name).read_bytes()
