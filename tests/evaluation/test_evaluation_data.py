"""What is read for an evaluation: shards, baselines, and which objects count as unseen."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import webdataset
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from blender_render.camera_sets import View
from blender_render.rendered_object import on_white, read_rgba
from catalog.table import read_table, write_table
from evaluation.baselines import copy_input, mean_image
from evaluation.parameters import EvaluateParameters
from evaluation.protocol import ObjectViews, select_training, select_unseen
from evaluation.shards import TrainingShards
from geometry.cameras import Intrinsics, look_at_origin
from stage.errors import InputError
from stage.packs import object_folder
from stage.workspace import Workspace

TRAINED = ["a1", "a2", "a3"]


def test_shards_give_the_rendered_pictures_of_training_objects_alone(workspace: Workspace) -> None:
    shards = TrainingShards(workspace.shards)
    assert shards.uids == TRAINED
    assert shards.resolution() == 16
    for uid in TRAINED:
        folder = object_folder(workspace.scratch / "renders", uid)
        expected = on_white(np.stack([read_rgba(folder, number) for number in range(3)]))
        assert np.array_equal(shards.views(uid), expected)


def test_shards_agree_with_stock_webdataset(workspace: Workspace) -> None:
    tar = workspace.shards / "train-000000.tar"
    samples = list(webdataset.WebDataset(str(tar), shardshuffle=False).decode("rgba8"))
    shards = TrainingShards(workspace.shards)
    assert [sample["__key__"] for sample in samples] == shards.uids
    for sample in samples:
        assert np.array_equal(sample["001.png"], shards.rgba(sample["__key__"])[1])


def test_a_damaged_shard_is_named(workspace: Workspace) -> None:
    shards = TrainingShards(workspace.shards)
    tar = workspace.shards / "train-000000.tar"
    data = bytearray(tar.read_bytes())
    data[600] ^= 1
    tar.unlink()
    tar.write_bytes(data)
    with pytest.raises(InputError, match=r"train-000000\.tar is damaged at byte 0, object a1; restore it"):
        shards.views("a1")
    tar.unlink()
    with pytest.raises(InputError, match=r"train-000000\.tar is missing"):
        shards.views("a1")


def test_missing_shards_name_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no shard index .*; run viewforge shard first"):
        TrainingShards(tmp_path)


def test_the_input_is_copied_to_every_target() -> None:
    condition = np.random.default_rng(0).random((4, 4, 3))
    copies = copy_input(condition, 5)
    assert copies.shape == (5, 4, 4, 3)
    assert all(np.array_equal(copy, condition) for copy in copies)


@given(
    views=st.lists(hnp.arrays(np.float32, (2, 3, 3, 3), elements=st.floats(0, 1, width=32)), min_size=1, max_size=4)
)
def test_the_mean_image_has_the_least_squared_error_of_all_constant_answers(views: list[np.ndarray]) -> None:
    mean, everything = mean_image(views), np.concatenate(views).astype(np.float64)
    assert np.allclose(mean, everything.mean(axis=0), atol=1e-6)
    error = ((everything - mean) ** 2).mean()
    for other in (mean + 0.05, everything[0], np.ones_like(mean)):
        assert error <= ((everything - other) ** 2).mean() + 1e-9


def test_a_mean_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="no view"):
        mean_image([])


def test_held_out_objects_are_those_of_val_and_test(workspace: Workspace) -> None:
    selection = select_unseen(EvaluateParameters(), TRAINED, workspace)
    assert [asset.uid for asset in selection.assets] == ["b1"]
    training = select_training(EvaluateParameters(training_objects=2), TRAINED, workspace)
    assert [asset.uid for asset in training.assets] == ["a1", "a2"]


def test_a_catalogue_without_held_out_objects_names_three_ways_out(workspace: Workspace) -> None:
    path = workspace.catalog / "catalog.parquet"
    write_table(path, [replace(asset, split="train") for asset in read_table(path)])
    with pytest.raises(InputError, match=r"raise catalog.split.test, add objects, or set evaluate.source: gso"):
        select_unseen(EvaluateParameters(), TRAINED, workspace)


def test_a_file_that_was_trained_on_is_never_unseen(workspace: Workspace) -> None:
    path = workspace.catalog / "catalog.parquet"
    assets = read_table(path)
    write_table(path, [replace(asset, sha256="the same") for asset in assets])
    with pytest.raises(InputError, match="trained on every object that would evaluate it"):
        select_unseen(EvaluateParameters(), TRAINED, workspace)
    other = replace(assets[-1], uid="b2", split="val")
    write_table(path, [*(replace(asset, sha256="the same") for asset in assets), other])
    selection = select_unseen(EvaluateParameters(), TRAINED, workspace)
    assert [asset.uid for asset in selection.assets] == ["b2"]
    assert [asset.uid for asset in selection.left_out] == ["b1"]


def test_shards_of_another_catalogue_are_noticed(workspace: Workspace) -> None:
    with pytest.raises(InputError, match="knows none of the objects"):
        select_training(EvaluateParameters(), ["unknown"], workspace)


def test_scanned_objects_are_found_in_their_own_layout(workspace: Workspace, shared_assets: Path) -> None:
    parameters = EvaluateParameters(source="gso", path=str(shared_assets / "gso"), max_objects=2)
    selection = select_unseen(parameters, TRAINED, workspace)
    assert len(selection.assets) == 2
    assert {asset.source for asset in selection.assets} == {"gso"}
    assert [asset.uid for asset in selection.assets] == sorted(asset.uid for asset in selection.assets)


def test_a_missing_or_empty_folder_of_scanned_objects_is_named(workspace: Workspace) -> None:
    with pytest.raises(InputError, match=r"no folder .*inputs/gso; set evaluate.path"):
        select_unseen(EvaluateParameters(source="gso"), TRAINED, workspace)
    (workspace.root / "inputs" / "gso").mkdir(parents=True)
    with pytest.raises(InputError, match="holds no Google Scanned Object"):
        select_unseen(EvaluateParameters(source="gso"), TRAINED, workspace)


def test_the_input_view_is_no_target(workspace: Workspace) -> None:
    asset = read_table(workspace.catalog / "catalog.parquet")[0]
    c2w = np.stack([look_at_origin(1.0, 0.5 * number, 1.5) for number in range(4)])
    pictures = np.arange(4, dtype=np.float32)[:, None, None, None] * np.ones((4, 2, 2, 3), np.float32)
    lens = Intrinsics.from_fov(0.9, 2)
    views = ObjectViews(asset, pictures, tuple(View(camera, lens) for camera in c2w))
    assert views.condition.max() == 0
    assert [float(target.max()) for target in views.targets] == [1, 2, 3]
    assert np.array_equal(views.c2w, c2w)
