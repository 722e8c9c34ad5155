"""The groups of stages follow the graph of dvc.yaml, and leave none out."""

from pathlib import Path

import pytest
import yaml

from flows.stage_groups import BLENDER, GPU, stage_groups, stage_needs
from flows.workspaces import chosen_parameters, prepare
from stage.errors import InputError
from stage.workspace import Workspace

PROJECT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = Workspace(tmp_path_factory.mktemp("groups") / "workspace")
    prepare(place, chosen_parameters(PROJECT / "params.yaml", None, ["catalog.objects=2"]))
    return place.root


def test_every_stage_of_dvc_yaml_is_in_one_group(root: Path) -> None:
    grouped = [stage for group in stage_groups(root).values() for stage in group]
    assert sorted(grouped) == sorted(yaml.safe_load((PROJECT / "dvc.yaml").read_text())["stages"])


def test_the_groups_are_what_comes_before_and_after_the_training(root: Path) -> None:
    groups = stage_groups(root)
    assert groups["ingest"] == ["catalog", "render", "splatter", "shard"]
    assert (groups["train"], groups["evaluate"]) == (["train"], ["evaluate"])


def test_stages_need_what_they_run_on(root: Path) -> None:
    assert stage_needs(root) == {
        "catalog": [],
        "render": [BLENDER],
        "splatter": [BLENDER],
        "shard": [],
        "train": [GPU],
        "evaluate": [GPU, BLENDER],
    }


def test_a_graph_without_training_is_named(root: Path, tmp_path: Path) -> None:
    prepare(Workspace(tmp_path / "w"))
    (tmp_path / "w" / "dvc.yaml").write_text("stages: {other: {cmd: 'true'}}\n")
    with pytest.raises(InputError, match="has no stage train"):
        stage_groups(tmp_path / "w")
