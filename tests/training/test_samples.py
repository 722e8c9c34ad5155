"""Pictures sampled in the course of a training: of unseen pairs, always the same, and without a trace in the weights."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from stage.files import file_sha256, folder_sha256
from stage.parameters import load_section
from stage.workspace import Workspace
from systems.zero123.parameters import Zero123Parameters
from systems.zero123.training import Zero123Training
from training.data.dataset_parameters import DataParameters
from training.data.datasets import open_datasets
from training.data.shard_parameters import ShardParameters
from training.data.writer import write_shards
from training.parameters import TrainParameters
from training.run import train_here
from training.sample_pairs import SamplePairs, sample_pairs

Trainable = Callable[..., Workspace]
Images = list[Path]


def trained(workspace: Workspace) -> Workspace:
    """After a training in this process."""
    train_here(load_section(workspace.parameters, "train", TrainParameters), 7, workspace)
    return workspace


def pictures(workspace: Workspace) -> Images:
    return sorted(workspace.scratch.glob("tracking/*/samples/*.png"))


def chosen(workspace: Workspace, seed: int = 7, pairs: int = 4) -> SamplePairs:
    readers = open_datasets(DataParameters(), workspace.root)
    found = sample_pairs(DataParameters(), workspace.root, readers, seed, pairs, size=16)
    assert found is not None
    return found


def test_sampling_changes_no_weight_and_repeats_itself(trainable: Trainable) -> None:
    quiet: dict[str, Any] = {"steps": 5, "checkpoint_every": 2, "tracking": {"trackers": []}}
    samples = {"every": 2, "pairs": 3, "inference_steps": 2, "guidance_scale": 2.0}
    without = trained(trainable("without", samples={"every": None}, **quiet))
    runs = [trained(trainable(name, samples=samples, **quiet)) for name in ("first", "second")]
    assert pictures(without) == []
    assert list((without.training_report / "samples").iterdir()) == []
    for run in runs:
        assert folder_sha256(run.model) == folder_sha256(without.model)
        assert [path.name for path in pictures(run)] == [f"step-{step:08d}.png" for step in (2, 4, 5)]
    assert [file_sha256(path) for path in pictures(runs[0])] == [file_sha256(path) for path in pictures(runs[1])]
    assert file_sha256(runs[0].training_report / "samples" / "last.png") == file_sha256(pictures(runs[0])[-1])
    first, last = (np.asarray(Image.open(pictures(runs[0])[place])) for place in (0, -1))
    assert first.shape == last.shape
    assert (first != last).any(), "the predictions change as the weights do"


def test_pairs_are_of_unseen_objects_and_do_not_change(trainable: Trainable) -> None:
    workspace = trainable()
    pairs = chosen(workspace)
    assert pairs.split == "val"
    assert sorted(pairs.views.uids) == ["00val", "01val"], "there are no more"
    assert pairs.views.rgba.shape == (2, 2, 16, 16, 4)
    assert torch.equal(pairs.views.rgba, chosen(workspace).views.rgba)
    assert (pairs.views.rgba[:, 0] != pairs.views.rgba[:, 1]).any(), "two views of each"


def test_without_a_val_split_the_name_says_that_pairs_are_trained_on(
    render_boxes: Callable[..., Workspace], tmp_path: Path
) -> None:
    workspace = render_boxes(tmp_path / "workspace", train=3)
    write_shards(ShardParameters(), workspace)
    pairs = chosen(workspace, pairs=2)
    assert pairs.split == "train"
    assert len(set(pairs.views.uids)) == 2


def test_predictions_follow_from_their_seeds(tiny_train: dict[str, Any], trainable: Trainable) -> None:
    system = Zero123Training(Zero123Parameters(**tiny_train["zero123"]), seed=1, image_size=16).eval()
    pairs = chosen(trainable())
    batch = system.batch(pairs.views)
    state = torch.random.get_rng_state()
    one, same, other = (
        system.predict(batch, seeds, steps=2, guidance_scale=1.0) for seeds in ([1, 2], [1, 2], [1, 3])
    )
    assert torch.equal(torch.random.get_rng_state(), state)
    assert one.shape == (2, 3, 16, 16)
    assert one.min() >= 0
    assert one.max() <= 1
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_training_starts_without_a_picture_to_show(trainable: Trainable) -> None:
    """Objects of which none can be read are none to show; that they cannot is for the training to say."""
    workspace = trainable()
    for shard in workspace.shards.glob("val-*.tar"):
        shard.write_bytes(b"\0" * shard.stat().st_size)
    readers = open_datasets(DataParameters(), workspace.root)
    assert sample_pairs(DataParameters(), workspace.root, readers, 7, 4, size=16) is None
