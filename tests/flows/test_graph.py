"""The stage graph and its staleness, as DVC knows them, in a workspace of its own."""

from pathlib import Path

import pytest
import yaml
from dvc.utils.serialize import load_yaml

from flows.graph import dependents, stage_order, stale_stages
from flows.parameters import check_parameters
from flows.workspaces import chosen_parameters, prepare, workspace_for
from stage.errors import InputError, ParameterError
from stage.workspace import Workspace

PROJECT = Path(__file__).resolve().parents[2]
STAGES = yaml.safe_load((PROJECT / "dvc.yaml").read_text())["stages"]


@pytest.fixture
def workspace(tmp_path):
    place = Workspace(tmp_path / "workspace")
    prepare(place, chosen_parameters(PROJECT / "params.yaml", None, ["catalog.objects=2"]))
    return place


def test_order_holds_every_stage_after_its_inputs(workspace):
    order = stage_order(workspace.root)
    assert sorted(order) == sorted(STAGES)
    outputs = {path: name for name, stage in STAGES.items() for path in stage.get("outs", [])}
    for name, stage in STAGES.items():
        for dependency in stage["deps"]:
            if dependency in outputs:
                assert order.index(outputs[dependency]) < order.index(name)


def test_what_depends_on_shards_is_training_and_evaluation(workspace):
    assert dependents(workspace.root)["shard"] == {"train", "evaluate"}


def test_shards_follow_the_splatter_images(workspace):
    assert dependents(workspace.root)["splatter"] == {"shard", "train", "evaluate"}


def test_everything_is_stale_in_a_new_workspace(workspace):
    assert list(stale_stages(workspace.root)) == stage_order(workspace.root)


def test_stages_depend_on_code_that_is_really_there(workspace):
    for stage in yaml.safe_load((workspace.root / "dvc.yaml").read_text())["stages"].values():
        for dependency in stage["deps"]:
            if dependency.startswith("${code}"):
                assert (workspace.root / dependency.replace("${code}", "code")).exists(), dependency


def test_folder_without_dvc_is_a_clear_error(tmp_path):
    with pytest.raises(InputError, match="no DVC workspace"):
        stage_order(tmp_path)


def test_same_overrides_share_a_workspace_and_others_do_not(tmp_path):
    project = Workspace(tmp_path)
    names = [
        workspace_for(chosen_parameters(PROJECT / "params.yaml", None, [f"seed={seed}"]), project).root.name
        for seed in (1, 1, 2)
    ]
    assert names[0] == names[1] != names[2]


def test_another_way_of_reconstructing_by_hand_needs_no_other_workspace_nor_stage(tmp_path):
    def name(*assignments):
        parameters = chosen_parameters(PROJECT / "params.yaml", None, list(assignments))
        return workspace_for(parameters, Workspace(tmp_path)).root.name

    without = yaml.safe_load((PROJECT / "params.yaml").read_text())
    del without["reconstruct"]
    assert name() == name("reconstruct.method=sjc") == workspace_for(without, Workspace(tmp_path)).root.name
    # Of an evaluation it decides figures, and DVC sees it there.
    assert name("evaluate.reconstruct.method=sjc") != name()
    stages = yaml.safe_load((PROJECT / "dvc.yaml").read_text())["stages"]
    assert [stage for stage, told in stages.items() if "reconstruct" in told["params"]] == []
    assert "evaluate" in stages["evaluate"]["params"]


def test_dvc_follows_what_an_alias_stands_for(tmp_path):
    path = tmp_path / "params.yaml"
    section = "reconstruct: &reconstruct {method: sjc, small: true}\n"
    path.write_text(f"{section}evaluate:\n  reconstruct: {{<<: *reconstruct, max_objects: 2}}\n")
    followed = load_yaml(str(path))["evaluate"]["reconstruct"]
    assert followed == {"method": "sjc", "small": True, "max_objects": 2}
    check_parameters(chosen_parameters(path, None, ["train.steps=7"]), "params.yaml")


def test_folder_of_assets_around_the_workspace_is_refused(tmp_path):
    parameters = chosen_parameters(PROJECT / "params.yaml", None, [f"catalog.path={tmp_path}"])
    with pytest.raises(ParameterError, match="contains the workspace"):
        prepare(Workspace(tmp_path / "workspace"), parameters)
    assert not (tmp_path / "workspace").exists()


def test_configuration_is_laid_over_section_by_section():
    values = chosen_parameters(PROJECT / "params.yaml", PROJECT / "configs" / "zero123.yaml", ["train.steps=7"])
    assert values["train"]["steps"] == 7
    assert values["train"]["batch_size"] == 1536
    assert values["render"]["protocol"] == "zero123"
