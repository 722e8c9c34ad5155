"""The published training configuration of ZeroNVS read as it is, and what is wrong with one said in a line."""

from collections import Counter
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import yaml
from scene_support import scene

from stage.errors import InputError, ParameterError, ViewforgeError
from stage.parameters import validated
from stage.workspace import Workspace
from training.data.batches import ViewChoice
from training.data.dataset_parameters import DataParameters
from training.data.datasets import open_datasets, plan_of, sources_of
from training.data.loader import PlannedLoader
from training.data.published_mixture import with_published
from training.data.zeronvs_layout import write_scenes
from training.parameters import load_training

# Views and scenes of each set, a scene a shard. At a rate of 0.25 they are one, two and two pairs a scene.
SETS = {"co3d": (4, 4), "re10k": (8, 3), "acid": (8, 5)}
PROBABILITIES = {"co3d": 0.34, "re10k": 0.33, "acid": 0.33}


def block(root: Path, name: str, **changes: Any) -> dict[str, Any]:
    """A `dataset_config_*` with the published keys."""
    views, scenes = SETS[name]
    return {
        "dataset_n_shards": scenes,
        "dataset_name": name,
        "views_per_scene": views,
        "dataset_n_scenes": scenes,
        "probability": PROBABILITIES[name],
        "rate": 0.25,
        "compute_nearplane_quantile": False,
        "dataset_url": f"{root}/{name}/train-{{shard:06d}}.tar",
        **changes,
    }


def write(root: Path, *blocks: dict[str, Any]) -> Path:
    """A configuration of the published shape: loader, blocks, and what others of its programs read."""
    loader = {"batch_size": 192, "num_workers": 6, "shuffle_buffer_size": 500, "prefetch_factor": 4}
    train = {**loader, **{f"dataset_config_{number}": values for number, values in enumerate(blocks, start=1)}}
    unfilled = {"dataset_name": "co3d", "probability": 1.0, "dataset_url": None}
    data = {"target": "ldm.data", "params": {"train_config": train, "val_config": {"dataset_config_1": unfilled}}}
    file = root / "finetune.yaml"
    file.write_text(yaml.safe_dump({"model": {"base_learning_rate": 1e-4}, "data": data}, sort_keys=False))
    return file


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three sets of ZeroNVS's shards, a scene each. Read only."""
    root = tmp_path_factory.mktemp("published")
    for name, (views, scenes) in SETS.items():
        made = [scene(f"{name}{n}", name, views, (16, 8) if name == "co3d" else (8, 8), seed=n) for n in range(scenes)]
        write_scenes(root / name, "train", made, "co3d" if name == "co3d" else "re10k", max_bytes=1)
    return root


def read(file: Path, **values: Any) -> DataParameters:
    return with_published(validated(DataParameters, {"published": str(file), **values}, "train.data"), file.parent)


def test_its_blocks_are_the_sets_of_the_mixture(root: Path, tmp_path: Path) -> None:
    file = write(tmp_path, *(block(root, name) for name in SETS))
    parameters = read(file, size=8)
    assert {part.name: part.probability for part in parameters.datasets} == PROBABILITIES
    readers = open_datasets(parameters, tmp_path)
    assert {name: len(reader) for name, reader in readers.items()} == {"co3d": 4, "re10k": 3, "acid": 5}
    plan = plan_of(parameters, readers, 100, seed=0)
    assert [mixed.draws.tolist() for mixed in plan.datasets] == [[1] * 4, [2] * 3, [2] * 5]
    names = list(SETS)
    (batch,) = islice(PlannedLoader(plan, sources_of(parameters, readers), ViewChoice(drawn=2), size=8), 1)
    counts = Counter(names[number] for number in batch.dataset)
    assert counts == {"co3d": 34, "re10k": 33, "acid": 33}


def test_places_may_be_relative_and_in_braces(root: Path) -> None:
    relative = block(root, "acid", dataset_url="acid/train-{000000..000004}.tar", probability=1.0)
    file = write(root, relative)
    assert len(open_datasets(read(file), root)["acid"]) == 5
    address = block(root, "acid", dataset_url=(root / "acid").as_uri() + "/train-{shard:06d}.tar", probability=1.0)
    assert len(open_datasets(read(write(root, address)), root)["acid"]) == 5


def test_a_set_that_comes_twice_is_called_like_its_blocks(root: Path, tmp_path: Path) -> None:
    file = write(
        tmp_path, *(block(root, "co3d", probability=0.5) for _ in range(2)), block(root, "acid", probability=0)
    )
    with pytest.raises(ParameterError, match=r"dataset_config_3\.probability = 0"):
        read(file)
    parameters = read(write(tmp_path, *(block(root, "co3d", probability=0.5) for _ in range(2))))
    assert [part.name for part in parameters.datasets] == ["dataset_config_1", "dataset_config_2"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dataset_url": None}, "dataset_config_1: dataset_url is empty; fill in where the shards of co3d are"),
        ({"dataset_url": ""}, "dataset_config_1: dataset_url is empty; fill in"),
        ({"dataset_url": "gs://bucket/{shard}.tar"}, "dataset_config_1: gs://.* is no folder: .*; download them"),
        ({"dataset_url": "{shard:banana}.tar"}, "dataset_config_1: .* is no pattern of shards: .*; write a pattern"),
        ({"dataset_url": "{shard}-{node}.tar"}, "dataset_config_1: .* is no pattern of shards: .*; write a pattern"),
        ({"dataset_n_shards": 6}, r"_1: 2 of 6 shards of .* are missing, the first is .*/train-000004\.tar; download"),
        ({"dataset_n_scenes": 18432}, "_1: 18,432 scenes are stated, the shards in .*/co3d hold 4; state what is"),
        ({"dataset_n_scenes": "many"}, r"_1\.dataset_n_scenes = 'many': input should be a valid integer"),
        ({"dataset_name": "rtmv"}, "_1: dataset_name is 'rtmv'; give co3d, re10k or acid"),
        ({"probability": 0.5}, r"finetune\.yaml: the probabilities sum to 1\.16 .*_1 0\.5, .*; make them sum to 1"),
        ({"rate": "often"}, r"dataset_config_1\.rate = 'often': .*2_per_scene"),
    ],
)
def test_what_is_wrong_names_block_file_and_remedy(
    root: Path, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    file = write(tmp_path, block(root, "co3d", **changes), block(root, "re10k"), block(root, "acid"))
    with pytest.raises(ViewforgeError, match=message) as caught:
        open_datasets(read(file), tmp_path)
    assert str(caught.value).startswith(str(file))
    assert "\n" not in str(caught.value)


def test_a_key_that_is_missing_is_named(root: Path, tmp_path: Path) -> None:
    values = block(root, "co3d")
    del values["dataset_n_scenes"]
    with pytest.raises(ParameterError, match=r"dataset_config_1\.dataset_n_scenes .*: field required"):
        read(write(tmp_path, values))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"nowhere\.yaml: No such file or directory; name a training configuration"),
        ("a: [", r"is no YAML: .*; name a training configuration"),
        ("data: {params: {train_config: {batch_size: 1}}}", r"has no dataset_config_\* in data\.params\.train_config"),
        ("- 1", r"has no dataset_config_\* in data\.params\.train_config"),
    ],
)
def test_a_file_that_describes_no_mixture_is_named(tmp_path: Path, content: str | None, message: str) -> None:
    file = tmp_path / "nowhere.yaml"
    if content is not None:
        file.write_text(content)
    with pytest.raises(InputError, match=message) as caught:
        read(file)
    assert "\n" not in str(caught.value)


def test_sets_of_both_kinds_at_once_are_refused() -> None:
    values = {"published": "finetune.yaml", "datasets": [{"name": "objects", "place": "data/shards"}]}
    with pytest.raises(ParameterError, match=r"train\.data has datasets and published; give one of them"):
        validated(DataParameters, values, "train.data")


def test_the_parameters_of_a_training_hold_them(trainable: Callable[..., Workspace], root: Path) -> None:
    workspace = trainable(data={"published": "finetune.yaml", "size": 8})
    write(workspace.root, *(block(root, name) for name in SETS))
    parameters = load_training(workspace)
    assert [part.name for part in parameters.data.datasets] == list(SETS)
    assert parameters.data.size == 8
