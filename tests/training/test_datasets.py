"""The shard sets of `train.data`: what may be said of them, where they may lie, and the plan that they give."""

import json
import re
import textwrap
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from fault_server import FaultServer
from shard_support import SMALL, damage

from stage.errors import InputError, ParameterError
from stage.files import file_sha256
from stage.location import write_location
from stage.parameters import validated
from stage.workspace import Workspace
from training.data.batches import ViewBatch, ViewChoice
from training.data.dataset_parameters import DataParameters
from training.data.datasets import index_hashes, open_datasets, picture_size, plan_of, sources_of
from training.data.index import INDEX, read_index, read_rows
from training.data.loader import PlannedLoader
from training.data.writer import write_shards
from training.parameters import TrainParameters


@pytest.fixture(scope="module")
def workspace(render_boxes: Any, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Five objects for training, two of val, two objects a shard. Read only."""
    workspace: Workspace = render_boxes(tmp_path_factory.mktemp("datasets") / "workspace", train=5, val=2)
    write_shards(SMALL, workspace)
    return workspace


def data(**values: Any) -> DataParameters:
    return validated(DataParameters, values, "params.yaml: train.data")


def dataset(name: str = "objects", place: object = "data/shards", **values: Any) -> dict[str, Any]:
    return {"name": name, "place": str(place), **values}


def served(server: FaultServer, workspace: Workspace) -> str:
    for path in workspace.shards.iterdir():
        server.serve(f"/set/{path.name}", path.read_bytes())
    return server.url("/set")


def batches(parameters: DataParameters, root: Path, count: int, size: int = 4, **options: Any) -> list[ViewBatch]:
    readers = open_datasets(parameters, root)
    plan = plan_of(parameters, readers, size, seed=3)
    return list(islice(PlannedLoader(plan, sources_of(parameters, readers), ViewChoice(drawn=2), **options), count))


def hashes(parameters: DataParameters, root: Path) -> dict[str, str]:
    return index_hashes(open_datasets(parameters, root))


def contents(read: list[ViewBatch]) -> list[tuple[tuple[str, ...], bytes, bytes]]:
    return [(batch.uids, batch.rgba.numpy().tobytes(), batch.c2w.numpy().tobytes()) for batch in read]


def test_by_default_the_workspace_is_read(workspace: Workspace) -> None:
    readers = open_datasets(data(), workspace.root)
    assert {name: len(reader) for name, reader in readers.items()} == {"objects": 5}
    assert index_hashes(readers) == {"objects": file_sha256(workspace.shards / INDEX)}


def test_every_object_comes_equally_often_in_batches_larger_than_the_set(workspace: Workspace) -> None:
    read = batches(data(), workspace.root, 20, size=8)
    counts = Counter(uid for batch in read for uid in batch.uids)
    assert set(counts.values()) == {20 * 8 // 5}
    views = Counter(tuple(pair) for batch in read for pair in batch.views.tolist())
    assert set(views) == {(target, condition) for target in range(4) for condition in range(4) if target != condition}


@pytest.mark.parametrize("copies", [{}, {"max_bytes": 0}, {"max_bytes": 45_000}, {"folder": "elsewhere"}])
def test_the_same_batches_come_from_a_folder_and_from_a_server(
    workspace: Workspace, server: FaultServer, tmp_path: Path, copies: dict[str, Any]
) -> None:
    local, remote = data(), data(datasets=[dataset(place=served(server, workspace))], cache=copies)
    assert hashes(remote, tmp_path) == hashes(local, workspace.root)
    assert contents(batches(remote, tmp_path, 6)) == contents(batches(local, workspace.root, 6))
    kept = list(tmp_path.glob(f"{copies.get('folder', 'scratch/shard_cache')}/*/*.tar"))
    assert bool(kept) == (copies.get("max_bytes") != 0)
    assert sum(path.stat().st_size for path in kept) <= copies.get("max_bytes", 10**6)
    assert len(kept) in ({0, 1, 2} if "max_bytes" in copies else {3}), "the bound is less than the set"


@pytest.mark.parametrize("kept_bytes", [0, 5_000])
def test_what_is_kept_in_memory_changes_nothing(workspace: Workspace, kept_bytes: int) -> None:
    expected = contents(batches(data(), workspace.root, 9))
    assert contents(batches(data(kept_bytes=kept_bytes), workspace.root, 9)) == expected


def test_folders_are_not_copied(workspace: Workspace) -> None:
    batches(data(datasets=[dataset(place=workspace.shards.as_uri())]), workspace.root, 1)
    assert not (workspace.scratch / "shard_cache").exists()


def test_a_mixture_holds_its_weights_and_rates(workspace: Workspace) -> None:
    parts = [
        dataset("few", probability=0.25, draws=3),
        dataset("rated", workspace.shards, probability=0.25, rate=0.5),
        dataset("per_scene", probability=0.5, rate="3_per_scene"),
    ]
    parameters = data(datasets=parts, order="window", window=2)
    plan = plan_of(parameters, open_datasets(parameters, workspace.root), 4, seed=0)
    assert [np.broadcast_to(mixed.draws, mixed.samples).tolist() for mixed in plan.datasets] == [
        [3] * 5,
        [2] * 5,
        [3] * 5,
    ]
    assert {mixed.shards for mixed in plan.datasets} == {shard_sizes(workspace)}
    assert plan.counts == [10, 10, 20]
    numbers = np.concatenate([batch.dataset for batch in batches(parameters, workspace.root, plan.batches)])
    assert np.bincount(numbers).tolist() == plan.counts


def shard_sizes(workspace: Workspace) -> tuple[int, ...]:
    counts = Counter(row.shard for row in read_index(workspace.shards) if row.split == "train")
    return tuple(counts[name] for name in sorted(counts))


def test_the_size_of_pictures_is_that_of_the_first_that_can_be_read(workspace: Workspace, tmp_path: Path) -> None:
    folder = tmp_path / "data" / "shards"
    folder.mkdir(parents=True)
    for path in workspace.shards.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    rows = [row for row in read_index(folder) if row.split == "train"]
    damage(folder, rows[0])
    assert picture_size(data(), open_datasets(data(), tmp_path)) == 16
    for row in rows[1:]:
        damage(folder, row)
    with pytest.raises(InputError, match="is damaged at byte"):
        picture_size(data(), open_datasets(data(), tmp_path))


def test_a_set_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no shard index .*/nowhere/index.parquet"):
        open_datasets(data(datasets=[dataset(place="nowhere")]), tmp_path)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"datasets": [dataset(probabilit=1)]}, r"train\.data\.datasets\.0\.probabilit; did you mean probability\?"),
        ({"cache": {"max_byte": 1}}, r"train\.data\.cache\.max_byte; did you mean max_bytes\?"),
        ({"datasets": []}, r"train\.data\.datasets = \[\]"),
        ({"datasets": [dataset(rate="2_per_object")]}, r"datasets\.0\.rate = '2_per_object'.* such as 2_per_scene"),
        ({"datasets": [dataset(rate=0)]}, r"datasets\.0\.rate = 0"),
        ({"datasets": [dataset(rate=float("inf"))]}, r"datasets\.0\.rate = inf"),
        ({"datasets": [dataset(rate=0.1, draws=2)]}, "objects has draws and a rate; give one of them"),
        ({"datasets": [dataset(probability=0.4)]}, r"of train\.data\.datasets sum to 0\.4; make them sum to 1"),
        ({"datasets": [dataset(probability=0.5)] * 2}, r"two of train\.data\.datasets have the same name"),
        ({"datasets": [dataset("a name")]}, r"datasets\.0\.name = 'a name'"),
        ({"order": "none"}, r"train\.data\.order = 'none'"),
    ],
)
def test_a_mistake_is_one_line_that_names_the_key(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError, match=message) as caught:
        data(**values)
    assert "\n" not in str(caught.value)


def test_the_documented_examples_are_valid() -> None:
    text = (Path(__file__).parents[2] / "docs" / "training-data.md").read_text()
    examples = re.findall(r"\n    (train:.*\n(?:     .*\n)*)", text)
    mixture, scenes, published = (
        validated(TrainParameters, yaml.safe_load(textwrap.dedent("    " + example))["train"], "training-data.md").data
        for example in examples
    )
    assert [part.name for part in mixture.datasets] == ["objects", "scenes"]
    assert [part.layout for part in scenes.datasets] == ["zeronvs", "object"]
    assert published.published == "sd-objaverse-finetune-c_concat-256.yaml"


@pytest.mark.parametrize("place", ["https://me:secret@host/set?signature=secret", "s3://key:secret@bucket/set"])
def test_no_secret_of_an_address_is_noted_or_said(place: str) -> None:
    parameters = data(datasets=[dataset(place=place)])
    assert parameters.datasets[0].place == place
    assert "secret" not in json.dumps(parameters.model_dump(mode="json"))
    with pytest.raises(ParameterError) as caught:
        data(datasets=[dataset(place=place, probability=0.4)])
    assert "secret" not in str(caught.value)


def test_a_folder_whose_shards_are_elsewhere_is_read_as_a_remote_set(
    server: FaultServer, workspace: Workspace, tmp_path: Path
) -> None:
    shards = tmp_path / "data" / "shards"
    shards.mkdir(parents=True)
    (shards / INDEX).write_bytes((workspace.shards / INDEX).read_bytes())
    write_location(shards, served(server, workspace))
    # Beside the tars another index may lie meanwhile; the folder's own counts.
    server.serve(f"/set/{INDEX}", b"a later one")
    local, located = data(), data(cache={"folder": "copies"})
    assert hashes(located, tmp_path) == hashes(local, workspace.root)
    assert contents(batches(located, tmp_path, 6)) == contents(batches(local, workspace.root, 6))
    assert {path.name for path in (tmp_path / "copies").glob("*/*.tar")} == {
        row.shard for row in read_rows(shards) if row.split == "train"
    }


def test_pictures_are_trained_on_at_the_size_that_is_asked_for(workspace: Workspace) -> None:
    parameters = data(size=8)
    readers = open_datasets(parameters, workspace.root)
    assert picture_size(parameters, readers) == 8
    assert picture_size(data(), readers) == 16
