"""Scales of objects in shards: worked out where depth is included, told view by view, and absent without a trace elsewhere."""

import json
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from blender_render.passes import save_depth
from stage.errors import InputError
from stage.packs import object_folder
from stage.workspace import Workspace
from training.data.batches import ViewChoice
from training.data.dataset_parameters import DataParameters
from training.data.datasets import open_datasets, plan_of, sources_of
from training.data.loader import PlannedLoader
from training.data.reader import ShardReader
from training.data.shard_parameters import ShardParameters
from training.data.writer import write_shards

VIEWS = 4


@pytest.fixture
def with_depth(render_boxes: Callable[..., Workspace], tmp_path: Path) -> Workspace:
    """Two objects. View n of the first sees a wall at 1 + n in its left half; the second sees nothing in view 3."""
    workspace = render_boxes(tmp_path / "workspace", train=2)
    for key, last in (("00train", 4.0), ("01train", 0.0)):
        for number in range(VIEWS):
            depth = np.zeros((16, 16))
            depth[:, :8] = last if number == VIEWS - 1 else 1.0 + number
            save_depth(object_folder(workspace.scratch / "renders", key) / f"{number:03d}_depth.png", depth)
    return workspace


def radius(c2w: np.ndarray) -> float:
    centres = c2w[:, :3, 3]
    return float(np.linalg.norm(centres - centres.mean(axis=0), axis=1).mean())


def test_depth_gives_scales_of_the_views_that_are_read(with_depth: Workspace) -> None:
    write_shards(ShardParameters(include=("depth",)), with_depth)
    reader = ShardReader(with_depth.shards, "train")
    whole = reader[0]
    assert whole.scales is not None
    # Stored depth is in steps of 9e-5. Of the near planes 1, 2, 3, 4 the tenth percent lies at 0.3 from 1.
    expected = [[radius(whole.c2w), 1.3, 1.0 + view] for view in range(VIEWS)]
    np.testing.assert_allclose(whole.scales, expected, atol=1e-4)
    np.testing.assert_array_equal(reader.read_views(0, [2, 0]).scales, whole.scales[[2, 0]])


def test_a_view_that_sees_nothing_has_no_scale_of_its_own(with_depth: Workspace) -> None:
    write_shards(ShardParameters(include=("depth",)), with_depth)
    reader = ShardReader(with_depth.shards, "train")
    scales = reader[1].scales
    assert scales is not None
    # Of 1, 2, 3 the tenth percent lies at 0.2 from 1.
    np.testing.assert_allclose(scales[:, 1:], [[1.2, 1], [1.2, 2], [1.2, 3], [1.2, np.nan]], atol=1e-4)
    document = json.loads(reader.members(1)["cameras.json"])
    assert document["depth_quantile"][3] is None


def test_without_depth_there_are_none_unless_the_radius_is_asked_for(with_depth: Workspace) -> None:
    write_shards(ShardParameters(), with_depth)
    reader = ShardReader(with_depth.shards, "train")
    assert reader.read_views(0, [1]).scales is None
    assert set(json.loads(reader.members(0)["cameras.json"])) == {"c2w", "intrinsics"}
    asked = ShardReader(with_depth.shards, "train", scale="scene_radius")
    np.testing.assert_allclose(asked.views(0, [3, 1]).scales, [[radius(reader[0].c2w), np.nan, np.nan]] * 2)


def test_an_object_that_lacks_the_scale_that_is_needed_is_refused(with_depth: Workspace) -> None:
    write_shards(ShardParameters(include=("depth",)), with_depth)
    reader = ShardReader(with_depth.shards, "train", scale="depth_quantile")
    assert reader.read_views(1, [0, 2]).scales is not None
    with pytest.raises(InputError, match="01train: a view has no depth_quantile; give its shards the depth"):
        reader.read_views(1, [0, 3])
    assert ShardReader(with_depth.shards, "train", scale="nearplane_quantile").read_views(1, [0, 3])


@pytest.mark.parametrize("kept_bytes", [0, 2**20])
@pytest.mark.parametrize("depth", [True, False])
def test_batches_carry_them(with_depth: Workspace, kept_bytes: int, depth: bool) -> None:
    write_shards(ShardParameters(include=("depth",) if depth else ()), with_depth)
    parameters = DataParameters(kept_bytes=kept_bytes)
    readers = open_datasets(parameters, with_depth.root)
    plan = plan_of(parameters, readers, 4, seed=0)
    for batch in islice(PlannedLoader(plan, sources_of(parameters, readers), ViewChoice(drawn=2)), 6):
        for place, uid in enumerate(batch.uids):
            known = readers["objects"].views(int(uid == "01train"), batch.views[place]).scales
            expected = np.full((2, 3), np.nan) if known is None else known
            np.testing.assert_array_equal(batch.scales[place].numpy(), expected)
            assert np.isnan(expected).all() != depth


def test_another_recipe_writes_sets_with_depth_anew_and_no_others() -> None:
    # What sets were written with before cameras.json told of depth.
    assert ShardParameters().recipe() == "8b72bdfe893bb0269b7ce1507750a5b7d8cf21ccaadd8d05f354bf93fec38db3"
    former = "8223dbcae3e92a14a17502aa19743f8de0e3e572e806f3a99ed1b71c3c0abd4f"
    assert ShardParameters(include=("depth",)).recipe() != former
